"""Start a model from another model's weights: `--init`."""

import logging

from snellen.errors import RunError
from snellen.models.classifier import Classifier

log = logging.getLogger("snellen")


def start_from(model: Classifier, init: Classifier) -> None:
    """Copy the weights and the normalisation of `init`, and the head if the number of classes is the same.

    Raises RunError if the networks differ in more than the head.
    """
    mine, other = model.network.state_dict(), init.network.state_dict()
    fitting = {name: value for name, value in other.items() if name in mine and value.shape == mine[name].shape}
    missing = mine.keys() - fitting.keys()
    _, head = (name for name, _ in model.network.named_children())  # the Linear that Classifier declares
    if model.name != init.name or not all(name.startswith(f"{head}.") for name in missing):
        raise RunError(
            f"the weights of {init.name} do not fit {model.name}.",
            where="--init",
            expected=f"a model of the same architecture ({model.name}); only its last layer may differ",
            do=f"train with --set model={init.name}, or start from another model",
        )
    if missing:
        fitting = {name: value for name, value in fitting.items() if not name.startswith(f"{head}.")}
        log.info("the last layer starts from random weights: %d classes, not %d", len(model.classes), len(init.classes))
    model.network.load_state_dict(fitting, strict=False)
    model.mean.copy_(init.mean)  # the weights were trained with this normalisation
    model.std.copy_(init.std)
