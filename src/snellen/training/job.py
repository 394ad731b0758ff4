"""Job: everything about one training that is decided before its first step."""

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
    """One training. Nothing in it changes while it runs; what changes is in State."""

    recipe: Recipe
    train_images: ImageSet
    valid_images: ImageSet | None  # None: no validation
    runtime: Runtime
    init: Classifier | None = None  # the model whose weights to start from; None: random weights
    calibrated_by: Classifier | None = None  # without validation: the model whose calibration to take over
    metric: Metric = METRICS["accuracy"]  # what the best epoch is best at
    about: dict[str, Any] = field(default_factory=dict)  # the content of about.json

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch; see `cross_entropy` for the shapes."""
        return cross_entropy(logits, target, self.recipe.label_smoothing, self.class_weights)

    @cached_property
    def class_counts(self) -> np.ndarray:
        """int64 (K,): the training images of each class."""
        return np.bincount(self.train_images.labels, minlength=len(self.train_images.classes))

    @cached_property
    def class_weights(self) -> Tensor | None:
        """Weights of the classes in the loss, on the device; None if all are 1."""
        if not self.recipe.class_power:
            return None
        weights = torch.from_numpy(class_weights(self.class_counts, self.recipe.class_power))
        return weights.to(self.runtime.device, self.runtime.weights)
