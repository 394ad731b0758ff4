"""ResNet-18 for small images, in three variants known by this name.

Paper: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385. All three replace the stem made for
224-pixel images (7x7 at stride 2, max pooling) by one 3x3 convolution at stride 1.

Order: conv-BN-ReLU; four stages of two blocks with 64, 128, 256 and 512 channels, the last three halving the image;
mean over the image; dense. A block is ReLU(x' + BN(conv(ReLU(BN(conv(x)))))), where x' is x, or a 1x1 convolution of x
in the first block of the last three stages.

    variant                convolutions  x'           initial weights                   parameters, 10 classes
    resnet18               with bias     conv         torch's own                       11,176,970
    resnet18_mxnet         with bias     conv         Xavier uniform, biases 0          11,176,970
    resnet18_bn_shortcut   no bias       BN of conv   torch's own                       11,173,962

The first two are the PyTorch and the MXNet tab of "Dive into Deep Learning", section "Image Classification (CIFAR-10)
on Kaggle": the same graph with different initial weights. The third follows the paper (option B) and is what most
PyTorch code for CIFAR calls ResNet-18.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from snellen.models.xavier import xavier_


def resnet18(num_classes: int) -> nn.Sequential:
    """Build the PyTorch tab's network, from normalised (B, 3, H, W) to logits (B, K), with H and W 16 or more."""
    return _build(num_classes, bias=True, norm_shortcut=False)


def resnet18_mxnet(num_classes: int) -> nn.Sequential:
    """Build the same graph with the MXNet tab's initial weights."""
    network = resnet18(num_classes)
    xavier_(network)
    return network


def resnet18_bn_shortcut(num_classes: int) -> nn.Sequential:
    """Build the variant without biases, with batch norm on the shortcuts."""
    return _build(num_classes, bias=False, norm_shortcut=True)


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut, from (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int, *, bias: bool, norm_shortcut: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        projects = in_channels != channels
        self.conv3 = nn.Conv2d(in_channels, channels, 1, stride, bias=bias) if projects else nn.Identity()
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.bn3 = nn.BatchNorm2d(channels) if projects and norm_shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.bn3(self.conv3(x)))


def _build(num_classes: int, *, bias: bool, norm_shortcut: bool) -> nn.Sequential:
    def stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
        options = {"bias": bias, "norm_shortcut": norm_shortcut}
        return nn.Sequential(
            Residual(in_channels, channels, stride, **options), Residual(channels, channels, 1, **options)
        )

    features = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1, bias=bias),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        stage(64, 64, 1),
        stage(64, 128, 2),
        stage(128, 256, 2),
        stage(256, 512, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return nn.Sequential(OrderedDict(features=features, output=nn.Linear(512, num_classes)))
