"""ImageSet -> a run for each fold, and predictions for every labelled image by a model that had not seen it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from snellen.images.folds import fold, split_seed
from snellen.images.imageset import ImageSet
from snellen.prediction.evaluate import score
from snellen.prediction.predict import predict
from snellen.prediction.predictions import Predictions
from snellen.runs.cross_validation import CrossValidation
from snellen.runs.run import Run
from snellen.system import processes
from snellen.system.folders import locked
from snellen.system.progress import Progress

log = logging.getLogger("snellen")


def cross_validate(
    images: ImageSet,
    out: str | Path,
    num_folds: int,
    fit: Callable[[ImageSet, Path], Run],
    *,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> CrossValidation:
    """Train each fold by `fit(its images, its folder)`, one after the other; go on where this stopped before.

    Each labelled image validates in exactly one fold. What its model says of it stands in out_of_fold.csv, in the order
    of the images. Probabilities are calibrated by a temperature (one number) fitted on the fold's own valid images.
    Raises RunError for a folder with something else.
    """
    views = [fold(images, number, num_folds, split_seed(images)) for number in range(1, num_folds + 1)]
    begin = CrossValidation.start if processes.rank() == 0 else CrossValidation.of  # the first process writes
    found = begin(out, images, num_folds)
    with processes.in_first(locked(found.folder)):
        runs = []
        for number, (view, folder) in enumerate(zip(views, found.folders, strict=True), start=1):
            log.info("fold %d of %d: %s -> %s", number, num_folds, _counts(view), folder)
            runs.append(fit(view, folder))
        if processes.first_says(bool(found.scores) and found.predictions.exists()):
            log.info("%s", found)
            return found
        labelled = np.flatnonzero(images.splits != "test")
        guesses = np.empty((len(images), len(images.classes)), dtype=np.float32)
        by_fold: list[dict[str, Any]] = []
        for view, run in zip(views, runs, strict=True):
            valid = np.flatnonzero(view.splits == "valid")
            guesses[valid] = predict(run, view, split="valid", device=device, on_progress=on_progress).probabilities
            by_fold.append(score(guesses[valid], images.labels[valid]))
        together = Predictions(images.ids[labelled], guesses[labelled], images.classes)
        processes.once(together.save, found.predictions)
        scores = {"split": "out-of-fold", **score(guesses[labelled], images.labels[labelled]), "folds": by_fold}
        found = found.with_scores(scores)
        processes.once(found.save)
        log.info("%s", found)
        return found


def _counts(view: ImageSet) -> str:
    return f"{view.counts['train']:,} images to train on, {view.counts['valid']:,} to validate"
