import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from made import some
from snellen.prediction.calibrate import (
    best_temperature,
    fit_directions,
    fit_familiar,
    fit_sigmoids,
    fit_temperature,
    sigmoid,
    softmax,
    strangeness,
)


def drawn(temperature, num=20_000, classes=5, seed=0):
    """Logits, and labels drawn with the probabilities softmax(logits / temperature): what calibration would find."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num, classes)) * 3
    cumulated = softmax(logits, temperature).astype(np.float64).cumsum(axis=1)
    labels = (rng.random(num)[:, None] > cumulated[:, :-1]).sum(axis=1)
    return logits, labels


def mean_loss(logits, labels, temperature):
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits / temperature), torch.from_numpy(labels)))


@pytest.mark.parametrize("temperature", [0.2, 0.5, 1.0, 1.7, 5.0])
def test_a_known_temperature_is_found_again(temperature):
    assert best_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


@some
@given(temperature=st.floats(0.1, 10), num=st.integers(1, 50), classes=st.integers(2, 6), seed=st.integers(0, 999))
def test_no_point_of_a_fine_grid_has_a_lower_loss(temperature, num, classes, seed):
    logits, labels = drawn(temperature, num, classes, seed)
    found = best_temperature(logits, labels)
    assert 0.05 <= found <= 20
    least = min(mean_loss(logits, labels, t) for t in np.geomspace(0.05, 20, 400))
    assert mean_loss(logits, labels, found) <= least + 1e-9


def test_the_limits_are_kept_where_no_temperature_is_best():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(100, 4))
    always_right, always_wrong = logits.argmax(axis=1), logits.argmin(axis=1)
    assert best_temperature(logits, always_right) == pytest.approx(0.05)
    assert best_temperature(logits, always_wrong) == pytest.approx(20)


def test_a_temperature_for_float32_and_huge_logits_is_still_a_number():
    logits, labels = drawn(1.0, 200)
    for scaled in (logits.astype(np.float32), logits * 1e4, logits * 0, logits + 1e6):
        assert 0.05 <= best_temperature(scaled, labels) <= 20


def test_adding_a_constant_to_the_logits_of_an_image_changes_nothing():
    logits, labels = drawn(1.7, 300)
    moved = logits + np.arange(300)[:, None]
    assert best_temperature(moved, labels) == pytest.approx(best_temperature(logits, labels))
    np.testing.assert_allclose(softmax(moved, 1.7), softmax(logits, 1.7), atol=1e-6)


@some
@given(num=st.integers(1, 20), classes=st.integers(2, 9), temperature=st.floats(0.05, 20), seed=st.integers(0, 999))
def test_softmax_equals_torchs_and_sums_to_one(num, classes, temperature, seed):
    logits = np.random.default_rng(seed).normal(size=(num, classes)) * 10
    found = softmax(logits, temperature)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, torch.from_numpy(logits / temperature).softmax(dim=1).numpy(), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_softmax_of_extreme_logits_is_one_class():
    assert softmax(np.array([[1e30, 0, -1e30]]), 0.05).tolist() == [[1, 0, 0]]
    assert softmax(np.array([[-1e30, -1e30]]), 1).tolist() == [[0.5, 0.5]]


def test_typical_is_the_median_and_the_limit_leaves_one_in_twenty_below():
    cosines = np.random.default_rng(0).uniform(-1, 1, 1000)
    typical, limit = fit_familiar(cosines)
    assert typical == pytest.approx(np.median(cosines))
    assert (cosines < limit).sum() == 50
    found = strangeness(cosines, typical, limit)
    assert (found > 1).sum() == 50
    assert (np.argsort(found) == np.argsort(-cosines)).all()


def test_directions_point_from_the_mean_of_all_to_that_of_each_class():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 200)
    features = rng.normal(size=(200, 5)) + 4 * np.eye(5)[labels]
    mean, directions = fit_directions(features, labels, 4)
    assert mean == pytest.approx(features.mean(axis=0))
    for label in range(3):
        way = features[labels == label].mean(axis=0) - features.mean(axis=0)
        assert directions[label] == pytest.approx(way / np.linalg.norm(way))
    assert (directions[3] == 0).all(), "a class without images has no direction"


def test_images_unlike_those_known_are_strange():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 3000)
    known = rng.normal(size=(3000, 8)) + 6 * np.eye(8)[labels]
    mean, directions = fit_directions(known, labels, 3)

    def cosines(features):
        centred = features - mean
        return (centred @ directions.T).max(axis=1) / np.linalg.norm(centred, axis=1)

    values = fit_familiar(cosines(known))
    strangers = rng.normal(size=(1000, 8)) + 6 * np.eye(8)[5]
    assert (strangeness(cosines(strangers), *values) > 1).mean() > 0.99
    again = rng.normal(size=(1000, 8)) + 6 * np.eye(8)[rng.integers(0, 3, 1000)]
    assert (strangeness(cosines(again), *values) > 1).mean() == pytest.approx(0.05, abs=0.03)


def test_without_a_fitted_limit_strangeness_is_unknown():
    assert np.isnan(strangeness(np.zeros(3), 0.0, 0.0)).all()


def test_few_images_move_the_temperature_little_and_many_all_the_way():
    """Three images may not spoil a model that is right as it is, and 2,000 mend one that is not."""
    rng = np.random.default_rng(0)
    for true, num, worst in ((1.0, 3, 1.06), (2.0, 2000, 1.005)):
        logits, labels = drawn(true, 20_000, 5, 0)
        best, losses = mean_loss(logits, labels, true), []
        for _ in range(50):
            few = rng.choice(len(labels), num, replace=False)
            losses.append(mean_loss(logits, labels, fit_temperature(logits[few], labels[few])))
        assert np.mean(losses) < worst * best


def sigmoid_world(num, temperatures, shifts, shares, seed=0):
    """Logits whose true probabilities are sigmoid(logits / temperature + shift), and labels drawn with these."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(num, len(temperatures))) * 4 + np.log(shares)
    labels = draw.random(logits.shape) < sigmoid(logits, np.array(temperatures), np.array(shifts))
    return logits, labels


