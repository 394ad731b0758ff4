"""Temperature: one number that makes stated probabilities agree with how often they are right."""

import numpy as np


def fit_temperature(guesses: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T in [0.05, 20] for which softmax(log(p) / T) has the least mean -ln(p of the label).

    guesses: float (N, classes), probabilities at temperature 1; labels: int (N,). Accuracy is not changed by it.
    Source: Guo et al., arXiv:1706.04599, section 4.2. The loss is convex in 1/T, so a golden-section search finds it.
    """
    logits = np.log(np.maximum(guesses.astype(np.float64), 1e-30))
    right = logits[np.arange(len(labels)), labels]

    def loss(inverse: float) -> float:
        scaled = logits * inverse
        top = scaled.max(axis=1)
        return float((np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top - right * inverse).mean())

    low, high, golden = 0.05, 20.0, (5**0.5 - 1) / 2
    for _ in range(60):  # each round keeps 0.618 of the interval: 20 * 0.618^60 < 1e-11
        a, b = high - golden * (high - low), low + golden * (high - low)
        if loss(a) < loss(b):
            high = b
        else:
            low = a
    return 2 / (low + high)
