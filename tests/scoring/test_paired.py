"""Paired tests agree with exact sums, with simulation and with what is worked by hand."""

import math

import numpy as np
import pytest

from snellen.scoring.paired import holm, mcnemar, paired_interval


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 5), (3, 12), (40, 61), (0, 300)])
def test_mcnemar_is_twice_the_binomial_tail(gained, lost):
    n, least = gained + lost, min(gained, lost)
    exact = min(1, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)
    assert mcnemar(gained, lost) == pytest.approx(exact, rel=1e-9)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_mcnemar_bears_large_counts():
    gained, lost = 50_300, 49_700
    z = (gained - lost - 1) / math.sqrt(gained + lost)
    assert mcnemar(gained, lost) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-3)
    assert mcnemar(0, 100_000) == 0


def test_paired_interval_covers_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(0)
    both = draw.multinomial(200, [0.10, 0.05, 0.85], size=4000)
    hits = [low <= 0.05 <= high for low, high in (paired_interval(int(g), int(w), 200) for g, w, _ in both)]
    assert 0.935 < np.mean(hits) < 0.975
    assert paired_interval(0, 0, 50)[0] < 0 < paired_interval(0, 0, 50)[1]
    assert paired_interval(50, 0, 50)[1] <= 1


def test_holm_corrects_as_worked_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
