"""Recognize the content of a path (prepared images, a run, a model, ...) from file names and a few bytes."""

import os
from collections.abc import Set
from enum import StrEnum
from pathlib import Path

from snellen.errors import SnellenError, did_you_mean

PACKAGED = Path(__file__).parents[1] / "weights"  # the models that come with the package
ORGANIZED = ".organized.json"  # the file that `organize` writes into its tree


class Contents(StrEnum):
    """The kinds of content of a path, as messages name them."""

    IMAGES = "prepared images"
    RUN = "a run"
    UNFINISHED_RUN = "an unfinished run"
    FOLDS = "a cross-validation"
    STUDY = "a study"
    ENTRY = "the results of `snellen compete`"
    ORGANIZED = "class folders written by `snellen organize`"
    MODEL = "a model"
    PACKAGED = "a packaged model"
    RECIPE = "a recipe"
    PREDICTIONS = "predictions"
    OTHER = "something else"  # raw data, or any other file or folder that is not empty
    EMPTY = "an empty folder"
    NOTHING = "nothing"  # the path does not exist

    @property
    def is_ours(self) -> bool:
        """Return whether snellen wrote it."""
        return self not in (Contents.OTHER, Contents.EMPTY, Contents.NOTHING)


# The files that identify each kind of folder, in the order in which they are checked.
MARKS = (
    (Contents.IMAGES, {"about.json", "images.npy"}),
    (Contents.IMAGES, {"about.json", "rows.csv"}),  # its images.npy is missing
    (Contents.RUN, {"about.json", "recipe.json"}),
    (Contents.FOLDS, {"folds.json", "fold-1"}),
    (Contents.STUDY, {"study.json"}),
    (Contents.ORGANIZED, {ORGANIZED}),
    (Contents.MODEL, {"model.safetensors"}),
)
# Folders of results, which are not raw data even inside a source.
RESULTS = {Contents.IMAGES, Contents.RUN, Contents.UNFINISHED_RUN, Contents.FOLDS, Contents.ENTRY, Contents.ORGANIZED}
PARTS_OF_ENTRY = {"data", "run", "refit", "folds"}  # the folders that `compete` writes
PREDICTIONS_STARTS = (b"id,label,p_", b"id,labels,p_")  # one label per image, or several

# What messages expect and advise if a path holds something else.
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


def packaged_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.safetensors"))


def contents_of(path: str | Path) -> Contents:
    """Return what a path holds, from file names and a few bytes; whether the files are intact is not checked.

    An existing path takes precedence over a packaged model of the same name.
    """
    name, path = str(path), Path(path)
    if path.is_dir():
        return folder_contents(path)
    if not path.exists():
        return Contents.PACKAGED if name in packaged_models() else Contents.NOTHING
    if path.suffix == ".safetensors":
        return Contents.MODEL
    if path.suffix == ".json":
        return Contents.RECIPE
    return Contents.PREDICTIONS if is_predictions(path) else Contents.OTHER


def folder_contents(path: Path, names: Set[str] | None = None) -> Contents:
    """Return what a folder holds. names: its files and folders, if the caller has already listed them."""
    for contents, marks in MARKS:
        if all((path / mark).exists() for mark in marks) if names is None else marks <= names:
            is_unfinished = not (path / "model.safetensors").is_file() or (path / "checkpoint.safetensors").is_file()
            return Contents.UNFINISHED_RUN if contents is Contents.RUN and is_unfinished else contents
    if ("data" in names if names is not None else (path / "data").is_dir()) and _is_entry(path):
        return Contents.ENTRY
    with os.scandir(path) as entries:
        return Contents.OTHER if any(entries) else Contents.EMPTY


def _is_entry(path: Path) -> bool:
    """Return whether `compete` wrote the folder, and it has no folders besides the results."""
    if folder_contents(path / "data") is not Contents.IMAGES:
        return False
    with os.scandir(path) as entries:
        is_folder = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    folders = {name for name in is_folder if is_folder[name]}
    return folders <= PARTS_OF_ENTRY and bool(is_folder.keys() & {"run", "folds", "evaluation.json"})


def is_predictions(path: Path) -> bool:
    """Return whether a file begins like one that `predict` writes."""
    return any(starts_with(path, start) for start in PREDICTIONS_STARTS)


def starts_with(path: Path, start: bytes) -> bool:
    """Return whether a file begins with these bytes. False if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def check_holds(path: str | Path, *wanted: Contents, error: type[SnellenError]) -> Contents:
    """Return what the path holds. Raises `error` if it is not in `wanted`; messages name the first of these."""
    found = contents_of(path)
    if found in wanted:
        return found
    expected, do = HINTS[wanted[0]]
    if found is Contents.NOTHING:
        what = f'"{path}" does not exist.'
    elif found.is_ours:
        what = f'"{path}" holds {found}, not {wanted[0]}.'
        do = "check the path and the order of the arguments"
    else:
        what = f'"{path}" does not hold {wanted[0]}.'
    if found is Contents.UNFINISHED_RUN and Contents.RUN in wanted:
        do = "finish it first: repeat the command that started it"
    if found is Contents.FOLDS and Contents.RUN in wanted:
        do = f"name one of its runs, such as {Path(path) / 'fold-1'}"
    if Contents.PACKAGED in wanted:
        expected += f" ({', '.join(packaged_models())})"
        do = did_you_mean(str(path), packaged_models(), do)
    raise error(what, expected=expected, do=do)
