"""The loss that training minimises, and the count of correct predictions."""

import torch.nn.functional as F
from torch import Tensor

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


def num_right(logits: Tensor, target: Tensor) -> Tensor:
    """Return the number of images whose highest logit is the label or a mixed target's largest share; shape ()."""
    label = target if target.ndim == 1 else target.argmax(dim=1)
    return (logits.argmax(dim=1) == label).sum()
