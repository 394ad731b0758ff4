"""Two models on the same images: is the difference beyond noise? Arrays in, numbers out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOISE = 0.05  # probability of a difference this large between equally good models, from which on it counts as noise


@dataclass(frozen=True)
class Difference:
    """How one run does against the first, on the same images."""

    accuracy: float  # share of images gained; negative where fewer are right
    low: float
    high: float  # its 95% interval
    gained: int  # images that only this run has right
    lost: int  # images that only the first run has right
    p: float  # exact McNemar test, corrected for the number of comparisons (Holm)

    @property
    def beyond_noise(self) -> bool:
        return self.p < NOISE


def differences(first: np.ndarray, others: list[np.ndarray]) -> list[Difference]:
    """Of each run from the first one; all bool (N,), which images are right."""
    found = []
    for right in others:
        gained, lost = int((right & ~first).sum()), int((first & ~right).sum())
        share = (gained - lost) / len(first)
        found.append((share, *paired_interval(gained, lost, len(first)), gained, lost))
    corrected = holm([mcnemar(gained, lost) for *_, gained, lost in found])
    return [Difference(*figures, p) for figures, p in zip(found, corrected, strict=True)]


def mcnemar(gained: int, lost: int) -> float:
    """The probability, were both models equally good, of so uneven a split of the images that only one has right.

    Exact and two-sided: twice the tail of a binomial distribution with n = gained + lost and 1/2, at most 1.
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
    """The 95% interval of (gained - lost) / num for shares measured on the same images.

    Source: Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data", J. Educ. Behav. Stat. 37 (2012): one image is added to each of the two counts.
    """
    more, fewer = (gained + 1) / (num + 2), (lost + 1) / (num + 2)
    half = z * math.sqrt(max(more + fewer - (more - fewer) ** 2, 0.0) / (num + 2))
    return max(more - fewer - half, -1.0), min(more - fewer + half, 1.0)


def holm(ps: Sequence[float]) -> list[float]:
    """Probabilities corrected for their number.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).
    """
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = highest
    return corrected
