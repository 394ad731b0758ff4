import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import many
from snellen.scoring.intervals import bootstrap_interval, bootstrap_mean, wilson_interval


@pytest.mark.parametrize(
    ("right", "num", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", Stat. Med. 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # z^2 / (n + z^2) with z = 1.959964, and its mirror image.
        (0, 10, 0.0, 3.841459 / 13.841459),
        (10, 10, 10 / 13.841459, 1.0),
        (5, 10, 0.2366, 0.7634),
        (1, 1, 1 / 4.841459, 1.0),
    ],
)
def test_the_interval_has_the_known_values(right, num, low, high):
    assert wilson_interval(right, num) == pytest.approx((low, high), abs=5.1e-5)


@many
@given(data=st.data(), num=st.integers(1, 10**7))
def test_the_interval_is_where_the_score_test_is_at_its_limit(data, num):
    right = data.draw(st.integers(0, num))
    low, high = wilson_interval(right, num)
    share = right / num
    assert 0 <= low <= share <= high <= 1
    for edge in (low, high):
        assert abs(share - edge) == pytest.approx(1.959964 * math.sqrt(edge * (1 - edge) / num), abs=1e-7)
    mirrored = wilson_interval(num - right, num)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_the_bootstrap_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).exponential(size=4000)
    low, high = bootstrap_mean(values)
    half = 1.959964 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert (low, high) == bootstrap_mean(values), "the same images have the same interval"


@pytest.mark.parametrize("counts", [[400, 100], [4] * 100 + [1] * 100])
def test_equal_images_may_be_counted_together(counts):
    """Grouped entries (drawn by binomials) and images drawn one by one have the same distribution."""
    counts = np.array(counts)
    value = np.arange(len(counts)) < len(counts) / 2
    low, high = bootstrap_interval(lambda sample: float(sample @ value) / 500, counts)
    half = 1.959964 * math.sqrt(0.8 * 0.2 / 500)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.15 * half)


def test_an_interval_holds_its_score_and_leaves_undefined_resamples_out():
    def share_of_second_among_the_first_two(sample):
        return float(sample[1] / (sample[0] + sample[1])) if sample[0] + sample[1] else math.nan

    low, high = bootstrap_interval(share_of_second_among_the_first_two, np.array([1, 1, 30]))
    assert 0 <= low <= 0.5 <= high <= 1
    assert all(math.isnan(edge) for edge in bootstrap_interval(lambda sample: math.nan, np.array([1, 1])))
