import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import some
from snellen.errors import RunError
from snellen.prediction.decide import best_cuts, cross_fitted, decide, decide_fairly, expected_class, fit_cuts, fit_rule
from snellen.scoring.formulas import qwk

SHARES = np.array([0.49, 0.1, 0.27, 0.06, 0.08])  # of the five grades of diabetic retinopathy, about


def graded(num, seed, noise=1.0):
    """Probabilities and labels of five ordered classes: what an ideal model says of a noisy look at the grade."""
    draw = np.random.default_rng(seed)
    labels = draw.choice(5, num, p=SHARES)
    seen = labels + draw.normal(0, noise, num)
    powers = SHARES * np.exp(-((seen[:, None] - np.arange(5)) ** 2) / (2 * noise**2))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), labels


def test_without_a_rule_the_most_probable_class_is_decided_on_and_of_equal_ones_the_first():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]])
    assert decide(probabilities).tolist() == decide(probabilities, {"kind": "argmax"}).tolist() == [1, 0, 2]


def test_cut_points_count_the_cuts_below_the_expected_class():
    probabilities = np.array([[1, 0, 0], [0.6, 0, 0.4], [0, 0.5, 0.5], [0, 0, 1]])  # expected 0, 0.8, 1.5, 2
    rule = {"kind": "cut_points", "metric": "qwk", "cuts": [0.7, 1.6]}
    assert decide(probabilities, rule).tolist() == [0, 1, 1, 2]
    assert decide(probabilities, rule | {"cuts": [0.9, 1.4]}).tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "cut_points", "metric": "qwk", "cuts": [0.5]},
        {"kind": "cut_points", "metric": "qwk", "cuts": [1.5, 0.5]},
        {"kind": "cut_points", "metric": "qwk", "cuts": [0.5, math.nan]},
        {"kind": "cut_points"},
        {"kind": "coin"},
        {},
    ],
)
def test_a_rule_that_does_not_fit_is_refused(rule):
    with pytest.raises(RunError, match="cannot decide between 3 classes"):
        decide(np.eye(3), rule)


@some
@given(num=st.integers(1, 9), num_classes=st.integers(2, 4), seed=st.integers(0, 999))
def test_the_best_cuts_are_those_of_trying_all(num, num_classes, seed):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, num_classes, num)
    expected = (draw.random(num) * (num_classes - 1)).round(1)  # with ties
    halfway = np.arange(num_classes - 1) + 0.5

    def kappa(cuts):
        value = qwk(labels, np.searchsorted(np.array(cuts), expected))
        return 0.0 if math.isnan(value) else value

    values = np.unique(expected)
    every = [-1.0, *((values[1:] + values[:-1]) / 2), float(num_classes)]
    best = max(kappa(cuts) for cuts in itertools.combinations_with_replacement(every, num_classes - 1))
    found = best_cuts(expected, labels, halfway)
    assert (np.diff(found) >= 0).all()
    if best > 0:
        assert kappa(found) == pytest.approx(best)


def test_fitted_cuts_raise_the_kappa_of_new_images():
    probabilities, labels = graded(400, 0)
    new, new_labels = graded(20_000, 1)
    rule = fit_rule(probabilities, labels, "qwk")
    assert json.loads(json.dumps(rule)) == rule, "a rule is plain data"
    assert qwk(new_labels, decide(new, rule)) > qwk(new_labels, decide(new)) + 0.02


def test_few_images_move_the_cuts_little():
    halfway = np.arange(4) + 0.5
    assert fit_cuts(np.empty((0, 5)), np.empty(0, dtype=np.int64)).tolist() == halfway.tolist()
    probabilities, labels = graded(4, 0)
    assert np.abs(fit_cuts(probabilities, labels) - halfway).max() < 0.4
    one_class = np.zeros(50, dtype=np.int64)
    assert np.isfinite(fit_cuts(graded(50, 0)[0], one_class)).all()


def test_only_qwk_has_a_rule_of_its_own():
    probabilities, labels = graded(50, 0)
    assert fit_rule(probabilities, labels, "f1_macro") == {"kind": "argmax"}
    assert (cross_fitted(probabilities, labels, "auc") == probabilities.argmax(axis=1)).all()


def test_a_cross_fitted_score_is_not_inflated():
    """60 images each time: the score on the images that fitted the cuts is too high, the cross-fitted one is not."""
    new, new_labels = graded(20_000, 999, noise=1.5)
    true, own, fair = [], [], []
    for seed in range(60):
        probabilities, labels = graded(60, seed, noise=1.5)
        rule = fit_rule(probabilities, labels, "qwk")
        true.append(qwk(new_labels, decide(new, rule)))
        own.append(qwk(labels, decide(probabilities, rule)))
        fair.append(qwk(labels, cross_fitted(probabilities, labels, "qwk")))
    doubt = 2 * np.std(fair) / np.sqrt(len(fair))
    assert np.mean(fair) < np.mean(true) + doubt
    assert np.mean(own) > np.mean(fair) + 0.01


def test_no_decision_of_a_cross_fit_knows_its_own_label():
    probabilities, labels = graded(100, 3)
    before = cross_fitted(probabilities, labels, "qwk")
    assert (cross_fitted(probabilities, labels, "qwk") == before).all()
    assert cross_fitted(probabilities[:2], labels[:2], "qwk").shape == (2,), "fewer images than parts"


def test_a_model_is_scored_by_its_rule_except_on_the_images_that_fitted_it():
    probabilities, labels = graded(200, 5)
    rule = fit_rule(probabilities, labels, "qwk")
    about = {"rule": rule, "fingerprint": "abc", "on": "train"}
    by_rule, fair = decide(probabilities, rule), cross_fitted(probabilities, labels, "qwk")
    assert (by_rule != fair).any()
    assert (decide_fairly(probabilities, labels, about, "abc", "valid") == fair).all()
    assert (decide_fairly(probabilities, labels, about, "other", "valid") == by_rule).all()
    assert (decide_fairly(probabilities, labels, about, "abc", "train") == by_rule).all()
    assert (decide_fairly(probabilities, labels, {}, "abc", "valid") == probabilities.argmax(axis=1)).all()


def test_the_expected_class_is_computed_in_double_precision():
    probabilities = np.full((1, 1000), 0.001, dtype=np.float32)
    assert expected_class(probabilities)[0] == pytest.approx(499.5, rel=1e-6)
