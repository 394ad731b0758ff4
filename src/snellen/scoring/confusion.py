"""Where a model errs: by class, by pair of classes, by how sure it was."""

from dataclasses import dataclass

import numpy as np

NUM_BINS = 15  # of confidence, as in `calibration_error`


def confusion_table(labels: np.ndarray, guesses: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 (K, K): images by label (rows) and by the class they are taken for (columns); both int (N,)."""
    return np.bincount(labels * num_classes + guesses, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class ClassRow:
    """The figures of one class."""

    name: str
    images: int  # with this label
    right: int
    taken: int  # images taken for this class, rightly or not
    mistaken_for: str  # the class that its images are most often taken for, with their number; "" where none is

    @property
    def accuracy(self) -> float:
        return self.right / self.images

    @property
    def precision(self) -> float | None:
        """None where no image was taken for this class."""
        return self.right / self.taken if self.taken else None


def class_rows(table: np.ndarray, names: tuple[str, ...]) -> list[ClassRow]:
    """Figures of each class that has images. table: see `confusion_table`."""
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
    """The most frequent mistakes, first those with most images."""
    wrong = table.copy()
    np.fill_diagonal(wrong, 0)
    totals = table.sum(axis=1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]]
    return [ConfusedPair(names[i], names[j], int(wrong[i, j]), float(wrong[i, j] / totals[i])) for i, j in pairs]


def shades(table: np.ndarray) -> np.ndarray:
    """float (K, K): how strongly to colour each cell, from 0 to 0.85."""
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    # Mistakes are rare beside hits: the square root lets a few per cent be seen.
    return np.where(np.eye(len(table), dtype=bool), shares * 0.6, np.sqrt(shares) * 0.85).round(2)


def bin_of(confidence: np.ndarray, num_bins: int = NUM_BINS) -> np.ndarray:
    """int64 (N,): which of the equal bins from 0 to 1 each confidence lies in; 1 itself in the last."""
    return np.minimum((confidence.astype(np.float64) * num_bins).astype(np.int64), num_bins - 1)


def bins(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By bin of confidence: the number of images, and the share of them that is right (0 where there are none)."""
    place = bin_of(confidence)
    counts = np.bincount(place, minlength=NUM_BINS)
    return counts, np.bincount(place, weights=right, minlength=NUM_BINS) / np.maximum(counts, 1)
