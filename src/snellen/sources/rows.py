"""What is known of a picture before it is decoded: id, label, split, path; and how names become ids."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from snellen.sources.decode import is_picture


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of a source."""

    id: str
    label: str | None  # name of its class, where known
    split: str | None  # "train", "valid", "test"; None: labelled, and for `choose_valid` to decide
    path: str  # within the source, with forward slashes; unique
    group: str | None = None  # the value of the column of --group-by, such as a patient


def natural_key(text: str) -> list[tuple[str, int, str]]:
    """Sort key by which 2 comes before 10, in file names of any shape."""
    # Digits by their number of places and then as text: no length of them is too long to compare.
    pairs = re.findall(r"([^0-9]*)0*([0-9]*)", text)
    return [(words, len(digits), digits) for words, digits in pairs] + [(text, 0, "")]


def without_suffix(name: str) -> str:
    """The name without the ending of a picture file; other dots are part of the name."""
    return name[: name.rfind(".")] if is_picture(name) else name


def common_folder(paths: Iterable[str]) -> str:
    """The folder that holds all of `paths`, with a slash at its end; "" where there is none."""
    folders = [path.split("/")[:-1] for path in paths]
    first, last = min(folders, default=[]), max(folders, default=[])
    count = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return "".join(part + "/" for part in first[:count])


def ids_of(*spellings: Sequence[str]) -> list[str]:
    """The first spelling of file names that tells the files apart, without the ending of the file if that is enough."""
    for names in spellings:
        for ids in ([without_suffix(name) for name in names], list(names)):
            if len(set(ids)) == len(ids):
                return ids
    raise AssertionError("the last spelling must be unique paths")
