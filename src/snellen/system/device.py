"""The device and the precision that a command computes with, and why."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from snellen.errors import RunError, did_you_mean
from snellen.system.memory import keep_freed_memory

DEVICES = "cpu, cuda, cuda:1, mps, ..."
# Instruction sets with bfloat16 dot products, the fastest first; the names are Linux's and torch's.
BFLOAT16 = {
    "amx_tile": "AMX tiles",
    "avx512_bf16": "AVX-512 bfloat16 dot products",
    "bf16": "bfloat16 instructions",
}


@dataclass(frozen=True)
class Runtime:
    """The device and the precision, and why."""

    device: torch.device
    dtype: torch.dtype  # of matrix products and convolutions
    why: str  # one line for people

    @property
    def weights(self) -> torch.dtype:
        """The precision of the weights, and of everything that is not a matrix product."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def autocast(self) -> torch.autocast:
        """Run matrix products and convolutions in bfloat16 if that is `dtype`; otherwise change nothing."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def choose_runtime(precision: str = "auto", device: str | None = None) -> Runtime:
    """Return `device` or the best one of this machine, and `precision` or the best one that is fast there.

    Raises RunError for a device that cannot be used.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        why = {"cuda": "a GPU was found", "mps": "an Apple GPU was found", "cpu": "no GPU was found"}[device]
    else:
        why = "as asked"
    chosen = _usable(device, precision)
    if chosen.type == "cpu":
        keep_freed_memory()
    fast, reason = _fast_bfloat16(chosen)
    if precision == "auto":
        dtype = torch.bfloat16 if fast else torch.float32
        reason = f"{str(dtype).removeprefix('torch.')} ({reason})"
    else:
        dtype = getattr(torch, precision)
        warning = f"; {reason}, so it may be slow" if dtype == torch.bfloat16 and not fast else ""
        reason = f"{precision} (as asked{warning})"
    if chosen.type == "cuda":
        torch.backends.cudnn.allow_tf32 = precision != "float32"  # on by default, but it is not float32
        torch.backends.cudnn.deterministic = True
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{torch.get_num_threads()} threads"
    return Runtime(chosen, dtype, f"device {chosen} ({why}; {name}), {reason}")


def _usable(name: str, precision: str) -> torch.device:
    """Return the device with this name. Raises RunError if it cannot be used."""
    try:
        device = torch.device(name)
    except RuntimeError:  # torch's own message lists everything it was ever built for
        meant = "cuda" if name.lower().startswith(("gpu", "nvidia")) else name.lower()
        raise RunError(
            f'the device "{name}" cannot be used: torch does not know this device.',
            expected=DEVICES,
            do=did_you_mean(meant, ("cpu", "cuda", "mps"), "leave --device out to use the best one"),
        ) from None
    try:
        # There and back: torch's "meta" device computes nothing, and Apple's GPUs have no float64.
        torch.zeros(1, device=device, dtype=torch.float64 if precision == "float64" else torch.float32).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as problem:
        raise RunError(
            f'the device "{name}" cannot be used: {str(problem).splitlines()[0]}',
            expected=DEVICES,
            do="leave --device out to use the best one",
        ) from None
    return device


def _fast_bfloat16(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return major >= 8, f"compute capability {major}.{minor}, bfloat16 units from 8.0"
    if device.type == "mps":
        return False, "bfloat16 is not faster there"
    for feature, words in BFLOAT16.items():
        if feature in processor_features():
            return True, f"the processor has {words}"
    return False, "the processor has no bfloat16 dot products"


@cache
def processor_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the names of the processor's instruction sets, as Linux has them; elsewhere those that torch detects."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        detected: dict = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch do not have it
        # Apple's processors have bf16 as well, but nobody measured whether it is faster there.
        return frozenset(name for name, value in detected.items() if value is True) - {"bf16"}
    names = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return frozenset().union(*names)


def moved(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return the values on the device, without waiting for a GPU: it copies from pinned memory in its own time."""
    tensor = torch.from_numpy(values)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
