"""Start a model from another model's weights: the recipe's `start`, or `--init`."""

import logging

import torch

from snellen.errors import RunError
from snellen.models.classifier import SAME_WEIGHTS, Classifier
from snellen.models.timm_network import PREFIX, pretrained
from snellen.prediction.opening import opened
from snellen.runs.recipe import Recipe

log = logging.getLogger("snellen")


def start_of(recipe: Recipe) -> Classifier | None:
    """Return the model whose weights the recipe starts from, or None for random weights.

    Raises RunError if there is no such model.
    """
    if recipe.start == "none":
        return None
    if not recipe.model.startswith(PREFIX):
        return opened(recipe.start)
    network, settings = pretrained(recipe.model, recipe.start)
    model = Classifier(recipe.model, network, ("one class, never trained",), settings["input_size"][1:])
    for buffer, values in ((model.mean, settings["mean"]), (model.std, settings["std"])):
        buffer.copy_(torch.tensor(values)[:, None, None])
    return model.eval()


def start_from(model: Classifier, init: Classifier) -> None:
    """Copy the weights and the normalisation of `init`, and the head if the number of classes is the same.

    Raises RunError if the networks differ in more than the head.
    """
    mine, other = model.network.state_dict(), init.network.state_dict()
    fitting = {name: value for name, value in other.items() if name in mine and value.shape == mine[name].shape}
    missing = mine.keys() - fitting.keys()
    _, head = (name for name, _ in model.network.named_children())  # the Linear that Classifier declares
    if init.name not in (model.name, SAME_WEIGHTS.get(model.name)) or not all(
        name.startswith(f"{head}.") for name in missing
    ):
        raise RunError(
            f"the weights of {init.name} do not fit {model.name}.",
            where="--init",
            expected=f"a model of the same architecture ({model.name}); only its last layer may differ",
            do=f"train with --set model={init.name}, or start from another model",
        )
    if missing:
        fitting = {name: value for name, value in fitting.items() if not name.startswith(f"{head}.")}
        log.info("the last layer is new: it has %d classes", len(model.classes))
    model.network.load_state_dict(fitting, strict=False)
    model.mean.copy_(init.mean)  # the weights were trained with this normalisation
    model.std.copy_(init.std)
