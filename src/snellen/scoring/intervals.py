"""95% intervals: the uncertainty of a score because the scored images are a sample.

Shares have Wilson's interval. Other scores are recomputed on 1,000 bootstrap samples of the same number of images,
drawn with replacement. The seed is fixed, so the same images give the same interval.
"""

import math
from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np

Interval = tuple[float, float]  # low, high; (nan, nan) if it is undefined

Z = 1.959964  # 95% of a normal distribution lies within this many standard deviations
RESAMPLES = 1000


def wilson_interval(right: int, num: int, z: float = Z) -> Interval:
    """Return the 95% score interval of a share: Wilson, "Probable inference", J. Am. Stat. Assoc. 22 (1927)."""
    share, weight = right / num, z * z / num
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / num + weight / num / 4) / (1 + weight)
    # If no or all images are correct, the interval touches 0 or 1; rounding must not move it away.
    return (0.0 if right == 0 else centre - half), (1.0 if right == num else centre + half)


def bootstrap_interval(
    score_of: Callable[[np.ndarray], float], counts: np.ndarray, num_resamples: int = RESAMPLES
) -> Interval:
    """Return the bias-corrected percentile interval of a score; see `bootstrap_values` and `bias_corrected`."""
    return bias_corrected(score_of(counts), bootstrap_values(score_of, counts, num_resamples))


def bootstrap_values(
    score_of: Callable[[np.ndarray], float], counts: np.ndarray, num_resamples: int = RESAMPLES
) -> np.ndarray:
    """Return a score on each bootstrap sample, float64 (num_resamples,).

    score_of: computes the score, a float, from int (M,), the count of each of M entries in a bootstrap sample. counts:
    int (M,), the count of each entry in the images. An entry is an image, or a group of images that score alike.
    """
    draw, num, resampled = np.random.default_rng(0), int(counts.sum()), np.empty(num_resamples)
    shares = counts / num
    is_grouped = 20 * len(counts) < num  # then one binomial draw per entry is faster than one draw per image
    owner = None if is_grouped or len(counts) == num else np.repeat(np.arange(len(counts)), counts)
    for n in range(num_resamples):
        if is_grouped:
            sample = draw.multinomial(num, shares)
        else:
            drawn = draw.integers(0, num, num)
            sample = np.bincount(drawn if owner is None else owner[drawn], minlength=len(counts))
        resampled[n] = score_of(sample)
    return resampled


def bootstrap_mean(values: np.ndarray) -> Interval:
    """Return the bootstrap interval of the mean of one value per image, float (N,)."""
    values = values.astype(np.float64)
    return bootstrap_interval(lambda sample: float(sample @ values) / len(values), np.ones(len(values), dtype=np.int64))


def resamples(num: int, num_resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """Yield bootstrap samples of `num` images: how many times each is drawn, int64 (num,)."""
    draw = np.random.default_rng(0)
    for _ in range(num_resamples):
        yield np.bincount(draw.integers(0, num, num), minlength=num)


def bias_corrected(value: float, resampled: np.ndarray) -> Interval:
    """Return (low, high) of a score from its values on bootstrap samples; undefined values are left out.

    Source: Efron, "Better bootstrap confidence intervals", J. Am. Stat. Assoc. 82 (1987), the BC interval (his BC_a
    with a = 0). The correction matters for scores with rare classes, whose resampled values lie lower than the score.
    """
    resampled = resampled[~np.isnan(resampled)]
    if math.isnan(value) or not len(resampled):
        return math.nan, math.nan
    normal = NormalDist()
    below = ((resampled < value).sum() + (resampled == value).sum() / 2) / len(resampled)
    shift = 2 * normal.inv_cdf(min(max(below, 0.01), 0.99))
    low, high = np.quantile(resampled, [normal.cdf(shift - Z), normal.cdf(shift + Z)])
    return min(float(low), value), max(float(high), value)
