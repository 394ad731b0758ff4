"""Paired comparison of models scored on the same images: is a difference beyond noise?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from snellen.scoring.intervals import RESAMPLES, bias_corrected, bootstrap_values
from snellen.scoring.metrics import Metric
from snellen.scoring.scores import are_right

NOISE = 0.05  # differences with a p-value of this or more count as noise


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers for the same N images."""

    probabilities: np.ndarray  # float (N, K)
    decided: np.ndarray  # int64 (N,), or bool (N, K): the labels decided on


@dataclass(frozen=True)
class Difference:
    """A model compared with the first one on the same images."""

    value: float  # difference of the metric; nan if it is undefined
    low: float
    high: float  # low and high: its 95% interval
    gained: int  # images that only this model gets right
    lost: int  # images that only the first model gets right
    p: float  # corrected for the number of comparisons (Holm)

    @property
    def beyond_noise(self) -> bool:
        return self.p < NOISE


def differences(metric: Metric, labels: np.ndarray, first: Answers, others: Sequence[Answers]) -> list[Difference]:
    """Compare each model with the first by a metric. labels: int (N,), or bool (N, K).

    Accuracies have an exact test (McNemar); other metrics have a paired bootstrap, see `bootstrap_difference`.
    """
    found = []
    for one in others:
        was_right, is_right = (are_right(labels, model.decided) for model in (first, one))
        gained, lost = int((is_right & ~was_right).sum()), int((was_right & ~is_right).sum())
        if metric.name in ("accuracy", "exact_match"):
            low, high = paired_interval(gained, lost, len(labels))
            value, p = (gained - lost) / len(labels), mcnemar(gained, lost)
        else:
            value, low, high, p = bootstrap_difference(metric, labels, first, one)
        found.append(Difference(value, low, high, gained, lost, p))
    corrected = holm([one.p for one in found])
    return [replace(one, p=p) for one, p in zip(found, corrected, strict=True)]


def bootstrap_difference(
    metric: Metric, labels: np.ndarray, first: Answers, other: Answers
) -> tuple[float, float, float, float]:
    """Return (difference of the metric, low, high, p): both models are scored on the same bootstrap samples of images.

    p is twice the share of samples in which the difference has the other sign or is 0, at most 1. Metrics that are
    means over the images are resampled by their effects; see `auc_effects` for the AUC. (nan, nan, nan, 1) if the
    metric is undefined for these images.
    Source: Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), sections 15.4 and 16.4.
    """
    score_of, counts = _difference_of(metric, labels, first, other)
    value = score_of(counts)
    if math.isnan(value):
        return math.nan, math.nan, math.nan, 1.0
    num_resamples = RESAMPLES if metric.effects is not None or metric.takes_weights else RESAMPLES // 5
    resampled = bootstrap_values(score_of, counts, num_resamples)
    low, high = bias_corrected(value, resampled)
    known = resampled[~np.isnan(resampled)]
    at_most = min((known <= 0).sum(), (known >= 0).sum())
    return value, low, high, min(1.0, 2 * (1 + int(at_most)) / (1 + len(known)))


def _difference_of(
    metric: Metric, labels: np.ndarray, first: Answers, other: Answers
) -> tuple[Callable[[np.ndarray], float], np.ndarray]:
    """Return the function from counts of entries to the difference, and the counts in the images themselves.

    An entry is an image, or all images with the same label and the same two decisions.
    """
    once = np.ones(len(labels), dtype=np.int64)
    if metric.effects is not None:
        values = (metric.effects(labels, metric.answers(one.probabilities, one.decided)) for one in (other, first))
        moves = next(values).astype(np.float64) - next(values)
        return lambda sample: float(sample @ moves) / len(labels), once
    if metric.takes_weights and labels.ndim == 1:
        cells, counts = np.unique(np.stack([labels, first.decided, other.decided]), axis=1, return_counts=True)
        return (
            lambda sample: metric.function(cells[0], cells[2], sample) - metric.function(cells[0], cells[1], sample),
            counts,
        )
    if metric.takes_weights:
        return (
            lambda sample: (
                metric.function(labels, other.decided, sample) - metric.function(labels, first.decided, sample)
            ),
            once,
        )

    def difference(sample: np.ndarray) -> float:
        rows = np.repeat(np.arange(len(labels)), sample)
        values = (metric.value(labels[rows], one.probabilities[rows], one.decided[rows]) for one in (other, first))
        return next(values) - next(values)

    return difference, once


def mcnemar(gained: int, lost: int) -> float:
    """Return the probability that two equally good models differ by at least this much.

    gained, lost: images that only one of the two models gets right. Exact and two-sided: twice the tail of a binomial
    distribution with n = gained + lost and p = 1/2, at most 1.
    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12
    (1947), in its exact form.
    """
    n = gained + lost
    terms = (
        math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
        for k in range(min(gained, lost) + 1)
    )
    return min(1.0, 2 * math.fsum(terms))


def paired_interval(gained: int, lost: int, num: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95% interval of (gained - lost) / num, for accuracies measured on the same images.

    Source: Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data", J. Educ. Behav. Stat. 37 (2012): add one image to each of the two counts.
    """
    more, fewer = (gained + 1) / (num + 2), (lost + 1) / (num + 2)
    half = z * math.sqrt(max(more + fewer - (more - fewer) ** 2, 0.0) / (num + 2))
    return max(more - fewer - half, -1.0), min(more - fewer + half, 1.0)


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).
    """
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = highest
    return corrected
