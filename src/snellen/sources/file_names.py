"""Labels in the names of picture files: cat.0.jpg, Abyssinian_12.jpg, 7_dog.png."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snellen.sources.roles import ASIDE, GENERIC, ROLE_OF, words, words_of
from snellen.sources.rows import without_suffix

# Words that cameras and programs use in file names.
CAMERA = words(
    "img dsc dscn dscf dcim pxl mvi gopr gopro dji scan screenshot screen shot photo pict wp vid "
    "frame untitled unnamed download file"
)


@dataclass(frozen=True)
class NameLabels:
    """Labels from file names."""

    labels: dict[str, str]  # path -> label
    odd: list[str]  # paths without a label in their name


def find_name_labels(paths: Sequence[str]) -> NameLabels | None:
    """Return the labels in file names, or None if there are none.

    A label is the name without the number at its end or its start. There must be at least two labels, with two
    pictures each on average, and no label may be a word that cameras or programs use.
    """
    stems = {path: without_suffix(path.rpartition("/")[2]) for path in paths}
    for pattern in (r"(?P<label>.*?[^\W\d].*?)[\s._\-(]*\d+\)?", r"\(?\d+\)?[\s._\-]+(?P<label>\D*[^\W\d]\D*)"):
        found = _labels(stems, pattern)
        if found is not None:
            return found
    return None


def _labels(stems: Mapping[str, str], pattern: str) -> NameLabels | None:
    matches = {path: re.fullmatch(pattern, stem) for path, stem in stems.items()}
    labels = {path: match["label"].strip(" ._-()") for path, match in matches.items() if match}
    counts = Counter(labels.values())
    if len(labels) < 0.9 * len(stems) or not 2 <= len(counts) <= len(labels) / 2:
        return None
    nothing = CAMERA | GENERIC | ASIDE | ROLE_OF.keys()
    if any(not label or (words_of(label) and words_of(label) <= nothing) for label in counts):
        return None
    return NameLabels(labels, [path for path in stems if path not in labels])
