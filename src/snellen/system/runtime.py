"""Device, precision and randomness; each choice can say why."""

import contextlib
import ctypes
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snellen.errors import OutOfMemoryError, RunError, did_you_mean

# Instruction sets with bfloat16 dot products, the fastest first; the names are Linux's and torch's.
BFLOAT16 = {
    "amx_tile": "AMX tiles",
    "avx512_bf16": "AVX-512 bfloat16 dot products",
    "bf16": "bfloat16 instructions",
}
# What a random draw is for: part of its key (see `random`), so that no two draws share numbers.
ORDER, CHANGES, FIRST_FLIP = 1, 2, 3
INITIAL_WEIGHTS, WHITENING_SAMPLE = 11, 12
STEP_NOISE = 21


OUT_OF_MEMORY = re.compile("DefaultCPUAllocator|out of memory", re.IGNORECASE)  # in messages of torch


@dataclass(frozen=True)
class Runtime:
    """Where the arithmetic happens, in which precision, and why."""

    device: torch.device
    dtype: torch.dtype  # of matrix products and convolutions
    why: str  # one line for people

    @property
    def weights(self) -> torch.dtype:
        """Of the weights, and of all that is no matrix product."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def autocast(self) -> torch.autocast:
        """Run matrix products and convolutions in `dtype`; a no-op for the others."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def choose(precision: str = "auto", device: str | None = None) -> Runtime:
    """The device named or the best there is, and `precision` or the best that it does fast.

    Raises RunError for a device that is not there.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        why = {"cuda": "a GPU was found", "mps": "an Apple GPU was found", "cpu": "no GPU was found"}[device]
    else:
        why = "as asked"
    try:
        place = torch.device(device)
    except RuntimeError:  # torch lists all that it was ever made for
        meant = "cuda" if device.lower().startswith(("gpu", "nvidia")) else device.lower()
        raise RunError(
            f'the device "{device}" cannot be used: it is none that torch knows.',
            expected="cpu, cuda, cuda:1, mps, ...",
            do=did_you_mean(meant, ("cpu", "cuda", "mps"), "leave --device out to take the best there is"),
        ) from None
    try:
        # There and back: torch's "meta" device computes nothing, and Apple's GPUs have no float64.
        torch.zeros(1, device=place, dtype=torch.float64 if precision == "float64" else torch.float32).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as problem:
        raise RunError(
            f'the device "{device}" cannot be used: {str(problem).splitlines()[0]}',
            expected="cpu, cuda, cuda:1, mps, ...",
            do="leave --device out to take the best there is",
        ) from None
    if place.type == "cpu":
        keep_freed_memory()
    fast, reason = _fast_bfloat16(place)
    if precision == "auto":
        dtype = torch.bfloat16 if fast else torch.float32
        reason = f"{_name(dtype)} ({reason})"
    else:
        dtype = getattr(torch, precision)
        reason = (
            f"{precision} (as asked{'' if fast or dtype != torch.bfloat16 else '; ' + reason + ', so it may be slow'})"
        )
    if place.type == "cuda":
        torch.backends.cudnn.allow_tf32 = precision != "float32"  # on by default there, and no float32
        torch.backends.cudnn.deterministic = True
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else f"{torch.get_num_threads()} threads"
    return Runtime(place, dtype, f"device {place} ({why}; {name}), {reason}")


@cache
def keep_freed_memory() -> None:
    """Have the C library keep the memory that a step frees for the next one, where it is glibc's malloc.

    By default it hands large pieces back to the system and gets them again page by page, each zeroed: two million page
    faults a minute. Kept, training is 1.1 times as fast and the peak 4% higher (lab-notes 2026-11-20).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # names and numbers of malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 64 * 2**20)
        mallopt(mmap_threshold, 2**30)


