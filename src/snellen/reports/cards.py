"""Make captioned pictures of an ImageSet for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snellen.charts.heat import tinted
from snellen.charts.pages import SMALL, picture
from snellen.images.imageset import ImageSet
from snellen.images.labels import shown_labels
from snellen.scoring.label_errors import Suspects
from snellen.system.units import percent


@dataclass(frozen=True)
class Card:
    """A picture with its caption."""

    picture: str  # a data: URI
    id: str
    split: str
    path: str
    label: str  # "" if unknown
    remark: str = ""  # the finding of a model or a rule
    is_large: bool = False  # a photograph, shown larger
    heat: str = ""  # a data: URI: the picture with the evidence for the remark; "" if there is none


def cards(
    images: ImageSet,
    index: Sequence[int] | np.ndarray,
    remarks: Sequence[str] = (),
    heats: Sequence[np.ndarray] | None = None,
) -> list[Card]:
    """Make a card for each of these positions, with its remark and its heat map, float (h, w), if they are given."""
    chosen = images.take(np.asarray(index, dtype=np.int64))
    labels = [
        shown_labels(label, images.task.names) if is_known else ""
        for label, is_known in zip(chosen.labels, chosen.has_label, strict=True)
    ]
    pictures = chosen.pixels()
    overlays = [picture(tinted(*pair)) for pair in zip(pictures, heats, strict=True)] if heats is not None else None
    return [
        Card(picture(pixels), id, split, path, label, remark, max(pixels.shape) > SMALL, heat)
        for pixels, id, split, path, label, remark, heat in zip(
            pictures,
            chosen.ids.tolist(),
            chosen.splits.tolist(),
            chosen.paths.tolist(),
            labels,
            remarks or [""] * len(chosen),
            overlays or [""] * len(chosen),
            strict=True,
        )
    ]


def suspect_cards(images: ImageSet, suspects: Suspects, certainty: np.ndarray, most: int) -> list[Card]:
    """Make cards for the first `most` suspected label errors.

    certainty: float (n,), the probability of each suggested class.
    """
    words = ["looks like"] * len(suspects)
    if suspects.is_extra is not None:
        words = ["does not look like" if is_extra else "looks like" for is_extra in suspects.is_extra]
    remarks = [
        f"{text} {images.task.names[k]}, {percent(p, 1)}"
        for text, k, p in zip(words[:most], suspects.suggested[:most], certainty[:most], strict=True)
    ]
    return cards(images, suspects.index[:most], remarks)
