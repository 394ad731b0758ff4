"""ResNeXts for CIFAR as GluonCV builds them: any depth 9n+2, any cardinality and bottleneck width.

Paper: Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", arXiv:1611.05431. Structure:
gluoncv/model_zoo/cifarresnext.py.

Stem conv-BN-ReLU with 64 channels; three stages of n = (depth - 2) / 9 bottlenecks around C = 64, 128 and 256 channels,
the last two halving the image; mean over the image; dense. No convolution has a bias.
A bottleneck is ReLU(x' + BN(1x1(ReLU(BN(grouped 3x3(ReLU(BN(1x1(x))))))))): inwards to g = cardinality * floor(C *
width / 64) channels, outwards to 4C. x' is x, or BN(1x1 conv(x)) in the first block of every stage.

    cardinality x width           16x64d        32x4d
    parameters, depth 29      68,155,210    4,775,754     (10 classes)

The submodules have the same names as in GluonCV, so that its files can be read (see gluon_names.py).
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from snellen.errors import RecipeError
from snellen.models.cifar_resnet import blocks_per_stage
from snellen.models.xavier import xavier_


def cifar_resnext(depth: int, cardinality: int, bottleneck_width: int, num_classes: int) -> nn.Sequential:
    """Build a network from normalised (B, 3, H, W) to logits (B, K), with H and W 16 or more.

    cardinality: groups of the 3x3 convolutions. bottleneck_width: channels of each group in the first stage.
    Raises RecipeError if the depth is not 9n+2, or the cardinality or width is below 1.
    """
    name = f"cifar_resnext{depth}_{cardinality}x{bottleneck_width}d"
    num_blocks = blocks_per_stage(name, depth, 9, 2)
    if cardinality < 1 or bottleneck_width < 1:
        raise RecipeError(
            f"a convolution cannot have {cardinality} groups of {bottleneck_width} channels.",
            where=name,
            expected="1 or more of both",
            do="use 32x4d or 16x64d",
        )
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
    ]
    in_channels = 64
    for channels, stride in (64, 1), (128, 2), (256, 2):
        inner = cardinality * (channels * bottleneck_width // 64)
        blocks = [Bottleneck(in_channels, inner, 4 * channels, stride, cardinality, projects=True)]
        for _ in range(num_blocks - 1):
            blocks.append(Bottleneck(4 * channels, inner, 4 * channels, 1, cardinality, projects=False))
        layers.append(nn.Sequential(*blocks))
        in_channels = 4 * channels
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(OrderedDict(features=features, output=nn.Linear(1024, num_classes)))
    xavier_(network)
    return network


class Bottleneck(nn.Module):
    """A block from (B, in_channels, H, W) to (B, channels, H / stride, W / stride), with `inner` channels in groups."""

    def __init__(self, in_channels: int, inner: int, channels: int, stride: int, cardinality: int, *, projects: bool):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride, padding=1, groups=cardinality, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.downsample: nn.Module = nn.Identity()
        if projects:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.downsample(x))
