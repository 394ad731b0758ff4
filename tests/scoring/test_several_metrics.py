"""Metrics for several labels per image, compared with scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import many
from snellen.errors import SnellenError
from snellen.scoring.learned import class_shares, collapse_warning, judge
from snellen.scoring.metrics import MULTI_METRICS, metric_of
from snellen.scoring.scores import are_right, calibration_error, score


def drawn(num, num_classes, seed, skill=1.0, density=0.3):
    """Labels bool (N, K), and float64 probabilities with ties that favour them; the first columns are constant."""
    draw = np.random.default_rng(seed)
    labels = draw.random((num, num_classes)) < density
    if num_classes > 2:
        labels[:, 0], labels[:, 1] = False, True
    logits = draw.normal(size=labels.shape).round(1) + skill * (2 * labels - 1)
    return labels, 1 / (1 + np.exp(-logits))


def oracle(name, labels, probabilities, decided):
    """The metric by scikit-learn."""
    sk = pytest.importorskip("sklearn.metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of degenerate cases
        if name in ("f1_samples", "f2_samples"):
            beta = {"f1_samples": 1, "f2_samples": 2}[name]
            return sk.fbeta_score(labels, decided, beta=beta, average="samples", zero_division=1)
        if name == "f1_macro":
            return sk.f1_score(labels, decided, average="macro", zero_division=np.nan)
        if name == "f1_micro":
            return sk.f1_score(labels, decided, average="micro", zero_division=np.nan)
        if name == "exact_match":
            return sk.accuracy_score(labels, decided)
        if name == "hamming_loss":
            return sk.hamming_loss(labels, decided)
        both = [k for k in range(labels.shape[1]) if 0 < labels[:, k].sum() < len(labels)]
        if name == "auc":
            areas = [sk.roc_auc_score(labels[:, k], probabilities[:, k]) for k in both]
            return np.mean(areas) if areas else math.nan
        if name == "map":
            some = [k for k in range(labels.shape[1]) if labels[:, k].any()]
            values = [sk.average_precision_score(labels[:, k], probabilities[:, k]) for k in some]
            return np.mean(values) if values else math.nan
        if name == "mean_log_loss":
            columns = zip(labels.T, probabilities.T, strict=True)
            return np.mean([sk.log_loss(y, p, labels=[False, True]) for y, p in columns])
    raise AssertionError(f"no oracle for {name}")


@pytest.mark.parametrize("name", MULTI_METRICS)
@many
@given(
    num=st.sampled_from([1, 2, 5, 40, 200]),
    num_classes=st.sampled_from([2, 3, 7, 20]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    skill=st.sampled_from([-2.0, 0.0, 1.0, 20.0]),
    seed=st.integers(0, 999),
)
def test_every_metric_equals_that_of_scikit_learn(name, num, num_classes, density, skill, seed):
    """Columns of only 0 and only 1, images without labels, ties, all right, nearly all wrong, a single image."""
    labels, probabilities = drawn(num, num_classes, seed, skill, density)
    decided = probabilities >= 0.6
    found = MULTI_METRICS[name].value(labels, probabilities, decided)
    assert found == pytest.approx(oracle(name, labels, probabilities, decided), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", MULTI_METRICS)
def test_two_hundred_labels_and_an_image_with_fifty_of_them(name):
    labels, probabilities = drawn(60, 200, 5, density=0.02)
    labels[7, 100:150] = True
    assert labels[7].sum() >= 50
    decided = probabilities >= 0.4
    found = MULTI_METRICS[name].value(labels, probabilities, decided)
    assert found == pytest.approx(oracle(name, labels, probabilities, decided), abs=1e-9)


@pytest.mark.parametrize("name", MULTI_METRICS)
def test_an_interval_contains_its_value_and_is_narrower_with_more_images(name):
    def width(num):
        labels, probabilities = drawn(num, 6, 1, density=0.4)
        measured = MULTI_METRICS[name].measure(labels, probabilities, probabilities >= 0.5)
        assert measured.low < measured.value < measured.high
        return measured.high - measured.low

    assert width(1600) < 0.7 * width(400)


@pytest.mark.parametrize("name", ["f1_samples", "f1_macro", "map", "auc"])
def test_the_interval_covers_the_value_of_all_images_about_as_often_as_it_claims(name):
    labels, probabilities = drawn(4000, 5, 9, density=0.3)
    metric, decided = MULTI_METRICS[name], probabilities >= 0.5
    truth, draw, covered = metric.value(labels, probabilities, decided), np.random.default_rng(0), 0
    for _ in range(40):
        rows = draw.integers(0, len(labels), 200)
        measured = metric.measure(labels[rows], probabilities[rows], decided[rows])
        covered += measured.low <= truth <= measured.high
    assert covered >= 34


def test_each_metric_knows_its_direction():
    labels, probabilities = drawn(50, 4, 2)
    for metric in MULTI_METRICS.values():
        perfect = metric.value(labels, labels.astype(float), labels)
        assert metric.is_better(perfect, metric.value(labels, probabilities, ~labels))


def test_the_scores_of_several_labels():
    labels, probabilities = drawn(80, 5, 3)
    decided = probabilities >= 0.5
    scores = score(probabilities, labels, metric="f1_samples")
    assert scores["right"] == int(are_right(labels, decided).sum()) == int((labels == decided).all(axis=1).sum())
    assert scores["accuracy"] == scores["right"] / 80
    assert scores["value"] == MULTI_METRICS["f1_samples"].value(labels, probabilities, decided)
    assert scores["log_loss"] == pytest.approx(5 * oracle("mean_log_loss", labels, probabilities, decided))


def test_probabilities_as_frequent_as_their_labels_are_calibrated():
    draw = np.random.default_rng(0)
    probabilities = draw.random((20_000, 3))
    labels = draw.random(probabilities.shape) < probabilities
    assert calibration_error(probabilities, labels) < 0.01
    assert calibration_error(probabilities**3, labels) > 0.1


def test_a_metric_of_one_label_is_refused_for_several():
    with pytest.raises(SnellenError, match="does not apply to several labels per image") as caught:
        metric_of("qwk", "multi")
    assert "f1_samples" in caught.value.expected
    with pytest.raises(SnellenError, match="does not apply to one label per image"):
        metric_of("hamming_loss")
    with pytest.raises(SnellenError, match='unknown metric "f1_sample"') as caught:
        metric_of("f1_sample", "multi")
    assert 'did you mean "f1_samples"?' in str(caught.value)


@pytest.mark.parametrize(("skill", "is_clear"), [(0.0, False), (1.0, True)])
def test_a_model_that_learned_nothing_is_told_from_one_that_did(skill, is_clear):
    draw = np.random.default_rng(4)
    labels = draw.random((300, 6)) < 0.2
    logits = draw.normal(size=labels.shape) + skill * (2 * labels - 1)
    found = judge(1 / (1 + np.exp(-logits)), labels, class_shares(labels.sum(axis=0), 300))
    assert found.is_clear is is_clear
    assert found.shares_log_loss == pytest.approx(6 * -(0.2 * math.log(0.2) + 0.8 * math.log(0.8)), rel=0.1)


def test_validation_at_chance_after_good_training_is_reported():
    draw = np.random.default_rng(4)
    labels = draw.random((300, 3)) < 0.4
    shares = class_shares(labels.sum(axis=0), 300)
    assert "validation accuracy is at chance level" in collapse_warning(draw.random(labels.shape), labels, shares, 0.9)
    assert not collapse_warning(np.where(labels, 0.9, 0.1), labels, shares, 0.9)
    assert not collapse_warning(draw.random(labels.shape), labels, shares, 0.2)
