"""Verb: ImageSet + Recipe -> a run for each fold, and out-of-fold predictions for each labelled image."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from snellen.errors import RunError
from snellen.images.folds import fold, split_seed
from snellen.images.imageset import ImageSet
from snellen.images.labels import label_counts
from snellen.models.classifier import Classifier, check_model
from snellen.prediction.decide import cross_fitted, fit_rule
from snellen.prediction.evaluate import judged
from snellen.prediction.predict import predict
from snellen.prediction.predictions import Predictions
from snellen.runs.cross_validation import FOLDS, CrossValidation
from snellen.runs.recipe import Recipe
from snellen.runs.run import Epoch, Run
from snellen.scoring.learned import class_shares, judge
from snellen.scoring.metrics import Metric, MetricLike, stored
from snellen.scoring.scores import score
from snellen.system import files, processes
from snellen.system.contents import Contents
from snellen.system.folders import locked
from snellen.system.progress import Progress
from snellen.system.targets import check_folder
from snellen.training.choose_recipe import choose_recipe
from snellen.training.train import train

log = logging.getLogger("snellen")


def cross_validate(
    images: ImageSet | str | Path,
    recipe: Recipe | str | Path | None = None,
    out: str | Path = "folds",
    folds: int = 5,
    *,
    settings: Sequence[str] = (),
    metric: MetricLike | None = None,
    init: Classifier | str | Path | None = None,
    budget: float | None = None,
    device: str | None = None,
    checkpoint_seconds: float = 120.0,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_progress: Progress | None = None,
) -> CrossValidation:
    """Train one run for each fold, in `out`/fold-1 and so on; resume if `out` already holds this cross-validation.

    Each labelled image is a validation image in exactly one fold (see folds.py). out_of_fold.csv has the probabilities
    from the model of that fold, in the order of the images. They are calibrated by a temperature fitted on the same
    fold's valid images. The other arguments are as in `train`; budget covers all folds together.
    Raises RunError if the folder holds something else, DataError for an impossible number of folds.
    """
    images, judged_by = judged(images if isinstance(images, ImageSet) else ImageSet.open(images), metric)
    views = [fold(images, number, folds, split_seed(images)) for number in range(1, folds + 1)]
    chosen = choose_recipe(recipe, images, out, budget, settings=settings, folds=folds, device=device)
    check_model(chosen, images)
    fit = partial(
        train,
        recipe=chosen,
        metric=judged_by,
        init=init,
        device=device,
        checkpoint_seconds=checkpoint_seconds,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )
    about = {"fingerprint": images.fingerprint, "folds": folds, "seed": split_seed(images)} | stored(judged_by)
    with processes.joined(device), _recording(out, about) as cv:
        runs = []
        for number, (view, folder) in enumerate(zip(views, cv.folders, strict=True), start=1):
            log.info("fold %d of %d: %s -> %s", number, folds, _counts(view), folder)
            runs.append(fit(view, out=folder))
        if not processes.answer_of_first(cv.scores is not None and cv.predictions.exists()):
            together, results = _out_of_fold(images, judged_by, views, runs, device, on_progress)
            cv = CrossValidation(cv.folder, cv.about | results)
            processes.once(together.save, cv.predictions)
            processes.once(files.write_json, cv.folder / FOLDS, cv.about)  # written last: it marks the end
        log.info("%s", cv)
        if cv.doubt:
            log.warning("%s", cv.doubt)
    return cv


@contextlib.contextmanager
def _recording(out: str | Path, about: dict[str, Any]) -> Iterator[CrossValidation]:
    """Open or start the cross-validation in `out`, and lock its folder in the first of several processes.

    Raises RunError if the folder holds anything else, or if another command is using it.
    """
    if not processes.is_first():
        yield CrossValidation(Path(out), about)
        return
    cv = start_folds(out, about)
    with locked(cv.folder):
        yield cv


def start_folds(out: str | Path, about: dict[str, Any]) -> CrossValidation:
    """Open the cross-validation in `folder`, or start one. about: the content of folds.json.

    Raises RunError if the folder holds something else, or another cross-validation.
    """
    folder = Path(out)
    if not (folder / FOLDS).exists():
        check_folder(folder, Contents.FOLDS, "snellen train --folds")
        with locked(folder):  # two commands may start at the same time
            if not (folder / FOLDS).exists():
                files.write_json(folder / FOLDS, about)
    cv = CrossValidation.open(folder)
    there = stored(cv.metric) | cv.about  # earlier versions stored no metric
    if differing := [name for name in about if there[name] != about[name]]:
        before = {"fingerprint": "other images", "seed": f"folds by seed {cv.about['seed']}"}
        before |= {"folds": f"{cv.about['folds']} folds", "metric": f"another metric, {cv.metric.name}"}
        before |= {"greater_is_better": "another direction of the metric"}
        raise RunError(
            f"this folder holds a cross-validation with {before[differing[0]]}.",
            where=str(folder),
            expected=f"{about['folds']} folds of the same images by seed {about['seed']}, scored by {about['metric']}, "
            "to continue it",
            do="choose another --out, or repeat the settings of the first command",
        )
    return cv


def _out_of_fold(
    images: ImageSet,
    metric: Metric,
    views: list[ImageSet],
    runs: list[Run],
    device: str | None,
    on_progress: Progress | None,
) -> tuple[Predictions, dict[str, Any]]:
    """Return the out-of-fold predictions for the labelled images, and their scores, rule and doubt.

    The rule is for the average of the folds. It is fitted on all these predictions; their own labels are cross-fitted.
    doubt: a warning if they do not clearly beat the class shares (see learned.py).
    """
    tell = on_progress if processes.is_first() else None
    # Images of a class that cannot be split are used for training in every fold and validated in none.
    validated = np.flatnonzero(np.any([view.splits == "valid" for view in views], axis=0))
    if left_out := int((images.splits != "test").sum()) - len(validated):
        log.warning(
            "%d labelled images are in the training set of every fold, because their class cannot be split", left_out
        )
    guesses = np.empty((len(images), len(images.classes)), dtype=np.float32)
    for view, run in zip(views, runs, strict=True):
        valid = np.flatnonzero(view.splits == "valid")
        guesses[valid] = predict(run, view, split="valid", device=device, on_progress=tell).probabilities
    guesses, labels = guesses[validated], images.labels[validated]
    at_least_one = not images.task.allows_none
    decided = cross_fitted(guesses, labels, metric.name, at_least_one=at_least_one)
    by_fold = [
        score(guesses[here], labels[here], decided=decided[here], metric=metric)
        for here in ((view.splits == "valid")[validated] for view in views)
    ]
    scores = {"split": "out-of-fold", **score(guesses, labels, decided=decided, metric=metric), "folds": by_fold}
    predictions = Predictions(images.ids[validated], guesses, images.classes, decided)
    # The shares of all labelled images: each fold trains on almost the same.
    known = images.labels[images.splits != "test"]
    shares = class_shares(label_counts(known, len(images.classes)), len(known) if images.task.has_several else None)
    doubt = judge(guesses, labels, shares).warning
    rule = fit_rule(guesses, labels, metric.name, at_least_one=at_least_one)
    return predictions, {"scores": scores, "rule": rule, "doubt": doubt}


def _counts(view: ImageSet) -> str:
    return f"{view.counts['train']:,} images to train on, {view.counts['valid']:,} to validate"
