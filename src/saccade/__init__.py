"""saccade: from raw image files to a trained model and a checked submission. `saccade --help` lists the commands."""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> the module that has it; imported when first used, so that `import saccade` loads no torch
_HOMES = {
    "ImageSet": "imageset",
    "Recipe": "recipe",
    "PRESETS": "presets",
    "Run": "run",
    "Predictions": "predictions",
    "SaccadeError": "errors",
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
    from saccade.check import check as check
    from saccade.compare import compare as compare
    from saccade.compete import compete as compete
    from saccade.errors import SaccadeError as SaccadeError
    from saccade.evaluate import evaluate as evaluate
    from saccade.export import export as export
    from saccade.imageset import ImageSet as ImageSet
    from saccade.import_gluon import import_gluon as import_gluon
    from saccade.kaggle import download as download
    from saccade.kaggle import submit as submit
    from saccade.modelfile import load_model as load_model
    from saccade.organize import organize as organize
    from saccade.predict import predict as predict
    from saccade.predictions import Predictions as Predictions
    from saccade.prepare import prepare as prepare
    from saccade.presets import PRESETS as PRESETS
    from saccade.recipe import Recipe as Recipe
    from saccade.report import report as report
    from saccade.run import Run as Run
    from saccade.serve import serve as serve
    from saccade.submission import write_submission as write_submission
    from saccade.train import train as train
    from saccade.tune import tune as tune
    from saccade.watch import watch as watch


class _Package(types.ModuleType):
    """Keeps `saccade.train` the function: importing train.py would put the module of that name in its place."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'saccade' has no attribute '{name}'")
        return getattr(importlib.import_module(f"saccade.{_HOMES[name]}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(__all__)


sys.modules[__name__].__class__ = _Package
