import math

import numpy as np
import pytest

from snellen.scoring.learned import class_shares, collapse_warning, judge

EQUAL, RARE = np.full(10, 0.1), np.array([0.98, 0.02])


def predicted(num, shares, skill, sharpness=1.0, seed=0):
    """Probabilities and labels of a model; skill 0: it has learned nothing; sharpness above 1: it is too sure."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(len(shares)), np.round(shares * num).astype(int)))
    logits = draw.normal(size=(len(labels), len(shares))) + np.log(shares)
    logits[np.arange(len(labels)), labels] += skill
    powers = np.exp(logits * sharpness)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("shares", [EQUAL, RARE, np.array([0.5, 0.5])])
@pytest.mark.parametrize("sharpness", [0.01, 1, 5])
@pytest.mark.parametrize("num", [50, 500])
def test_a_model_of_noise_is_warned_of(shares, sharpness, num):
    warned = [judge(*predicted(num, shares, 0, sharpness, seed), shares).warning for seed in range(10)]
    assert sum(map(bool, warned)) >= 9
    assert "nats; always" not in warned[0]
    assert f"nats on {num} images; always predicting the share of each class gives" in "".join(warned)


@pytest.mark.parametrize("num", [50, 100, 500, 2000])
@pytest.mark.parametrize("sharpness", [1, 4, 20])
def test_a_good_model_of_one_in_fifty_is_not(num, sharpness):
    """One to 40 rare images; a model that is far too sure gives some images the lowest probability there is."""
    for seed in range(10):
        found = judge(*predicted(num, RARE, 6, sharpness, seed), RARE)
        assert found.is_clear
        assert found.warning == ""


@pytest.mark.parametrize("sharpness", [1, 10])
def test_a_weak_but_real_model_is_not(sharpness):
    probabilities, labels = predicted(1000, EQUAL, 0.7, sharpness)
    assert (probabilities.argmax(axis=1) == labels).mean() < 0.3
    assert judge(probabilities, labels, EQUAL).is_clear


def test_answering_with_the_shares_or_with_one_class_is_not_learned():
    labels = np.repeat([0, 1], [98, 2])
    for answer in (RARE, [0.999, 0.001], [1.0, 0.0], [0.5, 0.5]):
        found = judge(np.tile(answer, (100, 1)), labels, RARE)
        assert not found.is_clear
        assert found.shares_log_loss == pytest.approx(-(0.98 * math.log(0.98) + 0.02 * math.log(0.02)))
        assert found.warning.startswith("the model has not learned to tell the classes apart: validation log-loss is")


def test_too_few_images_are_named_as_the_reason():
    found = judge(np.array([[0.9, 0.1]]), np.array([0]), np.array([0.5, 0.5]))
    assert found.is_clear or "too few validation images" in found.warning
    two = judge(np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]]), np.array([0, 1, 1]), np.array([0.5, 0.5]))
    assert two.warning.startswith("too few validation images to show that the model learned anything")


def test_a_class_without_training_images_costs_much_and_not_infinitely():
    shares = class_shares(np.array([100, 0]))
    assert shares == pytest.approx([100 / 100.5, 0.5 / 100.5])
    assert math.isfinite(judge(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1]), shares).shares_log_loss)


def test_an_epoch_that_collapses_is_warned_of_and_an_overfit_one_is_not():
    """As handwritten letters did: 3.85 and 9% of validation right, while training was right for 67% and more."""
    letters = np.full(26, 1 / 26)
    probabilities, labels = predicted(2600, letters, 0, 20)
    text = collapse_warning(probabilities, labels, letters, train_accuracy=0.67)
    assert text.startswith("validation accuracy is at chance level although training is not: ")
    assert "67.00% in training" in text
    assert collapse_warning(probabilities, labels, letters, train_accuracy=0.2) == "", "training is not good yet"
    weak, labels = predicted(2600, letters, 0.5, 3)
    assert 0.06 < (weak.argmax(axis=1) == labels).mean() < 0.11
    assert collapse_warning(weak, labels, letters, train_accuracy=0.89)
    overfit, labels = predicted(2600, letters, 2, 5)
    assert 0.4 < (overfit.argmax(axis=1) == labels).mean() < 0.6
    assert collapse_warning(overfit, labels, letters, train_accuracy=1.0) == ""


def test_a_good_epoch_of_one_in_fifty_is_not_warned_of():
    for seed in range(10):
        probabilities, labels = predicted(200, RARE, 6, 4, seed)
        assert collapse_warning(probabilities, labels, RARE, train_accuracy=1.0) == ""


@pytest.mark.parametrize("num", [50, 100])
def test_at_one_in_fifty_few_models_of_noise_pass(num):
    passed = [judge(*predicted(num, RARE, 0, 5, seed), RARE).is_clear for seed in range(100)]
    assert sum(passed) <= 5


def test_validation_images_of_one_class_prove_nothing():
    probabilities, labels = np.tile([0.999, 0.001], (30, 1)).astype(np.float32), np.zeros(30, dtype=np.int64)
    assert judge(probabilities, labels, RARE).warning.startswith("all 30 validation images have the same label, so no")
    labels[0], probabilities[0] = 1, (0.001, 0.999)
    assert not judge(probabilities, labels, RARE).warning
