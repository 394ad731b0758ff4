"""Choose the device and the precision for a command, with the reasons."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from snellen.errors import RunError, did_you_mean
from snellen.system.memory import keep_freed_memory

DEVICES = "cpu, cuda, cuda:1, mps, ..."
# Instruction sets with bfloat16 dot products, fastest first, as Linux and torch name them.
BFLOAT16 = {
    "amx_tile": "AMX tiles",
    "avx512_bf16": "AVX-512 bfloat16 dot products",
    "bf16": "bfloat16 instructions",
}


@dataclass(frozen=True)
class Runtime:
    """The chosen device and precision, with the reasons."""

    device: torch.device
    dtype: torch.dtype  # of matrix products and convolutions
    why: str  # one line for the log

    @property
    def weights(self) -> torch.dtype:
        """Return the precision of the weights and of everything except matrix products and convolutions."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def autocast(self) -> torch.autocast:
        """Return a context for matrix products and convolutions in bfloat16, without effect for other `dtype`s."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def choose_runtime(precision: str = "auto", device: str | None = None) -> Runtime:
    """Return the device and precision to use, by default the machine's best device and its fastest precision.

    Raises RunError for a device that cannot be used.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        why = {"cuda": "a GPU was found", "mps": "an Apple GPU was found", "cpu": "no GPU was found"}[device]
    else:
        why = "as requested"
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
        reason = f"{precision} (as requested{warning})"
    if chosen.type == "cuda":
        torch.backends.cudnn.allow_tf32 = precision != "float32"  # on by default, but less precise than float32
        torch.backends.cudnn.deterministic = True
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{threads} thread{'s' * (threads != 1)}"
    return Runtime(chosen, dtype, f"device {chosen} ({why}; {name}), {reason}")


def _usable(name: str, precision: str) -> torch.device:
    """Return the device with this name. Raises RunError if it cannot be used."""
    try:
        device = torch.device(name)
    except RuntimeError:  # torch's own message lists all device types that exist
        meant = "cuda" if name.lower().startswith(("gpu", "nvidia")) else name.lower()
        raise RunError(
            f'the device "{name}" cannot be used: torch does not know this device.',
            expected=DEVICES,
            do=did_you_mean(meant, ("cpu", "cuda", "mps"), "omit --device to use the best one"),
        ) from None
    try:
        # A round trip: torch's "meta" device cannot compute, and Apple's GPUs lack float64.
        torch.zeros(1, device=device, dtype=torch.float64 if precision == "float64" else torch.float32).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as problem:
        raise RunError(
            f'the device "{name}" cannot be used: {str(problem).splitlines()[0]}',
            expected=DEVICES,
            do="omit --device to use the best one",
        ) from None
    return device


def _fast_bfloat16(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return major >= 8, f"compute capability {major}.{minor}, bfloat16 units from 8.0"
    if device.type == "mps":
        return False, "bfloat16 is not faster on this device"
    for feature, words in BFLOAT16.items():
        if feature in processor_features():
            return True, f"the processor has {words}"
    return False, "the processor has no bfloat16 dot products"


@cache
def processor_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the names of the processor's instruction sets, as reported by Linux, or by torch on other systems."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        detected: dict = getattr(torch.cpu, "get_capabilities", dict)()  # missing in older versions of torch
        # Apple's processors have bf16 as well, but whether it is faster there has not been measured.
        return frozenset(name for name, value in detected.items() if value is True) - {"bf16"}
    names = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return frozenset().union(*names)


def moved(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy the values to the device. A GPU copies from pinned memory asynchronously."""
    tensor = torch.from_numpy(values)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
