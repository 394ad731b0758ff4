"""A model's mistakes on images with several labels: by class, by pair of classes, and by single decision."""

from dataclasses import dataclass

import numpy as np

from snellen.scoring.formulas import auc_effects, auc_interval
from snellen.scoring.intervals import Interval


@dataclass(frozen=True)
class LabelRow:
    """The figures of one class."""

    name: str
    images: int  # that have it
    taken: int  # images predicted to have the class, correctly or not
    hits: int  # both
    auc: float | None  # None if no image or every image has the class
    auc_interval: Interval | None

    @property
    def recall(self) -> float | None:
        """The share of the images with the class that are predicted to have it."""
        return self.hits / self.images if self.images else None

    @property
    def precision(self) -> float | None:
        """The share of the images predicted to have the class that do have it."""
        return self.hits / self.taken if self.taken else None

    @property
    def f1(self) -> float | None:
        return 2 * self.hits / (self.images + self.taken) if self.images + self.taken else None


def label_rows(
    labels: np.ndarray, decided: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...]
) -> list[LabelRow]:
    """Return the figures of each class. labels, decided: bool (N, K); probabilities: float (N, K)."""
    rows = []
    for k, name in enumerate(names):
        effects = auc_effects(labels[:, [k]], probabilities[:, [k]])
        is_defined = not np.isnan(effects).any()
        area, interval = (float(effects.mean()), auc_interval(effects)) if is_defined else (None, None)
        own, taken = labels[:, k], decided[:, k]
        rows.append(LabelRow(name, int(own.sum()), int(taken.sum()), int((own & taken).sum()), area, interval))
    return rows


def together(labels: np.ndarray) -> np.ndarray:
    """Return the number of images that have both classes, int64 (K, K); on the diagonal, those that have the class."""
    counts = labels.astype(np.int64)
    return counts.T @ counts


@dataclass(frozen=True)
class LabelPair:
    """Two classes, and how many images have both by their labels and by the decisions."""

    first: str
    second: str
    images: int
    taken: int


def frequent_pairs(labels: np.ndarray, decided: np.ndarray, names: tuple[str, ...], most: int = 12) -> list[LabelPair]:
    """Return the pairs of classes that occur together in most images, by label or by decision."""
    own, taken = together(labels), together(decided)
    upper = np.triu(np.maximum(own, taken), 1)
    order = np.argsort(-upper, axis=None, kind="stable")[:most]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, upper.shape), strict=True) if upper[i, j]]
    return [LabelPair(names[i], names[j], int(own[i, j]), int(taken[i, j])) for i, j in pairs]


def worst_misses(
    labels: np.ndarray, decided: np.ndarray, probabilities: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (images, classes), int64 (n,): labels that were not decided, the least probable first."""
    rows, columns = np.nonzero(labels & ~decided)
    order = np.argsort(probabilities[rows, columns], kind="stable")[:most]
    return rows[order], columns[order]


def worst_alarms(
    labels: np.ndarray, decided: np.ndarray, probabilities: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (images, classes), int64 (n,): decisions that are not labels, the most probable first."""
    rows, columns = np.nonzero(decided & ~labels)
    order = np.argsort(-probabilities[rows, columns], kind="stable")[:most]
    return rows[order], columns[order]
