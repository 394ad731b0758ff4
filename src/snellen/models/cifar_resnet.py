"""ResNets for CIFAR as GluonCV builds them: version 1 and version 2, any depth 6n+2.

Papers: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385 (version 1), and "Identity Mappings
in Deep Residual Networks", arXiv:1603.05027 (version 2). Structure: gluoncv/model_zoo/cifarresnet.py.

Three stages of n = (depth - 2) / 6 blocks with 16, 32 and 64 channels, the last two halving the image; mean over the
image; dense. Convolutions are 3x3 without bias.

    version 1   stem conv-BN (no ReLU); block ReLU(x' + BN(conv(ReLU(BN(conv(x)))))); x' is x, or BN(1x1 conv(x)) if the
                number of channels changes (the paper pads with zeros).
    version 2   stem BN-conv, its BN without scale and shift; block x' + conv(ReLU(BN(conv(ReLU(BN(x)))))); x' is x, or
                a 1x1 conv of the raw x (the paper and most code apply it after the block's first BN-ReLU);
                BN-ReLU after the last stage.

    parameters, 10 classes    depth 20    depth 56     depth 110
    version 1                  272,474     855,770     1,730,714
    version 2                  272,282     855,578     1,730,522

The submodules have the same names as in GluonCV, so that its files can be read (see gluon_names.py).
"""

from collections import OrderedDict
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from snellen.errors import RecipeError
from snellen.models.xavier import xavier_

DEEPEST = 1202  # layers, of the paper's deepest network for CIFAR; a limit for depths read from untrusted files


def cifar_resnet(version: int, depth: int, num_classes: int) -> nn.Sequential:
    """Build a network from normalised (B, 3, H, W) to logits (B, K), with H and W 16 or more.

    Raises RecipeError if the version is not 1 or 2, or the depth is not 6n+2.
    """
    name = f"cifar_resnet{depth}_v{version}"
    num_blocks = blocks_per_stage(name, depth, 6, 2)
    if version not in (1, 2):
        raise RecipeError(
            f"there is no version {version} of this network.", where=name, expected="1 or 2", do="write _v1 or _v2"
        )
    block = BlockV1 if version == 1 else BlockV2
    stages = [
        stage(block, num_blocks, 16, 16, 1),
        stage(block, num_blocks, 16, 32, 2),
        stage(block, num_blocks, 32, 64, 2),
    ]
    if version == 1:
        layers = [conv3x3(3, 16), nn.BatchNorm2d(16), *stages]
    else:
        layers = [nn.BatchNorm2d(3, affine=False), conv3x3(3, 16), *stages, nn.BatchNorm2d(64), nn.ReLU()]
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(OrderedDict(features=features, output=nn.Linear(64, num_classes)))
    xavier_(network)
    return network


class BlockV1(nn.Module):
    """A block from (B, in_channels, H, W) to (B, channels, H / stride, W / stride), with a ReLU after the sum."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(in_channels, channels, stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )
        self.downsample: nn.Module = nn.Identity()
        if in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.downsample(x))


class BlockV2(nn.Module):
    """A block from (B, in_channels, H, W) to (B, channels, H / stride, W / stride), with nothing after the sum."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.downsample: nn.Module = nn.Identity()
        if in_channels != channels:
            self.downsample = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        return self.conv2(F.relu(self.bn2(y))) + self.downsample(x)


def blocks_per_stage(name: str, depth: int, per_block: int, outside: int) -> int:
    """Return the blocks in each of three stages, for a network of `depth` = per_block * n + outside layers.

    name: the model, for the message. Raises RecipeError for any other depth, or a depth above 1202.
    """
    if depth <= outside or (depth - outside) % per_block or depth > DEEPEST:
        whole = max(1, round((min(depth, DEEPEST) - outside) / per_block))
        most = (DEEPEST - outside) // per_block
        raise RecipeError(
            f"a network of this kind cannot be {depth} layers deep.",
            where=name,
            expected=f"{per_block}n+{outside}: {outside + per_block}, {outside + 2 * per_block}, "
            f"{outside + 3 * per_block}, ..., up to {outside + most * per_block}",
            do=f"write {outside + per_block * min(whole, most)}, the nearest",
        )
    return (depth - outside) // per_block


def stage(
    block: Callable[[int, int, int], nn.Module], num_blocks: int, in_channels: int, channels: int, stride: int
) -> nn.Sequential:
    """Chain blocks made by block(in_channels, channels, stride); only the first changes the channels and the size."""
    first = block(in_channels, channels, stride)
    return nn.Sequential(first, *(block(channels, channels, 1) for _ in range(num_blocks - 1)))


def conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
