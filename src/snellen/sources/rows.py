"""Rows: what is known about a picture before decoding (id, label, split, path), and ids from file names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from snellen.sources.decode import is_picture


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of a source."""

    id: str
    label: str | None  # name of its class, if known
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
