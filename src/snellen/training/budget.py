"""A time budget -> a Recipe whose training takes that long on this machine."""

import itertools
import logging
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from snellen.errors import RunError
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier, build_model
from snellen.prediction.probabilities import probabilities
from snellen.runs.cross_validation import fold_folder
from snellen.runs.presets import CURVES, CURVES_IMAGES, CURVES_VALID, DEFAULT, PRESETS
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.run import Run
from snellen.system import processes, runtime
from snellen.system.units import minutes
from snellen.training.loader import Batches
from snellen.training.optim import Optimizer

log = logging.getLogger("snellen")

MEASURE_SECONDS = 2.0  # of training steps, for each phase of each recipe
PREDICTED = 500  # images
MEASURE_SHARE = 0.02  # of the budget, at most, where that is less
MOST_EPOCHS = 200  # more add nothing that was ever measured
CALIBRATION = 10_000  # images, about, that the end of a training looks at once more
SPARE = 0.02  # share of the budget that is not planned: machines slow down more often than they speed up


@dataclass(frozen=True)
class Pace:
    """How fast a machine works through a recipe's images."""

    train_seconds: float  # per image trained on, at the recipe's mix of image sizes
    predict_seconds: float  # per image classified, with the recipe's views

    def __str__(self) -> str:
        return f"{1 / self.train_seconds:,.0f} images/s in training, {1 / self.predict_seconds:,.0f} in validation"


@dataclass(frozen=True)
class Work:
    """What has to be done, in images."""

    trained: int  # that one epoch goes over, in all trainings together
    scored: int  # classified after each epoch
    predicted: int  # classified once, at the end

    def seconds(self, pace: Pace, epochs: float) -> float:
        predicted = math.ceil(epochs) * self.scored + self.predicted
        return pace.train_seconds * epochs * self.trained + pace.predict_seconds * predicted

    def epochs(self, pace: Pace, seconds: float) -> float:
        """The most that end in time, to the hundredth; the inverse of `seconds`, which jumps at whole epochs."""
        epoch = pace.train_seconds * self.trained + pace.predict_seconds * self.scored
        whole = max(0, math.floor((seconds - pace.predict_seconds * self.predicted) / epoch))
        left = seconds - self.seconds(pace, whole) - pace.predict_seconds * self.scored
        # Rounded, so that it is written as 1.57 and not as 1.5699999999999998.
        return round(whole + math.floor(100 * max(0.0, left) / (pace.train_seconds * self.trained)) / 100, 2)


@dataclass(frozen=True)
class Plan:
    """What to train, and what to expect of it."""

    recipe: Recipe
    name: str  # of the recipe that was lengthened or shortened
    pace: Pace
    seconds: float  # until all is done
    accuracy: float | None  # that a training of this length reached on CIFAR-10; None where nobody measured it

    def __str__(self) -> str:
        epochs = show_value(self.recipe.epochs)
        text = f"plan: {self.name}, {epochs} epochs at {self.pace}; done in {minutes(self.seconds)}"
        if self.accuracy is not None:
            text += f"; CIFAR-10 ({CURVES_VALID}) gets {100 * self.accuracy:.1f}% valid accuracy from so much training"
        return text


def plan(
    images: ImageSet,
    seconds: float,
    recipe: Recipe | None = None,
    *,
    on: str = "train",
    folds: int | None = None,
    refit: bool = False,
    classified: int = 0,
    device: str | None = None,
) -> Plan:
    """Measure this machine for some seconds and find the number of epochs that fills the time.

    recipe: what to lengthen or shorten; by default the recipe of CURVES that promises most. on, folds: as `train` takes
    them. refit: trained once more on all labelled images. classified: images that all models then classify.
    Raises RunError where the time does not suffice for one weight update.
    """
    began = time.perf_counter()
    train = images.select("train")
    work = _work(images, on, folds, refit, classified)
    candidates = {name: PRESETS[name] for name in CURVES} if recipe is None else {"the recipe": recipe}
    plans: list[Plan] = []
    least = 0.0  # seconds that one weight update and all that must follow it take
    for name, candidate in candidates.items():
        # The first recipe costs least per image: one that needs more epochs than it has time for has none either.
        if plans and plans[0].recipe.epochs * len(train) < _seen(CURVES[name][0][0]):
            continue
        pace = measure(train, candidate, device, min(MEASURE_SECONDS, MEASURE_SHARE * seconds))
        measuring = time.perf_counter() - began
        left = seconds * (1 - SPARE) - measuring
        epochs = min(work.epochs(pace, left), MOST_EPOCHS)
        if epochs * len(train) < min(candidate.batch_size, len(train)):
            least = measuring + work.seconds(pace, min(1.0, candidate.batch_size / len(train)))
            break
        planned = candidate.lasting(max(epochs, 0.001))
        taken = work.seconds(pace, planned.epochs) + time.perf_counter() - began
        accuracy = _expected(name, epochs * len(train)) if name in CURVES else None
        plans.append(Plan(planned, name, pace, taken, accuracy))
    if not plans:
        raise RunError(
            f"the {minutes(max(0.0, seconds))} that are left for it do not suffice for one weight update.",
            where="--budget",
            expected=f"{minutes(least / (1 - SPARE))} or more, to measure this machine, train, validate and predict",
            do="give more time, or choose a smaller model with --recipe",
        )
    return max(plans, key=lambda one: one.accuracy or 0)


