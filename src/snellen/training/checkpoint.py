"""The checkpoint: everything needed to resume training, in one file of tensors with a JSON header. No pickle."""

from pathlib import Path

from torch import Tensor

from snellen.errors import RunError
from snellen.system.tensor_files import open_tensors, write_tensors
from snellen.training.state import State


def save_checkpoint(path: Path, state: State) -> None:
    """Write the state atomically, with a checksum."""
    tensors = {"totals": state.sums}
    parts = {"model": state.model.state_dict(), "momentum": state.optimizer.state()}
    if state.shown is not state.model:
        parts["shown"] = state.shown.state_dict()
    for part, values in parts.items():
        tensors |= {f"{part}.{name}": value for name, value in values.items()}
    write_tensors(path, tensors, {"step": state.step, "seconds": state.clock.seconds, "rows": state.rows})


def restore_checkpoint(path: Path, state: State) -> None:
    """Fill in the state from the file, if it exists. Raises RunError for a damaged file."""
    if not path.exists():
        return
    try:
        with open_tensors(path) as file:
            header, tensors = file.header, file.read()
        state.sums.copy_(tensors["totals"])
        state.model.load_state_dict(_part(tensors, "model"))
        if state.shown is not state.model:
            state.shown.load_state_dict(_part(tensors, "shown"))
        state.optimizer.load_state(_part(tensors, "momentum"))
        state.step, state.rows = int(header["step"]), list(header["rows"])
        state.clock.reset(float(header["seconds"]))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise RunError(
            f"the checkpoint is damaged: {str(problem).splitlines()[0]}",
            where=str(path),
            do="delete it to start this run again, or restore it from a copy",
        ) from None


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(part + "."): value for name, value in tensors.items() if name.startswith(part + ".")}
