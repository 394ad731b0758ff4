"""Verb: ImageSet -> its problems: duplicates, leaks between splits, odd images, label errors."""

import logging
from pathlib import Path

import numpy as np

from snellen.charts import pages
from snellen.errors import DataError, RunError, first_few
from snellen.images import oddities
from snellen.images.choices import SPLITS
from snellen.images.duplicates import Pairs, exact_copies, joined, near_pairs
from snellen.images.folds import as_trained, seen
from snellen.images.imageset import ImageSet
from snellen.images.labels import label_counts, shown_labels
from snellen.prediction.predictions import Predictions
from snellen.reports.findings import ENDINGS, Findings, Group
from snellen.runs.run import Run
from snellen.scoring.label_errors import Suspects, label_errors
from snellen.scoring.scores import are_right, score
from snellen.system.progress import Progress
from snellen.system.units import percent

log = logging.getLogger("snellen")

FEWEST = 8  # images of a class, to judge labels without a run


def check(
    images: ImageSet | str | Path,
    *,
    run: Run | Predictions | str | Path | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Findings:
    """Search images for duplicates, leaks between splits, odd images, contradictory labels and likely label errors.

    run: a run on these images, to check the labels of the valid images; or out-of-fold predictions (or their .csv)
    for labelled images. If it is missing, only the labels of photographs are checked, with features of the packaged
    ImageNet network.
    out: a page with pictures (.html), all findings (.json) or the summary (.txt).
    The rules are in `duplicates`, `oddities` and `label_errors`.
    Raises DataError for predictions with other classes or ids, RunError for a run on other images.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    if out is not None:
        pages.check_page(Path(out), "check", *ENDINGS, source=images.source)
    pixels = images.stored if len(images) == len(images.stored) else images.pixels()
    copies = exact_copies(pixels)
    pairs = near_pairs(pixels, copies, on_progress=on_progress)
    groups = _groups(images, copies, pairs)
    odd = oddities.find(pixels, on_progress=on_progress)
    suspects, certainty, basis = None, None, ""
    if run is not None or _can_be_judged(images):
        guesses, index, basis = (
            _guesses_without_run(images, device, on_progress)
            if run is None
            else _guesses(images, run, device, on_progress)
        )
        within = label_errors(guesses, images.labels[index])
        certainty = guesses[within.index, within.suggested]
        suspects = Suspects(index[within.index], within.suggested, within.is_extra)
    findings = Findings(images, groups, pairs, odd, _counts(images), suspects, certainty, basis)
    if out is not None:
        findings.save(out)
    return findings


def _groups(images: ImageSet, copies: np.ndarray, pairs: Pairs) -> tuple[Group, ...]:
    repeated = np.flatnonzero(copies != np.arange(len(copies)))
    root = joined(len(copies), np.append(repeated, pairs.first), np.append(copies[repeated], pairs.second))
    order = np.argsort(root, kind="stable")
    starts = np.flatnonzero(np.diff(root[order], prepend=-1))
    found = []
    for index in np.split(order, starts[1:]):
        if len(index) < 2:
            continue
        known = index[images.has_label[index]]
        labels = np.unique(images.labels[known], axis=0)
        names = tuple(shown_labels(label, images.task.names) for label in labels)
        splits = tuple(split for split in SPLITS if (images.splits[index] == split).any())
        found.append(Group(index, len({*copies[index].tolist()}) == 1, splits, names))
    return tuple(sorted(found, key=lambda group: (-len(group.labels), -len(group.splits), -len(group.index))))


def _counts(images: ImageSet) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {name: {} for name in images.task.names}
    for split in images.counts:
        labels = images.labels[(images.splits == split) & images.has_label]
        for name, number in zip(images.task.names, label_counts(labels, len(images.classes)), strict=True):
            if len(labels):
                found[name][split] = int(number)
    return found


def _guesses(
    images: ImageSet, run: Run | Predictions | str | Path, device: str | None, on_progress: Progress | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return probabilities (n, K) of images the model has not seen, their positions, and a description."""
    if isinstance(run, (str, Path)) and Path(run).suffix == ".csv":
        run = Predictions.open(run)
    if isinstance(run, Predictions):
        index = _positions(images, run)
        return run.probabilities, index, f"Based on predictions for {len(index):,} labelled images."
    from snellen.prediction.predict import (
        predict,
    )  # imported here, so that a search for duplicates does not import torch

    run = run if isinstance(run, Run) else Run.open(run)
    run.check_finished()
    images = as_trained(images, run.about)
    if run.about["fingerprint"] != images.fingerprint:
        raise RunError(
            "the run was made with other images, so its training images may include these.",
            where=str(run.folder),
            expected=f"a run on {images.folder}",
            do="train on these images first, or omit --run",
        )
    if seen(run.about, images, "valid") == "yes":
        raise RunError(
            "the run was trained on all labelled images, so it cannot reveal errors in their labels.",
            where=str(run.folder),
            expected="a run made with --on train, or out-of-fold predictions",
            do="name a run that was validated",
        )
    guesses = predict(run, images, split="valid", device=device, on_progress=on_progress)
    index = np.flatnonzero(images.splits == "valid")
    agrees = percent(float(are_right(images.labels[index], guesses.labels).mean()), 1)
    basis = f"Based on the {len(index):,} valid images only, as {run.folder.name} was trained on the others; "
    basis += f"it agrees with {agrees} of their labels."
    return guesses.probabilities, index, basis


def _can_be_judged(images: ImageSet) -> bool:
    """Return whether labels can be checked without a run: of photographs, with a few images of two classes or more."""
    labels = images.labels[images.has_label & (images.splits != "test")]
    return images.are_photographs and int((label_counts(labels, len(images.classes)) >= FEWEST).sum()) > 1


def _guesses_without_run(
    images: ImageSet, device: str | None, on_progress: Progress | None
) -> tuple[np.ndarray, np.ndarray, str]:
    from snellen.training.doubted_labels import judged_without_run  # imports torch

    guesses, index = judged_without_run(images, device, on_progress)
    agrees = percent(score(guesses, images.labels[index])["accuracy"], 1)
    basis = (
        f"Based on {len(index):,} labelled images, each judged by a logistic regression on the others, on features of "
    )
    return guesses, index, basis + f"a network trained on ImageNet; it agrees with {agrees} of the labels."


def _positions(images: ImageSet, guesses: Predictions) -> np.ndarray:
    """Return the positions of the predicted images, int64 (n,). Raises DataError if they are not labelled images."""
    if guesses.classes != images.classes:
        raise DataError(
            f"the predictions have {len(guesses.classes)} classes, first {first_few(guesses.classes)}.",
            expected=f"the {len(images.classes)} classes of {images.folder}, first {first_few(images.classes)}",
            do="predict these images with a model trained on them",
        )
    place = {str(images.ids[i]): i for i in np.flatnonzero(images.has_label).tolist()}
    if unknown := [id for id in guesses.ids.tolist() if id not in place]:
        raise DataError(
            f"{len(unknown)} of {len(guesses)} predicted ids do not belong to a labelled image, first "
            f"{first_few(unknown)}.",
            expected=f"ids of labelled images in {images.folder}",
            do="name predictions for labelled images, made by models that were not trained on them",
        )
    return np.array([place[id] for id in guesses.ids.tolist()], dtype=np.int64)
