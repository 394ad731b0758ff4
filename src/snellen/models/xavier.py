"""Initial weights, drawn as in MXNet's `initialize(mx.init.Xavier())`."""

from torch import nn


def xavier_(network: nn.Module) -> None:
    """Draw every convolution and dense weight from U(-a, a), a = sqrt(6 / (fan_in + fan_out)); set biases to 0.

    A fan is the number of channels on that side of the weight's shape times the kernel area. For a grouped convolution
    that is channels / groups for the input but all channels for the output, in both MXNet and torch.
    Batch norm keeps its defaults: scale 1, shift 0.
    Source: Glorot & Bengio, AISTATS 2010; mxnet v1.9.1 python/mxnet/initializer.py (uniform, average of both fans).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
