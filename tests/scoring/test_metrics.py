import json
import math
import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import many
from snellen.errors import DataError, SnellenError
from snellen.scoring.formulas import auc, auc_effects, f1_micro, log_loss, map_at_5, mcc, qwk
from snellen.scoring.metrics import METRICS, Metric, check_metric, metric_of, stored, stored_metric


def drawn(num, num_classes, seed, skill=2.0, used=None):
    """Labels from the first `used` classes, and float64 probabilities with some ties that favour the label."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, used or num_classes, num)
    logits = draw.normal(size=(num, num_classes)).round(1)
    logits[np.arange(num), labels] += skill
    powers = np.exp(logits)
    return labels, powers / powers.sum(axis=1, keepdims=True)


def oracle(name, labels, probabilities, decided):
    """The metric by scikit-learn."""
    sk = pytest.importorskip("sklearn.metrics")
    num_classes = probabilities.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of degenerate cases
        if name == "accuracy":
            return sk.accuracy_score(labels, decided)
        if name == "balanced_accuracy":
            return sk.balanced_accuracy_score(labels, decided)
        if name == "log_loss":
            return sk.log_loss(labels, probabilities, labels=range(num_classes))
        if name == "auc":
            areas = [
                sk.roc_auc_score(labels == k, probabilities[:, k])
                for k in (range(num_classes) if num_classes > 2 else [1])
                if 0 < (labels == k).sum() < len(labels)
            ]
            return np.mean(areas) if areas else math.nan
        if name in ("f1_macro", "f1_micro"):
            return sk.f1_score(labels, decided, average=name[3:], zero_division=0)
        if name == "qwk":
            return sk.cohen_kappa_score(labels, decided, weights="quadratic", labels=range(num_classes))
        if name == "mcc":
            return sk.matthews_corrcoef(labels, decided)
        if name == "map@5":
            top = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
            return float(((top == labels[:, None]) / np.arange(1, top.shape[1] + 1)).sum(axis=1).mean())
    raise AssertionError(f"no oracle for {name}")


@pytest.mark.parametrize("name", METRICS)
@many
@given(
    num=st.sampled_from([1, 2, 5, 40, 300]),
    num_classes=st.sampled_from([2, 3, 7, 12]),
    used=st.integers(1, 12),
    skill=st.sampled_from([-3.0, 0.0, 2.0, 30.0]),
    seed=st.integers(0, 999),
)
def test_every_metric_equals_that_of_scikit_learn(name, num, num_classes, used, skill, seed):
    """Random labels, classes that no image has, a single class, ties, all right, nearly all wrong, a single image."""
    labels, probabilities = drawn(num, num_classes, seed, skill, min(used, num_classes))
    decided = probabilities.argmax(axis=1)
    found = METRICS[name].value(labels, probabilities, decided)
    expected = oracle(name, labels, probabilities, decided)
    if name == "qwk" and math.isnan(found):
        assert set(labels) == set(decided)
        assert len(set(labels)) == 1
        return
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@many
@given(num=st.integers(3, 100), num_classes=st.integers(3, 6), seed=st.integers(0, 999))
def test_the_auc_of_several_classes_is_scikit_learns_mean_over_the_classes(num, num_classes, seed):
    sk = pytest.importorskip("sklearn.metrics")
    labels, probabilities = drawn(num, num_classes, seed)
    if len(set(labels.tolist())) == num_classes:
        expected = sk.roc_auc_score(labels, probabilities, multi_class="ovr")
        assert auc(labels, probabilities) == pytest.approx(expected)


@many
@given(num=st.integers(1, 60), num_classes=st.integers(2, 5), seed=st.integers(0, 999))
def test_map_at_5_of_few_classes_is_scikit_learns_ranking_precision(num, num_classes, seed):
    sk = pytest.importorskip("sklearn.metrics")
    labels, _ = drawn(num, num_classes, seed)
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(num_classes), num)  # no ties
    expected = sk.label_ranking_average_precision_score(np.eye(num_classes)[labels], probabilities)
    assert map_at_5(labels, probabilities) == pytest.approx(expected)


def test_values_worked_out_by_hand():
    labels, decided = np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1])
    # Squared distances 0, 4, 0, 1; over all pairs of a label and a decision 0 + 4 + 1 + 1, twice, 1 + 1, 4 + 1 + 1.
    assert qwk(labels, decided) == pytest.approx(1 - 5 / ((6 + 6 + 2 + 6) / 4))
    assert METRICS["balanced_accuracy"].function(labels, decided) == pytest.approx((0.5 + 1 + 0) / 3)
    assert METRICS["f1_macro"].function(labels, decided) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert f1_micro(labels, decided) == 0.5
    probabilities = np.array([[0.6, 0.4], [0.5, 0.5], [0.2, 0.8], [0.5, 0.5]])
    assert auc(np.array([0, 0, 1, 1]), probabilities) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert log_loss(np.array([0, 1]), probabilities[[0, 2]]) == pytest.approx(-math.log(0.6 * 0.8) / 2)
    seven = np.array([[0.05, 0.3, 0.25, 0.15, 0.1, 0.1, 0.05]])
    assert [map_at_5(np.array([k]), seven) for k in range(7)] == [0, 1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 0]


def test_metrics_of_a_single_class_are_undefined_and_not_an_error():
    labels, probabilities = np.zeros(5, dtype=np.int64), np.tile([0.7, 0.3], (5, 1))
    decided = probabilities.argmax(axis=1)
    assert math.isnan(METRICS["auc"].measure(labels, probabilities, decided).low)
    assert math.isnan(METRICS["qwk"].measure(labels, probabilities, decided).value)
    assert mcc(labels, decided) == 0
    assert METRICS["f1_macro"].value(labels, probabilities, decided) == 1


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("num_classes", [2, 5])
def test_weights_count_an_image_as_often_as_if_it_were_there_again(name, num_classes):
    metric = METRICS[name]
    if metric.needs != "labels":
        return
    labels, probabilities = drawn(60, num_classes, 3)
    decided = probabilities.argmax(axis=1)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    again = np.repeat(np.arange(60), weights)
    assert metric.function(labels, decided, weights) == pytest.approx(metric.function(labels[again], decided[again]))


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_holds_the_true_value_about_nineteen_times_in_twenty(name):
    """Of 60 samples of 250 images, whose true value is that of 200,000."""

    def sample(num, seed):
        draw = np.random.default_rng(seed)
        shares = np.array([0.5, 0.3, 0.2])
        labels = draw.choice(3, num, p=shares)
        logits = draw.normal(size=(num, 3)) + np.log(shares)
        logits[np.arange(num), labels] += 2.5
        powers = np.exp(logits)
        return labels, powers / powers.sum(axis=1, keepdims=True)

    labels, probabilities = sample(200_000, 0)
    true = METRICS[name].value(labels, probabilities, probabilities.argmax(axis=1))
    held = 0
    for seed in range(1, 61):
        labels, probabilities = sample(250, seed)
        found = METRICS[name].measure(labels, probabilities, probabilities.argmax(axis=1))
        assert found.low < found.value < found.high
        held += found.low <= true <= found.high
        assert found.high - found.low < 0.25
    assert held >= 0.88 * 60


@pytest.mark.parametrize("name", METRICS)
def test_nothing_wrong_among_few_images_is_no_certainty(name):
    labels = np.array([0, 0, 1, 1, 2, 2])
    found = METRICS[name].measure(labels, np.eye(3)[labels], labels)
    if METRICS[name].greater_is_better:
        assert found.low < 0.7 < found.value == found.high == 1
    else:
        assert found.value == 0


def test_a_single_image_has_a_score_and_an_interval_or_none():
    labels, probabilities = np.array([1]), np.array([[0.2, 0.8]])
    for name, metric in METRICS.items():
        found = metric.measure(labels, probabilities, probabilities.argmax(axis=1))
        assert math.isnan(found.value) if name in ("auc", "qwk") else found.low <= found.value <= found.high, name


def test_the_better_of_two_values_goes_by_the_direction_and_undefined_is_never_better():
    auc_metric, loss = METRICS["auc"], METRICS["log_loss"]
    assert auc_metric.is_better(0.9, 0.8)
    assert not auc_metric.is_better(0.8, 0.8)
    assert loss.is_better(0.1, 0.2)
    assert auc_metric.is_better(0.1, math.nan)
    assert not auc_metric.is_better(math.nan, 0.1)
    assert not auc_metric.is_better(math.nan, math.nan)


def test_a_function_of_labels_and_probabilities_is_a_metric():
    def brier(labels, probabilities):
        return -float(((np.eye(probabilities.shape[1])[labels] - probabilities) ** 2).sum(axis=1).mean())

    labels, probabilities = drawn(200, 3, 0)
    metric = metric_of(brier)
    found = metric.measure(labels, probabilities, probabilities.argmax(axis=1))
    assert metric.name == "brier"
    assert metric.greater_is_better
    assert found.low < found.value == brier(labels, probabilities) < found.high
    assert metric_of(metric) is metric
    assert isinstance(metric_of("qwk"), Metric)


def slow_auc_effects(labels, probabilities):
    """The effects by their definition, pair by pair."""
    num, num_classes = probabilities.shape
    areas, moves = [], np.zeros(num)
    for k in range(num_classes) if num_classes > 2 else [1]:
        own, rest = np.flatnonzero(labels == k), np.flatnonzero(labels != k)
        if len(own) and len(rest):
            column = probabilities[:, k]
            wins = (column[own][:, None] > column[rest]) + (column[own][:, None] == column[rest]) / 2
            areas.append(wins.mean())
            moves[own] += (wins.mean(axis=1) - wins.mean()) * num / len(own)
            moves[rest] += (wins.mean(axis=0) - wins.mean()) * num / len(rest)
    return np.mean(areas) + moves / len(areas) if areas else np.full(num, math.nan)


@many
@given(
    num=st.sampled_from([1, 2, 5, 40, 150]),
    num_classes=st.integers(2, 30),
    digits=st.sampled_from([1, 2, 15]),
    seed=st.integers(0, 999),
)
def test_the_effects_on_the_auc_are_those_of_all_pairs(num, num_classes, digits, seed):
    """With ties, classes without images, and a single class."""
    labels, probabilities = drawn(num, num_classes, seed)
    probabilities = probabilities.round(digits).astype(np.float32)
    expected = slow_auc_effects(labels, probabilities)
    assert auc_effects(labels, probabilities) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert auc(labels, probabilities) == pytest.approx(expected.mean(), nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
def test_effects_have_the_value_as_their_mean(name):
    metric = METRICS[name]
    labels, probabilities = drawn(80, 4, 1)
    if metric.effects is not None:
        assert metric.effects(labels, probabilities).mean() == pytest.approx(metric.function(labels, probabilities))


def test_a_function_needs_a_name_of_its_own():
    with pytest.raises(SnellenError, match="a function without a name, so a resumed run could not recognize it"):
        metric_of(lambda labels, probabilities: 1.0)
    with pytest.raises(SnellenError, match="a function without a name"):
        metric_of(partial(auc))
    for taken in (auc, log_loss):
        with pytest.raises(SnellenError, match=f'"{taken.__name__}" cannot be stored as a metric'):
            metric_of(taken)


def test_a_stored_function_shows_its_values_and_cannot_be_computed():
    def brier(labels, probabilities):
        return 0.0

    loss = Metric("brier", brier, brier, needs="probabilities", greater_is_better=False)
    for metric in (metric_of(brier), loss, METRICS["log_loss"]):
        found = stored_metric(json.loads(json.dumps(stored(metric))))
        assert (found.name, found.greater_is_better) == (metric.name, metric.greater_is_better)
    assert stored_metric({}) is METRICS["accuracy"]
    assert stored_metric(stored(loss)).show(0.25) == "0.2500"
    with pytest.raises(SnellenError, match='"brier" is a Python function, which is not stored in a run') as caught:
        stored_metric(stored(loss)).value(np.zeros(2, int), np.eye(2), np.zeros(2, int))
    assert "metric=brier" in caught.value.do


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(SnellenError, match='unknown metric "f1-macro"') as caught:
        metric_of("f1-macro")
    assert caught.value.do == 'did you mean "f1_macro"?'
    assert "balanced_accuracy" in caught.value.expected


@pytest.mark.parametrize("classes", [("0", "1", "2"), ("10", "20", "30"), ("1", "2"), ("0.5", "1", "1.5")])
def test_qwk_takes_numbers_in_order(classes):
    check_metric(METRICS["qwk"], classes)


@pytest.mark.parametrize("classes", [("mild", "none", "severe"), ("0", "1", "4"), ("1", "10", "2"), ("2", "1")])
def test_qwk_refuses_classes_whose_order_is_unknown(classes):
    with pytest.raises(DataError, match="qwk needs ordered classes"):
        check_metric(METRICS["qwk"], classes)
    check_metric(METRICS["auc"], classes)


def test_values_are_shown_in_their_unit():
    shown = {name: metric.show(0.12345) for name, metric in METRICS.items()}
    assert (shown["accuracy"], shown["log_loss"], shown["auc"]) == ("12.35%", "0.1235 nats", "0.1235")
    assert METRICS["auc"].show(math.nan) == METRICS["auc"].show(None) == "undefined"
    assert METRICS["accuracy"].show_interval(0.8, 0.9) == "80.00 to 90.00%"
    assert METRICS["auc"].show_interval(0.8, 0.9) == "0.8000 to 0.9000"
    assert METRICS["accuracy"].show_difference(-0.0123) == "-1.23"
    assert METRICS["auc"].show_difference(0.0123) == "+0.0123"
