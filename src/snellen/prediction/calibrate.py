"""What makes a model's statements honest: probabilities that agree with how often it is right, and a limit beyond which
a picture is unlike anything it was trained on. Both are fitted on validation images."""

import numpy as np

PRIOR = 20  # images that a temperature of 1 is worth
TYPICAL, LIMIT = 0.5, 0.05  # quantiles of the validation images' familiarity: strangeness 0 and strangeness 1


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """float32 (N, classes): exp(logits / temperature), each row scaled to sum to 1; computed in float64."""
    found = np.empty(logits.shape, dtype=np.float32)
    at_once = max(1, 2**20 // logits.shape[1])  # of millions of rows only some stand in memory as float64
    for start in range(0, len(logits), at_once):
        part = slice(start, start + at_once)
        scaled = logits[part].astype(np.float64) / temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        found[part] = powers / powers.sum(axis=1, keepdims=True)
    return found


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The best temperature t of these N images, but for few of them nearer to 1: t^(N / (N + PRIOR)).

    logits: float (N, classes); labels: int (N,). Few images say little: 3 of a well calibrated model can treble its
    loss on others, and with the exponent add 2% to it (lab-notes 2026-11-20).
    """
    return best_temperature(logits, labels) ** (len(labels) / (len(labels) + PRIOR))


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
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


def fit_directions(features: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean (D,), directions (classes, D)) of training images: from the mean of all features to that of each class.

    features: float (N, D). Directions have length 1, or 0 for a class without images.
    """
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    sums = np.zeros((num_classes, features.shape[1]))
    np.add.at(sums, labels, features - mean)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return mean, np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)


def fit_familiar(familiarity: np.ndarray) -> tuple[float, float]:
    """(typical, limit) of images that the model knows: the median, and the value that 5% of them fall below."""
    typical, limit = np.quantile(familiarity, [TYPICAL, LIMIT])
    return float(typical), float(limit)


def strangeness(familiarity: np.ndarray, typical: float, limit: float) -> np.ndarray:
    """float (N,): 0 for an image as familiar as the median validation image, above 1 beyond 95% of them.

    Familiarity is the cosine between an image's features, seen from the mean of all, and the nearest class direction:
    features of images like those trained on gather around their class (Papyan et al., "Prevalence of neural collapse",
    arXiv:2008.08186), others point elsewhere. Chosen in the lab notes over the energy score of Liu et al.,
    arXiv:2010.03759, which takes noise for the most familiar of all.
    Where nothing was fitted (typical = limit) it is nan: unknown.
    """
    return (typical - familiarity) / (typical - limit) if typical > limit else np.full(len(familiarity), np.nan)


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    top = values.max(axis=1)
    return top + np.log(np.exp(values - top[:, None]).sum(axis=1))
