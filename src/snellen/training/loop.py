"""The training loop: from initial weights, or a checkpoint, to a finished run."""

import logging
import math
from typing import Any

import numpy as np

from snellen.errors import DivergedError
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier, build_model, freeze
from snellen.prediction.decide import cross_fitted
from snellen.prediction.probabilities import features, logits, probabilities
from snellen.runs.run import Epoch
from snellen.scoring.learned import collapse_warning
from snellen.scoring.scores import score
from snellen.system import processes
from snellen.system.memory import peak_memory
from snellen.system.randomness import STEP_NOISE, seed_torch
from snellen.training import averaging
from snellen.training.calibration import fit_calibration
from snellen.training.head import fit_head
from snellen.training.init import start_from
from snellen.training.job import Job
from snellen.training.loader import Batch, Batches
from snellen.training.loss import num_right
from snellen.training.pieces import check_variance
from snellen.training.record import Record
from snellen.training.state import State
from snellen.training.synchronize import same_start, sum_gradients

log = logging.getLogger("snellen")

CALIBRATION_IMAGES = 10_000  # maximum number of training images used to fit the class directions


def fit(job: Job, record: Record) -> None:
    """Train the model, from the run's checkpoint if there is one."""
    recipe, num_epochs = job.recipe, job.recipe.num_epochs
    batches = Batches(job.train_images, recipe, job.runtime.device)
    log.info("%s", batches.why)
    model = first_model(job)
    if recipe.fitted_head:
        fit_head(model.eval(), job, record.on_progress)
    check_variance(model, batches.smallest_piece, recipe)
    state = State.begun(model, job, batches)
    record.restore(state)
    if state.step:
        log.info("resuming after step %d of %d", state.step, batches.total_steps)

    for epoch in range(len(state.rows), num_epochs):
        state.model.train()
        state.clock.start()
        num_steps, num_images = batches.steps_in(epoch), batches.images_in(epoch)
        done = state.step - epoch * batches.steps_per_epoch
        for step, batch in enumerate(batches.epoch(epoch, done), start=done + 1):
            lr = update(state, batch, job)
            record.add_step(state, f"epoch {epoch + 1}/{num_epochs}", num_images * step // num_steps, num_images)
        row = {"epoch": epoch + 1, "step": state.step, "lr": lr, **train_scores(state, num_images)}
        try:
            check_finite(row, state.model)
            averaging.after_epoch(state.shown, state.model, recipe, epoch + 1, job.train_images, job.runtime)
            if job.valid_images is not None:
                guesses = probabilities(state.shown, job.valid_images, job.runtime, views=recipe.views)
                row |= valid_scores(guesses, job, row["train_accuracy"])
        except DivergedError:
            raise record.diverged(epoch + 1) from None
        if (memory := peak_memory(job.runtime.device)) is not None:
            row["peak_memory_bytes"] = memory
        row["seconds"] = round(state.clock.seconds, 3)
        record.add_epoch(row, state)
    finish(job, record, state)


def first_model(job: Job) -> Classifier:
    """Return the model before its first update, on the device. It is the same in all processes."""
    model = build_model(job.recipe, job.train_images)
    if job.init is not None:
        start_from(model, job.init)
    freeze(model, job.recipe)
    model = model.to_device(job.runtime.device, job.runtime.weights)
    same_start(model, job.recipe)
    return model


def update(state: State, batch: Batch, job: Job) -> float:
    """Update the weights once and return the learning rate, without waiting for the device."""
    seed_torch(job.recipe.seed, STEP_NOISE, state.step, processes.rank())
    for x, target, share in batch.pieces():  # pieces fit into memory, or the cache; their gradients add up
        with job.runtime.autocast():
            output = state.model(x).to(job.runtime.weights)
        loss = job.loss(output, target)
        (loss * share).backward()
        state.sums[0] += loss.detach() * len(x)
        state.sums[1] += num_right(output.detach(), target, job.task.has_several)
    sum_gradients(state.model, job.recipe)
    processes.collect(state.sums)
    lr = state.optimizer.step(state.step)
    averaging.after_step(state.shown, state.model, job.recipe, state.step)
    state.step += 1
    return lr


def train_scores(state: State, num_images: int) -> Epoch:
    """Return the training figures of a finished epoch: means over its images in all processes."""
    loss, accuracy = (processes.broadcast(state.sums) / num_images).tolist()
    seconds = state.clock.seconds
    return {
        "train_loss": loss,
        "train_accuracy": accuracy,
        "train_seconds": round(seconds, 3),
        "images_per_second": round(num_images / seconds, 1),
    }


def check_finite(row: Epoch, model: Classifier) -> None:
    """Raise DivergedError unless the loss and all weights are finite."""
    # The last update can ruin the weights after the last loss has been computed.
    if not math.isfinite(row["train_loss"]) or not all(value.isfinite().all() for value in model.state_dict().values()):
        raise DivergedError("the training loss is infinite or not a number.")


def valid_scores(guesses: np.ndarray, job: Job, train_accuracy: float) -> Epoch:
    """Return the figures of the valid images' probabilities, float (N, K). Warns if they are at chance level."""
    assert job.valid_images is not None, "the caller checks"
    labels, metric = job.valid_images.labels, job.metric
    decided = cross_fitted(guesses, labels, metric.name, at_least_one=not job.task.allows_none)
    value = metric.value(labels, guesses, decided)
    scores = score(guesses, labels, decided=decided)
    if warning := collapse_warning(guesses, labels, job.class_shares, train_accuracy):
        log.warning("%s", warning)
    own = {metric.column: None if math.isnan(value) else value}
    return {"valid_loss": scores["log_loss"], "valid_accuracy": scores["accuracy"]} | own


def finish(job: Job, record: Record, state: State) -> None:
    """Calibrate and write the model, and the model of the best epoch if it differs."""
    state.shown.about = calibrate_model(state.shown, job)
    if doubt := state.shown.about.get("doubt"):
        log.warning("%s", doubt)
    best = None
    if 0 < state.best_epoch < job.recipe.num_epochs:
        best = record.best_model().to_device(job.runtime.device, job.runtime.weights)
        best.about = calibrate_model(best, job)
    record.finish(state, best)


def calibrate_model(model: Classifier, job: Job) -> dict[str, Any]:
    """Calibrate the model (see calibration.py) and return the entries to add to the model file's header."""
    runtime, valid = job.runtime, job.valid_images
    sample = evenly(job.train_images, CALIBRATION_IMAGES)
    valid_outputs = None if valid is None else logits(model, valid, runtime, views=job.recipe.views)
    valid_features = None if valid is None else features(model, valid, runtime)
    return fit_calibration(model, job, features(model, sample, runtime), sample.labels, valid_outputs, valid_features)


def evenly(images: ImageSet, most: int) -> ImageSet:
    """Return at most this many images, evenly spaced."""
    return images.take(np.linspace(0, len(images) - 1, min(len(images), most)).astype(np.int64))
