"""Multinomial logistic regression on features: fitted exactly, its penalty chosen by cross-validation."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PENALTIES = tuple(10.0**power for power in (-4.5, -4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5))  # strongest last
NUM_FOLDS = 5
MAX_STEPS = 200  # of L-BFGS; a warm start needs 10 to 40


def fit_logistic(features: Tensor, labels: Tensor, num_classes: int, penalty: float, start: Tensor | None = None) -> Tensor:
    """Return float (K, D + 1), weights and bias, with the least mean cross-entropy + penalty / 2 * sum of weights^2.

    features: float (N, D), best with a spread near 1. labels: int64 (N,), or float (N, K). start: where to begin.
    The bias is free of the penalty. The loss is convex, so the answer does not depend on `start`.
    """
    weights = features.new_zeros(num_classes, features.shape[1] + 1) if start is None else start.clone()
    weights.requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=MAX_STEPS, history_size=10, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits(features, weights), labels) + penalty / 2 * weights[:, :-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def logits(features: Tensor, weights: Tensor) -> Tensor:
    """Return float (N, K) from features (N, D) and weights (K, D + 1)."""
    return F.linear(features, weights[:, :-1], weights[:, -1])
