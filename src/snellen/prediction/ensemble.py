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
from snellen.prediction.opening import Model, folds_of, runtime_of
from snellen.prediction.parts import in_parts
from snellen.prediction.pictures import Classified, classify
from snellen.scoring.metrics import METRICS_OF_KIND, Metric
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
    **how: Any,
) -> tuple[np.ndarray, Rule]:
    """Return the mean of the models' calibrated probabilities, float32 (N, classes), and its decision rule.

    Logs the gain of the mean over each model: on this split if it has labels and no model was trained on it, otherwise
    on valid images that no model was trained on. rule: the decision rule, if known; otherwise it is fitted on those
    valid images or, without any, is the mean of the models' rules. how: see `mean_and_scores`.
    """
    abouts = [model.about for _, model in models]
    metric = metric_of_rules([rule_of(model) for _, model in models]) or images.task.metric
    judged_by = METRICS_OF_KIND[images.task.kind].get(metric)
    mean, scores = mean_and_scores(models, images.select(split), judged_by, **how)
    unseen = [s for s in (split, "valid") if s in images.counts and all(seen(a, images, s) == "no" for a in abouts)]
    if split not in unseen:
        log.warning("some of these models were trained on %s images: their predictions there are overconfident", split)
    must_fit = rule is None and has_rule(metric, images.task.kind)
    valid_mean = mean if split == "valid" else None
    if "valid" in unseen and split != "valid" and (must_fit or not scores):
        valid_mean, valid_scores = mean_and_scores(models, images.select("valid"), judged_by, **how)
        if not scores:
            split, scores = "valid", valid_scores
    if scores and split in unseen:
        log_gains(models, scores, split, judged_by)
    else:
        log.info("the gain of the average is unknown: no labelled images are new to all %d models", len(models))
    if must_fit and "valid" in unseen and valid_mean is not None:
        labels = images.select("valid").labels
        rule = fit_rule(valid_mean, labels, metric, at_least_one=not images.task.allows_none)
    elif must_fit:
        rule = stand_in_rule(models, metric)
    return mean, rule or mean_rule([rule_of(model) for _, model in models])


def metric_of_rules(rules: Sequence[Rule]) -> str | None:
    """Return the metric that the first fitted rule is for; None if no rule was fitted."""
    return next((str(rule["metric"]) for rule in rules if is_fitted(rule)), None)


def stand_in_rule(models: Sequence[Named], metric: str) -> Rule:
    """Return a rule for an average that cannot fit its own, and warn: the mean of the models' rules if they are alike.

    An average over pictures, or of models that have seen all labelled images, has no images to fit a rule on.
    """
    rule = mean_rule([rule_of(model) for _, model in models])
    used = {"cut_points": "the mean of the models' cut points", "thresholds": "the mean of the models' thresholds"}
    log.warning(
        "the average has no decision rule of its own for %s, because there are no labelled images that are new to all "
        "%d models: it uses %s. On prepared images with a valid split it fits one, and so does train --folds",
        metric,
        len(models),
        used.get(rule["kind"], "the most probable class"),
    )
    return rule


def rule_for_pictures(model: Model | Sequence[Model], models: Sequence[Named]) -> Rule:
    """Return the decision rule for pictures without labels: that of the model or cross-validation, or a stand-in."""
    rules = [rule_of(one) for _, one in models]
    metric = metric_of_rules(rules) if len(models) > 1 else None
    return fold_rule(model) or (stand_in_rule(models, metric) if metric else mean_rule(rules))


def fold_rule(model: object) -> Rule | None:
    """Return the rule that a cross-validation fitted on its out-of-fold predictions, or None for other models."""
    folds = folds_of(model)
    return folds.about.get("rule") if folds else None


def mean_and_scores(
    models: Sequence[Named],
    chosen: ImageSet,
    metric: Metric | None,
    *,
    views: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    parts: Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the mean and, if there are labels, the scores of each model followed by those of the mean.

    The scores are of the default rule. parts: a folder for each model's probabilities; see `in_parts`.
    """
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
            scores.append(score(guesses, chosen.labels, metric=metric))
    mean = total / np.float32(len(models))
    if labelled:
        scores.append(score(mean, chosen.labels, metric=metric))
    return mean, scores


def log_gains(models: Sequence[Named], scores: Sequence[dict[str, Any]], split: str, metric: Metric | None) -> None:
    """Log the scores of each model and of their mean, which is last."""
    mean = scores[-1]
    for (name, _), one in zip(models, scores, strict=False):
        gain = mean["accuracy"] - one["accuracy"]
        log.info("%s: %s; the average gains %s points", name, _described(one, split, metric), points(gain))
    text = _described(mean, split, metric, f" on {mean['images']:,} images")
    log.info("average of %d models: %s", len(models), text)


def _described(scores: dict[str, Any], split: str, metric: Metric | None, basis: str = "") -> str:
    own = "" if metric is None or metric.is_shown_anyway else f"{metric.name} {metric.show(scores['value'])}, "
    return f"{split} {own}accuracy {percent(scores['accuracy'])}{basis}, log-loss {scores['log_loss']:.4f}"


def classify_by_all(
    models: Sequence[Named],
    pictures: Sequence[tuple[str, bytes | Path]],
    rule: Rule,
    *,
    views: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    on_progress: Progress | None = None,
) -> list[Classified]:
    """Classify named pictures with several models, averaging probabilities and strangeness; see `classify`.

    rule: decides the labels of the average; see `rule_for_pictures`.
    """
    by_model = [
        classify(model, pictures, runtime_of(model, device, precision), views=views, on_progress=on_progress)
        for _, model in models
    ]
    if len(by_model) == 1:
        return by_model[0]
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
