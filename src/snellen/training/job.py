"""Job: everything about a training run that is decided before its first step."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.runs.recipe import Recipe
from snellen.scoring.metrics import METRICS, Metric
from snellen.system.device import Runtime
from snellen.training.class_weights import class_weights
from snellen.training.loss import cross_entropy


@dataclass(frozen=True, eq=False)
class Job:
    """One training run. Nothing here changes while it runs; State holds what does."""

    recipe: Recipe
    train_images: ImageSet
    valid_images: ImageSet | None  # None: no validation
    runtime: Runtime
    init: Classifier | None = None  # supplies the first weights; None: random weights
    calibrated_by: Classifier | None = None  # supplies the calibration if there is no validation
    metric: Metric = METRICS["accuracy"]  # that decides which epoch is best
    about: dict[str, Any] = field(default_factory=dict)  # the content of about.json

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch; see `cross_entropy` for the shapes."""
        return cross_entropy(logits, target, self.recipe.label_smoothing, self.class_weights)

    @cached_property
    def class_counts(self) -> np.ndarray:
        """The number of training images of each class, int64 (K,)."""
        return np.bincount(self.train_images.labels, minlength=len(self.train_images.classes))

    @cached_property
    def class_weights(self) -> Tensor | None:
        """Weights of the classes in the loss, on the device; None if all are 1."""
        if not self.recipe.class_power:
            return None
        weights = torch.from_numpy(class_weights(self.class_counts, self.recipe.class_power))
        return weights.to(self.runtime.device, self.runtime.weights)
