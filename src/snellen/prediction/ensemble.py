"""Several models as one: the mean of their probabilities, and what it gains over each."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from snellen.images.folds import seen
from snellen.images.imageset import UNLABELLED, ImageSet
from snellen.models.classifier import Classifier
from snellen.prediction.opening import place_of
from snellen.prediction.parts import in_parts
from snellen.prediction.pictures import Classified, classify
from snellen.scoring.scores import score
from snellen.system import processes
from snellen.system.progress import Progress

log = logging.getLogger("snellen")

Named = tuple[str, Classifier]  # the name is for people


def average(
    models: Sequence[Named],
    images: ImageSet,
    split: str,
    *,
    views: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    parts: Path | None = None,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """float32 (N, classes), rows in the order of the split: the mean of what the models say, each calibrated by itself.

    Logs what the mean gains over each model, on this split where it has labels that no model was trained on, otherwise
    on the valid images where no model was trained on those. parts: a folder for what each model says; see `in_parts`.
    """
    mean, scores = _average(models, images.select(split), views, device, precision, parts, on_progress)
    abouts = [model.about for _, model in models]
    unseen = [s for s in (split, "valid") if s in images.counts and all(seen(a, images, s) == "no" for a in abouts)]
    if split not in unseen:
        log.warning("models among these were trained on %s images: what they say of those is too sure", split)
    elif not scores and "valid" in unseen:
        split = "valid"
        _, scores = _average(models, images.select(split), views, device, precision, parts, on_progress)
    if scores and split in unseen:
        _say(models, scores, split)
    else:
        log.info("what the average gains is not known: no labelled images are new to all %d models", len(models))
    return mean


def _average(
    models: Sequence[Named],
    chosen: ImageSet,
    views: int | None,
    device: str | None,
    precision: str | None,
    parts: Path | None,
    on_progress: Progress | None,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The mean, and where there are labels the scores of each model and, last, of the mean."""
    labelled = bool((chosen.labels != UNLABELLED).all())
    total, scores, why = np.zeros((len(chosen), len(models[0][1].classes)), dtype=np.float32), [], ""
    for number, (_, model) in enumerate(models):

        def tell(stage: str, done: int, num: int, before: int = number) -> None:
            if on_progress:
                on_progress(stage, before * num + done, len(models) * num)

        place = place_of(model, processes.device_here(device), precision)
        if place.why != why:
            log.info("%s", place.why)
            why = place.why
        guesses = in_parts(model, chosen, place, parts, views=views, on_progress=tell)
        total += guesses
        if labelled:
            scores.append(score(guesses, chosen.labels))
    mean = total / np.float32(len(models))
    if labelled:
        scores.append(score(mean, chosen.labels))
    return mean, scores


def _say(models: Sequence[Named], scores: Sequence[dict[str, Any]], split: str) -> None:
    mean = scores[-1]
    for (name, _), one in zip(models, scores, strict=False):
        log.info(
            "%s: %s accuracy %.2f%%, log-loss %.4f; the average gains %+.2f points",
            name,
            split,
            100 * one["accuracy"],
            one["log_loss"],
            100 * (mean["accuracy"] - one["accuracy"]),
        )
    log.info(
        "average of %d models: %s accuracy %.2f%% on %d images, log-loss %.4f",
        len(models),
        split,
        100 * mean["accuracy"],
        mean["images"],
        mean["log_loss"],
    )


def classify_by_all(
    models: Sequence[Named],
    pictures: Sequence[tuple[str, bytes | Path]],
    *,
    views: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    on_progress: Progress | None = None,
) -> list[Classified]:
    """What the models say together of named pictures: means of probabilities and of strangeness; see `classify`."""
    by_model = [
        classify(model, pictures, place_of(model, device, precision), views=views, on_progress=on_progress)
        for _, model in models
    ]
    if len(by_model) == 1:
        return by_model[0]
    return [_together(said) for said in zip(*by_model, strict=True)]


def _together(said: Sequence[Classified]) -> Classified:
    if said[0].problem:
        return said[0]
    found = [one.probabilities for one in said if one.probabilities is not None]
    return replace(
        said[0],
        probabilities=np.stack(found).mean(axis=0),
        strangeness=math.fsum(one.strangeness for one in said) / len(said),
    )
