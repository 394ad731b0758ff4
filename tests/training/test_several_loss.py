"""Training on several labels per image: loss, weights of classes, mixing, logistic regressions."""

import numpy as np
import pytest
import torch

from snellen.task import Task
from snellen.training import augment
from snellen.training.class_weights import positive_weights
from snellen.training.logistic import best_penalty, fit_logistic, logistic
from snellen.training.loss import binary_cross_entropy, loss_of, num_right

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -4.0]])
LABELS = torch.tensor([[True, False, True], [False, True, True]])
MULTI = Task(("a", "b", "c"), "multi", "labels", "f1_samples")


def test_the_loss_is_minus_the_log_likelihood_of_all_labels():
    p = LOGITS.double().sigmoid()
    expected = -torch.where(LABELS, p.log(), (1 - p).log()).sum(dim=1).mean()
    torch.testing.assert_close(binary_cross_entropy(LOGITS, LABELS).double(), expected)
    assert loss_of(MULTI, LOGITS, LABELS) == binary_cross_entropy(LOGITS, LABELS)


def test_smoothing_moves_both_sides_towards_one_half():
    soft = LABELS.float() * 0.8 + 0.1
    torch.testing.assert_close(binary_cross_entropy(LOGITS, LABELS, 0.2), binary_cross_entropy(LOGITS, soft))


def test_the_weight_of_a_class_multiplies_its_positives():
    weights = torch.tensor([3.0, 1.0, 0.5])
    p = LOGITS.double().sigmoid()
    terms = -torch.where(LABELS, weights * p.log(), (1 - p).log())
    torch.testing.assert_close(binary_cross_entropy(LOGITS, LABELS, 0, weights).double(), terms.sum(dim=1).mean())


def test_power_one_gives_positives_and_negatives_the_same_weight():
    counts = np.array([10, 50, 0, 100])
    found = positive_weights(counts, 100, 1.0)
    assert found.tolist() == [9.0, 1.0, 1.0, 1.0], "classes that none or all images have keep 1"
    assert positive_weights(counts, 100, 0.5)[0] == pytest.approx(3.0)
    assert (positive_weights(counts, 100, 0.0) == 1).all()


def test_an_image_is_right_if_all_its_labels_are():
    assert int(num_right(LOGITS, LABELS, has_several=True)) == 1
    mixed = torch.tensor([[0.9, 0.2, 0.6], [0.1, 0.8, 0.3]])
    assert int(num_right(LOGITS, mixed, has_several=True)) == 2


def test_mixed_images_have_the_union_of_their_labels_in_shares():
    x = torch.rand(2, 3, 8, 8)
    _, target = augment.mixup(x, LABELS.float(), 0.7)
    torch.testing.assert_close(target[0], 0.7 * LABELS[0] + 0.3 * LABELS[1])


def test_one_logistic_regression_per_class_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 6)).astype(np.float32)
    y = x @ draw.normal(size=(6, 4)) + draw.normal(size=(300, 4)) > 0.7
    penalty = 0.01
    weights = fit_logistic(torch.from_numpy(x), torch.from_numpy(y), 4, penalty)
    found = logistic(torch.from_numpy(x), weights).sigmoid().numpy()
    for k in range(4):
        oracle = linear_model.LogisticRegression(C=1 / (penalty * 300), max_iter=2000, tol=1e-8).fit(x, y[:, k])
        np.testing.assert_allclose(found[:, k], oracle.predict_proba(x)[:, 1], atol=2e-3)


def test_the_penalty_is_chosen_for_all_classes_together():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(200, 5)).astype(np.float32)
    y = x[:, :3] + 0.3 * draw.normal(size=(200, 3)) > 0
    noise = draw.random((200, 3)) < 0.4
    features = torch.from_numpy(x)
    assert best_penalty(features, torch.from_numpy(noise), 3, 0) > best_penalty(features, torch.from_numpy(y), 3, 0)
