"""Thresholds, one per class, from which an image is predicted to have the class; fitted for a metric.

Calibrated probabilities make 0.5 the best threshold for the share of wrong decisions, but not for F1: the best one is
then at most half the best F1 (Lipton et al., "Optimal thresholding of classifiers to maximize F1 measure", 2014).
"""

import numpy as np

from snellen.scoring.metrics import MULTI_METRICS
from snellen.scoring.several_labels import f_of_images

BETAS = {"f1_samples": 1.0, "f2_samples": 2.0}
PRIOR = 20  # weight of the common threshold, in images that have the class
COMMON_PRIOR = 50  # weight of 0.5 in the common threshold, in images
CANDIDATES = np.r_[0.005, 0.01, 0.0175, np.arange(1, 40) / 40]
NUM_ROUNDS = 2  # over the classes, for metrics that combine the classes of an image
NOISE = 0.1  # differences below this / sqrt(images) are noise: all candidates that close to the best one are averaged


def fit_thresholds(probabilities: np.ndarray, labels: np.ndarray, metric: str) -> np.ndarray:
    """Return the thresholds, float64 (K,), that are best for a metric on these images.

    probabilities: float (N, K); labels: bool (N, K). Metrics that need no labels, and the Hamming loss, get 0.5. The
    others get one common threshold. For the mean F1 over classes or over images, each class moves from it towards its
    own best one: the more images have the class, the further.
    """
    num, num_classes = labels.shape
    if num == 0 or metric == "hamming_loss" or metric not in MULTI_METRICS or MULTI_METRICS[metric].needs != "labels":
        return np.full(num_classes, 0.5)
    common = best_common(probabilities, labels, metric)
    positives = labels.sum(axis=0)
    if metric == "f1_macro":
        own = np.array([_best_for_class(p, y) for p, y in zip(probabilities.T, labels.T, strict=True)])
    elif metric in BETAS:
        own = _best_for_images(probabilities, labels, common, BETAS[metric])
    else:
        return np.full(num_classes, common)
    return common + (own - common) * positives / (positives + PRIOR)


def best_common(probabilities: np.ndarray, labels: np.ndarray, metric: str) -> float:
    """Return the best threshold for all classes together, nearer to 0.5 if there are few images."""
    values = np.array([MULTI_METRICS[metric].function(labels, probabilities >= t) for t in CANDIDATES])
    best = best_of(np.nan_to_num(values, nan=-np.inf), NOISE / len(labels) ** 0.5)
    return 0.5 + (best - 0.5) * len(labels) / (len(labels) + COMMON_PRIOR)


def best_of(values: np.ndarray, noise: float) -> float:
    """Return the mean of the candidates whose value is within the noise of the best one. Greater is better."""
    return float(CANDIDATES[values >= values.max() - noise].mean())


def _best_for_class(column: np.ndarray, is_class: np.ndarray) -> float:
    """Return the threshold with the highest F1 of one class."""
    taken = column >= CANDIDATES[:, None]
    num = is_class.sum()
    return best_of(
        2 * (taken & is_class).sum(axis=1) / np.maximum(taken.sum(axis=1) + num, 1), NOISE / max(num, 1) ** 0.5
    )


def _best_for_images(probabilities: np.ndarray, labels: np.ndarray, common: float, beta: float) -> np.ndarray:
    """Return the thresholds for the mean F-beta of the images, by improving one class at a time, the others fixed."""
    num, num_classes = labels.shape
    thresholds, decided = np.full(num_classes, common), probabilities >= common
    taken = [column >= CANDIDATES[:, None] for column in probabilities.T]  # bool (candidates, N) for each class
    for _ in range(NUM_ROUNDS):
        for k in range(num_classes):
            with_class, without = decided.copy(), decided.copy()
            with_class[:, k], without[:, k] = True, False
            gains = f_of_images(labels, with_class, beta) - f_of_images(labels, without, beta)
            thresholds[k] = best_of(taken[k] @ gains / num, NOISE / num**0.5)
            decided[:, k] = probabilities[:, k] >= thresholds[k]
    return thresholds
