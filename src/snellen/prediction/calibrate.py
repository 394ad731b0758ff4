"""Calibration: probabilities that match how often the model is right, and a limit beyond which a picture is unlike the
training images. Both are fitted on validation images."""

from collections.abc import Callable

import numpy as np

PRIOR = 20  # weight of a temperature of 1, in images
LOWEST, HIGHEST = 0.05, 20.0  # range of 1 / temperature
SCALE_SPREAD, SHIFT_SPREAD = 0.5, 0.5  # of the classes around their common sigmoid, before any image is seen
TYPICAL, LIMIT = 0.5, 0.05  # quantiles of the validation images' familiarity: strangeness 0 and strangeness 1


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return exp(logits / temperature), float32 (N, classes), each row scaled to sum to 1; computed in float64."""
    probabilities = np.empty(logits.shape, dtype=np.float32)
    at_once = max(1, 2**20 // logits.shape[1])  # so that float64 copies of millions of rows need little memory
    for start in range(0, len(logits), at_once):
        part = slice(start, start + at_once)
        scaled = logits[part].astype(np.float64) / temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities[part] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return t^(N / (N + PRIOR)), with t the best temperature of these N images: nearer to 1 if they are few.

    logits: float (N, classes); labels: int (N,). A few images are weak evidence: fitted on 3 images, t can triple the
    loss of a well-calibrated model on other images; the exponent limits the increase to 2% (lab-notes 2026-11-20).
    """
    return best_temperature(logits, labels) ** (len(labels) / (len(labels) + PRIOR))


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature in [0.05, 20] at which `softmax` has the lowest mean -ln(probability of the label).

    logits: float (N, classes); labels: int (N,). The temperature does not change which class is the most probable, but
    it changes the expected class, so the cut points of decide.py are fitted on calibrated probabilities.
    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2. The loss is convex in
    1/temperature, so a golden-section search finds its minimum.
    """
    logits = logits.astype(np.float64)
    right = logits[np.arange(len(labels)), labels]

    def loss(inverse: float) -> float:
        return float((_log_sum_exp(logits * inverse) - right * inverse).mean())

    return 1 / _lowest(loss)


def _lowest(loss: Callable[[float], float]) -> float:
    """Return the number in [LOWEST, HIGHEST] with the lowest loss, which must be convex."""
    low, high, golden = LOWEST, HIGHEST, (5**0.5 - 1) / 2
    for _ in range(60):  # each round keeps 0.618 of the interval: 20 * 0.618^60 < 1e-11
        a, b = high - golden * (high - low), low + golden * (high - low)
        if loss(a) < loss(b):
            high = b
        else:
            low = a
    return (low + high) / 2


def sigmoid(logits: np.ndarray, temperature: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-(logits / temperature + shift))), float32 (N, K), computed in float64.

    temperature, shift: float (K,).
    """
    found = np.empty(logits.shape, dtype=np.float32)
    at_once = max(1, 2**20 // logits.shape[1])
    for start in range(0, len(logits), at_once):
        part = slice(start, start + at_once)
        found[part] = _sigmoid(logits[part].astype(np.float64) / temperature + shift)
    return found


def fit_sigmoids(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (temperature, shift), float64 (K,) each: those of the best sigmoid for each class, shrunk if it is rare.

    logits: float (N, K); labels: bool (N, K). Every class starts from the temperature that suits all of them together
    and a shift of 0. Its own values minimise -sum ln(probability of the truth) + a penalty for leaving the start, which
    weighs like a few images: a class with few positives, few negatives, or only one of the two stays near the start.
    Source: Platt, "Probabilistic outputs for support vector machines", 1999, with a Gaussian prior instead of his
    smoothed targets.
    """
    logits = logits.astype(np.float64)
    common = best_common_scale(logits, labels) ** (len(labels) / (len(labels) + PRIOR))
    start = np.array([common, 0.0])
    strength = 1 / np.square([common * SCALE_SPREAD, SHIFT_SPREAD])
    fitted = np.array([_fit_sigmoid(z, y, start, strength) for z, y in zip(logits.T, labels.T, strict=True)])
    return 1 / fitted[:, 0], fitted[:, 1]


def best_common_scale(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the factor in [0.05, 20] of the logits at which all classes together have the lowest log-loss."""
    sign = np.where(labels, -1.0, 1.0) * logits

    def loss(scale: float) -> float:
        return float(np.logaddexp(0, sign * scale).mean())

    return _lowest(loss)


def _fit_sigmoid(z: np.ndarray, y: np.ndarray, start: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return (scale, shift) of one class by Newton's method on the convex loss; steps are halved until it falls."""
    inputs = np.stack([z, np.ones_like(z)])
    sign = np.where(y, -1.0, 1.0)

    def loss(values: np.ndarray) -> float:
        return float(np.logaddexp(0, sign * (values @ inputs)).sum() + (strength * (values - start) ** 2).sum() / 2)

    values, least = start, loss(start)
    for _ in range(50):
        p = _sigmoid(values @ inputs)
        slope = inputs @ (p - y) + strength * (values - start)
        curvature = (inputs * (p * (1 - p))) @ inputs.T + np.diag(strength)
        step = np.linalg.solve(curvature, slope)
        while loss(values - step) > least and np.abs(step).max() > 1e-9:
            step = step / 2
        values, before, least = values - step, least, loss(values - step)
        if before - least < 1e-9:
            break
    return np.array([min(max(values[0], LOWEST), HIGHEST), values[1]])


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -values))


def fit_directions(features: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean feature (D,) of the training images, and the directions (classes, D) from it to the class means.

    features: float (N, D); labels: int (N,), or bool (N, K). Directions have length 1, or 0 for a class without images.
    """
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    sums = np.zeros((num_classes, features.shape[1]))
    if labels.ndim == 2:
        sums += labels.T.astype(np.float64) @ (features - mean)
    else:
        np.add.at(sums, labels, features - mean)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return mean, np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)


def fit_familiar(familiarity: np.ndarray) -> tuple[float, float]:
    """Return (typical, limit) of the validation images' familiarity: the median, and the value that 5% fall below."""
    typical, limit = np.quantile(familiarity, [TYPICAL, LIMIT])
    return float(typical), float(limit)


def strangeness(familiarity: np.ndarray, typical: float, limit: float) -> np.ndarray:
    """Return float (N,): 0 for an image as familiar as the median validation image, above 1 if 95% are more familiar.

    Familiarity is the cosine between an image's features minus the mean feature, and the nearest class direction. The
    features of images like the training images gather around their class (Papyan et al., "Prevalence of neural
    collapse", arXiv:2008.08186); those of other images point elsewhere. Measured against the energy score of Liu et al.
    (arXiv:2010.03759), which rates noise as the most familiar; see the lab notes.
    If nothing was fitted (typical = limit), the result is nan: unknown.
    """
    return (typical - familiarity) / (typical - limit) if typical > limit else np.full(len(familiarity), np.nan)


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    top = values.max(axis=1)
    return top + np.log(np.exp(values - top[:, None]).sum(axis=1))
