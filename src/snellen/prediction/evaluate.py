"""Model + labelled images -> scores."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from snellen.errors import DataError
from snellen.images.folds import as_trained, seen, warning_of
from snellen.images.imageset import UNLABELLED, ImageSet
from snellen.models.classifier import Classifier
from snellen.prediction.opening import check_fit, opened, runtime_of
from snellen.prediction.probabilities import probabilities
from snellen.runs.run import Run
from snellen.scoring.confusion import NUM_BINS, bin_of
from snellen.system import processes
from snellen.system.progress import Progress

log = logging.getLogger("snellen")


def evaluate(
    model: Run | Classifier | str | Path,
    images: ImageSet | str | Path,
    *,
    split: str = "valid",
    views: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores of a model on the labelled images of a split, as `score` gives them, with the split's name.

    The valid and train images of a fold's model are those of its fold. seen: "yes" or "perhaps" where the model was, or
    may have been, trained on these images, which is warned of as well.
    Raises DataError where the split has no labels or the model does not fit.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    model = opened(model)
    images = as_trained(images, model.about)
    chosen = labelled(images, split)
    check_fit(model, images)
    if warning := warning_of(model.about, images, split):
        log.warning("%s", warning)
    with processes.joined(device):
        runtime = runtime_of(model, processes.device_here(device), precision)
        guesses = probabilities(model, chosen, runtime, views=views, on_progress=on_progress)
    right = (guesses.argmax(axis=1) == chosen.labels).astype(np.int64)
    totals = np.bincount(chosen.labels, minlength=len(images.classes))
    hits = np.bincount(chosen.labels, weights=right, minlength=len(images.classes))
    by_class = {
        name: {"images": int(n), "accuracy": float(k / n)}
        for name, n, k in zip(images.classes, totals, hits, strict=True)
        if n
    }
    facts = {"split": split, "seen": seen(model.about, images, split)}
    return {**facts, **score(guesses, chosen.labels), "classes": by_class}


def describe_accuracy(scores: dict[str, Any]) -> str:
    """One line: the accuracy with its interval and the number of images."""
    return (
        f"{scores['split']} accuracy {100 * scores['accuracy']:.2f}% on {scores['images']:,} images "
        f"(95% interval {100 * scores['low']:.2f} to {100 * scores['high']:.2f}%)"
    )


def labelled(images: ImageSet, split: str) -> ImageSet:
    """The images of a split. Raises DataError where they have no labels."""
    chosen = images.select(split)
    if (chosen.labels == UNLABELLED).any():
        raise DataError(
            f"the {split} images have no labels.",
            where=str(images.folder),
            expected="a labelled split: train or valid",
            do="use --split valid; the test images are scored by the competition",
        )
    return chosen


def score(guesses: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What every score in this package is: from probabilities (N, classes) and labels (N,).

    accuracy: share of images whose most probable class is the label; low, high: its 95% interval (Wilson);
    log_loss: mean of -ln(probability of the label), in nats; calibration_error: see `calibration_error`.
    """
    right = int((guesses.argmax(axis=1) == labels).sum())
    low, high = wilson_interval(right, len(labels))
    chosen = guesses[np.arange(len(labels)), labels].astype(np.float64)
    return {
        "images": len(labels),
        "right": right,
        "accuracy": right / len(labels),
        "low": low,
        "high": high,
        "log_loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        "calibration_error": calibration_error(guesses, labels),
    }


def wilson_interval(right: int, num: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95% score interval of a share: Wilson, "Probable inference", J. Am. Stat. Assoc. 22 (1927)."""
    share, weight = right / num, z * z / num
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / num + weight / num / 4) / (1 + weight)
    # At none or all right the interval touches 0 or 1; rounding must not push it off.
    return (0.0 if right == 0 else centre - half), (1.0 if right == num else centre + half)


def calibration_error(guesses: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal bins of confidence.

    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, equation 3; 15 bins as there.
    """
    confidence = guesses.max(axis=1).astype(np.float64)
    right = guesses.argmax(axis=1) == labels
    gaps = np.bincount(bin_of(confidence, num_bins), weights=right - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))
