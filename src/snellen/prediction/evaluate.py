"""Model + labelled images -> scores."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from snellen.errors import DataError
from snellen.images.folds import as_trained, seen, warning_of
from snellen.images.imageset import ImageSet
from snellen.images.labels import label_counts
from snellen.models.classifier import Classifier
from snellen.prediction.decide import decide_fairly
from snellen.prediction.opening import check_fit, opened, runtime_of
from snellen.prediction.probabilities import probabilities
from snellen.runs.run import Run
from snellen.scoring.confusion import num_hits
from snellen.scoring.metrics import METRICS_OF_KIND, Metric, MetricLike, check_metric, metric_of, stored_metric
from snellen.scoring.scores import score
from snellen.scoring.several_mistakes import label_rows
from snellen.system import processes
from snellen.system.progress import Progress
from snellen.system.units import percent, percents

log = logging.getLogger("snellen")


def evaluate(
    model: Run | Classifier | str | Path,
    images: ImageSet | str | Path,
    *,
    split: str = "valid",
    metric: MetricLike | None = None,
    views: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the scores of a model on the labelled images of a split, as in `score`, and the name of the split.

    metric: a name of `snellen.scoring.metrics.METRICS`, or a callable (labels, probabilities) -> float; by default see
    `metric_for`. The valid and train images of a fold's model are those of its fold.
    seen: "yes" or "perhaps" if the model was, or may have been, trained on these images; this also logs a warning.
    Raises DataError if the split has no labels, or if the model or the metric does not fit the images.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    model = opened(model)
    images = as_trained(images, model.about)
    chosen_metric = metric_for(model, images, metric)
    chosen = labelled(images, split)
    check_fit(model, images)
    if warning := warning_of(model.about, images, split):
        log.warning("%s", warning)
    with processes.joined(device):
        runtime = runtime_of(model, processes.device_here(device), precision)
        guesses = probabilities(model, chosen, runtime, views=views, on_progress=on_progress)
    decided = decide_fairly(guesses, chosen.labels, model.about, images.fingerprint, split)
    by_class = figures_by_class(images.classes, chosen.labels, decided, guesses)
    if images.task.display_names:
        by_class = {label: {"name": images.task.display(label)} | figures for label, figures in by_class.items()}
    facts = {"split": split, "seen": seen(model.about, images, split)}
    scores = score(guesses, chosen.labels, decided=decided, metric=chosen_metric)
    return {**facts, **scores, "classes": by_class}


def judged(images: ImageSet, metric: MetricLike | None) -> tuple[ImageSet, Metric]:
    """Return the images with this metric in their Task, and the metric; by default the one they have.

    A callable stays out of the Task, because files cannot hold it. Raises SnellenError for an unknown metric, DataError
    for one that does not fit the classes.
    """
    chosen = metric_of(images.task.metric if metric is None else metric, images.task.kind)
    check_metric(chosen, images.classes)
    is_stored_by_name = metric is not None and METRICS_OF_KIND[images.task.kind].get(chosen.name) is chosen
    return (images.scored_by(chosen.name) if is_stored_by_name else images), chosen


def metric_for(model: Classifier, images: ImageSet, metric: MetricLike | None) -> Metric:
    """Return the metric to score a model by.

    By default the one it was trained for, if it was trained on these images, otherwise the one of the images' Task.
    """
    is_own = model.about.get("fingerprint") == images.fingerprint and "task" in model.about
    return judged(images, model.task.metric if metric is None and is_own else metric)[1]


def figures_by_class(
    classes: tuple[str, ...], labels: np.ndarray, decided: np.ndarray, guesses: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Return the figures of each class that has images; several labels also have precision, f1 and auc.

    The accuracy of a class is the share of its images that are predicted to have it (its recall).
    """
    totals, hits = label_counts(labels, len(classes)), num_hits(labels, decided, len(classes))
    found: dict[str, dict[str, Any]] = {
        name: {"images": int(n), "accuracy": float(k / n)}
        for name, n, k in zip(classes, totals, hits, strict=True)
        if n
    }
    for row in label_rows(labels, decided, guesses, classes) if labels.ndim == 2 else ():
        if row.name in found:
            found[row.name] |= {"precision": row.precision, "f1": row.f1, "auc": row.auc}
    return found


def describe_accuracy(scores: dict[str, Any]) -> str:
    """Return one line with the accuracy, its interval and the number of images."""
    return (
        f"{scores['split']} accuracy {percent(scores['accuracy'])} on {scores['images']:,} images "
        f"(95% interval {percents(scores['low'], scores['high'])})"
    )


def describe_metric(scores: dict[str, Any]) -> str:
    """Return one line with the competition's metric and its interval, or "" if the metric is the accuracy."""
    name = scores.get("metric", "accuracy")
    if name == "accuracy":
        return ""
    if scores["value"] is None:
        return f"{scores['split']} {name} is undefined on these {scores['images']:,} images"
    metric = stored_metric(scores)
    interval = metric.show_interval(scores["value_low"], scores["value_high"])
    value = metric.show(scores["value"])
    return f"{scores['split']} {name} {value} on {scores['images']:,} images (95% interval {interval})"


def labelled(images: ImageSet, split: str) -> ImageSet:
    """Return the images of a split. Raises DataError if they have no labels."""
    chosen = images.select(split)
    if not chosen.has_label.all():
        raise DataError(
            f"the {split} images have no labels.",
            where=str(images.folder),
            expected="a labelled split: train or valid",
            do="use --split valid; the test images are scored by the competition",
        )
    return chosen
