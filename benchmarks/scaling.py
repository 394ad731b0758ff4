"""What sharing costs: one process with two threads against two processes with one thread each, in the same run.

    python benchmarks/scaling.py DATA [--recipe fast] [--set FIELD=VALUE ...] [--steps 40] [--rounds 3]

DATA is what `snellen prepare` made. Each round trains two short epochs in each way, after another, on the processor.
The rate is that of the second, in metrics.jsonl: starting and warming up are not counted. Needs two idle cores. Prints
medians, ratios, and the overhead: what is missing from twice the rate of one process with one thread.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from snellen.images.imageset import COLUMNS, ImageSet
from snellen.runs.named_recipes import named_recipe
from snellen.runs.run import Run

WAYS = {
    "1 process, 2 threads": (1, 2, []),
    "1 process, 1 thread": (1, 1, []),
    "2 processes, 1 thread": (2, 1, []),
    "2 processes, 1 thread, own batch norm": (2, 1, ["sync_batchnorm=false"]),
}
NUM_VALID = 100  # one epoch validates as well, which is not timed


def write_part(images: ImageSet, num: int, folder: Path) -> None:
    """An ImageSet of the first `num` training images and some to validate on."""
    splits = np.array(images.splits)
    chosen = np.concatenate([np.flatnonzero(splits == "train")[:num], np.flatnonzero(splits == "valid")[:NUM_VALID]])
    part = images.take(chosen)
    folder.mkdir()
    np.save(folder / "images.npy", part.pixels())
    with open(folder / "rows.csv", "w", newline="", encoding="utf-8") as file:
        names = [images.classes[label] for label in part.labels]
        csv.writer(file).writerows([COLUMNS, *zip(part.ids, part.splits, names, part.paths, strict=True)])
    about = images.about | {"counts": part.counts, "fingerprint": f"{images.fingerprint}, {num} of it"}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def train_rate(data: Path, recipe: Path, settings: list[str], num_processes: int, num_threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "snellen", "train", str(data), "--out", f"{folder}/run"]
        command += ["--recipe", str(recipe), "--device", "cpu", "--devices", str(num_processes)]
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": str(num_threads)})
        return Run.open(f"{folder}/run").metrics[-1]["images_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        recipe = named_recipe(arguments.recipe, (*arguments.settings, "epochs=2"))
        recipe.save(Path(scratch) / "recipe.json")
        write_part(ImageSet.open(arguments.data), arguments.steps * recipe.batch_size, Path(scratch) / "data")
        for _ in range(arguments.rounds):
            for way, (num_processes, num_threads, settings) in WAYS.items():
                start = (Path(scratch) / "data", Path(scratch) / "recipe.json", settings)
                rates[way].append(train_rate(*start, num_processes, num_threads))
    base = rates["1 process, 2 threads"]
    for way, found in rates.items():
        ratios = sorted(rate / first for rate, first in zip(found, base, strict=True))
        print(
            f"{way}: {statistics.median(found):.1f} images/s, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} rounds)"
        )
    single = rates["1 process, 1 thread"]
    for way in ("1 process, 2 threads", "2 processes, 1 thread", "2 processes, 1 thread, own batch norm"):
        missing = [1 - rate / (2 * one) for rate, one in zip(rates[way], single, strict=True)]
        print(f"{way}: overhead {100 * statistics.median(missing):.0f}% of two cores")


if __name__ == "__main__":
    main()
