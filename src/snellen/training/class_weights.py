"""Weights of the classes in the loss, so that frequent classes do not drown out rare ones."""

import numpy as np
import torch
from torch import Tensor


def class_weights(counts: np.ndarray, power: float) -> np.ndarray:
    """Return float64 (K,): weights proportional to frequency^-power, with mean 1 over the training images.

    counts: int (K,), training images of each class. Power 0 weights all images equally, power 1 all classes. A class
    without images has weight 0. A mean of 1 preserves the scale of the loss, so the learning rate need not change.
    Source: Lin et al., arXiv:1708.02002 (alpha), with the exponent of Mahajan et al., arXiv:1805.00932, section 2.3.
    """
    has_images = counts > 0
    weights = np.zeros(len(counts))
    weights[has_images] = (counts[has_images] / counts.sum()) ** -power
    return weights * counts.sum() / (weights @ counts)


def positive_weights(counts: np.ndarray, num_images: int, power: float) -> np.ndarray:
    """Return float64 (K,): weights of the images that have a class, (negatives / positives)^power, of several labels.

    counts: int (K,), training images that have each class. Power 0 weights all equally; power 1 gives the positives of
    a class as much weight as its negatives. A class that no image or every image has gets weight 1.
    Source: the pos_weight of torch's BCEWithLogitsLoss, with the exponent of `class_weights`.
    """
    has_both = (counts > 0) & (counts < num_images)
    return np.where(has_both, ((num_images - counts) / np.maximum(counts, 1)) ** power, 1.0)


def image_weights(target: Tensor, weights: Tensor) -> Tensor:
    """Return float (B,): the weight of each image of a batch.

    target: int (B,) labels, or float (B, K) shares of the classes if images are mixed. weights: float (K,).
    """
    return target @ weights if torch.is_floating_point(target) else weights[target]
