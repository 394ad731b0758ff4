"""Calibration: probabilities that match how often the model is right, and a limit beyond which a picture is unlike the
training images. Both are fitted on validation images."""

import numpy as np

PRIOR = 20  # weight of a temperature of 1, in images
TYPICAL, LIMIT = 0.5, 0.05  # quantiles of the validation images' familiarity: strangeness 0 and strangeness 1


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return exp(logits / temperature), float32 (N, classes), each row scaled to sum to 1; computed in float64."""
    found = np.empty(logits.shape, dtype=np.float32)
    at_once = max(1, 2**20 // logits.shape[1])  # so that float64 copies of millions of rows need little memory
    for start in range(0, len(logits), at_once):
        part = slice(start, start + at_once)
        scaled = logits[part].astype(np.float64) / temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        found[part] = powers / powers.sum(axis=1, keepdims=True)
    return found


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return t^(N / (N + PRIOR)), with t the best temperature of these N images: nearer to 1 if they are few.

    logits: float (N, classes); labels: int (N,). A few images are weak evidence: fitted on 3 images, t can triple the
    loss of a well-calibrated model on other images; the exponent limits the increase to 2% (lab-notes 2026-11-20).
    """
    return best_temperature(logits, labels) ** (len(labels) / (len(labels) + PRIOR))


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature in [0.05, 20] at which `softmax` has the lowest mean -ln(probability of the label).

    logits: float (N, classes); labels: int (N,). The temperature does not change the accuracy.
    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2. The loss is convex in
    1/temperature, so a golden-section search finds its minimum.
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
    """Return the mean feature (D,) of the training images, and the directions (classes, D) from it to the class means.

    features: float (N, D). Directions have length 1, or 0 for a class without images.
    """
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    sums = np.zeros((num_classes, features.shape[1]))
    np.add.at(sums, labels, features - mean)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return mean, np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)


def fit_familiar(familiarity: np.ndarray) -> tuple[float, float]:
    """Return (typical, limit) of the validation images' familiarity: the median, and the value that 5% fall below."""
    typical, limit = np.quantile(familiarity, [TYPICAL, LIMIT])
    return float(typical), float(limit)


def strangeness(familiarity: np.ndarray, typical: float, limit: float) -> np.ndarray:
    """Return float (N,): 0 for an image as familiar as the median validation image, above 1 if 95% are more familiar.

    Familiarity is the cosine between an image's features, seen from the mean of all, and the nearest class direction:
    features of images like those trained on gather around their class (Papyan et al., "Prevalence of neural collapse",
    arXiv:2008.08186), others point elsewhere. The lab notes prefer it to the energy score of Liu et al.,
    arXiv:2010.03759, which rates noise as the most familiar.
    If nothing was fitted (typical = limit), the result is nan: unknown.
    """
    return (typical - familiarity) / (typical - limit) if typical > limit else np.full(len(familiarity), np.nan)


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    top = values.max(axis=1)
    return top + np.log(np.exp(values - top[:, None]).sum(axis=1))
