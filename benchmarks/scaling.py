"""What sharing costs: one process with two threads against two processes with one thread each, in the same run.

    python benchmarks/scaling.py DATA [--recipe quick] [--set FIELD=VALUE ...] [--rounds 3]

DATA is what `saccade prepare` made. Each round trains one epoch in each way, after another, on the processor; the
images per second are those of metrics.jsonl, so starting the processes is not counted. Medians and ratios are printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from saccade.run import Run

WAYS = {
    "1 process, 2 threads": (1, 2, []),
    "2 processes, 1 thread": (2, 1, []),
    "2 processes, 1 thread, own batch norm": (2, 1, ["sync_batchnorm=false"]),
}


def train_rate(data: Path, recipe: str, settings: list[str], num_processes: int, num_threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "saccade", "train", str(data), "--out", f"{folder}/run", "--recipe", recipe]
        for setting in [*settings, "epochs=1"]:
            command += ["--set", setting]
        command += ["--device", "cpu", "--devices", str(num_processes)]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": str(num_threads)})
        return Run.open(f"{folder}/run").metrics[-1]["images_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way, (num_processes, num_threads, settings) in WAYS.items():
            settings = arguments.settings + settings
            rates[way].append(train_rate(arguments.data, arguments.recipe, settings, num_processes, num_threads))
    base = rates["1 process, 2 threads"]
    for way, found in rates.items():
        ratios = sorted(rate / first for rate, first in zip(found, base, strict=True))
        print(
            f"{way}: {statistics.median(found):.1f} images/s, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} rounds)"
        )


if __name__ == "__main__":
    main()
