"""Choose the number of threads for torch: only as many as there are idle processors.

Each operation waits for its slowest thread. With two threads on two processors, one of which is busy with another
program, training is four to ten times slower than with one thread (lab notes, 2026-11-25).
"""

import functools
import logging
import os
import time
from pathlib import Path

import torch

log = logging.getLogger("snellen")

CHOSEN_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # if one of these is set, its value stays
SECONDS = 0.25  # how long the load is measured
VALID_SECONDS = 60  # how long a measurement is used


def choose_threads(before: int | None = None) -> int:
    """Set the number of torch's threads for this process, and return it.

    before: the number that a resumed run began with, which gives the same bits. By default one thread for each
    processor that is idle now. Does nothing if the user has chosen, by an environment variable or in torch.
    """
    now = torch.get_num_threads()
    if any(os.environ.get(name) for name in CHOSEN_BY_USER) or now not in (MOST, *_ours):
        return now
    num = before or min(MOST, threads_for(idle_processors(int(time.monotonic() // VALID_SECONDS))))
    if num < MOST:
        log.info("threads: %d of %d, %s", num, MOST, "as the run began" if before else "the other processors are busy")
    _ours.add(num)
    torch.set_num_threads(num)
    return num


def threads_for(idle: float) -> int:
    """Return the number of threads for this many idle processors; one that is three quarters idle counts."""
    return max(1, int(idle + 0.25))


@functools.cache
def idle_processors(period: int) -> float:
    """Return how many of this process's processors other programs leave idle; all of them if it cannot be measured.

    period: a number for the time of the measurement, so that it is taken once for each period.
    """
    first = _ticks()
    time.sleep(SECONDS)
    idle, total = (after - before for before, after in zip(first, _ticks(), strict=True))
    return float(MOST) if total <= 0 else MOST * idle / total


def _ticks(stat: Path = Path("/proc/stat")) -> tuple[int, int]:
    """Return idle and all clock ticks of this process's processors, or zeros on systems other than Linux."""
    idle = total = 0
    if hasattr(os, "sched_getaffinity"):
        names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        try:
            lines = stat.read_text().splitlines()
        except OSError:
            lines = []
        for name, *ticks in map(str.split, filter(None, lines)):
            if name in names:  # user, nice, system, idle, iowait, irq, softirq, steal
                idle += int(ticks[3]) + int(ticks[4])
                total += sum(map(int, ticks[:8]))
    return idle, total


MOST = torch.get_num_threads()  # torch's own choice: one thread per processor
_ours: set[int] = set()  # the numbers that `choose_threads` has set
