"""Where in an image the evidence for a class lies: class activation maps."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.models.classifier import Classifier, as_input
from snellen.models.efficientnet_lite import Levels
from snellen.prediction.probabilities import evaluating
from snellen.system.device import Runtime


@torch.no_grad()
def activation_maps(model: Classifier, pixels: np.ndarray, runtime: Runtime) -> np.ndarray | None:
    """Return maps, float32 (N, K, h, w), whose mean over the image is the logit of the class for the plain view.

    pixels: uint8 (N, H, W, 3). None if the features are not means over the image. As the last layer is linear, this is
    exact (Zhou et al., "Learning Deep Features for Discriminative Localization",
    arXiv:1512.04150).
    """
    features, output = model.network[0], model.network[1]
    layers = list(features.children())
    is_pooled = len(layers) > 2 and isinstance(layers[-2], nn.AdaptiveAvgPool2d)
    if not isinstance(output, nn.Linear) or not (is_pooled or isinstance(features, Levels)):
        return None
    found = []
    with evaluating(model, runtime), runtime.autocast():
        for image in pixels:
            x = (as_input(image[None], runtime.device) - model.mean) / model.std
            levels = features.maps(x) if isinstance(features, Levels) else [nn.Sequential(*layers[:-2])(x)]
            found.append(_evidence(levels, output).float().cpu().numpy())
    return np.stack(found) if found else None


def _evidence(levels: list[Tensor], output: nn.Linear) -> Tensor:
    """Return the contribution of each position to the logits, summed over the levels: (K, h, w) of the finest level.

    levels: (1, C, h, w) each. Coarser levels are repeated, which keeps their mean if sizes are multiples of each other.
    """
    finest = max((level.shape[2:] for level in levels), key=min)
    weights = output.weight.split([level.shape[1] for level in levels], dim=1)
    total = output.bias[:, None, None]
    for level, weight in zip(levels, weights, strict=True):
        one = F.conv2d(level.float(), weight[:, :, None, None])
        total = total + F.interpolate(one, size=finest, mode="nearest")[0]
    return total
