import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import some
from snellen.scoring.intervals import wilson_interval
from snellen.scoring.scores import calibration_error, score

# Probabilities of three classes for five images, worked out by hand.
GUESSES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.25, 0.25, 0.5], [0.9, 0.05, 0.05], [0.4, 0.4, 0.2]], dtype=np.float32
)
LABELS = np.array([0, 2, 2, 1, 0])


def test_scores_equal_those_worked_out_by_hand():
    found = score(GUESSES, LABELS)
    assert found["images"] == 5
    assert found["right"] == 3  # the first, the third, and the fifth: the first of equal classes counts
    assert found["accuracy"] == 0.6
    assert found["log_loss"] == pytest.approx(-math.log(0.7 * 0.4 * 0.5 * 0.05 * 0.4) / 5, rel=1e-6)
    # Confidences .7, .5, .5, .9, .4 lie in the bins 10, 7, 7, 13, 6 of 15.
    assert found["calibration_error"] == pytest.approx((0.3 + abs(1 - 2 * 0.5) + 0.9 + 0.6) / 5, abs=1e-6)
    assert (found["low"], found["high"]) == wilson_interval(3, 5)


def test_a_score_is_made_of_plain_numbers():
    found = score(GUESSES, LABELS)
    assert all(type(value) in (int, float) for value in found.values()), found


def test_a_class_given_up_wholly_costs_much_and_not_infinitely():
    found = score(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1]))
    assert found["log_loss"] == pytest.approx(-math.log(1e-12))
    assert found["accuracy"] == 0


def slow_calibration_error(guesses, labels, num_bins):
    total = 0.0
    for n in range(num_bins):
        inside = [
            i
            for i, row in enumerate(guesses)
            if n <= float(row.max()) * num_bins < n + 1 or (n == num_bins - 1 and row.max() == 1)
        ]
        if inside:
            right = sum(int(guesses[i].argmax() == labels[i]) for i in inside) / len(inside)
            confidence = sum(float(guesses[i].max()) for i in inside) / len(inside)
            total += len(inside) * abs(right - confidence)
    return total / len(labels)


@some
@given(num=st.integers(1, 60), classes=st.integers(2, 5), num_bins=st.integers(1, 20), seed=st.integers(0, 999))
def test_calibration_error_equals_the_sum_over_bins_written_out(num, classes, num_bins, seed):
    rng = np.random.default_rng(seed)
    guesses = rng.random((num, classes)) ** 6 + 1e-9
    guesses = (guesses / guesses.sum(axis=1, keepdims=True)).astype(np.float32)
    guesses[rng.random(num) < 0.1] = np.eye(classes, dtype=np.float32)[0]
    labels = rng.integers(0, classes, num)
    found = calibration_error(guesses, labels, num_bins)
    assert found == pytest.approx(slow_calibration_error(guesses, labels, num_bins), abs=1e-9)
    assert 0 <= found <= 1


def test_calibration_error_knows_the_honest_from_the_boastful():
    labels = np.arange(1000) % 2
    certain = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (1000, 1))
    honest = np.tile(np.array([[0.5, 0.5]], dtype=np.float32), (1000, 1))
    assert calibration_error(certain, labels) == pytest.approx(0.5)
    assert calibration_error(honest, labels) == pytest.approx(0)
    assert calibration_error(np.eye(2, dtype=np.float32)[labels], labels) == 0


def test_calibration_error_has_fifteen_bins_and_certainty_belongs_to_the_last():
    # The first is wrong by -0.05, the second by 1: in one bin, as [14/15, 1] is, they cancel but for 0.95.
    guesses = np.array([[0.95, 0.05], [1.0, 0.0]], dtype=np.float32)
    assert calibration_error(guesses, np.array([0, 1])) == pytest.approx(0.95 / 2)
    # 0.66 and 0.67 lie on two sides of 10/15, and in one bin of 14 or 16.
    guesses = np.array([[0.66, 0.34], [0.67, 0.33]], dtype=np.float32)
    assert calibration_error(guesses, np.array([0, 1])) == pytest.approx((0.34 + 0.67) / 2)
