"""Pictures of an ImageSet as they stand on a page, each with what is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snellen.charts.pages import picture
from snellen.images.imageset import UNLABELLED, ImageSet


@dataclass(frozen=True)
class Card:
    """A picture with what is to be said of it."""

    picture: str  # a data: URI
    id: str
    split: str
    path: str
    label: str  # "" where none is known
    guess: str = ""  # what a model or a rule says of it


def cards(images: ImageSet, index: Sequence[int] | np.ndarray, guesses: Sequence[str] = ()) -> list[Card]:
    """One card for each of these positions, with its guess where there are any."""
    chosen = images.take(np.asarray(index, dtype=np.int64))
    labels = ["" if label == UNLABELLED else images.classes[label] for label in chosen.labels]
    return [
        Card(picture(pixels), id, split, path, label, guess)
        for pixels, id, split, path, label, guess in zip(
            chosen.pixels(),
            chosen.ids.tolist(),
            chosen.splits.tolist(),
            chosen.paths.tolist(),
            labels,
            guesses or [""] * len(chosen),
            strict=True,
        )
    ]
