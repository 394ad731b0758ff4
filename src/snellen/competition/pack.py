"""Pack a model with everything needed to use it in a code competition without internet."""

import io
import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from snellen.competition.wheel import MADE, rebuilt_wheel
from snellen.errors import RunError
from snellen.images.imageset import ImageSet
from snellen.models.model_file import model_path
from snellen.prediction.opening import members
from snellen.runs.cross_validation import FOLDS
from snellen.system import files
from snellen.system.contents import Contents, contents_of
from snellen.system.targets import check_file

SCRIPT = Path(__file__).parent / "kit" / "classify.py.txt"
KIT = b"snellen pack"  # the comment of the zip file
OF_RUN = ("recipe.json", "about.json", "model.safetensors", "best.safetensors")  # files needed to use a run's model


def pack(model: str | Path, out: str | Path = "kit.zip", *, pictures: str | None = None) -> Path:
    """Write a zip file with snellen's wheel, the model, and a script and a notebook that write a submission offline.

    model: a finished run, a cross-validation, a model file or a packaged model's name.
    pictures: the folder of test pictures in the competition's data; by default that of the images the run was trained
    on, or "test" if they are gone.

    The wheel needs numpy, torch and the other dependencies, all of which Kaggle's notebooks have. Raises RunError if
    the model is unfinished or damaged, DataError if `out` holds anything but a kit.
    """
    model, out = Path(model), Path(out)
    check_file(out, "a kit", _is_kit)
    members(str(model))  # each of them is intact
    contents = contents_of(model)
    with tempfile.TemporaryDirectory() as scratch:
        kit = Path(scratch)
        wheel = rebuilt_wheel(kit)
        inside = _copy_model(model, contents, kit)
        words = {"wheel": wheel.name, "model": inside, "sample": "*ample*ubmission*.csv"}
        script = SCRIPT.read_text().format(pictures=pictures or _test_folder(model) or "test", **words)
        (kit / "classify.py").write_text(script)
        (kit / "classify.ipynb").write_text(_notebook(script))
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:  # weights and the wheel do not compress
            archive.comment = KIT
            for path in sorted(path for path in kit.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(path.relative_to(kit).as_posix(), MADE)
                entry.external_attr = 0o644 << 16  # readable by everyone once unpacked
                archive.writestr(entry, path.read_bytes())
    with files.replacing(out) as file:
        file.write(data.getvalue())
    return out


def _is_kit(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment == KIT
    except (OSError, zipfile.BadZipFile):
        return False


def _copy_model(model: Path, contents: Contents, kit: Path) -> str:
    """Copy what prediction needs into the kit; return its name there."""
    if contents not in (Contents.RUN, Contents.FOLDS):
        shutil.copyfile(model_path(model), kit / "model.safetensors")
        return "model.safetensors"
    runs = [model] if contents is Contents.RUN else [path.parent for path in sorted(model.glob("fold-*/recipe.json"))]
    for run in runs:
        to = kit / "model" / ("." if contents is Contents.RUN else run.name)
        to.mkdir(parents=True, exist_ok=True)
        for name in OF_RUN:
            if (run / name).exists():
                shutil.copyfile(run / name, to / name)
    if contents is Contents.FOLDS:
        shutil.copyfile(model / FOLDS, kit / "model" / FOLDS)
    return "model"


def _test_folder(model: Path) -> str | None:
    """Return the folder of the test pictures that the run's images were prepared from; None if unknown."""
    about = [*model.glob("about.json"), *model.glob("fold-1/about.json")]
    if not about:
        return None
    data = files.read_json(about[0], error=RunError, do="train again").get("data")
    if not isinstance(data, str) or contents_of(data) is not Contents.IMAGES:
        return None
    images = ImageSet.open(data)
    folders = {Path(path).parent.as_posix() for path in images.paths[images.splits == "test"].tolist()}
    return folders.pop() if len(folders) == 1 and not any("!" in name for name in folders) else None


def _notebook(script: str) -> str:
    """Return the script as a notebook with one cell (nbformat 4.5)."""
    cell: dict[str, Any] = {"cell_type": "code", "id": "classify", "metadata": {}}
    cell |= {"execution_count": None, "outputs": [], "source": script}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps(
        {
            "cells": [cell],
            "metadata": {"kernelspec": kernel},
            "nbformat": 4,
            "nbformat_minor": 5,
        },
        indent=1,
    )
