"""The quick way to a run: a frozen network whose last layer is a logistic regression on cached features."""

import logging
import time

from snellen.errors import RecipeError
from snellen.prediction.probabilities import calibrated, logits
from snellen.runs.run import Epoch
from snellen.training.calibration import fit_calibration
from snellen.training.features import cached_features
from snellen.training.head import fit_head, uses_mirrored
from snellen.training.job import Job
from snellen.training.loop import CALIBRATION_IMAGES, evenly, first_model, valid_scores
from snellen.training.record import Record

log = logging.getLogger("snellen")


def probe(job: Job, record: Record) -> None:
    """Fit the last layer of job.init's network on its features, calibrate it, and write the finished run.

    Raises RecipeError if there is no network to start from.
    """
    if job.init is None:
        raise RecipeError(
            "optimizer=lbfgs fits only the last layer, on features of a trained network.",
            where="start=none",
            expected="a network to start from",
            do="set start=imagenet-efficientnet-lite0, or pass a run or a model file to --init",
        )
    began = time.perf_counter()
    model, valid = first_model(job).eval(), job.valid_images
    row: Epoch = {"epoch": 1, "step": 1, "lr": 0.0} | fit_head(model, job, record.on_progress)
    row["train_seconds"] = round(time.perf_counter() - began, 3)
    row["images_per_second"] = round(len(job.train_images) / row["train_seconds"], 1)
    outputs = None if valid is None else logits(model, valid, job.runtime, views=job.recipe.views)
    if outputs is not None:
        row |= valid_scores(calibrated(model, outputs), job, row["train_accuracy"])
    seen = None if valid is None else cached_features(model, valid, job.runtime, mirrored=False)[0]
    sample = evenly(job.train_images, CALIBRATION_IMAGES)
    known = cached_features(model, sample, job.runtime, mirrored=uses_mirrored(job.recipe))[0]
    model.about = fit_calibration(model, job, known, sample.labels, outputs, seen)
    if doubt := model.about.get("doubt"):
        log.warning("%s", doubt)
    row["seconds"] = round(time.perf_counter() - began, 3)
    record.finish_at_once(row, model)
