"""The names in a Gluon parameter file, mapped to and from the parameters of the zoo's networks.

Two naming schemes are supported. `save_parameters` writes the path through the network, "features.2.0.conv1.weight".
`save_params` before MXNet 1.3, and exported networks, number their blocks, "stage1_conv0_weight", sometimes prefixed by
the network's own name, "cifarresnetv10_stage1_conv0_weight". The zoo's submodules have Gluon's paths, so only the last
words differ: a batch norm's weight and bias in torch are gamma and beta in Gluon.
Source: apache/mxnet v1.9.1, python/mxnet/gluon/block.py.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from snellen.errors import DataError, first_few

log = logging.getLogger("snellen")

LAST_LAYER = r"output\.weight|8\.weight|(\w+_)?dense0_weight"
MOST_CLASSES = 100_000  # so that a malicious file cannot cause a last layer far larger than itself
# The book's network is a plain sequence without names: "0.weight", not "features.0.weight" as in GluonCV.
UNNAMED = ("resnet18", "resnet18_mxnet")


def num_classes(params: Mapping[str, np.ndarray], *, where: str = "") -> int:
    """Return the number of classes of the last layer. where: the file, for messages.

    Raises DataError unless exactly one array is the weight of a last layer.
    """
    last = [name for name in params if re.fullmatch(LAST_LAYER, name)]
    shape = params[last[0]].shape if len(last) == 1 else ()
    if len(shape) != 2 or shape[0] > MOST_CLASSES:
        found = f"{last[0]} has the shape {shape}" if len(last) == 1 else f"its names are {first_few(params)}"
        raise DataError(
            f"the number of classes is unknown: {found}.",
            where=where,
            expected="one output.weight, 8.weight or dense0_weight of the shape (classes, features)",
            do="check that the file comes from GluonCV's CIFAR models or the book's ResNet-18",
        )
    return shape[0]


def load_into(network: nn.Module, params: Mapping[str, np.ndarray], model_name: str, *, where: str = "") -> None:
    """Copy `params` into `network`, called `model_name` in the zoo: all of them or, on an error, none.

    Float16 and float64 become the network's own type. A batch norm without scale and shift may have gamma and beta in
    the file: gamma is ignored, as in MXNet; a beta other than 0, which MXNet would add, is an error.
    Raises DataError with the numbers of missing, unexpected and mismatched arrays. where: the file, for messages.
    """
    if any("." in name for name in params):
        names = gluon_names(network, model_name)
    else:
        names = _numbered_names(network, model_name)
        params = _without_network_name(params)
    state = network.state_dict()
    missing = [name for name, key in names.items() if key in state and name not in params]
    unexpected = [name for name in params if name not in names]
    unfit = [
        f"{name} {problem}"
        for name, key in names.items()
        if name in params and (problem := _misfit(name, params[name], state.get(key)))
    ]
    problems = [f"{len(missing)} arrays are missing ({first_few(missing)})"] if missing else []
    problems += [f"{len(unexpected)} do not belong ({first_few(unexpected)})"] if unexpected else []
    problems += [f"{len(unfit)} do not fit ({'; '.join(unfit[:3])})"] if unfit else []
    if problems:
        raise DataError(
            f"the parameters are not those of {model_name}: {', '.join(problems)}.",
            where=where,
            expected=f"the {len(names)} arrays of {model_name}",
            do="name the model that the file was saved from",
        )
    for name, key in names.items():
        if key in state:
            state[key].copy_(
                torch.from_numpy(params[name].copy())
            )  # copied because torch needs writable, aligned memory
    log.info("read %d arrays into %s", len(params), model_name)


def to_gluon(network: nn.Module, model_name: str) -> dict[str, np.ndarray]:
    """Return the network's arrays, with names and order as written by Gluon's `save_parameters`.

    A batch norm without scale and shift has gamma 1 and beta 0 there. Bfloat16 becomes float32, with equal values.
    Raises DataError if the network has parameters outside convolutions, batch norms and dense layers.
    """
    names = gluon_names(network, model_name)
    state = network.state_dict()
    known = {*names.values(), *(f"{path}.num_batches_tracked" for path, _ in _layers(network))}
    if strange := [key for key in state if key not in known]:
        raise DataError(
            f"{model_name} cannot be written as a Gluon file: no layer of Gluon holds {first_few(strange)}.",
            expected="convolutions, batch norms and dense layers alone, as in the models named cifar_* and resnet18*",
            do="export it to another format",
        )
    arrays = {}
    for name, key in names.items():
        if key in state:
            tensor = state[key].cpu()
            arrays[name] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()
        else:
            channels = len(state[f"{key.rpartition('.')[0]}.running_var"])
            arrays[name] = np.full(channels, 1 if name.endswith("gamma") else 0, np.float32)
    return arrays


def gluon_names(network: nn.Module, model_name: str) -> dict[str, str]:
    """Return the state_dict key for each name written by `save_parameters`, in its order.

    Gamma and beta of a batch norm without scale and shift have keys here that are not in the state_dict.
    """

    def gluon_path(path: str) -> str:
        if model_name not in UNNAMED:
            return path
        return "8" if path == "output" else path.removeprefix("features.")

    return {
        f"{gluon_path(path)}.{theirs}": f"{path}.{ours}"
        for path, layer in _layers(network)
        for theirs, ours in _words(layer).items()
    }


def _numbered_names(network: nn.Module, model_name: str) -> dict[str, str]:
    """Return the same for `save_params`, which counts each kind of layer, and in GluonCV's networks per stage."""
    stages: dict[str, int] = {}
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for path, layer in _layers(network):
        inside = re.match(r"features\.(\d+)\.", path)
        scope = f"stage{stages.setdefault(inside[1], len(stages) + 1)}_" if inside and model_name not in UNNAMED else ""
        kind = "batchnorm" if isinstance(layer, nn.BatchNorm2d) else "conv" if isinstance(layer, nn.Conv2d) else "dense"
        number = counts[scope + kind]
        counts[scope + kind] += 1
        names |= {f"{scope}{kind}{number}_{theirs}": f"{path}.{ours}" for theirs, ours in _words(layer).items()}
    return names


def _without_network_name(params: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Remove the prefix of the last layer's name, if all names have it."""
    before = next((name.removesuffix("dense0_weight") for name in params if re.fullmatch(LAST_LAYER, name)), "")
    if all(name.startswith(before) for name in params):
        return {name.removeprefix(before): value for name, value in params.items()}
    return params


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Return the paths and layers that own arrays, in the order of construction, which is the same in Gluon."""
    for path, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.Conv2d | nn.Linear):
            yield path, module


def _words(layer: nn.Module) -> dict[str, str]:
    """Return the Gluon and torch words for each array of a layer."""
    if isinstance(layer, nn.BatchNorm2d):
        return {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}
    return {"weight": "weight"} if layer.bias is None else {"weight": "weight", "bias": "bias"}


def _misfit(name: str, value: np.ndarray, target: torch.Tensor | None) -> str:
    """Return the problem with an array, or "". Without a target: gamma or beta of a batch norm without either."""
    if value.dtype.kind != "f":
        return f"holds {value.dtype}, not floating-point numbers"
    if target is not None and value.shape != tuple(target.shape):
        return f"has the shape {value.shape}, not {tuple(target.shape)}"
    if target is None and name.endswith("beta") and value.any():
        return "is not 0, although its layer has no shift"
    return ""
