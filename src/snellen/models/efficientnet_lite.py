"""EfficientNet-Lite0: a small network for photographs, made to start from ImageNet weights.

Papers: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv:1905.11946 (table 1:
the stages of B0); Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381 (the
block). "Lite" is Google's variant for devices: github.com/tensorflow/tpu, models/official/efficientnet/lite.

Order: conv3x3 at stride 2, 32 channels; seven stages of inverted bottleneck blocks; conv1x1 to 1,280 channels; mean
over the image; dense. Batch norm and ReLU6 follow every convolution but the last of a block. A block is: conv1x1 to
`expand` times the channels (left out in the first stage, where expand is 1); depthwise convolution; conv1x1 to the
stage's channels; plus its input if it keeps size and channels.

Unlike B0, "lite" has no squeeze-and-excitation, and ReLU6 instead of swish, because both are slow or inexact on
integer hardware. Dropout and stochastic depth are omitted here: only training on ImageNet from scratch needs them.

4,652,008 trainable parameters for 1,000 classes; 3,371,008 without the dense layer. 0.4 GMAC at 224x224.
Padding is TensorFlow's "same", as for the published weights: at stride 2 an even image gets one row less at the top
than at the bottom.
Measured by the recipes `probe` and `photo`.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01  # as in the published training
NUM_FEATURES = 1280
STEM = 32  # channels
LEVELS = (5, 8, 11, 15)  # blocks, counted from 1, whose wide layers are features too; see `Levels`
# (blocks, kernel, stride of the first block, expand, channels) of each stage
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0(num_classes: int) -> nn.Sequential:
    """Build a network from normalised (B, 3, H, W) to logits (B, K), H and W 16 or more, with torch's own weights."""
    features = nn.Sequential(*_layers(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict(features=features, output=nn.Linear(NUM_FEATURES, num_classes)))


def efficientnet_lite0_levels(num_classes: int) -> nn.Sequential:
    """Build the same network with the features of several levels; the same weights fit."""
    layers = _layers()
    inside = [layer.depthwise.conv.out_channels for layer in layers if isinstance(layer, Block)]
    output = nn.Linear(NUM_FEATURES + sum(inside[level - 1] for level in LEVELS), num_classes)
    return nn.Sequential(OrderedDict(features=Levels(*layers), output=output))


def _layers() -> list[nn.Module]:
    layers: list[nn.Module] = [ConvNorm(3, STEM, 3, stride=2)]
    channels = STEM
    for num_blocks, kernel, stride, expand, out_channels in STAGES:
        for number in range(num_blocks):
            layers.append(Block(channels, out_channels, kernel, stride if number == 0 else 1, expand))
            channels = out_channels
    return [*layers, ConvNorm(channels, NUM_FEATURES, 1)]


class Levels(nn.Sequential):
    """Layers whose features are means over the image at several depths: of textures as well as of objects."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([level.mean((2, 3)) for level in self.maps(x)], dim=1)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return what the means are taken of, (B, C, H, W) each: the last layer, then the wide layers of LEVELS."""
        found = []
        for number, layer in enumerate(self):
            if number in LEVELS:
                assert isinstance(layer, Block)
                found.append(wide := layer.depthwise(layer.expand(x)))
                x = layer.narrow(x, wide)
            else:
                x = layer(x)
        return [x, *found]


def freeze(network: nn.Sequential, num_blocks: int) -> None:
    """Freeze the stem, the first blocks and all depthwise filters.

    The first two blocks and the depthwise filters take two thirds of the backward pass, and hold 4% of the weights.
    """
    for layer in list(network[0].children())[: 1 + num_blocks]:
        layer.requires_grad_(False)
    for layer in network[0].modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            layer.weight.requires_grad = False


class Block(nn.Module):
    """An inverted bottleneck from (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, expand: int):
        super().__init__()
        wide = in_channels * expand
        self.expand = ConvNorm(in_channels, wide, 1) if expand > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel, stride=stride, groups=wide)
        self.project = ConvNorm(wide, channels, 1, is_linear=True)
        self.adds_input = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(x, self.depthwise(self.expand(x)))

    def narrow(self, x: Tensor, wide: Tensor) -> Tensor:
        """Return the block's output from its input and its wide layer."""
        y = self.project(wide)
        return x + y if self.adds_input else y


class ConvNorm(nn.Module):
    """A convolution with "same" padding, batch norm, and ReLU6 unless it is linear."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1, is_linear: bool = False
    ):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        self.is_linear = is_linear

    def forward(self, x: Tensor) -> Tensor:
        if self.norm.training:
            x = self.norm(self._convolve(x, self.conv.weight, None))
        else:  # fold batch norm, a scale and a shift, into the convolution: 1.2 times as fast
            mean, variance = self.norm.running_mean, self.norm.running_var
            assert mean is not None
            assert variance is not None
            scale = self.norm.weight * torch.rsqrt(variance + self.norm.eps)
            shift = self.norm.bias - mean * scale
            x = self._convolve(x, self.conv.weight * scale[:, None, None, None], shift)
        return x if self.is_linear else F.relu6(x, inplace=True)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv, (height, width), half = self.conv, x.shape[2:], self.conv.kernel_size[0] // 2
        padding, first = (half, half), (0, 0)
        if conv.stride != (1, 1):
            # Even sizes need one pixel less at the top and on the left. Padding by one more on all sides and dropping
            # the first row and column does this without a padded copy of x.
            first = (1 - height % 2, 1 - width % 2)
            padding = (half + first[0], half + first[1])
        if conv.groups > 1 and torch.is_grad_enabled() and x.device.type == "cpu":
            y = _Depthwise.apply(x, weight, bias, conv.stride, padding)
        else:
            y = F.conv2d(x, weight, bias, conv.stride, padding, groups=conv.groups)
        return y[:, :, first[0] :, first[1] :] if any(first) else y


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution for CPUs whose backward pass in bfloat16 is up to 100 times as fast as torch's.

    In torch, the gradients of 5x5 filters, and of the input at stride 2, take 60 to 140 times as long as the forward
    pass (torch 2.13, lab notes 2026-11-24), but not in float32. At stride 1 the gradient of the input is itself a
    depthwise convolution, with the filters rotated by 180 degrees.
    """

    @staticmethod
    def forward(context, x, weight, bias, stride, padding):
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        context.save_for_backward(x, weight)
        context.stride, context.padding, context.bias_dtype = stride, padding, None if bias is None else bias.dtype
        bias = None if bias is None else bias.to(x.dtype)
        return F.conv2d(x, weight.to(x.dtype), bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(context, grad):
        x, weight = context.saved_tensors
        stride, padding, side = context.stride, context.padding, weight.shape[2]
        needs_x, needs_weight, needs_bias = context.needs_input_grad[:3]
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = grad_weight = grad_bias = None
        exact = torch.promote_types(x.dtype, torch.float32)
        if needs_bias:
            grad_bias = grad.sum((0, 2, 3), dtype=context.bias_dtype)
        with torch.autocast("cpu", enabled=False):
            if needs_x and stride == (1, 1):
                turned = weight.to(grad.dtype).flip(2, 3)
                grad_x = F.conv2d(grad, turned, None, 1, side - 1 - padding[0], groups=len(weight))
            elif needs_x:
                grad_x = conv2d_input(
                    x.shape, weight.to(exact), grad.to(exact), stride, padding, groups=len(weight)
                ).to(x.dtype)
            if needs_weight:
                dtype = x.dtype if side == 3 else exact
                grad_weight = conv2d_weight(
                    x.to(dtype), weight.shape, grad.to(dtype), stride, padding, groups=len(weight)
                ).to(weight.dtype)
        return grad_x, grad_weight, grad_bias, None, None
