"""Probabilities -> labels, by one rule: plain data, fitted on validation images and stored in the model file.

{"kind": "argmax"}                        the most probable class; of equal ones the first
{"kind": "cut_points", "metric": "qwk",   ordered classes: how many of the K - 1 ascending cuts lie below the expected
 "cuts": [c, ...]}                        class, sum of k p_k over the classes k = 0 ... K - 1; fitted for the metric
{"kind": "thresholds", "metric": ...,     several labels: each class whose probability reaches its threshold; if
 "thresholds": [t, ...],                  none does and every training image has a label, the most probable class;
 "at_least_one": true}                    fitted for the metric, see thresholds.py
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snellen.errors import RunError
from snellen.models.classifier import Classifier
from snellen.prediction.thresholds import fit_thresholds
from snellen.scoring.metrics import MULTI_METRICS
from snellen.task import Task

Rule = Mapping[str, Any]
ARGMAX: Rule = {"kind": "argmax"}
NUM_PARTS = 5  # the number of parts for cross-fitting
NUM_RESAMPLES = 25  # bootstrap samples whose cuts are averaged
PRIOR = 20  # weight of the cuts halfway between the classes, in images


def default_rule(task: Task) -> Rule:
    """Return the rule of a model without a fitted one."""
    if not task.has_several:
        return ARGMAX
    thresholds = [0.5] * len(task.classes)
    return {"kind": "thresholds", "metric": "", "thresholds": thresholds, "at_least_one": not task.allows_none}


def rule_of(model: Classifier) -> Rule:
    """Return a model's own rule."""
    return model.about.get("rule") or default_rule(model.task)


def decide(probabilities: np.ndarray, rule: Rule | None = None) -> np.ndarray:
    """Return the labels that a rule decides on for each row of probabilities (N, K): int64 (N,), or bool (N, K).

    Without a rule, the label is the most probable class. Raises RunError for a rule that does not fit.
    """
    kind = "argmax" if rule is None else rule.get("kind")
    if kind == "argmax":
        return probabilities.argmax(axis=1)
    if kind == "thresholds" and len((rule or {})["thresholds"]) == probabilities.shape[1]:
        return _above(probabilities, rule or {})
    cuts = np.array((rule or {}).get("cuts", []), dtype=np.float64)
    if kind != "cut_points" or len(cuts) != probabilities.shape[1] - 1 or not (np.diff(cuts) >= 0).all():
        raise RunError(
            f"the rule {dict(rule or {})} cannot decide between {probabilities.shape[1]} classes.",
            expected="argmax, ascending cut points, one fewer than there are classes, or a threshold for each class",
            do="train again, or predict with a model trained on these classes",
        )
    return cuts.searchsorted(expected_class(probabilities), side="left")


def _above(probabilities: np.ndarray, rule: Rule) -> np.ndarray:
    """Return the classes that reach their threshold, bool (N, K)."""
    chosen = probabilities >= np.array(rule["thresholds"], dtype=np.float64)
    if rule["at_least_one"]:
        empty = np.flatnonzero(~chosen.any(axis=1))
        chosen[empty, probabilities[empty].argmax(axis=1)] = True
    return chosen


def is_fitted(rule: Rule) -> bool:
    """Return whether a rule was fitted on images. Its score on the same images would be too high."""
    return bool(rule.get("metric"))


def has_rule(metric: str, kind: str = "single") -> bool:
    """Return whether a metric has a rule to fit for tasks of this kind. All others use the default rule."""
    if kind == "multi":
        return metric in MULTI_METRICS and MULTI_METRICS[metric].needs == "labels"
    return metric == "qwk"


def fit_rule(
    probabilities: np.ndarray, labels: np.ndarray, metric: str, *, at_least_one: bool = True
) -> dict[str, Any]:
    """Return the best rule for a metric on these images.

    labels: int (N,), or bool (N, K) if images have several; then at_least_one gives every image a label.
    """
    if labels.ndim == 2:
        thresholds = fit_thresholds(probabilities, labels, metric).tolist()
        fitted = metric if has_rule(metric, "multi") else ""
        return {"kind": "thresholds", "metric": fitted, "thresholds": thresholds, "at_least_one": at_least_one}
    if not has_rule(metric):
        return dict(ARGMAX)
    return {"kind": "cut_points", "metric": metric, "cuts": fit_cuts(probabilities, labels).tolist()}


def mean_rule(rules: Sequence[Rule]) -> Rule:
    """Return the rule for an average of models when none can be fitted: the mean of their cuts or thresholds."""
    for kind, values in (("cut_points", "cuts"), ("thresholds", "thresholds")):
        if all(rule["kind"] == kind for rule in rules):
            return {**rules[0], values: np.mean([rule[values] for rule in rules], axis=0).tolist()}
    return ARGMAX


