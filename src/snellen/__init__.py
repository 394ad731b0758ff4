"""snellen: from raw image files to a trained model and a checked submission. `snellen --help` lists the commands."""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> the module that has it; imported when first used, so that `import snellen` loads no torch
_HOMES = {
    "ImageSet": "imageset",
    "Recipe": "recipe",
    "PRESETS": "presets",
    "Run": "run",
    "Predictions": "predictions",
    "SnellenError": "errors",
    "compete": "compete",
    "prepare": "prepare",
    "organize": "organize",
    "train": "train",
    "tune": "tune",
    "evaluate": "evaluate",
    "predict": "predict",
    "write_submission": "submission",
    "load_model": "modelfile",
    "submit": "kaggle",
    "download": "kaggle",
    "watch": "watch",
    "serve": "serve",
    "report": "report",
    "compare": "compare",
    "check": "check",
    "export": "export",
    "import_gluon": "import_gluon",
}
__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from snellen.check import check as check
    from snellen.compare import compare as compare
    from snellen.compete import compete as compete
    from snellen.errors import SnellenError as SnellenError
    from snellen.evaluate import evaluate as evaluate
    from snellen.export import export as export
    from snellen.imageset import ImageSet as ImageSet
    from snellen.import_gluon import import_gluon as import_gluon
    from snellen.kaggle import download as download
    from snellen.kaggle import submit as submit
    from snellen.modelfile import load_model as load_model
    from snellen.organize import organize as organize
    from snellen.predict import predict as predict
    from snellen.predictions import Predictions as Predictions
    from snellen.prepare import prepare as prepare
    from snellen.presets import PRESETS as PRESETS
    from snellen.recipe import Recipe as Recipe
    from snellen.report import report as report
    from snellen.run import Run as Run
    from snellen.serve import serve as serve
    from snellen.submission import write_submission as write_submission
    from snellen.train import train as train
    from snellen.tune import tune as tune
    from snellen.watch import watch as watch


class _Package(types.ModuleType):
    """Keeps `snellen.train` the function: importing train.py would put the module of that name in its place."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'snellen' has no attribute '{name}'")
        return getattr(importlib.import_module(f"snellen.{_HOMES[name]}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(__all__)


sys.modules[__name__].__class__ = _Package
