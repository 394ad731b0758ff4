"""Verb: Run -> one HTML page: the model's scores and mistakes, its settings, and how to repeat the training."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from snellen.charts import figures, pages
from snellen.errors import DataError, RunError
from snellen.images.folds import seen, warning_of
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.prediction.activation import activation_maps
from snellen.prediction.decide import decide_fairly
from snellen.prediction.evaluate import labelled, metric_for
from snellen.prediction.opening import opened, runtime_of
from snellen.prediction.predict import predict
from snellen.reports import run_page
from snellen.reports.augmented import augmentation
from snellen.reports.cards import cards, suspect_cards
from snellen.reports.run_images import images_of
from snellen.reports.several import mistakes_of_several
from snellen.runs.run import Run
from snellen.scoring.confusion import bins, class_rows, confusion_table, worst_pairs
from snellen.scoring.intervals import wilson_interval
from snellen.scoring.label_errors import label_errors
from snellen.scoring.metrics import METRICS, Metric
from snellen.scoring.scores import score
from snellen.system import files
from snellen.system.progress import Progress
from snellen.system.units import minutes, percent, size

log = logging.getLogger("snellen")

MOST_CARDS = 24  # pictures per section
MOST_CLASSES = 20  # classes in a legible confusion matrix
LOOK_SECONDS = 1.0  # between checks of a run; at least 1, as web servers distinguish versions by whole seconds
RELOAD_SECONDS = 5  # between reloads of a live page


def report(
    run: Run | str | Path,
    images: ImageSet | str | Path | None = None,
    *,
    out: str | Path = "report.html",
    split: str = "valid",
    views: int | None = None,
    device: str | None = None,
    live: bool = False,
    on_progress: Progress | None = None,
) -> Path:
    """Write one self-contained HTML page about a run.

    A finished run is scored on the labelled images of `split`; images: by default those of the run. The scores are
    those of `evaluate`, and the same run, images and machine always give the same bytes. The page of an unfinished run
    shows its curves, settings and progress, and does not need the images.
    live: rewrite the page after each epoch until the run finishes or Ctrl-C is pressed. The page reloads itself.
    Raises RunError if the folder has no run, DataError if images are missing, unlabelled or do not fit the model.
    """
    run, out = run if isinstance(run, Run) else Run.open(run), Path(out)
    pages.check_page(out, "report", ".html", owners=[run.folder])
    command = f"snellen report {run.folder}"
    if images is not None:
        images = images_of(run, images, command)  # refuse unsuitable images now, not when training has finished
        pages.check_page(out, "report", ".html", source=images.source, owners=[run.folder])
        labelled(images, split)
    if live and not run.finished:
        run = _follow(run, out)
    if not run.finished:
        notice = f"{_state(run)} Scores and pictures need the finished model. When it is finished, run {command}"
        _write(out, _unfinished(run, notice))
        return out
    try:
        images = images_of(run, images, command)
    except DataError as problem:
        if live:
            _write(out, _unfinished(run, f"The run has finished. Scores and pictures are missing: {problem.what}"))
        raise
    chosen = labelled(images, split)
    if not run.metrics:
        raise RunError(
            "the run has no metrics.",
            where=str(run.folder / "metrics.jsonl"),
            expected="a line for each epoch",
            do="restore a copy of the file, or train again into another folder",
        )
    found = predict(run, images, split=split, views=views, device=device, on_progress=on_progress).probabilities
    _write(out, _finished(run, images, chosen, found, split, device))
    return out


def _write(out: Path, page: str) -> None:
    files.write_text(out, page)
    log.info("report: %s, %s", out, size(out.stat().st_size))


def _follow(run: Run, out: Path) -> Run:
    """Rewrite the page after each epoch until the run finishes or Ctrl-C is pressed; return the latest run."""
    num_written = -1
    log.info(
        "%s is rewritten after each epoch until the run finishes; Ctrl-C stops the rewriting, not the training", out
    )
    try:
        while not run.finished:
            if len(run.metrics) > num_written:
                num_written = len(run.metrics)
                notice = f"{_state(run)} This page reloads itself. Scores and pictures follow at the end of training."
                files.write_text(out, _unfinished(run, notice, reload_seconds=RELOAD_SECONDS))
            time.sleep(LOOK_SECONDS)
            run = Run.open(run.folder)
    except KeyboardInterrupt:
        log.info("stopped following %s; its training is not affected", run.folder)
    return run


def _state(run: Run) -> str:
    return f"This run is unfinished: {len(run.metrics)} of {run.recipe.num_epochs} epochs are done."


def _unfinished(run: Run, notice: str, reload_seconds: int = 0) -> str:
    """Render the page of a run that does not have scores yet."""
    return pages.render(
        "unfinished.html",
        command="report",
        notices=[notice],
        reload_seconds=reload_seconds,
        images=f"Images: {run.about.get('data', 'unknown')}.",
        **run_page.heading(run),
        **run_page.progress(run),
        **run_page.training(run),
        **run_page.recipe(run),
    )


def _finished(run: Run, images: ImageSet, chosen: ImageSet, found: np.ndarray, split: str, device: str | None) -> str:
    """Render the page of a finished run.

    chosen: the labelled images of `split`; found: float (N, K), their probabilities.
    """
    trained_on = images.select(*run.about["on"].split("+"))
    if warning := warning_of(run.about, images, split):
        log.warning("%s", warning)
    model, values = opened(run), run_page.training(run)
    values["costs"] += [
        ("parameters", f"{model.num_parameters:,}"),
        ("model file", size(run.model.stat().st_size)),
        ("pixels of the training images", size(len(trained_on) * images.stored[0].nbytes)),
    ]
    decided = decide_fairly(found, chosen.labels, model.about, images.fingerprint, split)
    metric = metric_for(model, images, None)
    scores = score(found, chosen.labels, decided=decided, metric=metric)
    basis = f"The model did not train on these {len(chosen):,} {split} images."
    if seen(run.about, images, split) == "yes":
        basis = f"The model trained on these {split} images, so it rarely contradicts their labels."
    has_several, names = images.task.has_several, images.task.names
    if has_several:
        mistakes = mistakes_of_several(names, chosen, found, decided)
    else:
        mistakes = _classes(names, chosen, found, decided) | _mistakes(model, chosen, found, decided, device)
    return pages.render(
        "several.html" if has_several else "report.html",
        notices=[text for text in (warning, model.about.get("doubt", "")) if text],
        images=f"{images}.",
        scores=scores,
        metric=metric,
        correct="with exactly the right labels" if has_several else "correct",
        split=split,
        headline_facts=[*_accuracy(scores, metric), ("training time", minutes(sum(r["seconds"] for r in run.metrics)))],
        interval=wilson_interval,
        basis=basis,
        **run_page.heading(run),
        **values,
        **mistakes,
        **augmentation(run.recipe, trained_on),
        **run_page.recipe(run, images.fingerprint),
    )


def _accuracy(scores: dict[str, Any], metric: Metric) -> list[tuple[str, str]]:
    """Return the accuracy as a fact, if another metric heads the page."""
    accuracy = METRICS["accuracy"]
    text = f"{accuracy.show(scores['accuracy'])} ({accuracy.show_interval(scores['low'], scores['high'])})"
    return [] if metric is accuracy else [("accuracy", text)]


def _classes(names: tuple[str, ...], chosen: ImageSet, found: np.ndarray, decided: np.ndarray) -> dict[str, Any]:
    """Return the values of the sections on classes, confusions, calibration, doubtful images and suspected labels."""
    labels, guesses, confidence = chosen.labels, decided, found.max(axis=1)
    table = confusion_table(labels, guesses, len(names))
    classes = class_rows(table, names)
    many = len(names) > MOST_CLASSES
    if many:
        classes.sort(key=lambda row: row.accuracy)

    order = np.argsort(-found, axis=1, kind="stable")[:, :2]
    top = np.take_along_axis(found, order, axis=1)
    doubtful = np.argsort(top[:, 0] - top[:, 1], kind="stable")[:MOST_CARDS]
    suspects = label_errors(found, labels)

    both = [
        f"{names[a]} {percent(p, 1)} or {names[b]} {percent(q, 1)}"
        for (a, b), (p, q) in zip(order[doubtful], top[doubtful], strict=True)
    ]
    return {
        "names": names,
        "classes": classes[:MOST_CLASSES],
        "more_classes": classes[MOST_CLASSES:],
        "matrix": None if many else table.tolist(),
        "shades": None if many else pages.shades(table).tolist(),
        "pairs": worst_pairs(table, names),
        "reliability": figures.reliability(*bins(confidence, guesses == labels)),
        "doubtful": cards(chosen, doubtful, both),
        "num_suspects": len(suspects),
        "suspects": suspect_cards(chosen, suspects, found[suspects.index, suspects.suggested], MOST_CARDS),
    }


def _mistakes(
    model: Classifier, chosen: ImageSet, found: np.ndarray, decided: np.ndarray, device: str | None
) -> dict[str, Any]:
    """Return the values of the section on mistakes. Photographs also get a map of the evidence for each mistake."""
    labels, confidence = chosen.labels, found.max(axis=1)
    wrong = np.flatnonzero(decided != labels)
    firmest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_CARDS]
    remarks = [f"taken for {chosen.task.names[decided[i]]}, {percent(confidence[i], 1)}" for i in firmest]
    heats = None
    if chosen.are_photographs and len(firmest):
        maps = activation_maps(model, chosen.at(firmest), runtime_of(model, device))
        if maps is not None:
            rows = np.arange(len(firmest))
            heats = maps[rows, decided[firmest]] - maps[rows, labels[firmest]]
    return {"num_mistakes": len(wrong), "mistakes": cards(chosen, firmest, remarks, heats)}
