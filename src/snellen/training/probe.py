"""The quick way to a run: a frozen network whose last layer is a logistic regression on cached features."""

import logging
import time
from typing import Any

import torch

from snellen.errors import RecipeError
from snellen.models.classifier import Classifier
from snellen.runs.run import Epoch
from snellen.training.calibration import fit_calibration
from snellen.training.features import cached_features
from snellen.training.head import fit_head
from snellen.training.job import Job
from snellen.training.loop import first_model, valid_scores
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
    model = first_model(job).eval()
    row: Epoch = {"epoch": 1, "step": 1, "lr": 0.0} | fit_head(model, job, record.on_progress)
    row["train_seconds"] = round(time.perf_counter() - began, 3)
    row["images_per_second"] = round(len(job.train_images) / row["train_seconds"], 1)
    row |= valid_scores(model, job, row["train_accuracy"])
    model.about = _calibrate(model, job)
    if doubt := model.about.get("doubt"):
        log.warning("%s", doubt)
    row["seconds"] = round(time.perf_counter() - began, 3)
    record.finish_at_once(row, model)


def _calibrate(model: Classifier, job: Job) -> dict[str, Any]:
    """Calibrate the model from cached features, as the loop does."""
    images, valid, views = job.train_images, job.valid_images, job.recipe.views
    train_features = cached_features(model, images, job.runtime, views)[0]
    if valid is None:
        return fit_calibration(model, job, train_features, images.labels, None, None)
    by_view = cached_features(model, valid, job.runtime, views)
    with torch.no_grad():
        outputs = model.network[1](torch.from_numpy(by_view.mean(axis=0)).to(job.runtime.device)).cpu().numpy()
    return fit_calibration(model, job, train_features, images.labels, outputs, by_view[0])
