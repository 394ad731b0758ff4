"""The software and hardware on which a result can depend."""

import platform
from functools import cache
from typing import Any

import numpy as np
import torch


def versions() -> dict[str, Any]:
    """Return the package versions, the machine and the number of threads, as JSON values."""
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
