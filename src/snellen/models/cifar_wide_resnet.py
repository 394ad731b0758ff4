"""Wide ResNets for CIFAR as GluonCV builds them: any depth 6n+4, any width.

Paper: Zagoruyko & Komodakis, "Wide Residual Networks", arXiv:1605.07146. Structure:
gluoncv/model_zoo/cifarwideresnet.py.

Stem BN (without scale and shift) - conv - BN; three stages of n = (depth - 4) / 6 blocks with 16w, 32w and 64w
channels, the last two halving the image; BN-ReLU; mean over the image; dense. Convolutions are 3x3 without bias.
A block is x' + conv(dropout(ReLU(BN(conv(r))))) with r = ReLU(BN(x)); x' is x, or a 1x1 conv of r if the number of
channels changes. So the shortcut shares the activation, unlike version 2 in cifar_resnet.py, which uses the raw x.
The paper has neither the first nor the last BN of the stem.

    depth, width                 16, 10        28, 10        40, 8
    parameters, 10 classes   17,116,666    36,479,226    35,748,346

The submodules have the same names as in GluonCV, so that its files can be read (see gluon_names.py).
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from snellen.errors import RecipeError
from snellen.models.cifar_resnet import blocks_per_stage, conv3x3, stage
from snellen.models.xavier import xavier_


def cifar_wide_resnet(depth: int, width: int, num_classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Build a network from normalised (B, 3, H, W) to logits (B, K), with H and W 16 or more.

    width: factor on the channels of a ResNet. dropout: share of a block's inner activations set to 0 in training.
    Raises RecipeError if the depth is not 6n+4 or the width is below 1.
    """
    name = f"cifar_wideresnet{depth}_{width}"
    num_blocks = blocks_per_stage(name, depth, 6, 4)
    if width < 1:
        raise RecipeError(
            f"a network cannot be {width} times as wide.", where=name, expected="1 or more", do="use width 10 or 8"
        )

    def block(in_channels: int, channels: int, stride: int) -> WideBlock:
        return WideBlock(in_channels, channels, stride, dropout)

    features = nn.Sequential(
        nn.BatchNorm2d(3, affine=False),
        conv3x3(3, 16),
        nn.BatchNorm2d(16),
        stage(block, num_blocks, 16, 16 * width, 1),
        stage(block, num_blocks, 16 * width, 32 * width, 2),
        stage(block, num_blocks, 32 * width, 64 * width, 2),
        nn.BatchNorm2d(64 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    network = nn.Sequential(OrderedDict(features=features, output=nn.Linear(64 * width, num_classes)))
    xavier_(network)
    return network


class WideBlock(nn.Module):
    """A block from (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv3x3(channels, channels)
        self.downsample = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if in_channels != channels else None

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(activated)
        y = F.relu(self.bn2(self.conv1(activated)))
        return self.conv2(self.dropout(y)) + shortcut
