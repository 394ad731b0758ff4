"""Labels that are likely wrong, judged by a model that was not trained on the images."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Suspects:
    """Images whose label is likely wrong, most likely first."""

    index: np.ndarray  # int64 (n,): positions
    suggested: np.ndarray  # int64 (n,): the likely class of each
    # bool (n,), if images have several labels: the suggested class is superfluous; otherwise it is missing.
    is_extra: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.index)


def label_errors(guesses: np.ndarray, labels: np.ndarray) -> Suspects:
    """Find labels that a model contradicts with more confidence than usual.

    guesses: float (N, classes), probabilities from a model that was not trained on these images (out-of-fold or
    validation); labels: int (N,), or bool (N, K): see `several_label_errors`. The likely class of an image is the most
    probable of the classes k whose probability is at least its mean over the images labelled k. An image is a suspect
    if its likely class is not its label.
    Suspects are sorted by the probability of the label minus that of the most probable other class.

    Source: Northcutt, Jiang & Chuang, "Confident Learning", arXiv:1911.00068, equations 1 and 2; the suspects are the
    off-diagonal of their confident joint, ranked by their normalised margin. The weaker the model, the more of these
    labels are correct after all, so check the images before you delete any.
    """
    if labels.ndim == 2:
        return several_label_errors(guesses, labels)
    num, num_classes = guesses.shape
    counts = np.bincount(labels, minlength=num_classes)
    own = guesses[np.arange(num), labels].astype(np.float64)
    sums = np.bincount(labels, weights=own, minlength=num_classes)
    # A class without labelled images has no mean probability, so it is never the likely class.
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    # Compared in float32, like the probabilities, so that the only image of a class reaches its own mean.
    seems = np.where(guesses >= usual.astype(guesses.dtype), guesses, -1)
    suggested = seems.argmax(axis=1)
    suspect = (seems.max(axis=1) >= 0) & (suggested != labels)
    others = guesses.copy()
    others[np.arange(num), labels] = -1
    margin = own - others.max(axis=1)
    index = np.flatnonzero(suspect)
    index = index[np.argsort(margin[index], kind="stable")]
    return Suspects(index, suggested[index])


def several_label_errors(guesses: np.ndarray, labels: np.ndarray) -> Suspects:
    """Find labels that are likely missing or superfluous. guesses: float (N, K); labels: bool (N, K).

    Each class is judged alone, as if it had the two labels yes and no: a missing label is at least as probable as its
    class usually is in images that have it, a superfluous one at most as probable as in images that lack it. The most
    extreme probabilities come first. An image may occur several times.
    """
    p = guesses.astype(np.float64)
    with_class, without = (part.sum(axis=0) for part in (labels, ~labels))
    usual_yes = np.where(with_class > 0, (p * labels).sum(axis=0) / np.maximum(with_class, 1), np.inf)
    usual_no = np.where(without > 0, (p * ~labels).sum(axis=0) / np.maximum(without, 1), -np.inf)
    is_missing, is_extra = ~labels & (p >= usual_yes), labels & (p <= usual_no)
    rows, columns = np.nonzero(is_missing | is_extra)
    extra = is_extra[rows, columns]
    surprise = np.where(extra, 1 - p[rows, columns], p[rows, columns])
    order = np.argsort(-surprise, kind="stable")
    return Suspects(rows[order], columns[order], extra[order])
