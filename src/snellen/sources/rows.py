"""Rows: what is known about a picture before decoding (id, label, split, path), and ids from file names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from snellen.errors import DataError, first_few
from snellen.sources.decode import is_picture
from snellen.sources.label_lists import labels_in


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of a source."""

    id: str
    label: str | None  # name of its class, or the list of several (see label_lists.py), if known
    split: str | None  # "train", "valid", "test"; None: labelled, decided by `choose_valid`
    path: str  # within the source, with forward slashes; unique
    group: str | None = None  # the value of the column of --group-by, such as a patient


def natural_key(text: str) -> list[tuple[str, int, str]]:
    """Return a sort key that puts 2 before 10 in any file name."""
    # Numbers are compared by length, then as text, so they can have any length.
    pairs = re.findall(r"([^0-9]*)0*([0-9]*)", text)
    return [(words, len(digits), digits) for words, digits in pairs] + [(text, 0, "")]


def without_suffix(name: str) -> str:
    """Return the name without the extension of a picture file; other dots are part of the name."""
    return name[: name.rfind(".")] if is_picture(name) else name


def common_folder(paths: Iterable[str]) -> str:
    """Return the common folder of all `paths` with a trailing slash, or "" if there is none."""
    folders = [path.split("/")[:-1] for path in paths]
    first, last = min(folders, default=[]), max(folders, default=[])
    count = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return "".join(part + "/" for part in first[:count])


def ids_of(*spellings: Sequence[str]) -> list[str]:
    """Return the first unique spelling of file names, without the extension if the names are still unique."""
    for names in spellings:
        for ids in ([without_suffix(name) for name in names], list(names)):
            if len(set(ids)) == len(ids):
                return ids
    raise AssertionError("the last spelling must be unique paths")


def short_ids(ids: list[str]) -> list[str]:
    """Return ids without the extension of a picture file if they are still unique."""
    short = [without_suffix(id) for id in ids]
    return short if len(set(short)) == len(ids) else ids


def classes_of(rows: Sequence[Row], has_several: bool = False) -> tuple[str, ...]:
    """Return the sorted labels of train and valid. Raises DataError for test labels that are not among them."""
    trained = {name for row in rows if row.split != "test" for name in labels_in(row.label, has_several)}
    if odd := sorted({name for row in rows for name in labels_in(row.label, has_several)} - trained):
        raise DataError(
            f"{len(odd)} labels of test pictures are not among the training labels, first {first_few(odd)}.",
            expected=f"the classes {first_few(sorted(trained), 8)}",
            do="correct the labels of the test pictures, or remove them",
        )
    return tuple(sorted(trained))
