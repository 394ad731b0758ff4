"""The scores of a set of predictions, independent of the task's metric."""

import math
from typing import Any

import numpy as np

from snellen.scoring import several_labels as several
from snellen.scoring.confusion import NUM_BINS, bin_of
from snellen.scoring.formulas import log_loss
from snellen.scoring.intervals import wilson_interval
from snellen.scoring.metrics import MetricLike, metric_of


def score(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    decided: np.ndarray | None = None,
    metric: MetricLike | None = None,
) -> dict[str, Any]:
    """Return the scores of probabilities (N, K) and labels (N,), or bool (N, K) if several, as plain numbers.

    decided: the labels decided on, by default the most probable classes, or those of probability 0.5 and more.
    accuracy: the share of images whose decided labels are all right; low, high: its 95% interval (Wilson); log_loss:
    mean of -ln(probability of the label) of an image, in nats, over all its labels; calibration_error: see
    `calibration_error`. With a metric also metric, its name, and value, value_low and value_high; None if it is
    undefined for these images.
    """
    has_several = labels.ndim == 2
    if decided is None:
        decided = probabilities >= 0.5 if has_several else probabilities.argmax(axis=1)
    right = int(are_right(labels, decided).sum())
    low, high = wilson_interval(right, len(labels))
    scores: dict[str, Any] = {
        "images": len(labels),
        "right": right,
        "accuracy": right / len(labels),
        "low": low,
        "high": high,
        "log_loss": (several.log_loss if has_several else log_loss)(labels, probabilities),
        "calibration_error": calibration_error(probabilities, labels),
    }
    if metric is not None:
        chosen = metric_of(metric, "multi" if has_several else "single")
        measured = chosen.measure(labels, probabilities, decided)
        numbers = {"value": measured.value, "value_low": measured.low, "value_high": measured.high}
        scores |= {"metric": chosen.name}
        scores |= {name: None if math.isnan(number) else number for name, number in numbers.items()}
    return scores


def are_right(labels: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return bool (N,): whether each image is decided correctly, with all its labels. Inputs: (N,) or (N, K)."""
    return several.exact_matches(labels, decided) if labels.ndim == 2 else labels == decided


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Return the expected calibration error: mean gap between confidence and accuracy over equal bins of confidence.

    With several labels, every class of every image counts, with its probability.
    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, equation 3; 15 bins as there.
    """
    if labels.ndim == 2:
        return several.calibration_error(labels, probabilities, num_bins)
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    gaps = np.bincount(bin_of(confidence, num_bins), weights=right - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))
