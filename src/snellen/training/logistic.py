"""Logistic regression on features, multinomial or one per class: fitted exactly, with a cross-validated penalty."""

import logging

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.prediction.decide import rarest_label
from snellen.training.loss import binary_cross_entropy

log = logging.getLogger("snellen")

PENALTIES = tuple(10.0**power for power in (1, 0.5, 0, -0.5, -1, -1.5, -2, -2.5, -3, -3.5, -4))
NUM_FOLDS = 4


def fit_logistic(
    features: Tensor, labels: Tensor, num_classes: int, penalty: float, start: Tensor | None = None, steps: int = 200
) -> Tensor:
    """Return weights and bias, float (K, D + 1), that minimise mean cross-entropy + penalty / 2 * sum of weights^2.

    features: float (N, D), best scaled to a spread near 1. labels: int64 (N,), or bool (N, K): then each class is a
    regression of its own, and the losses of an image add up. start: the initial weights. The bias is
    not penalised. The loss is convex: with enough steps of L-BFGS (Liu & Nocedal, 1989) `start` does not matter.
    """
    weights = features.new_zeros(num_classes, features.shape[1] + 1) if start is None else start.clone()
    weights.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=steps, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = mean_loss(logistic(features, weights), labels) + penalty / 2 * weights[:, :-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of the images, in nats; see loss.py."""
    return F.cross_entropy(logits, labels) if labels.ndim == 1 else binary_cross_entropy(logits, labels)


def losses_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of each image, float (N,), in nats."""
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").sum(dim=1)


def logistic(features: Tensor, weights: Tensor) -> Tensor:
    """Return the logits (N, K) of features (N, D) under weights (K, D + 1)."""
    return F.linear(features, weights[:, :-1], weights[:, -1])


def best_penalty(features: Tensor, labels: Tensor, num_classes: int, seed: int) -> float:
    """Return the penalty in PENALTIES with the lowest cross-validated log-loss.

    Penalties are tried from the strongest down until the loss rises. Each fit starts from the previous one.
    """
    fold = folds_of(labels.numpy(), seed)
    starts: list[Tensor | None] = [None] * NUM_FOLDS
    best, least = PENALTIES[0], float("inf")
    for penalty in PENALTIES:
        losses = torch.zeros(len(labels))
        for number in range(NUM_FOLDS):
            out = fold == number
            if out.all() or not out.any():
                continue
            weights = fit_logistic(features[~out], labels[~out], num_classes, penalty, starts[number], steps=30)
            starts[number] = weights
            losses[out] = losses_of(logistic(features[out], weights), labels[out])
        loss = float(losses.mean())
        log.debug("penalty %.3g: log-loss %.4f", penalty, loss)
        if loss > least:
            break
        best, least = penalty, loss
    return best


def folds_of(labels: np.ndarray, seed: int) -> Tensor:
    """Return the fold of each image, (N,), with every class spread over all folds."""
    if labels.ndim == 2:
        labels = rarest_label(labels)
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[by_class] = np.arange(len(labels)) % NUM_FOLDS
    return torch.from_numpy(fold)
