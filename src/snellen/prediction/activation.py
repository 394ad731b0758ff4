"""Where in an image the evidence for a class lies: class activation maps."""

import numpy as np
import torch
from torch import nn

from snellen.models.classifier import Classifier, as_input
from snellen.prediction.probabilities import evaluating
from snellen.system.device import Runtime


@torch.no_grad()
def activation_maps(model: Classifier, pixels: np.ndarray, runtime: Runtime) -> np.ndarray | None:
    """Return maps, float32 (N, K, h, w), whose mean over the image is the logit of the class, of the plain view.

    pixels: uint8 (N, H, W, 3). None if the network does not end in the mean over the image and a linear layer. As the
    last layer is linear, this is exact (Zhou et al., "Learning Deep Features for Discriminative Localization",
    arXiv:1512.04150).
    """
    layers = list(model.network[0].children())
    output = model.network[1]
    if len(layers) < 3 or not isinstance(layers[-2], nn.AdaptiveAvgPool2d) or not isinstance(output, nn.Linear):
        return None
    found = []
    with evaluating(model, runtime), runtime.autocast():
        for image in pixels:
            x = (as_input(image[None], runtime.device) - model.mean) / model.std
            for layer in layers[:-2]:  # all but the mean and Flatten
                x = layer(x)
            weights = output.weight.to(x.dtype)[:, :, None, None]
            found.append(nn.functional.conv2d(x, weights, output.bias.to(x.dtype)).float().cpu().numpy()[0])
    return np.stack(found) if found else None
