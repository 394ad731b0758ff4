"""Paired comparison of models scored on the same images: is a difference beyond noise?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOISE = 0.05  # differences with a p-value of this or more count as noise


@dataclass(frozen=True)
class Difference:
    """A model compared with the first one on the same images."""

    accuracy: float  # difference in accuracy; negative if fewer images are right
    low: float
    high: float  # low and high: its 95% interval
    gained: int  # images that only this model gets right
    lost: int  # images that only the first model gets right
    p: float  # of the exact McNemar test, corrected for the number of comparisons (Holm)

    @property
    def beyond_noise(self) -> bool:
        return self.p < NOISE


def differences(first: np.ndarray, others: list[np.ndarray]) -> list[Difference]:
    """Compare each model with the first.

    first, others: bool (N,), whether each image is right.
    """
    found = []
    for right in others:
        gained, lost = int((right & ~first).sum()), int((first & ~right).sum())
        share = (gained - lost) / len(first)
        found.append((share, *paired_interval(gained, lost, len(first)), gained, lost))
    corrected = holm([mcnemar(gained, lost) for *_, gained, lost in found])
    return [Difference(*figures, p) for figures, p in zip(found, corrected, strict=True)]


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
