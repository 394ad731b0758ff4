"""Find the place of this process among several, from the environment set by torchrun or a job manager, without torch.

If these variables are not set, the process works alone.
"""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from snellen.errors import RunError, SnellenError

# The process's number on its machine: torchrun's variable, then those that job managers set instead.
LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")
LAUNCHER = "SNELLEN_LAUNCHER"  # process ID of the `snellen train --devices` command that started this process


@dataclass(frozen=True)
class Member:
    """One of several processes that train or predict together."""

    rank: int  # from 0, across all machines
    local_rank: int  # from 0, on its own machine
    size: int  # number of processes on all machines


def member(environment: Mapping[str, str] = os.environ) -> Member | None:
    """Return this process's place among several, or None if it works alone.

    Raises RunError if a variable is missing or impossible.
    """
    if not {"RANK", "WORLD_SIZE"} & environment.keys() or environment.get("WORLD_SIZE") == "1":
        return None
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    local_rank = next((name for name in LOCAL_RANKS if environment.get(name)), "")
    if missing or not local_rank:
        given = [name for name in ("RANK", "WORLD_SIZE") if name in environment]
        raise RunError(
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} set in the environment, but "
            f"{', '.join(missing + ['LOCAL_RANK'] * (not local_rank))} {'is' if len(missing) < 2 else 'are'} not.",
            expected="all variables that torchrun sets: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT",
            do="start with torchrun, set the missing ones (LOCAL_RANK=0 for one process per machine), "
            "or unset RANK and WORLD_SIZE to work with one process",
        )
    names = ("RANK", local_rank, "WORLD_SIZE")
    values = [int(text) if (text := environment[name].strip()).isdecimal() else -1 for name in names]
    found = Member(*values)
    if not 0 <= found.rank < found.size or not 0 <= found.local_rank < found.size:
        shown = ", ".join(f"{name}={environment[name]}" for name in names)
        raise RunError(
            "the environment describes an impossible group of processes.",
            where=shown,
            expected="whole numbers, with RANK and LOCAL_RANK from 0 to WORLD_SIZE - 1",
            do="start with torchrun, or unset these variables to work with one process",
        )
    return found


def prints() -> bool:
    """Return whether this process prints results: only the first of several does, or one that works alone."""
    try:
        found = member()
    except SnellenError:
        return True  # the verb raises it again, and this process prints its message
    return found is None or found.rank == 0


def end_with_launcher() -> None:
    """Make this process end when the `snellen train --devices` that started it ends or is killed."""
    launcher = int(os.environ.get(LAUNCHER, 0))
    if launcher:
        threading.Thread(target=_watch, args=(launcher,), daemon=True).start()


def _watch(parent: int) -> None:
    # Polling works on every Unix, where an orphan gets a new parent. On Windows the number never changes.
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
