"""Time budget -> a Recipe that takes that long to train on this machine."""

import itertools
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from snellen.errors import RunError
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.prediction.probabilities import probabilities
from snellen.runs.presets import CURVES, CURVES_IMAGES, CURVES_VALID, PHOTO_EPOCHS
from snellen.runs.recipe import Recipe, show_value
from snellen.system.device import choose_runtime
from snellen.system.units import minutes, percent
from snellen.training.init import start_of
from snellen.training.job import Job
from snellen.training.loader import Batches
from snellen.training.loop import CALIBRATION_IMAGES, first_model, update
from snellen.training.presets_for import presets_for, suited_preset
from snellen.training.state import State

log = logging.getLogger("snellen")

MEASURE_SECONDS = 2.0  # of training steps, for each phase of each recipe
MEASURE_SHARE = 0.02  # at most this share of the budget
PREDICTED, PREDICTED_PHOTOS = 500, 32  # images classified to measure prediction
MOST_EPOCHS = 200  # longer training never raised a measured accuracy
SPARE = 0.02  # share of the budget held in reserve: machines slow down more often than they speed up

Clock = Callable[[], float]  # seconds since any fixed moment


@dataclass(frozen=True)
class Pace:
    """The speed of a machine with a recipe."""

    train_seconds: float  # per image trained on, averaged over the recipe's phases
    predict_seconds: float  # per image classified, with the recipe's views

    def __str__(self) -> str:
        return f"{1 / self.train_seconds:,.0f} images/s in training, {1 / self.predict_seconds:,.0f} in validation"


@dataclass(frozen=True)
class Work:
    """The amount of work, in images."""

    trained: int  # in one epoch, over all training runs
    scored: int  # after each epoch
    predicted: int  # once, at the end

    def seconds(self, pace: Pace, epochs: float) -> float:
        predicted = math.ceil(epochs) * self.scored + self.predicted
        return pace.train_seconds * epochs * self.trained + pace.predict_seconds * predicted

    def epochs(self, pace: Pace, seconds: float) -> float:
        """Return the largest number of epochs that fits into the time, to the hundredth: the inverse of `seconds`.

        `seconds` jumps at whole epochs, because the valid images are scored after each.
        """
        epoch = pace.train_seconds * self.trained + pace.predict_seconds * self.scored
        whole = max(0, math.floor((seconds - pace.predict_seconds * self.predicted) / epoch))
        left = seconds - self.seconds(pace, whole) - pace.predict_seconds * self.scored
        # Rounded, to write 1.57 rather than 1.5699999999999998.
        return round(whole + math.floor(100 * max(0.0, left) / (pace.train_seconds * self.trained)) / 100, 2)


@dataclass(frozen=True)
class Plan:
    """The recipe to train, with its expected time and accuracy."""

    recipe: Recipe
    name: str  # of the recipe whose epochs were changed
    pace: Pace
    seconds: float  # until everything is done
    accuracy: float | None  # measured on CIFAR-10 after this many epochs; None if unknown

    def __str__(self) -> str:
        epochs = show_value(self.recipe.epochs)
        text = f"plan: {self.name}, {epochs} epochs at {self.pace}; done in {minutes(self.seconds)}"
        if self.accuracy is not None:
            text += f"; this reaches {percent(self.accuracy, 1)} valid accuracy on CIFAR-10 ({CURVES_VALID})"
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
    clock: Clock = time.perf_counter,
) -> Plan:
    """Measure this machine for a few seconds and return the plan whose epochs fill the time.

    recipe: the recipe to lengthen or shorten; by default the most promising one that suits the images: one of CURVES,
    or for photographs `photo`, and `probe` if the time is too short for that. on, folds: as in `train` and
    `cross_validate`. refit: whether a final model is trained on all labelled images. classified: the number of images
    that all models classify at the end. clock: the source of time.
    Raises RunError if there is too little time for one training step; a recipe that only fits the last layer is never
    refused.
    """
    began = clock()
    train = images.select("train")
    asked = _work(images, on, folds, refit, classified)
    candidates = {name: suited_preset(name, images) for name in presets_for(images, device)[0]}
    if recipe is not None:
        candidates = {"the recipe": recipe}
    plans: list[Plan] = []
    least = 0.0  # seconds for one training step and everything that must follow it
    for name, candidate in candidates.items():
        # The first recipe of CURVES is the cheapest. Skip the next one if too little time is left for its epochs.
        if plans and (name not in CURVES or plans[0].recipe.epochs * len(train) < _seen(CURVES[name][0][0])):
            continue
        # A fitted head needs the features of all labelled images once.
        features = sum(images.counts.get(split, 0) for split in ("train", "valid")) if candidate.fitted_head else 0
        work = replace(asked, predicted=asked.predicted + features)
        pace = measure(train, candidate, device, min(MEASURE_SECONDS, MEASURE_SHARE * seconds), clock)
        measuring = clock() - began
        if candidate.optimizer == "lbfgs":
            plans.append(Plan(candidate, name, pace, work.seconds(pace, 1.0) + measuring, None))
            continue
        left = seconds * (1 - SPARE) - measuring
        epochs = min(work.epochs(pace, left), PHOTO_EPOCHS[1] if candidate.start != "none" else MOST_EPOCHS)
        if epochs * len(train) < min(candidate.batch_size, len(train)):
            least = measuring + work.seconds(pace, min(1.0, candidate.batch_size / len(train)))
            continue
        if "probe" in candidates and epochs < PHOTO_EPOCHS[0]:
            continue
        planned = candidate.lasting(max(epochs, 0.001))
        taken = work.seconds(pace, planned.epochs) + clock() - began
        accuracy = _expected(name, epochs * len(train)) if name in CURVES else None
        plans.append(Plan(planned, name, pace, taken, accuracy))
    if not plans:
        raise RunError(
            f"{minutes(max(0.0, seconds))} is too short for one training step.",
            where="--budget",
            expected=f"{minutes(least / (1 - SPARE))} or more, to measure this machine, train, validate and predict",
            do="allow more time, or choose a smaller model with --recipe",
        )
    return max(plans, key=lambda one: one.accuracy or 0)