def return_freed_memory() -> None:
    """Give the memory that is free back to the system, if the C library is glibc: undo `keep_freed_memory` once."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


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


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def moved(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """The values on the device. A GPU is not waited for: it copies them from pinned memory when it comes to that."""
    tensor = torch.from_numpy(values)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def random(*key: int) -> np.random.Generator:
    """Random numbers as a function of `key`, for example (seed, epoch, step): no stream to save or to replay.

    Each number of the key is below 2**32: numpy splits larger ones, and two keys could then be the same.
    """
    return np.random.default_rng(key)


def seed_torch(*key: int) -> None:
    """Make torch's own random numbers (initial weights, dropout) a function of `key`."""
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)))


def peak_memory(device: torch.device) -> int | None:
    """The most memory in use so far, in bytes: of the GPU where `device` is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource  # not there on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def holds(num_bytes: int, device: torch.device) -> tuple[bool, str]:
    """Whether so many bytes of images are held on the device rather than read from the disk again, and why.

    They are where they take half of the memory that is free there, or less: the rest is for the training. Processes on
    one machine that compute on its processors each hold their own.
    """
    available = available_memory(device)
    if available is None:
        return True, f"{_size(num_bytes)} of images are held in memory"
    copies = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    is_held = num_bytes * copies <= available // 2
    times = f" in each of {copies} processes" if copies > 1 else ""
    how = "held in memory" if is_held else "read from the disk as they are needed"
    limit = f"{_size(available)} {'are' if is_held else 'is all that is'} free on {device}"
    return is_held, f"{_size(num_bytes)} of images{times} are {how} ({limit})"


@contextlib.contextmanager
def memory_errors(device: torch.device, *, where: str, do: str) -> Iterator[None]:
    """Turn running out of memory in the block into an OutOfMemoryError that names the device."""
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        # torch.OutOfMemoryError is a RuntimeError; what torch raises on a processor is no more than that.
        if not isinstance(problem, MemoryError | torch.OutOfMemoryError) and not OUT_OF_MEMORY.search(str(problem)):
            raise
        place = "the machine" if device.type == "cpu" else f"the device {device}"
        raise OutOfMemoryError(f"{place} ran out of memory.", where=where, do=do) from None


def available_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken: on the GPU, or by this process on the machine. None where that is not told."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take on the machine, where it tells; where it only tells what it has, that.

    On Linux also what limits the process: its group of processes (a container, say) and `ulimit -d`.
    root: the folder that has proc/ and sys/.
    """
    found = []
    try:
        found.append(_kibibytes(root / "proc/meminfo", "MemAvailable"))
    except (OSError, StopIteration):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError):
        text = (root / "proc/self/cgroup").read_text()
        place = {kind: path.strip("/") for _, kind, path in (line.split(":", 2) for line in text.splitlines())}
        top = root / "sys/fs/cgroup"
        found += _left_to_group(top / place.get("", ""), "max", "current", "inactive_file")
        for folder in (top / "memory", top / "memory" / place.get("memory", "")):  # version 1
            found += _left_to_group(folder, "limit_in_bytes", "usage_in_bytes", "total_inactive_file")
    with contextlib.suppress(OSError, ImportError, StopIteration):
        import resource  # not there on Windows

        limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
        if limit != resource.RLIM_INFINITY:
            found.append(limit - _kibibytes(root / "proc/self/status", "VmData"))
    return max(0, min(found)) if found else None


def _left_to_group(folder: Path, limit: str, used: str, cached: str) -> list[int]:
    """Bytes that a group of processes may still take; what it holds of files it can give back. Empty: any number."""
    try:  # no limit is written "max", which is no number
        num_limit, num_used = (int((folder / f"memory.{name}").read_text()) for name in (limit, used))
        pages = re.search(rf"^{cached} (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return []
    return [num_limit - num_used + (int(pages[1]) if pages else 0)]


def _kibibytes(file: str | Path, name: str) -> int:
    """A line of /proc, in bytes."""
    line = next(line for line in Path(file).read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.0f} MB"


def describe() -> dict[str, Any]:
    """What a result may depend on besides data and recipe: versions, machine, threads."""
    from snellen import __version__

    return {
        "snellen": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "threads": torch.get_num_threads(),
    }


@cache
def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
