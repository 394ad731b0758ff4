"""What a path holds: prepared images, a run, a model and so on, from names of files and a few bytes."""

from enum import StrEnum
from pathlib import Path

from snellen.errors import SnellenError, did_you_mean

PACKAGED = Path(__file__).parents[1] / "weights"  # the models that come with the package


class Contents(StrEnum):
    """What a path can hold, as messages name it."""

    IMAGES = "prepared images"
    RUN = "a run"
    UNFINISHED_RUN = "an unfinished run"
    FOLDS = "a cross-validation"
    STUDY = "a study"
    ENTRY = "the results of `snellen compete`"
    MODEL = "a model"
    PACKAGED = "a packaged model"
    RECIPE = "a recipe"
    PREDICTIONS = "predictions"
    OTHER = "something else"  # raw data, or any other file or folder that is not empty
    EMPTY = "an empty folder"
    NOTHING = "nothing"  # the path does not exist


# The files that lie together in each kind of folder, in the order of the questions.
MARKS = (
    (Contents.IMAGES, {"about.json", "images.npy"}),
    (Contents.IMAGES, {"about.json", "rows.csv"}),  # its images.npy is missing
    (Contents.RUN, {"about.json", "recipe.json"}),
    (Contents.FOLDS, {"folds.json"}),
    (Contents.STUDY, {"study.json"}),
    (Contents.MODEL, {"model.safetensors"}),
)
PARTS_OF_ENTRY = {"data", "run", "refit", "folds"}  # the folders that `compete` writes
SCORES_OF_ENTRY = "evaluation.json"
PREDICTIONS_START = b"id,label,p_"

# What to expect, and what to do, if something else is there.
HINTS = {
    Contents.IMAGES: (
        "a folder written by `snellen prepare` (with about.json, images.npy and rows.csv)",
        "check the path, or prepare the raw files first: snellen prepare SOURCE --out DATA",
    ),
    Contents.RUN: (
        "a folder written by `snellen train` (with recipe.json and about.json)",
        "check the path, or train first: snellen train DATA --out RUN",
    ),
    Contents.FOLDS: (
        "a folder written by `snellen train DATA --folds K` (with folds.json)",
        "check the path, or train first: snellen train DATA --folds K --out FOLDER",
    ),
    Contents.MODEL: ("a finished run, a model.safetensors file or the name of a packaged model", "check the path"),
}
KNOWN = {*Contents} - {Contents.OTHER, Contents.EMPTY, Contents.NOTHING}


def packaged_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.safetensors"))


def contents_of(path: str | Path) -> Contents:
    """Return what a path holds. A few files are looked up at most; whether they are intact is for their readers."""
    name, path = str(path), Path(path)
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        return Contents.PACKAGED if name in packaged_models() else Contents.NOTHING
    if path.suffix == ".safetensors":
        return Contents.MODEL
    if path.suffix == ".json":
        return Contents.RECIPE
    return Contents.PREDICTIONS if _starts_with(path, PREDICTIONS_START) else Contents.OTHER


def _of_folder(path: Path) -> Contents:
    for contents, marks in MARKS:
        if all((path / mark).is_file() for mark in marks):
            is_unfinished = not (path / "model.safetensors").is_file() or (path / "checkpoint.safetensors").is_file()
            return Contents.UNFINISHED_RUN if contents is Contents.RUN and is_unfinished else contents
    names = {entry.name for entry in path.iterdir()}
    if "data" in names and names & {"run", "folds", SCORES_OF_ENTRY} and _of_folder(path / "data") is Contents.IMAGES:
        return Contents.ENTRY
    return Contents.OTHER if names else Contents.EMPTY


def _starts_with(path: Path, start: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def check_holds(path: str | Path, *wanted: Contents, error: type[SnellenError]) -> Contents:
    """Return what the path holds. Raises `error` unless it is one of `wanted`, the first of which messages name."""
    found = contents_of(path)
    if found in wanted:
        return found
    expected, do = HINTS[wanted[0]]
    if found is Contents.NOTHING:
        what = f'"{path}" does not exist.'
    elif found in KNOWN:
        what = f'"{path}" holds {found}, not {wanted[0]}.'
        do = "check the path and the order of the arguments"
    else:
        what = f'"{path}" does not hold {wanted[0]}.'
    if found is Contents.UNFINISHED_RUN and Contents.RUN in wanted:
        do = "finish it first: repeat the command that started it"
    if Contents.PACKAGED in wanted:
        expected += f" ({', '.join(packaged_models())})"
        do = did_you_mean(str(path), packaged_models(), do)
    raise error(what, expected=expected, do=do)
