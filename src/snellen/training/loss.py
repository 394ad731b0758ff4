"""What training minimises, and what counts as right."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean loss of a batch, in nats.

    logits: (B, K). target: int (B,) labels, or float (B, K) shares of the classes if images are mixed.
    smoothing: the share of each target that is spread evenly over all classes.
    """
    if target.is_floating_point():
        target = target.to(logits.dtype)
    return F.cross_entropy(logits, target, label_smoothing=smoothing)


def num_right(logits: Tensor, target: Tensor) -> Tensor:
    """Count the images whose highest logit is their label, or the largest share of a mixed target; shape ()."""
    label = target if target.ndim == 1 else target.argmax(dim=1)
    return (logits.argmax(dim=1) == label).sum()
