"""A model's mistakes: by class, by pair of classes, and by confidence."""

from dataclasses import dataclass

import numpy as np

NUM_BINS = 15  # of confidence, as in `calibration_error`


def confusion_table(labels: np.ndarray, guesses: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the number of images by label (rows) and predicted class (columns), int64 (K, K). Inputs: int (N,)."""
    return np.bincount(labels * num_classes + guesses, minlength=num_classes**2).reshape(num_classes, num_classes)


def num_hits(labels: np.ndarray, decided: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the number of correct predictions of each class, (K,). Inputs: int (N,) or bool (N, K)."""
    if labels.ndim == 2:
        return (labels & decided).sum(axis=0)
    return np.bincount(labels[labels == decided], minlength=num_classes)


@dataclass(frozen=True)
class ClassRow:
    """The figures of one class."""

    name: str
    images: int  # with this label
    right: int
    taken: int  # images predicted as this class, correctly or not
    mistaken_for: (
        str  # the class that its images are most often mistaken for, with their number; "" if there are no mistakes
    )

    @property
    def accuracy(self) -> float:
        return self.right / self.images

    @property
    def precision(self) -> float | None:
        """The share of images predicted as this class that belong to it; None if there are none."""
        return self.right / self.taken if self.taken else None


def class_rows(table: np.ndarray, names: tuple[str, ...]) -> list[ClassRow]:
    """Return the figures of each class that has images. table: see `confusion_table`."""
    rows = []
    for k, name in enumerate(names):
        others = table[k].copy()
        others[k] = 0
        worst = int(others.argmax())
        mistaken_for = f"{names[worst]} ({others[worst]:,})" if others[worst] else ""
        rows.append(ClassRow(name, int(table[k].sum()), int(table[k, k]), int(table[:, k].sum()), mistaken_for))
    return [row for row in rows if row.images]


@dataclass(frozen=True)
class ConfusedPair:
    label: str
    guess: str
    count: int
    share: float  # of the images with this label


def worst_pairs(table: np.ndarray, names: tuple[str, ...], most: int = 12) -> list[ConfusedPair]:
    """Return the most frequent mistakes, in descending order of images."""
    wrong = table.copy()
    np.fill_diagonal(wrong, 0)
    totals = table.sum(axis=1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]]
    return [ConfusedPair(names[i], names[j], int(wrong[i, j]), float(wrong[i, j] / totals[i])) for i, j in pairs]


def bin_of(confidence: np.ndarray, num_bins: int = NUM_BINS) -> np.ndarray:
    """Return the bin of each confidence, int64 (N,): equal bins from 0 to 1, with 1 itself in the last."""
    return np.minimum((confidence.astype(np.float64) * num_bins).astype(np.int64), num_bins - 1)


def bins(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of images in each confidence bin, and the share that is correct (0 if the bin is empty)."""
    place = bin_of(confidence)
    counts = np.bincount(place, minlength=NUM_BINS)
    return counts, np.bincount(place, weights=right, minlength=NUM_BINS) / np.maximum(counts, 1)