def test_the_sigmoid_of_each_class_is_found():
    temperatures, shifts = [0.5, 1.0, 3.0], [0.0, -1.0, 0.7]
    logits, labels = sigmoid_world(20_000, temperatures, shifts, [0.5, 0.4, 0.3])
    temperature, shift = fit_sigmoids(logits, labels)
    np.testing.assert_allclose(temperature, temperatures, rtol=0.1)
    np.testing.assert_allclose(shift, shifts, atol=0.12)


def test_a_class_without_positives_or_negatives_stays_near_the_others():
    logits, labels = sigmoid_world(400, [1.0] * 4, [0.0] * 4, [0.5, 0.5, 0.5, 0.5])
    logits[:, 0], labels[:, 0] = -8, False
    logits[:, 1], labels[:, 1] = 8, True
    temperature, shift = fit_sigmoids(logits, labels)
    assert np.isfinite([*temperature, *shift]).all()
    assert (np.abs(shift[:2]) < 0.2).all()
    assert (temperature > 0).all()


def test_few_images_leave_the_sigmoids_alone():
    logits, labels = sigmoid_world(5, [1.0] * 3, [0.0] * 3, [0.5] * 3)
    temperature, shift = fit_sigmoids(logits, labels)
    assert (np.abs(np.log(temperature)) < 0.7).all()
    assert (np.abs(shift) < 0.5).all()


def test_the_sigmoid_of_extreme_logits_is_finite():
    found = sigmoid(np.array([[1e30, -1e30, 0.0]]), np.full(3, 0.05), np.zeros(3))
    assert found.tolist() == [[1, 0, 0.5]]
