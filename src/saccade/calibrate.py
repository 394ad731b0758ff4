"""What makes a model's statements honest: probabilities that agree with how often it is right, and a limit beyond which
a picture is unlike anything it was trained on. Both are fitted on validation images."""

import numpy as np

TYPICAL, LIMIT = 0.5, 0.99  # quantiles of the validation images' energies: strangeness 0 and strangeness 1


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """float32 (N, classes): exp(logits / temperature), each row scaled to sum to 1; computed in float64."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in [0.05, 20] at which `softmax` has the least mean -ln(probability of the label).

    logits: float (N, classes); labels: int (N,). Accuracy is not changed by it.
    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2. The loss is convex in
    1/temperature, so a golden-section search finds its least value.
    """
    logits = logits.astype(np.float64)
    right = logits[np.arange(len(labels)), labels]

    def loss(inverse: float) -> float:
        return float((_log_sum_exp(logits * inverse) - right * inverse).mean())

    low, high, golden = 0.05, 20.0, (5**0.5 - 1) / 2
    for _ in range(60):  # each round keeps 0.618 of the interval: 20 * 0.618^60 < 1e-11
        a, b = high - golden * (high - low), low + golden * (high - low)
        if loss(a) < loss(b):
            high = b
        else:
            low = a
    return 2 / (low + high)


def fit_energies(logits: np.ndarray) -> tuple[float, float]:
    """(typical, limit): the median energy of images that the model knows, and the one that 1% of them exceed."""
    typical, limit = np.quantile(-_log_sum_exp(logits.astype(np.float64)), [TYPICAL, LIMIT])
    return float(typical), float(limit)


def strangeness(logits: np.ndarray, typical: float, limit: float) -> np.ndarray:
    """float64 (N,): 0 for an image as familiar as the median validation image, above 1 beyond 99% of them.

    The energy -ln(sum(exp(logits))) on the scale of the two values of `fit_energies`: images unlike the training images
    excite no class much. Source: Liu et al., "Energy-based Out-of-distribution Detection", arXiv:2010.03759, section
    3.1. Where nothing was fitted (typical = limit) it is nan: unknown.
    """
    energy = -_log_sum_exp(logits.astype(np.float64))
    return (energy - typical) / (limit - typical) if limit > typical else np.full(len(logits), np.nan)


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    top = values.max(axis=1)
    return top + np.log(np.exp(values - top[:, None]).sum(axis=1))