def _work(images: ImageSet, on: str, folds: int | None, refit: bool, classified: int) -> Work:
    num_train, num_valid = (images.counts.get(split, 0) for split in ("train", "valid"))
    labelled = num_train + num_valid
    if folds is not None:
        return Work((folds - 1) * labelled, labelled, 3 * labelled + folds * classified)
    if on != "train":
        return Work(labelled, 0, CALIBRATION + classified)
    trained = num_train + (labelled if refit else 0)
    return Work(trained, num_valid, 2 * num_valid + (2 if refit else 1) * min(num_train, CALIBRATION) + classified)


def settled(
    recipe: Recipe | None, images: ImageSet, folder: str | Path, seconds: float | None, folds: int | None, **work: Any
) -> Recipe:
    """The recipe to train in `folder`: the one given or the default; with a budget of `seconds` as long as that allows.

    A training that was begun there keeps its plan, or it would be another run. folds, work: as `plan` takes them.
    """
    if seconds is None:
        return recipe or PRESETS[DEFAULT]
    if processes.is_shared():  # each would measure another speed, and the plans would differ
        raise RunError(
            "a budget is planned by one process, not by several.",
            where=f"--budget {seconds:g}s",
            do="begin with --budget alone and stop it; then --recipe RUN takes its plan: --recipe RUN --devices N",
        )
    begun = Path(folder) if folds is None else fold_folder(folder, 1)
    if (begun / "about.json").exists():
        recipe = Run.open(begun).recipe
        log.info("%s was begun with %s epochs: the budget changes nothing there", begun, show_value(recipe.epochs))
        return recipe
    made = plan(images, seconds, recipe, folds=folds, **work)
    log.info("%s", made)
    return made.recipe


def measure(train: ImageSet, recipe: Recipe, device: str | None, seconds: float) -> Pace:
    """Train for about so many seconds in each phase of the recipe, then classify a few images."""
    place = runtime.choose(recipe.precision, device)
    model = build_model(recipe, train).to_device(place.device, place.weights).train()
    # Where the cost of a step changes: images grow, layers come to rest.
    ends = sorted({recipe.small_share, recipe.whiten_bias_share, recipe.first_group_share, 1.0} - {0.0})
    train_seconds, start = 0.0, 0.0
    for end in ends:
        train_seconds += (end - start) * statistics.median(step_seconds(train, recipe, model, place, start, seconds))
        start = end
    few = train.take(range(min(len(train), PREDICTED)))
    probabilities(model, few.take(range(min(len(few), PREDICTED // 2))), place, views=1)  # warms up
    started = time.perf_counter()
    probabilities(model, few, place, views=1)
    return Pace(train_seconds, recipe.views * (time.perf_counter() - started) / len(few))


def step_seconds(
    train: ImageSet,
    recipe: Recipe,
    model: Classifier,
    place: runtime.Runtime,
    start: float = 0.0,
    seconds: float = math.inf,
) -> Iterator[float]:
    """Seconds per image of each step, as train.py does them, loading included, until `seconds` are over.

    start: the share of the training that is taken to be done. The first step, which warms up, is left out.
    """
    batches = Batches(train, recipe.lasting(MOST_EPOCHS), place.device)
    optimizer = Optimizer(model, recipe, batches.total_steps, batches.steps_per_epoch)
    deadline = None
    first_epoch, first_step = divmod(math.ceil(start * batches.total_steps), batches.steps_per_epoch)
    for epoch in range(first_epoch, MOST_EPOCHS):
        started = time.perf_counter()
        for step, (x, target) in enumerate(batches.epoch(epoch, first_step), start=first_step):
            for x_piece, target_piece, share in batches.pieces(x, target, step):
                with place.autocast():
                    output = model(x_piece).to(place.weights)
                (F.cross_entropy(output, target_piece, label_smoothing=recipe.label_smoothing) * share).backward()
            optimizer.step(epoch * batches.steps_per_epoch + step)
            if place.device.type == "cuda":
                torch.cuda.synchronize(place.device)
            now = time.perf_counter()
            if deadline is None:
                deadline = now + seconds
            else:
                yield (now - started) / len(x)
                if now > deadline:
                    return
            started = now
        first_step = 0


def _seen(epochs: float) -> float:
    return epochs * CURVES_IMAGES


def _expected(name: str, num_seen: float) -> float | None:
    """Accuracy after training on so many images, by the measured points: a line between them over log(images).

    Beyond the last point nothing more is promised; below the first one nothing is.
    """
    points = [(math.log(_seen(epochs)), accuracy) for epochs, accuracy in CURVES[name]]
    x = math.log(max(num_seen, 1.0))
    if x < points[0][0] - 1e-9:
        return None
    for (low, start), (high, end) in itertools.pairwise(points):
        if x <= high:
            return start + (end - start) * (x - low) / (high - low)
    return points[-1][1]
