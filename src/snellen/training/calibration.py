"""The parts fitted once the weights are final: temperature, familiarity and the decision rule."""

from typing import Any

import numpy as np
import torch

from snellen.models.classifier import Classifier
from snellen.prediction import calibrate
from snellen.prediction.decide import ARGMAX, fit_rule
from snellen.prediction.probabilities import calibrated, familiarity
from snellen.scoring.learned import judge
from snellen.training.job import Job


def fit_activation(model: Classifier, outputs: np.ndarray, labels: np.ndarray) -> None:
    """Set the temperature, or with several labels the sigmoid of each class, that suits these logits (N, K) best."""
    if not model.task.has_several:
        model.temperature.fill_(calibrate.fit_temperature(outputs, labels))
        return
    for buffer, values in zip((model.temperature, model.shift), calibrate.fit_sigmoids(outputs, labels), strict=True):
        buffer.copy_(torch.from_numpy(values))


def fit_calibration(
    model: Classifier,
    job: Job,
    train_features: np.ndarray,
    train_labels: np.ndarray,
    valid_outputs: np.ndarray | None,
    valid_features: np.ndarray | None,
) -> dict[str, Any]:
    """Fit temperature and familiarity (see calibrate.py) on the valid images, or copy them from job.calibrated_by.

    train_features: float32 (N, D), with train_labels (N,). valid_outputs: logits (N, K) of the valid images, and
    valid_features (N, D).
    Return the entries to add to the model file's header: rule, the decision rule (see decide.py) unless it is argmax;
    and doubt, a warning if the model does not clearly beat the class shares (see learned.py).
    """
    fitted = calibrate.fit_directions(train_features, train_labels, len(model.classes))
    for buffer, values in zip((model.feature_mean, model.directions), fitted, strict=True):
        buffer.copy_(torch.from_numpy(values))
    if job.valid_images is not None:
        assert valid_outputs is not None, "the caller computes them"
        assert valid_features is not None, "the caller computes them"
        labels = job.valid_images.labels
        fit_activation(model, valid_outputs, labels)
        model.familiar.copy_(torch.tensor(calibrate.fit_familiar(familiarity(model, valid_features))))
        guesses = calibrated(model, valid_outputs)
        rule = fit_rule(guesses, labels, job.metric.name, at_least_one=not job.task.allows_none)
        doubt = judge(guesses, labels, job.class_shares).warning
        return ({} if rule == ARGMAX else {"rule": rule}) | ({"doubt": doubt} if doubt else {})
    if job.calibrated_by is not None:
        model.temperature.copy_(job.calibrated_by.temperature)
        if job.task.has_several:
            model.shift.copy_(job.calibrated_by.shift)
        model.familiar.copy_(job.calibrated_by.familiar)
        return {name: job.calibrated_by.about[name] for name in ("rule", "doubt") if name in job.calibrated_by.about}
    return {}
