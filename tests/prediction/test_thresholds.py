"""Decisions on several labels per image: thresholds, their fit, and fair scores."""

import numpy as np
import pytest

from snellen.errors import RunError
from snellen.prediction.decide import cross_fitted, decide, decide_fairly, default_rule, fit_rule, is_fitted, mean_rule
from snellen.prediction.thresholds import CANDIDATES, best_common, best_of, fit_thresholds
from snellen.scoring.metrics import MULTI_METRICS
from snellen.task import Task

NEED_LABELS = [name for name, metric in MULTI_METRICS.items() if metric.needs == "labels"]


def drawn(num, shares, seed=0, skill=1.2):
    """Labels bool (N, K) with these shares, and calibrated probabilities of them."""
    draw, shares = np.random.default_rng(seed), np.asarray(shares)
    labels = draw.random((num, len(shares))) < shares
    logits = draw.normal(size=labels.shape) + 2 * skill * labels  # two normal distributions: exactly calibrated below
    odds = np.exp(2 * skill * logits - 2 * skill**2) * shares / (1 - shares)
    return labels, (odds / (1 + odds)).astype(np.float32)


def value(metric, labels, decided):
    return MULTI_METRICS[metric].function(labels, decided)


def test_classes_that_reach_their_threshold_are_decided_and_at_least_one_is():
    probabilities = np.array([[0.9, 0.2, 0.4], [0.3, 0.2, 0.1], [0.5, 0.5, 0.29]])
    rule = {"kind": "thresholds", "metric": "", "thresholds": [0.5, 0.6, 0.3], "at_least_one": True}
    assert decide(probabilities, rule).tolist() == [[True, False, True], [True, False, False], [True, False, False]]
    allows_none = rule | {"at_least_one": False}
    assert decide(probabilities, allows_none)[1].tolist() == [False, False, False]


def test_a_rule_for_other_classes_is_refused():
    rule = {"kind": "thresholds", "metric": "", "thresholds": [0.5, 0.6], "at_least_one": True}
    with pytest.raises(RunError, match="cannot decide between 3 classes"):
        decide(np.full((1, 3), 0.5), rule)


def test_the_default_rule_follows_from_the_task():
    assert default_rule(Task(("a", "b"))) == {"kind": "argmax"}
    rule = default_rule(Task(("a", "b"), "multi", "labels", "f1_samples"))
    assert rule["thresholds"] == [0.5, 0.5]
    assert rule["at_least_one"]
    assert not default_rule(Task(("a", "b"), "multi", "labels", "f1_samples", allows_none=True))["at_least_one"]
    assert not is_fitted(rule)


@pytest.mark.parametrize("metric", NEED_LABELS)
def test_fitted_thresholds_beat_one_half_on_new_images(metric):
    shares = [0.03, 0.1, 0.1, 0.3, 0.6]
    labels, probabilities = drawn(1500, shares)
    others, other_probabilities = drawn(20_000, shares, seed=1)
    fitted = value(metric, others, other_probabilities >= fit_thresholds(probabilities, labels, metric))
    half = value(metric, others, other_probabilities >= 0.5)
    least = {"f1_macro": 0.005, "f2_samples": 0.002}.get(metric, -0.002)
    assert (fitted - half) * (1 if MULTI_METRICS[metric].greater_is_better else -1) >= least


@pytest.mark.parametrize("metric", ["f1_samples", "f1_macro"])
def test_few_images_do_no_harm(metric):
    """With 40 images, rare classes stay near the common threshold: on average hardly worse than one half."""
    shares = [0.05, 0.1, 0.2, 0.3]
    others, other_probabilities = drawn(10_000, shares, seed=99)
    half = value(metric, others, other_probabilities >= 0.5)
    gains = []
    for seed in range(20):
        labels, probabilities = drawn(40, shares, seed)
        gains.append(value(metric, others, other_probabilities >= fit_thresholds(probabilities, labels, metric)) - half)
    assert np.mean(gains) > -0.01


def test_a_class_that_no_image_has_keeps_the_common_threshold():
    labels, probabilities = drawn(200, [0.2, 0.4, 0.3])
    labels[:, 1] = False
    found = fit_thresholds(probabilities, labels, "f1_macro")
    assert found[1] == best_common(probabilities, labels, "f1_macro")
    assert (fit_thresholds(probabilities, labels, "auc") == 0.5).all()
    assert (fit_thresholds(probabilities[:0], labels[:0], "f1_macro") == 0.5).all()


def test_the_best_threshold_is_in_the_middle_of_those_that_are_equally_good():
    values = np.where((CANDIDATES > 0.39) & (CANDIDATES < 0.61), 1.0, 0.0)
    assert best_of(values, 0.0) == pytest.approx(0.5)
    assert best_of(values - CANDIDATES * 1e-3, 0.0) == pytest.approx(0.4)
    assert best_of(values - CANDIDATES * 1e-3, 1e-2) == pytest.approx(0.5), "a difference within the noise"


@pytest.mark.parametrize("metric", ["f1_samples", "f2_samples"])
def test_the_thresholds_for_images_are_no_worse_than_any_common_one(metric):
    """On the images they are fitted on, before shrinking: with many images it hardly matters."""
    labels, probabilities = drawn(4000, [0.1, 0.3, 0.5, 0.7])
    fitted = value(metric, labels, probabilities >= fit_thresholds(probabilities, labels, metric))
    assert all(fitted >= value(metric, labels, probabilities >= t / 20) - 1e-3 for t in range(1, 20))


def test_a_cross_fitted_score_is_not_inflated():
    """By chance alone the fitted score rises; the cross-fitted one stays at that of new images."""
    gaps, inflated = [], []
    for seed in range(20):
        labels, probabilities = drawn(60, [0.2] * 6, seed, skill=0.3)
        others, other_probabilities = drawn(4000, [0.2] * 6, seed + 100, skill=0.3)
        rule = fit_rule(probabilities, labels, "f1_macro", at_least_one=False)
        true = value("f1_macro", others, decide(other_probabilities, rule))
        fair = cross_fitted(probabilities, labels, "f1_macro", at_least_one=False)
        gaps.append(value("f1_macro", labels, fair) - true)
        inflated.append(value("f1_macro", labels, decide(probabilities, rule)) - true)
    assert abs(np.mean(gaps)) < 0.03
    assert np.mean(inflated) > np.mean(gaps) + 0.01


def test_the_model_scored_on_the_images_of_its_rule_is_scored_fairly():
    labels, probabilities = drawn(100, [0.2, 0.5, 0.4])
    rule = fit_rule(probabilities, labels, "f1_samples")
    task = Task(("a", "b", "c"), "multi", "labels", "f1_samples")
    about = {"on": "train", "fingerprint": "abc", "rule": rule, "classes": [*"abc"], "task": task.to_dict()}
    fair = cross_fitted(probabilities, labels, "f1_samples")
    assert (decide_fairly(probabilities, labels, about, "abc", "valid") == fair).all()
    assert (decide_fairly(probabilities, labels, about, "other", "valid") == decide(probabilities, rule)).all()
    del about["rule"]
    assert (
        decide_fairly(probabilities, labels, about, "abc", "valid") == decide(probabilities, default_rule(task))
    ).all()


def test_the_rule_of_an_average_has_the_mean_thresholds():
    rules = [
        {"kind": "thresholds", "metric": "f1_macro", "thresholds": list(values), "at_least_one": True}
        for values in ([0.2, 0.4], [0.4, 0.8])
    ]
    assert mean_rule(rules)["thresholds"] == pytest.approx([0.3, 0.6])
