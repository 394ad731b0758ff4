"""Which labels are likely wrong, from what a model that has not seen the images says of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Suspects:
    """Images whose label is likely wrong, the likeliest first."""

    index: np.ndarray  # int64 (n,): positions
    suggested: np.ndarray  # int64 (n,): the class that each seems to be of

    def __len__(self) -> int:
        return len(self.index)


def label_errors(guesses: np.ndarray, labels: np.ndarray) -> Suspects:
    """Find labels that a model contradicts more firmly than its own habits explain.

    guesses: float (N, classes), probabilities from a model that was not trained on these images (out-of-fold or
    validation); labels: int (N,). An image seems to be of class k when its probability of k is at least the mean one
    among the images labelled k; of several such classes, of the most probable. It is a suspect where that is not its
    label. Ordered by the probability of the label less that of the most probable other class.

    Source: Northcutt, Jiang & Chuang, "Confident Learning", arXiv:1911.00068, equations 1 and 2; the suspects are the
    off-diagonal of their confident joint, ranked by their normalised margin. The weaker the model, the more of them
    are right after all: it is a list to look at, not one to delete.
    """
    num, num_classes = guesses.shape
    counts = np.bincount(labels, minlength=num_classes)
    own = guesses[np.arange(num), labels].astype(np.float64)
    sums = np.bincount(labels, weights=own, minlength=num_classes)
    # A class that no image is labelled with has no habits to go by: nothing can seem to be of it.
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    # Compared in float32, in which the probabilities are: an only image of a class then reaches its own mean.
    seems = np.where(guesses >= usual.astype(guesses.dtype), guesses, -1)
    suggested = seems.argmax(axis=1)
    suspect = (seems.max(axis=1) >= 0) & (suggested != labels)
    others = guesses.copy()
    others[np.arange(num), labels] = -1
    margin = own - others.max(axis=1)
    index = np.flatnonzero(suspect)
    index = index[np.argsort(margin[index], kind="stable")]
    return Suspects(index, suggested[index])