def _work(images: ImageSet, on: str, folds: int | None, refit: bool, classified: int) -> Work:
    num_train, num_valid = (images.counts.get(split, 0) for split in ("train", "valid"))
    labelled = num_train + num_valid
    if folds is not None:
        return Work((folds - 1) * labelled, labelled, 3 * labelled + folds * classified)
    if on != "train":
        return Work(labelled, 0, CALIBRATION_IMAGES + classified)
    trained = num_train + (labelled if refit else 0)
    calibrated = (2 if refit else 1) * min(num_train, CALIBRATION_IMAGES)
    return Work(trained, num_valid, 2 * num_valid + calibrated + classified)


def measure(
    train: ImageSet, recipe: Recipe, device: str | None, seconds: float, clock: Clock = time.perf_counter
) -> Pace:
    """Return the pace: train for about `seconds` in each phase of the recipe, then classify a few images.

    If only the last layer is fitted, an image is trained on as fast as it is classified.
    """
    runtime = choose_runtime(recipe.precision, device)
    job = Job(recipe.lasting(MOST_EPOCHS), train, None, runtime, start_of(recipe))
    model = first_model(job).train()
    # A phase ends when the cost of a step changes, because images grow or layers stop training.
    ends = sorted({recipe.small_share, recipe.whiten_bias_share, recipe.first_group_share, 1.0} - {0.0})
    train_seconds, start = 0.0, 0.0
    for end in ends if recipe.optimizer != "lbfgs" else ():
        train_seconds += (end - start) * statistics.median(step_seconds(job, model, start, seconds, clock))
        start = end
    few = train.take(range(min(len(train), PREDICTED_PHOTOS if train.are_photographs else PREDICTED)))
    probabilities(model, few.take(range(len(few) // 2 or 1)), runtime, views=1)  # warms up
    started = clock()
    probabilities(model, few, runtime, views=1)
    predict_seconds = recipe.views * (clock() - started) / len(few)
    return Pace(train_seconds or predict_seconds, predict_seconds)


def step_seconds(
    job: Job, model: Classifier, start: float = 0.0, seconds: float = math.inf, clock: Clock = time.perf_counter
) -> Iterator[float]:
    """Yield the seconds per image of each training step, including loading, until `seconds` have passed.

    start: the share of the training run at which to begin. The first step is a warm-up and is left out.
    """
    batches = Batches(job.train_images, job.recipe, job.runtime.device)
    state = State.begun(model, job, batches)
    state.step = math.ceil(start * batches.total_steps)
    deadline = None
    while state.step < batches.total_steps:
        epoch, done = divmod(state.step, batches.steps_per_epoch)
        started = clock()
        for batch in batches.epoch(epoch, done):
            update(state, batch, job)
            if job.runtime.device.type == "cuda":
                torch.cuda.synchronize(job.runtime.device)
            now = clock()
            if deadline is None:
                deadline = now + seconds
            else:
                yield (now - started) / len(batch.x)
                if now > deadline:
                    return
            started = now


def _seen(epochs: float) -> float:
    return epochs * CURVES_IMAGES


def _expected(name: str, num_seen: float) -> float | None:
    """Return the accuracy after training on `num_seen` images, interpolated linearly in log(images).

    It is constant beyond the last measured point, and None below the first.
    """
    points = [(math.log(_seen(epochs)), accuracy) for epochs, accuracy in CURVES[name]]
    x = math.log(max(num_seen, 1.0))
    if x < points[0][0] - 1e-9:
        return None
    for (low, start), (high, end) in itertools.pairwise(points):
        if x <= high:
            return start + (end - start) * (x - low) / (high - low)
    return points[-1][1]