def cross_fitted(
    probabilities: np.ndarray, labels: np.ndarray, metric: str, *, at_least_one: bool = True
) -> np.ndarray:
    """Return cross-fitted decisions, int64 (N,) or bool (N, K), for the images that a rule is fitted on.

    Each of five parts is decided by the rule fitted on the other four, so no label affects its own decision. The score
    estimates that on new images; the score of a rule on the images it was fitted on is too high.
    """
    has_several = labels.ndim == 2
    if not has_rule(metric, "multi" if has_several else "single"):
        return decide(probabilities, fit_rule(probabilities, labels, metric, at_least_one=at_least_one))
    decided = np.empty_like(labels, dtype=bool if has_several else np.int64)
    # Split class by class, so that each part gets its share of every class; with several labels, by the rarest one.
    order = rarest_label(labels) if has_several else labels
    shuffled = np.random.default_rng(0).permutation(len(labels))
    part = np.empty(len(labels), dtype=np.int64)
    part[shuffled[np.argsort(order[shuffled], kind="stable")]] = np.arange(len(labels)) % NUM_PARTS
    for number in range(NUM_PARTS):
        held_out = part == number
        rule = fit_rule(probabilities[~held_out], labels[~held_out], metric, at_least_one=at_least_one)
        decided[held_out] = decide(probabilities[held_out], rule)
    return decided


def rarest_label(labels: np.ndarray) -> np.ndarray:
    """Return the rarest label of each image, int (N,); -1 for images without labels. labels: bool (N, K)."""
    counts = np.where(labels, labels.sum(axis=0), len(labels) + 1)
    return np.where(labels.any(axis=1), counts.argmin(axis=1), -1)


def decide_fairly(
    probabilities: np.ndarray, labels: np.ndarray, about: Mapping[str, Any], fingerprint: str, split: str
) -> np.ndarray:
    """Return the decisions, int64 (N,) or bool (N, K), by which a model (its `about`) is scored on a split of images.

    They follow the model's rule. If the rule was fitted on the same images, the decisions are cross-fitted.
    """
    rule = about.get("rule") or default_rule(Task.from_dict(about.get("classes", ()), about.get("task")))
    is_fitted_here = split == "valid" and about.get("on") == "train" and about.get("fingerprint") == fingerprint
    if is_fitted(rule) and is_fitted_here:
        return cross_fitted(probabilities, labels, rule["metric"], at_least_one=rule.get("at_least_one", True))
    return decide(probabilities, rule)


def expected_class(probabilities: np.ndarray) -> np.ndarray:
    """Return the expected class, sum of k p_k, from 0 to K - 1, float64 (N,)."""
    expected, classes = np.empty(len(probabilities)), np.arange(probabilities.shape[1], dtype=np.float64)
    at_once = max(1, 2**20 // len(classes))  # so that float64 copies of millions of rows need little memory
    for start in range(0, len(probabilities), at_once):
        part = slice(start, start + at_once)
        expected[part] = probabilities[part].astype(np.float64) @ classes
    return expected


def fit_cuts(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ascending cut points, float64 (K - 1,), of the expected class for the highest quadratic weighted kappa.

    They are the mean of the best cuts of 25 bootstrap samples, moved towards the points halfway between the classes if
    there are few images. Both improve the score on new images (lab notes 2026-11-24).
    """
    num, halfway = len(labels), np.arange(probabilities.shape[1] - 1) + 0.5
    if num == 0:
        return halfway
    expected, draw, best = expected_class(probabilities), np.random.default_rng(0), []
    for _ in range(NUM_RESAMPLES):
        rows = draw.integers(0, num, num)
        best.append(best_cuts(expected[rows], labels[rows], halfway))
    return halfway + (np.mean(best, axis=0) - halfway) * num / (num + PRIOR)


def best_cuts(expected: np.ndarray, labels: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the ascending cuts of the expected class (N,) with the highest kappa for labels (N,), starting from cuts.

    With y the labels, d the decisions and m the mean label, kappa = 2 sum(d (y - m)) / sum(y^2 + d^2 - 2 m d). Both
    sums are sums over the cuts: for the images above cut j (from 1), d grows by 1 and d^2 by 2 j - 1. The ratio is
    raised by maximising numerator - kappa * denominator until kappa stops growing. This chooses each cut independently,
    and the chosen cuts ascend. Source of the method: Dinkelbach, "On nonlinear fractional programming",
    Management Science 13 (1967).
    """
    order = np.argsort(expected, kind="stable")
    values, y = expected[order], labels[order].astype(np.float64)
    num, mean, squares = len(y), y.mean(), float(y @ y)
    # A cut lies before position p of the sorted images: all from p on are above it. Equal values are not separated.
    positions = np.flatnonzero(np.r_[True, values[1:] > values[:-1], True])
    num_above = num - positions
    gains = np.r_[0, np.cumsum((y - mean)[::-1])][::-1][positions]  # sum of (y - m) above each position
    steps = 2 * np.arange(1, len(start) + 1) - 1
    chosen = np.searchsorted(values[positions[:-1]], start, side="right") if len(start) else np.array([], dtype=int)
    kappa = -np.inf
    while True:
        top = 2 * gains[chosen].sum()
        bottom = squares + ((steps - 2 * mean) * num_above[chosen]).sum()
        if bottom <= 0 or top / bottom <= kappa + 1e-12:
            break
        kappa, cuts = max(top / bottom, 0.0), chosen  # below 0 the cuts would not ascend
        worth = 2 * gains - kappa * np.multiply.outer(steps - 2 * mean, num_above)
        chosen = worth.argmax(axis=1)
    if kappa == -np.inf:
        return start
    padded = np.r_[0.0, values, len(start)]
    place = positions[cuts]
    return (padded[place] + padded[place + 1]) / 2
