"""Weights of the classes in the loss, so that rare ones are not drowned by frequent ones."""

import numpy as np
import torch
from torch import Tensor


def class_weights(counts: np.ndarray, power: float) -> np.ndarray:
    """Return float64 (K,): weights proportional to frequency^-power, with mean 1 over the training images.

    counts: int (K,), training images of each class. Power 0 gives 1 to every image, 1 the same total to every class. A
    class without images has weight 0. Mean 1 keeps the size of the loss, so the learning rate stays right.
    Source: Lin et al., arXiv:1708.02002 (alpha), with the exponent of Mahajan et al., arXiv:1805.00932, section 2.3.
    """
    has_images = counts > 0
    weights = np.zeros(len(counts))
    weights[has_images] = (counts[has_images] / counts.sum()) ** -power
    return weights * counts.sum() / (weights @ counts)


def image_weights(target: Tensor, weights: Tensor) -> Tensor:
    """Return float (B,): the weight of each image of a batch.

    target: int (B,) labels, or float (B, K) shares of the classes if images are mixed. weights: float (K,).
    """
    return target @ weights if torch.is_floating_point(target) else weights[target]
