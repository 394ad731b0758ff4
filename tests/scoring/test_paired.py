"""Paired tests agree with exact sums, with simulation and with what is worked by hand."""

import math

import numpy as np
import pytest

from snellen.scoring.metrics import METRICS, MULTI_METRICS, metric_of
from snellen.scoring.paired import Answers, bootstrap_difference, differences, holm, mcnemar, paired_interval


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


def two_models(num, seed, skills=(2.0, 2.0), num_classes=3):
    """Labels, and the answers of two models that see the same noise in part."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, num_classes, num)
    common, models = draw.normal(size=(num, num_classes)), []
    for skill in skills:
        logits = common + draw.normal(size=(num, num_classes)) / 2
        logits[np.arange(num), labels] += skill
        powers = np.exp(logits)
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        models.append(Answers(probabilities, probabilities.argmax(axis=1)))
    return labels, *models


def brier(labels, probabilities):
    return -float(((np.eye(probabilities.shape[1])[labels] - probabilities) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("metric", [*METRICS.values(), metric_of(brier)], ids=[*METRICS, "brier"])
def test_the_difference_is_that_of_the_values_and_its_interval_holds_it(metric):
    labels, first, other = two_models(300, 0, skills=(1.0, 3.0))
    found = differences(metric, labels, first, [other, first])
    value = metric.value(labels, other.probabilities, other.decided)
    assert found[0].value == pytest.approx(value - metric.value(labels, first.probabilities, first.decided))
    assert found[0].low < found[0].value < found[0].high
    assert found[0].beyond_noise
    assert (found[0].low > 0) == metric.greater_is_better
    assert (found[1].value, found[1].p) == (0, 1)
    assert not found[1].beyond_noise


@pytest.mark.parametrize("name", ["auc", "log_loss", "f1_macro", "qwk"])
def test_equal_models_rarely_differ_and_the_interval_holds_nothing_about_nineteen_times_in_twenty(name):
    found = [bootstrap_difference(METRICS[name], *two_models(150, seed)) for seed in range(60)]
    assert sum(p < 0.05 for *_, p in found) <= 7
    assert sum(low <= 0 <= high for _, low, high, _ in found) >= 52


def test_an_undefined_metric_has_no_difference_and_is_not_beyond_noise():
    labels = np.zeros(5, dtype=np.int64)
    one = Answers(np.tile([0.7, 0.3], (5, 1)), labels)
    (found,) = differences(METRICS["auc"], labels, one, [one])
    assert math.isnan(found.value)
    assert not found.beyond_noise


@pytest.mark.parametrize("metric", MULTI_METRICS.values(), ids=[*MULTI_METRICS])
def test_models_of_several_labels_are_compared_too(metric):
    draw = np.random.default_rng(0)
    labels, models = draw.random((200, 4)) < 0.3, []
    for skill in (0.5, 3.0):
        probabilities = 1 / (1 + np.exp(-(draw.normal(size=labels.shape) + skill * (labels - 0.5))))
        models.append(Answers(probabilities, probabilities >= 0.5))
    first, better = models
    (found,) = differences(metric, labels, first, [better])
    value = metric.value(labels, better.probabilities, better.decided)
    assert found.value == pytest.approx(value - metric.value(labels, first.probabilities, first.decided))
    assert found.low < found.value < found.high
    assert found.beyond_noise
    assert (found.value > 0) == metric.greater_is_better
    assert found.gained == ((better.decided == labels).all(axis=1) & ~(first.decided == labels).all(axis=1)).sum()
