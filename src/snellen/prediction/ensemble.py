"""Ensembles: the mean of several models' probabilities, its decision rule, and its gain over each model."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from snellen.images.folds import seen
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.prediction.decide import Rule, decide, fit_rule, has_rule, is_fitted, mean_rule, rule_of
from snellen.prediction.opening import runtime_of
from snellen.prediction.parts import in_parts
from snellen.prediction.pictures import Classified, classify
from snellen.runs.cross_validation import FOLDS, CrossValidation
from snellen.scoring.scores import score
from snellen.system import processes
from snellen.system.progress import Progress
from snellen.system.units import percent, points

log = logging.getLogger("snellen")

Named = tuple[str, Classifier]  # the name is for display


def average(
    models: Sequence[Named],
    images: ImageSet,
    split: str,
    *,
    rule: Rule | None = None,
    views: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    parts: Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[np.ndarray, Rule]:
    """Return the mean of the models' calibrated probabilities, float32 (N, classes), and its decision rule.

    Logs the gain of the mean over each model: on this split if it has labels and no model was trained on it, otherwise
    on valid images that no model was trained on. rule: the decision rule, if known; otherwise it is fitted on those
    valid images or, without any, is the mean of the models' rules. parts: a folder for each model's probabilities; see
    `in_parts`.
    """
    mean, scores = mean_and_scores(models, images.select(split), views, device, precision, parts, on_progress)
    abouts = [model.about for _, model in models]
    unseen = [s for s in (split, "valid") if s in images.counts and all(seen(a, images, s) == "no" for a in abouts)]
    if split not in unseen:
        log.warning("some of these models were trained on %s images: their predictions there are overconfident", split)
    rules = [rule_of(model) for _, model in models]
    metric = next((str(one["metric"]) for one in rules if is_fitted(one)), images.task.metric)
    must_fit = rule is None and has_rule(metric, images.task.kind)
    valid_mean = mean if split == "valid" else None
    if "valid" in unseen and split != "valid" and (must_fit or not scores):
        valid = images.select("valid")
        valid_mean, valid_scores = mean_and_scores(models, valid, views, device, precision, parts, on_progress)
        if not scores:
            split, scores = "valid", valid_scores
    if scores and split in unseen:
        log_gains(models, scores, split)
    else:
        log.info(
            "the gain of the average is unknown: no labelled images are new to all %d models",
            len(models),
        )
    if must_fit and "valid" in unseen and valid_mean is not None:
        labels = images.select("valid").labels
        rule = fit_rule(valid_mean, labels, metric, at_least_one=not images.task.allows_none)
    elif must_fit:
        rule = mean_rule(rules)
        log.warning("the decision rule of the average is the mean of the models' rules: no valid images are new to all")
    return mean, rule or mean_rule(rules)


def fold_rule(model: object) -> Rule | None:
    """Return the rule that a cross-validation fitted on its out-of-fold predictions, or None for other models."""
    if isinstance(model, str | Path) and (Path(model) / FOLDS).exists():
        model = CrossValidation.open(model)
    return model.about.get("rule") if isinstance(model, CrossValidation) else None


def mean_and_scores(
    models: Sequence[Named],
    chosen: ImageSet,
    views: int | None,
    device: str | None,
    precision: str | None,
    parts: Path | None,
    on_progress: Progress | None,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the mean and, if there are labels, the scores of each model followed by those of the mean."""
    labelled = bool(chosen.has_label.all())
    total, scores, why = np.zeros((len(chosen), len(models[0][1].classes)), dtype=np.float32), [], ""
    for number, (_, model) in enumerate(models):

        def tell(stage: str, done: int, num: int, before: int = number) -> None:
            if on_progress:
                on_progress(stage, before * num + done, len(models) * num)

        runtime = runtime_of(model, processes.device_here(device), precision)
        if runtime.why != why:
            log.info("%s", runtime.why)
            why = runtime.why
        guesses = in_parts(model, chosen, runtime, parts, views=views, on_progress=tell)
        total += guesses
        if labelled:
            scores.append(score(guesses, chosen.labels))
    mean = total / np.float32(len(models))
    if labelled:
        scores.append(score(mean, chosen.labels))
    return mean, scores


def log_gains(models: Sequence[Named], scores: Sequence[dict[str, Any]], split: str) -> None:
    """Log the scores of each model and of their mean, which is last."""
    mean = scores[-1]
    for (name, _), one in zip(models, scores, strict=False):
        log.info(
            "%s: %s accuracy %s, log-loss %.4f; the average gains %s points",
            name,
            split,
            percent(one["accuracy"]),
            one["log_loss"],
            points(mean["accuracy"] - one["accuracy"]),
        )
    log.info(
        "average of %d models: %s accuracy %s on %s images, log-loss %.4f",
        len(models),
        split,
        percent(mean["accuracy"]),
        f"{mean['images']:,}",
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
    """Classify named pictures with several models, averaging probabilities and strangeness; see `classify`."""
    by_model = [
        classify(model, pictures, runtime_of(model, device, precision), views=views, on_progress=on_progress)
        for _, model in models
    ]
    if len(by_model) == 1:
        return by_model[0]
    rule = mean_rule([rule_of(model) for _, model in models])
    return [mean_of(answers, rule) for answers in zip(*by_model, strict=True)]


def mean_of(answers: Sequence[Classified], rule: Rule) -> Classified:
    """Return the mean of several models' predictions for one picture, decided by a rule."""
    if answers[0].problem:
        return answers[0]
    mean = np.stack([one.probabilities for one in answers if one.probabilities is not None]).mean(axis=0)
    [decided] = decide(mean[None], rule)
    return replace(
        answers[0],
        probabilities=mean,
        decided=decided if decided.ndim else int(decided),
        strangeness=math.fsum(one.strangeness for one in answers) / len(answers),
    )
