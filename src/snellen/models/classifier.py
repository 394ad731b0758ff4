"""The architectures by name, and the Classifier, which holds a network and everything needed to use it."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from snellen.errors import DataError, RecipeError, did_you_mean
from snellen.images.choices import SMALLEST
from snellen.images.imageset import ImageSet
from snellen.models import efficientnet_lite, timm_network
from snellen.models.cifar_resnet import cifar_resnet
from snellen.models.cifar_resnext import cifar_resnext
from snellen.models.cifar_wide_resnet import cifar_wide_resnet
from snellen.models.resnet18 import resnet18, resnet18_bn_shortcut, resnet18_mxnet
from snellen.models.whitened_cnn import Whitening, whitened_cnn, whitened_resnet
from snellen.runs.recipe import Recipe
from snellen.sources.resize import CROP
from snellen.system import randomness
from snellen.task import Task

# name -> builder(num_classes). A network is Sequential(features=..., output=...): normalised images (B, 3, H, W) to
# features (B, D), features to logits; its output is a Linear.
MODELS: dict[str, Callable[..., nn.Sequential]] = {
    "whitened_cnn": whitened_cnn,
    "whitened_resnet": whitened_resnet,
    "efficientnet_lite0": efficientnet_lite.efficientnet_lite0,
    "efficientnet_lite0_levels": efficientnet_lite.efficientnet_lite0_levels,
    "resnet18": resnet18,
    "resnet18_mxnet": resnet18_mxnet,
    "resnet18_bn_shortcut": resnet18_bn_shortcut,
    "cifar_resnet20_v1": partial(cifar_resnet, 1, 20),
    "cifar_resnet56_v1": partial(cifar_resnet, 1, 56),
    "cifar_resnet110_v1": partial(cifar_resnet, 1, 110),
    "cifar_resnet20_v2": partial(cifar_resnet, 2, 20),
    "cifar_resnet56_v2": partial(cifar_resnet, 2, 56),
    "cifar_resnet110_v2": partial(cifar_resnet, 2, 110),
    "cifar_wideresnet16_10": partial(cifar_wide_resnet, 16, 10),
    "cifar_wideresnet28_10": partial(cifar_wide_resnet, 28, 10),
    "cifar_wideresnet40_8": partial(cifar_wide_resnet, 40, 8),
    "cifar_resnext29_16x64d": partial(cifar_resnext, 29, 16, 64),
    "cifar_resnext29_32x4d": partial(cifar_resnext, 29, 32, 4),
}
# name -> its source, and an accuracy: published by others (on the original images), or measured here
SOURCES: dict[str, str] = {
    "whitened_cnn": "arXiv:2404.00498, Muon variant; recipes fast and record",
    "whitened_resnet": "arXiv:2404.00498, section 5; recipes strong and best",
    "efficientnet_lite0": "arXiv:1905.11946, lite variant; for photographs, with ImageNet weights in the package",
    "efficientnet_lite0_levels": "the same, with features of five depths; recipes probe and photo",
    "resnet18": "Dive into Deep Learning, PyTorch tab",
    "resnet18_mxnet": "Dive into Deep Learning, MXNet tab",
    "resnet18_bn_shortcut": "arXiv:1512.03385, as in most PyTorch code for CIFAR",
    "cifar_resnet20_v1": "GluonCV, published 92.1%",
    "cifar_resnet56_v1": "GluonCV, published 93.6%",
    "cifar_resnet110_v1": "GluonCV, published 93.0%",
    "cifar_resnet20_v2": "GluonCV, published 92.1%",
    "cifar_resnet56_v2": "GluonCV, published 93.7%",
    "cifar_resnet110_v2": "GluonCV, published 94.3%",
    "cifar_wideresnet16_10": "GluonCV, published 95.1%",
    "cifar_wideresnet28_10": "GluonCV, published 95.6%",
    "cifar_wideresnet40_8": "GluonCV, published 95.9%",
    "cifar_resnext29_16x64d": "GluonCV, published 96.3%",
    "cifar_resnext29_32x4d": "GluonCV, nothing published",
}
# name -> a network whose weights fit too, apart from the head
SAME_WEIGHTS = {"efficientnet_lite0_levels": "efficientnet_lite0", "efficientnet_lite0": "efficientnet_lite0_levels"}
# the same families at any other depth and width
FAMILIES: dict[str, Callable[..., nn.Sequential]] = {
    r"cifar_resnet(\d+)_v(\d)": lambda depth, version, *rest, **more: cifar_resnet(version, depth, *rest, **more),
    r"cifar_wideresnet(\d+)_(\d+)": cifar_wide_resnet,
    r"cifar_resnext(\d+)_(\d+)x(\d+)d": cifar_resnext,
}


def as_input(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Convert uint8 (B, H, W, 3) to the input of a Classifier: float32 (B, 3, H, W) in [0, 1], on the device."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float().div_(255)


class Classifier(nn.Module):
    """A network with everything needed to use it: normalisation, classes, image size and temperature.

    Input: float (B, 3, H, W) in [0, 1]; normalisation happens inside. Output: logits (B, K).
    Probabilities are softmax(logits / temperature) or, if images have several labels, sigmoid(logits / temperature +
    shift); see prediction/probabilities.py.
    """

    mean: Tensor  # (3, 1, 1), of the training images
    std: Tensor  # (3, 1, 1), per pixel
    temperature: Tensor  # (), or (K,) if images have several labels
    shift: Tensor  # (K,), only if images have several labels
    # Statistics of the training images' features, see calibrate.py; zero until they are fitted.
    feature_mean: Tensor  # (D,)
    directions: Tensor  # (classes, D), of length 1
    familiar: Tensor  # (2,): the typical familiarity and the limit

    def __init__(
        self,
        name: str,
        network: nn.Sequential,
        classes: tuple[str, ...],
        size: tuple[int, int],
        task: Task | None = None,
    ):
        super().__init__()
        self.name, self.classes, self.size = name, classes, size
        self.task = task or Task(classes)
        self.resize = CROP  # how pictures that are not square become images
        self.network = network
        self.has_frozen_norm = False
        self.about: dict[str, Any] = {}  # the header of the file it was loaded from
        self.register_buffer("mean", torch.full((3, 1, 1), 0.5))
        self.register_buffer("std", torch.full((3, 1, 1), 0.25))
        self.register_buffer("temperature", torch.ones(len(classes) if self.task.has_several else ()))
        if self.task.has_several:
            self.register_buffer("shift", torch.zeros(len(classes)))
        num_features = cast(nn.Linear, network[1]).in_features
        self.register_buffer("feature_mean", torch.zeros(num_features))
        self.register_buffer("directions", torch.zeros(len(classes), num_features))
        self.register_buffer("familiar", torch.zeros(2))

    def to_device(self, device: torch.device, dtype: torch.dtype = torch.float32) -> "Classifier":
        """Move the model to a device, with channels-last filters, which are faster on CPUs."""
        return self.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> "Classifier":
        """Enter training or evaluation mode; frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if self.has_frozen_norm:
            for layer in self.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.network[1](self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the last layer: (B, D)."""
        return self.network[0]((x - self.mean) / self.std)

    @property
    def num_parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def build_network(name: str, num_classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Build a network by name, with weights from torch's random number generator.

    Raises RecipeError for an unknown name, an invalid depth, or dropout if the network has none.
    """
    builder = MODELS.get(name)
    if name.startswith(timm_network.PREFIX):
        builder = partial(timm_network.timm_network, name)
    for pattern, family in FAMILIES.items():
        if builder is None and (match := re.fullmatch(pattern, name)):
            builder = partial(family, *(int(number) for number in match.groups()))
    if builder is None:
        raise RecipeError(
            f'unknown model "{name}".',
            expected="a name from `snellen list models`, one of their families at another depth, or timm:NAME",
            do=did_you_mean(name, MODELS, "check the spelling"),
        )
    if not dropout:
        return builder(num_classes)
    if not name.startswith("cifar_wideresnet"):
        raise RecipeError(
            f"the model {name} has no dropout.",
            where=f"dropout={dropout:g}",
            expected="0, or a wide ResNet",
            do="set dropout=0, or for example model=cifar_wideresnet16_10",
        )
    return builder(num_classes, dropout=dropout)


def check_model(recipe: Recipe, images: ImageSet) -> None:
    """Raise the errors of `build_model`, without its cost in time and memory."""
    _check_size(images)
    with torch.device("meta"):
        build_network(recipe.model, len(images.classes), recipe.dropout)
    if recipe.frozen_blocks and not recipe.model.startswith("efficientnet_lite0"):
        raise RecipeError(
            f"no blocks of {recipe.model} can be frozen.",
            where=f"frozen_blocks={recipe.frozen_blocks}",
            expected="0, or the model efficientnet_lite0",
            do="set frozen_blocks=0",
        )


def _check_size(images: ImageSet) -> None:
    if min(images.size) < SMALLEST:
        raise DataError(
            f"the images have {images.size[1]}x{images.size[0]} pixels.",
            where=str(images.folder),
            expected=f"{SMALLEST} pixels or more: the networks halve them two to four times",
            do=f"prepare them with --size {SMALLEST} or more",
        )


def freeze(model: Classifier, recipe: Recipe) -> None:
    """Freeze what the recipe freezes: batch norm, and the first blocks with all depthwise filters."""
    if recipe.frozen_norm:
        model.has_frozen_norm = True
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.requires_grad = False
    if recipe.frozen_blocks:
        efficientnet_lite.freeze(model.network, recipe.frozen_blocks)


def build_model(recipe: Recipe, images: ImageSet) -> Classifier:
    """Build a model for these training images, normalised by their mean and std; recipe.seed determines the weights."""
    _check_size(images)
    randomness.seed_torch(recipe.seed, randomness.INITIAL_WEIGHTS)
    network = build_network(recipe.model, len(images.classes), recipe.dropout)
    model = Classifier(recipe.model, network, images.classes, images.size, images.task)
    model.resize = images.resize
    for buffer, values in ((model.mean, images.about["mean"]), (model.std, images.about["std"])):
        # A constant channel, for example all black, has a std of 0.
        buffer.copy_(torch.tensor(values).clamp(min=1e-3 if buffer is model.std else 0.0)[:, None, None])
    for whitening in (layer for layer in network.modules() if isinstance(layer, Whitening)):
        most = max(
            100, 5000 * 32 * 32 // (images.size[0] * images.size[1])
        )  # because all of them are in memory as floats
        num = min(len(images), most, 5000)
        chosen = randomness.random(recipe.seed, randomness.WHITENING_SAMPLE).choice(len(images), num, replace=False)
        pixels = torch.from_numpy(images.take(np.sort(chosen)).pixels()).permute(0, 3, 1, 2)
        whitening.fit((pixels.float() / 255 - model.mean) / model.std)
    return model
