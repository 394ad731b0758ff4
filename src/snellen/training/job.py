"""Job: everything about a training run that is decided before its first step."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snellen.images.imageset import ImageSet
from snellen.images.labels import label_counts
from snellen.models.classifier import Classifier
from snellen.runs.recipe import Recipe
from snellen.scoring.learned import class_shares
from snellen.scoring.metrics import METRICS, Metric
from snellen.system.device import Runtime
from snellen.task import Task
from snellen.training.class_weights import class_weights, positive_weights
from snellen.training.loss import loss_of


@dataclass(frozen=True, eq=False)
class Job:
    """One training run. Nothing here changes while it runs; State holds what does."""

    recipe: Recipe
    train_images: ImageSet
    valid_images: ImageSet | None  # None: no validation
    runtime: Runtime
    init: Classifier | None = None  # supplies the initial weights; None: random weights
    calibrated_by: Classifier | None = None  # supplies the calibration if there is no validation
    metric: Metric = METRICS["accuracy"]  # that decides which epoch is best
    about: dict[str, Any] = field(default_factory=dict)  # the content of about.json

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch; see loss.py for the shapes."""
        return loss_of(self.task, logits, target, self.recipe.label_smoothing, self.class_weights)

    @property
    def task(self) -> Task:
        return self.train_images.task

    @cached_property
    def class_shares(self) -> np.ndarray:
        """The share of training images of each class, float64 (K,); see `class_shares`."""
        return class_shares(self.class_counts, len(self.train_images) if self.task.has_several else None)

    @cached_property
    def class_counts(self) -> np.ndarray:
        """The number of training images of each class, int64 (K,)."""
        return label_counts(self.train_images.labels, len(self.train_images.classes))

    @cached_property
    def class_weights(self) -> Tensor | None:
        """Weights of the classes in the loss, on the device; None if all are 1."""
        if not self.recipe.class_power:
            return None
        counts, power = self.class_counts, self.recipe.class_power
        if self.task.has_several:
            found = positive_weights(counts, len(self.train_images), power)
        else:
            found = class_weights(counts, power)
        weights = torch.from_numpy(found)
        return weights.to(self.runtime.device, self.runtime.weights)
