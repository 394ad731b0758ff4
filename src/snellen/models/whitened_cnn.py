"""Networks for fast training: fixed whitening filters, then three groups of two or three convolutions.

Paper: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498; `whitened_cnn` is the net of its
later Muon variant, 1,971,352 trainable parameters for 10 classes. `whitened_resnet` is the paper's larger one (section
5: wider, a third convolution in each group and a shortcut over the last two), 9,915,416.
Order: whitening 2x2 convolution - GELU - three times (conv3x3 - max-pool 2 - batch norm - GELU - conv3x3 - batch norm
- GELU) - global max-pool - linear / 256.
Differences from the paper: the last pooling takes the maximum over the whole map, not over 3x3 (the same at 32
pixels), so that other image sizes work; batch norm's eps is 1e-2, not 1e-12. Measured by the recipes `record`, `fast`
and `strong`.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL, LARGE = (64, 256, 256), (128, 384, 512)  # channels of the groups
WHITENING_EPS = 5e-4  # added to each variance, so that pure noise is not amplified
# Added to each variance by batch norm. The paper's code has 1e-12, which amplifies channels that hardly vary, common in
# grey drawings with a black background: their filters grow until the channel's mean is 200 times its deviation, and the
# running mean lags far behind. 1e-2 prevents this (docs/lab-notes.md, 2026-11-24).
NORM_EPS = 1e-2


class Whitening(nn.Conv2d):
    """A 2x2 convolution that decorrelates the patches of natural images. Its weights are computed, not trained.

    24 filters: the 12 eigenvectors of the covariance of 2x2 RGB patches, each divided by sqrt(variance + eps), and
    their negatives. Only the bias is trained.
    """

    bias: nn.Parameter

    def __init__(self):
        super().__init__(3, 24, kernel_size=2)
        self.weight.requires_grad = False
        nn.init.zeros_(self.bias)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Set the weights from normalised images, float (N, 3, H, W)."""
        products, num_patches = torch.zeros(12, 12, dtype=torch.float64), 0
        at_once = max(1, 250 * 32 * 32 // max(32 * 32, x.shape[2] * x.shape[3]))
        for piece in x.split(at_once):  # all patches at once would take 24 times the memory of the images
            patches = piece.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12).double()
            products += patches.T @ patches
            num_patches += len(patches)
        variances, vectors = torch.linalg.eigh(products / num_patches)
        filters = (vectors / torch.sqrt(variances + WHITENING_EPS)).T.flip(0).reshape(12, 3, 2, 2)
        self.weight.copy_(torch.cat([filters, -filters]))


def whitened_cnn(num_classes: int) -> nn.Sequential:
    """Build a network from normalised float (B, 3, H, W), with H and W 16 or more, to logits (B, num_classes)."""
    return _network(Group, SMALL, num_classes)


def whitened_resnet(num_classes: int) -> nn.Sequential:
    """Build the larger network, with the same input and output."""
    return _network(ResidualGroup, LARGE, num_classes)


def _network(group: type["Group"], widths: tuple[int, ...], num_classes: int) -> nn.Sequential:
    groups = [group(a, b) for a, b in zip((24, *widths), widths, strict=False)]
    features = nn.Sequential(Whitening(), nn.GELU(), *groups, nn.AdaptiveMaxPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict(features=features, output=Head(widths[-1], num_classes)))


class Head(nn.Linear):
    """A linear layer without bias, divided by 256: large weights that move slowly, and small logits at the start."""

    def __init__(self, num_in: int, num_classes: int):
        super().__init__(num_in, num_classes, bias=False)
        if (
            not self.weight.is_meta
        ):  # meta weights have no values, and computing their std would import parts of torch for a second
            with torch.no_grad():
                self.weight /= self.weight.std()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 256


class Group(nn.Module):
    """Two convolutions, the first of which halves the image."""

    def __init__(self, num_in: int, num_out: int):
        super().__init__()
        self.conv1, self.norm1 = _conv(num_in, num_out), _norm(num_out)
        self.conv2, self.norm2 = _conv(num_out, num_out), _norm(num_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class ResidualGroup(Group):
    """Three convolutions, the first of which halves the image; the last two are residual."""

    def __init__(self, num_in: int, num_out: int):
        super().__init__(num_in, num_out)
        self.conv3, self.norm3 = _conv(num_out, num_out), _norm(num_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        added = F.gelu(self.norm2(self.conv2(x)))
        return F.gelu(x + self.norm3(self.conv3(added)))


def _conv(num_in: int, num_out: int) -> nn.Conv2d:
    conv = nn.Conv2d(num_in, num_out, kernel_size=3, padding=1, bias=False)
    nn.init.dirac_(conv.weight[:num_in])  # the first filters start by passing their input on
    return conv


def _norm(num: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(num, eps=NORM_EPS, momentum=0.4)
    norm.weight.requires_grad = False  # a bias and no scale
    return norm
