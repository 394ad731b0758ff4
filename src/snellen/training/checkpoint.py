"""What going on after a stop takes, in one file that is replaced whole: tensors, and JSON in its header. No pickle."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from snellen.errors import RunError
from snellen.models.classifier import Classifier
from snellen.runs.run import Epoch
from snellen.system import files
from snellen.training.optim import Optimizer

KEY = "snellen"


@dataclass
class Position:
    """Where a training stands, besides weights and momentum."""

    step: int = 0  # updates done
    best_epoch: int = 0  # the epoch with the best validation accuracy so far, counted from 1
    seconds: float = 0.0  # spent in the unfinished epoch
    rows: list[Epoch] = field(default_factory=list)  # the finished epochs


def save_checkpoint(
    path: Path, position: Position, totals: Tensor, model: Classifier, shown: Classifier, optimizer: Optimizer
) -> None:
    """shown: the averaged model, or `model` itself. totals: of the unfinished epoch."""
    tensors = {"totals": totals}
    parts = {"model": model.state_dict(), "momentum": optimizer.state()}
    if shown is not model:
        parts["shown"] = shown.state_dict()
    for part, state in parts.items():
        tensors |= {f"{part}.{name}": value for name, value in state.items()}
    data = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with files.replacing(path) as file:
        file.write(save(data, {KEY: json.dumps(asdict(position))}))


def restore_checkpoint(
    path: Path, totals: Tensor, model: Classifier, shown: Classifier, optimizer: Optimizer
) -> Position:
    """Fill all of these from the file and return the position; a fresh one where there is no file.

    Raises RunError for a damaged file.
    """
    if not path.exists():
        return Position()
    try:
        with safe_open(path, framework="pt") as file:
            position = Position(**json.loads((file.metadata() or {})[KEY]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        totals.copy_(tensors["totals"])
        model.load_state_dict(_part(tensors, "model"))
        if shown is not model:
            shown.load_state_dict(_part(tensors, "shown"))
        optimizer.load_state(_part(tensors, "momentum"))
        return position
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise RunError(
            f"the checkpoint is damaged: {str(problem).splitlines()[0]}",
            where=str(path),
            do="delete it to begin this run again, or put back a copy of it",
        ) from None


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(part + "."): value for name, value in tensors.items() if name.startswith(part + ".")}
