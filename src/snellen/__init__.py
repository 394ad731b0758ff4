"""snellen: from raw image files to a trained model and a checked submission. `snellen --help` lists the commands."""

import importlib
from typing import Any

__version__ = "0.1.0"

# public name -> the file that defines it; imported on first use, so that `import snellen` does not load torch
_HOMES = {
    "ImageSet": "images.imageset",
    "Recipe": "runs.recipe",
    "PRESETS": "runs.presets",
    "Run": "runs.run",
    "Predictions": "prediction.predictions",
    "SnellenError": "errors",
    "compete": "competition.compete",
    "prepare": "images.prepare",
    "organize": "images.organize",
    "train": "training.train",
    "cross_validate": "training.cross_validate",
    "tune": "training.tune",
    "evaluate": "prediction.evaluate",
    "embed": "prediction.embed",
    "predict": "prediction.predict",
    "write_submission": "competition.submission",
    "submit_pictures": "competition.submit_pictures",
    "load_model": "models.model_file",
    "submit": "competition.kaggle",
    "pack": "competition.pack",
    "download": "competition.kaggle",
    "serve": "serving.serve",
    "report": "reports.report",
    "compare": "reports.compare",
    "check": "reports.check",
    "export": "serving.export",
    "import_gluon": "models.import_gluon",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'snellen' has no attribute '{name}'")
    return getattr(importlib.import_module(f"snellen.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
