"""The formulas of metrics for several labels per image: labels and predictions in, one number out.

Shapes: labels bool (N, K), whether an image has a class; decided bool (N, K), the classes decided on; probabilities
float (N, K), from 0 to 1, which need not sum to 1; weights (N,), how many times each image counts, by default once.

scikit-learn is the reference: the tests compare every metric with it. A quotient 0 / 0 is left out of a mean over
classes; an image without labels and without answers is right.
"""

import math

import numpy as np

from snellen.scoring.formulas import LEAST_PROBABILITY
from snellen.scoring.intervals import Interval, bias_corrected, resamples


def f_of_images(labels: np.ndarray, decided: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """Return float64 (N,): F-beta of each image's classes, (1 + b^2) hits / (b^2 labels + answers).

    Source: scikit-learn's fbeta_score with average="samples", zero_division=1.
    """
    hits, own, taken = (part.sum(axis=1, dtype=np.int64) for part in (labels & decided, labels, decided))
    whole = beta**2 * own + taken
    return np.where(whole > 0, (1 + beta**2) * hits / np.maximum(whole, 1e-9), 1.0)


def f1_samples(labels: np.ndarray, decided: np.ndarray) -> float:
    """Return the mean F1 of the images."""
    return float(f_of_images(labels, decided).mean())


def f2_samples(labels: np.ndarray, decided: np.ndarray) -> float:
    """Return the mean F2 of the images, in which a missing label costs more than a wrong one."""
    return float(f_of_images(labels, decided, 2.0).mean())


def f1_macro(labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean F1 of the classes that are the label or the answer of an image.

    Source: scikit-learn's f1_score with average="macro", zero_division=nan.
    """
    hits, own, taken = class_sums(labels, decided, weights)
    occurs = own + taken > 0
    return float((2 * hits[occurs] / (own + taken)[occurs]).mean()) if occurs.any() else math.nan


def f1_micro(labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return 2 hits / (labels + answers) over all images and classes."""
    hits, own, taken = (float(part.sum()) for part in class_sums(labels, decided, weights))
    return 2 * hits / (own + taken) if own + taken else math.nan


def exact_matches(labels: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return bool (N,): whether all classes of an image are decided correctly."""
    return (labels == decided).all(axis=1)


def exact_match(labels: np.ndarray, decided: np.ndarray) -> float:
    """Return the share of images with all classes decided correctly: scikit-learn's accuracy_score."""
    return float(exact_matches(labels, decided).mean())


def hamming_loss(labels: np.ndarray, decided: np.ndarray) -> float:
    """Return the share of wrong decisions over all images and classes."""
    return float((labels != decided).mean())


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return float64 (N,): -ln(probability of the truth) of each image, in nats, summed over the classes."""
    truth = np.where(labels, probabilities, 1 - probabilities.astype(np.float64))
    return -np.log(np.maximum(truth, LEAST_PROBABILITY)).sum(axis=1)


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean log-loss of an image, in nats, summed over its classes."""
    return float(log_losses(labels, probabilities).mean())


def mean_log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean log-loss of a decision, in nats, over all images and classes."""
    return log_loss(labels, probabilities) / labels.shape[1]


class Ranking:
    """The images in descending order of one class's probability, for its average precision."""

    def __init__(self, is_class: np.ndarray, column: np.ndarray):
        self.order = np.argsort(-column, kind="stable")
        values = column[self.order]
        self.is_class = is_class[self.order]
        self.ends = np.flatnonzero(np.r_[values[1:] != values[:-1], True])  # of runs of equal probabilities

    def precision(self, weights: np.ndarray) -> float:
        """Return sum over the thresholds of (recall gained) x precision; nan if no image has the class."""
        counts = weights[self.order].astype(np.float64)
        hits, num = np.cumsum(counts * self.is_class)[self.ends], np.cumsum(counts)[self.ends]
        if not len(hits) or not hits[-1]:
            return math.nan
        return float((np.diff(hits, prepend=0) * hits / np.maximum(num, 1e-9)).sum() / hits[-1])


def mean_average_precision(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean average precision of the classes that an image has.

    Source: scikit-learn's average_precision_score with average="macro".
    """
    rankings = [Ranking(*pair) for pair in zip(labels.T, probabilities.T, strict=True)]
    return _mean_precision(rankings, np.ones(len(labels)))


def mean_average_precision_interval(labels: np.ndarray, probabilities: np.ndarray) -> Interval:
    """Return the bootstrap interval of `mean_average_precision`, from 200 samples because it is slow."""
    rankings = [Ranking(*pair) for pair in zip(labels.T, probabilities.T, strict=True)]
    values = [_mean_precision(rankings, sample) for sample in resamples(len(labels), 200)]
    return bias_corrected(_mean_precision(rankings, np.ones(len(labels))), np.array(values))


def _mean_precision(rankings: list[Ranking], weights: np.ndarray) -> float:
    values = [value for ranking in rankings if not math.isnan(value := ranking.precision(weights))]
    return float(np.mean(values)) if values else math.nan


def class_sums(
    labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of hits, of images with each class, and of images predicted to have it, float64 (K,)."""
    counts = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    hits, own, taken = (counts @ part.astype(np.float64) for part in (labels & decided, labels, decided))
    return hits, own, taken


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, num_bins: int) -> float:
    """Return the mean gap between probability and frequency over equal bins of probability, all classes together."""
    place = np.minimum((probabilities.astype(np.float64) * num_bins).astype(np.int64), num_bins - 1).ravel()
    gaps = np.bincount(place, weights=(labels - probabilities.astype(np.float64)).ravel(), minlength=num_bins)
    return float(np.abs(gaps).sum() / labels.size)
