"""The loss that training minimises, and the count of correct predictions, both chosen by the Task's kind."""

import torch.nn.functional as F
from torch import Tensor

from snellen.task import Task
from snellen.training.class_weights import image_weights


def cross_entropy(
    logits: Tensor, target: Tensor, smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean loss of a batch, in nats.

    logits: (B, K). target: int (B,) labels, or float (B, K) shares of the classes if images are mixed.
    smoothing: the share of each target that is spread evenly over all classes. class_weights: float (K,), factors on
    the loss of each image. The mean is over the images, so a batch of rare classes counts more.
    """
    if target.is_floating_point():
        target = target.to(logits.dtype)
    if class_weights is None:
        return F.cross_entropy(logits, target, label_smoothing=smoothing)
    losses = F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="none")
    return (losses * image_weights(target, class_weights)).mean()


def binary_cross_entropy(
    logits: Tensor, target: Tensor, smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean loss of a batch of images with several labels each, in nats, summed over the classes.

    logits: (B, K). target: bool (B, K) labels, or float (B, K) shares if images are mixed. smoothing: 0 and 1 become
    smoothing / 2 and 1 - smoothing / 2, as in `cross_entropy` with two classes. class_weights: float (K,), factors on
    the loss of the images that have the class (positive weights).
    The sum over the classes is what makes it comparable with `cross_entropy`: minus the log-likelihood of the labels.
    """
    target = target.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, target, pos_weight=class_weights, reduction="none")
    return losses.sum(dim=1).mean()


def loss_of(
    task: Task, logits: Tensor, target: Tensor, smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean loss of a batch in a task."""
    function = binary_cross_entropy if task.has_several else cross_entropy
    return function(logits, target, smoothing, class_weights)


def num_right(logits: Tensor, target: Tensor, has_several: bool = False) -> Tensor:
    """Return the number of images whose highest logit is the label or a mixed target's largest share; shape ().

    has_several: the number of images for which each class has a positive logit if and only if it is a label.
    """
    if has_several:
        return ((logits > 0) == (target > 0.5)).all(dim=1).sum()
    label = target if target.ndim == 1 else target.argmax(dim=1)
    return (logits.argmax(dim=1) == label).sum()
