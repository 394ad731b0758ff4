"""Networks of the package timm, by the name "timm:NAME": an extra, for everything beyond our own networks.

timm (Wightman, Apache-2.0) has about a thousand networks with pretrained weights. The adapter is thin: timm builds the
network without its last layer, and its pretrained configuration supplies the normalisation and the size of the images.
Networks that accept only one size, such as vision transformers, get images resized to it.

timm imports torchvision, which must fit the installed torch.
"""

from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from snellen.errors import RecipeError, RunError, SnellenError, did_you_mean

PREFIX = "timm:"
HUB = "pretrained"  # stands for the weights of timm's hub


class TimmFeatures(nn.Module):
    """A timm network without its last layer: normalised (B, 3, H, W) to features (B, D)."""

    def __init__(self, body: nn.Module, fixed_size: tuple[int, int] | None):
        super().__init__()
        self.body, self.fixed_size = body, fixed_size

    def forward(self, x: Tensor) -> Tensor:
        if self.fixed_size is not None and x.shape[2:] != self.fixed_size:
            x = F.interpolate(x, size=self.fixed_size, mode="bilinear", antialias=True, align_corners=False)
        return self.body(x)


def timm_network(name: str, num_classes: int) -> nn.Sequential:
    """Build the network "timm:NAME" from normalised (B, 3, H, W) to logits (B, K), with random weights.

    Raises RunError if timm cannot be imported, RecipeError for an unknown name.
    """
    return _with_output(_body(name), num_classes)


def pretrained(name: str, source: str) -> tuple[nn.Sequential, dict[str, Any]]:
    """Return the network "timm:NAME" with pretrained weights and a last layer for one class, and timm's configuration.

    source: HUB, or a file of weights with timm's names (.safetensors, .pth). The configuration has input_size, mean and
    std. Raises RunError if the weights cannot be loaded or do not fit.
    """
    try:
        body = _body(name, from_hub=source == HUB)
        if source != HUB:
            _load_file(body, Path(source))
    except SnellenError:
        raise
    except Exception as problem:  # the hub's client raises errors of many packages
        reason = " ".join(str(problem).split())[:200]
        raise RunError(
            f"the pretrained weights of {name} cannot be loaded: {reason}",
            where=f"start={source}",
            expected="access to timm's hub, or a file of weights with timm's names",
            do="download the file elsewhere and pass --set start=FILE",
        ) from None
    return _with_output(body, 1), dict(body.pretrained_cfg)


def _with_output(body: Any, num_classes: int) -> nn.Sequential:
    settings = body.pretrained_cfg
    fixed_size = tuple(settings["input_size"][1:]) if settings.get("fixed_input_size") else None
    num_features = getattr(body, "head_hidden_size", None) or body.num_features
    output = nn.Linear(num_features, num_classes)
    return nn.Sequential(OrderedDict(features=TimmFeatures(body, fixed_size), output=output))


def _load_file(body: nn.Module, path: Path) -> None:
    """Load weights with timm's names; those of the last layer are left out."""
    if path.suffix == ".safetensors":
        weights = load_file(path)
    else:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        weights = weights.get("state_dict", weights)
    expected = body.state_dict()
    if missing := sorted(expected.keys() - weights.keys()):
        raise ValueError(f"{len(missing)} weights are missing from the file, first {missing[0]}")
    body.load_state_dict({name: weights[name] for name in expected})


def _body(name: str, from_hub: bool = False) -> Any:
    timm = _timm(name)
    plain = name.removeprefix(PREFIX)
    # A model file may come from anywhere: names with a scheme, such as "hf-hub:...", would make timm download.
    if ":" in plain or "/" in plain or not timm.is_model(plain):
        raise RecipeError(
            f'timm has no model "{plain}".',
            where=f"model={name}",
            expected="a name that timm.list_models() returns",
            do=did_you_mean(plain, timm.list_models(), "check the spelling"),
        )
    return timm.create_model(plain, pretrained=from_hub, num_classes=0)


def _timm(name: str) -> ModuleType:
    try:
        import timm
    except (ImportError, RuntimeError, AttributeError) as problem:  # torchvision for another torch raises any of these
        raise RunError(
            f"{name} needs the package timm, which cannot be imported: {' '.join(str(problem).split())[:200]}",
            where=f"model={name}",
            expected="timm, and a torchvision that fits the installed torch",
            do="install both in an environment of their own: pip install torch torchvision 'snellen[timm]'",
        ) from None
    return timm
