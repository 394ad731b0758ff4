"""The sections of a report on images with several labels: classes, pairs of classes, misses and false alarms."""

from typing import Any

import numpy as np

from snellen.charts import figures, pages
from snellen.images.imageset import ImageSet
from snellen.reports.cards import cards, suspect_cards
from snellen.scoring.confusion import bins
from snellen.scoring.label_errors import label_errors
from snellen.scoring.several_mistakes import frequent_pairs, label_rows, together, worst_alarms, worst_misses
from snellen.system.units import percent

MOST_CARDS = 24  # pictures per section
MOST_CLASSES = 20  # classes in a legible table of pairs


def mistakes_of_several(
    names: tuple[str, ...], chosen: ImageSet, found: np.ndarray, decided: np.ndarray
) -> dict[str, Any]:
    """Return the values of the sections. found: float (N, K), probabilities; decided: bool (N, K)."""
    labels = chosen.labels
    rows = label_rows(labels, decided, found, names)
    many = len(names) > MOST_CLASSES
    if many:
        rows.sort(key=lambda row: 1.0 if row.f1 is None else row.f1)
    table = together(labels)
    suspects = label_errors(found, labels)
    missed, alarmed = (worst(labels, decided, found, MOST_CARDS) for worst in (worst_misses, worst_alarms))
    return {
        "names": names,
        "classes": rows[:MOST_CLASSES],
        "more_classes": rows[MOST_CLASSES:],
        "matrix": None if many else table.tolist(),
        "shades": None if many else pages.shades(table).tolist(),
        "pairs": frequent_pairs(labels, decided, names),
        "reliability": figures.reliability(*bins(found.ravel(), labels.ravel())),
        "num_missed": int((labels & ~decided).sum()),
        "missed": cards(chosen, missed[0], _remarks("not found:", names, found, *missed)),
        "num_alarms": int((decided & ~labels).sum()),
        "alarms": cards(chosen, alarmed[0], _remarks("found:", names, found, *alarmed)),
        "num_suspects": len(suspects),
        "suspects": suspect_cards(chosen, suspects, found[suspects.index, suspects.suggested], MOST_CARDS),
    }


def _remarks(words: str, names: tuple[str, ...], found: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[str]:
    return [f"{words} {names[k]}, {percent(found[i, k], 1)}" for i, k in zip(rows, columns, strict=True)]
