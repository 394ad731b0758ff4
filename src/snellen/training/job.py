"""Job: everything about one training that is decided before its first step."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.runs.recipe import Recipe
from snellen.system.device import Runtime
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
    about: dict[str, Any] = field(default_factory=dict)  # the content of about.json

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch; see `cross_entropy` for the shapes."""
        return cross_entropy(logits, target, self.recipe.label_smoothing)
