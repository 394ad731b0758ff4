"""The last layer, fitted as a logistic regression on the network's features."""

import logging

import torch
from torch import Tensor, nn

from snellen.models.classifier import Classifier
from snellen.runs.recipe import Recipe
from snellen.runs.run import Epoch
from snellen.system import processes
from snellen.system.progress import Progress
from snellen.training.features import cached_features
from snellen.training.job import Job
from snellen.training.logistic import best_penalty, fit_logistic, logistic
from snellen.training.loss import num_right

log = logging.getLogger("snellen")

LEAST_SPREAD = 0.01  # times the mean spread of all features


def fit_head(model: Classifier, job: Job, on_progress: Progress | None = None) -> Epoch:
    """Set the last layer of `model` to the best logistic regression on its features of the training images.

    Return train_loss and train_accuracy of the plain view.
    """
    images, num_classes = job.train_images, len(model.classes)
    mirrored = uses_mirrored(job.recipe)
    features = cached_features(model, images, job.runtime, mirrored=mirrored, on_progress=on_progress)
    found = torch.from_numpy(features)
    labels = torch.from_numpy(images.labels)
    # Equal spreads make a penalty mean the same for every feature and network; tiny spreads are mostly noise.
    mean, spread = found[0].mean(dim=0), found[0].std(dim=0, correction=0)
    spread = spread.clamp(min=max(1e-6, LEAST_SPREAD * float(spread.mean())))
    scaled = (found - mean) / spread
    penalty = best_penalty(scaled[0], labels, num_classes, job.recipe.seed)
    weights = fit_logistic(
        scaled.flatten(0, 1), labels.repeat(len(found), *[1] * (labels.ndim - 1)), num_classes, penalty
    )
    log.info("last layer: logistic regression on %d features, penalty %.2g", found.shape[2], penalty)
    _set_head(model, weights, mean, spread)
    outputs = logistic(scaled[0], weights)
    loss, right = job.loss(outputs, labels), num_right(outputs, labels, job.task.has_several)
    return {"train_loss": float(loss), "train_accuracy": int(right) / len(labels)}


def uses_mirrored(recipe: Recipe) -> bool:
    """Return whether the mirrored view of an image counts as a second training image of the last layer."""
    return recipe.flip != "off"


def _set_head(model: Classifier, weights: Tensor, mean: Tensor, spread: Tensor) -> None:
    head = model.network[1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.copy_(weights[:, :-1] / spread)
        head.bias.copy_(weights[:, -1] - (weights[:, :-1] / spread) @ mean)
    for value in (head.weight, head.bias):
        processes.broadcast(value.detach())  # another processor may have rounded differently
