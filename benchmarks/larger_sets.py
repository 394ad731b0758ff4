"""What a set costs that does not fit in memory: read from the disk against held in memory, in the same run.

    python benchmarks/larger_sets.py FOLDER [--images 300000] [--steps 100] [--rounds 3]

FOLDER must not exist; noise of 32x32 pixels is written there (3 kB an image) and removed at the end. Printed are the
images per second of reading alone and of training a network so small that loading matters, as medians of the rounds and
ratios to the set that is held. Cold: the system is asked before to forget the file. Further: time and memory of opening
so many rows, of shuffling them, and of writing predictions of ten classes.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from snellen.images.imageset import ImageSet
from snellen.prediction.predictions import Predictions
from snellen.runs.recipe import Recipe
from snellen.system import randomness
from snellen.training.loader import Batches, shuffled

BATCH = 500
SIZE = 32
CLASSES = [f"c{n}" for n in range(10)]


def make(folder: Path, num: int) -> None:
    """A set whose pixels are not written yet."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (num, SIZE, SIZE, 3))
    with open(folder / "rows.csv", "w") as file:
        file.write("id,split,label,path\n")
        file.writelines(f"{n},train,c{draw.integers(10)},train/{n}.png\n" for n in range(num))
    about = {"classes": CLASSES, "size": [SIZE, SIZE], "fingerprint": "noise", "mean": [0.5] * 3, "std": [0.25] * 3}
    about |= {"class_counts": dict.fromkeys(CLASSES, 0), "skipped": []}
    (folder / "about.json").write_text(json.dumps(about))


def fill(folder: Path) -> None:
    draw = np.random.default_rng(1)
    pixels = np.load(folder / "images.npy", mmap_mode="r+")
    for start in range(0, len(pixels), 10_000):
        part = pixels[start : start + 10_000]
        part[:] = draw.integers(0, 256, part.shape, dtype=np.uint8)
    pixels.flush()


def forget(folder: Path) -> None:
    with open(folder / "images.npy", "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_from_disk() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def reading(read: Callable[[np.ndarray], object], num: int, steps: int) -> float:
    """Images per second of taking batches in random order."""
    order = np.random.default_rng(1).permutation(num)
    started = time.perf_counter()
    for step in range(steps):
        read(order[step * BATCH : (step + 1) * BATCH])
    return steps * BATCH / (time.perf_counter() - started)


def training(images: ImageSet, steps: int, held: bool, block: int = 0) -> float:
    """Images per second of steps with a tiny network; filling the memory is not counted."""
    batches = Batches(images, Recipe(batch_size=BATCH, shuffle_block=block), torch.device("cpu"), held=held)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    started = time.perf_counter()
    for batch, _ in zip(batches.epoch(0), range(steps), strict=False):
        nn.functional.cross_entropy(model(batch.x), batch.target).backward()
        optimizer.step()
        optimizer.zero_grad()
    return steps * BATCH / (time.perf_counter() - started)


def say(what: str, rates: dict[str, list[float]]) -> None:
    first = next(iter(rates.values()))
    for way, found in rates.items():
        ratios = sorted(rate / base for rate, base in zip(found, first, strict=True))
        print(
            f"{what}, {way}: {statistics.median(found):,.0f} images/s, ratio {statistics.median(ratios):.3f} "
            f"({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )


def measure(folder: Path, num: int, steps: int, rounds: int) -> None:
    read: dict[str, list[float]] = {}
    trained: dict[str, list[float]] = {}
    surplus: dict[str, float] = {}
    for _ in range(rounds):
        images = ImageSet.open(folder)
        read.setdefault("held", []).append(reading(images.pixels().__getitem__, num, steps))
        read.setdefault("from the page cache", []).append(reading(images.at, num, steps))
        by_faults = reading(images.stored.__getitem__, num, steps)
        read.setdefault("from the page cache by page faults", []).append(by_faults)
        trained.setdefault("held", []).append(training(images, steps, True))
        trained.setdefault("from the page cache", []).append(training(images, steps, False))
        del images  # what is mapped cannot be forgotten
        for way, block in (("from the disk", 0), ("from the disk, shuffle_block=256", 256)):
            forget(folder)
            trained.setdefault(way, []).append(training(ImageSet.open(folder), steps, False, block))
        for way in ("from the disk", "from the disk by page faults"):
            forget(folder)
            images = ImageSet.open(folder)
            before = bytes_from_disk()
            read.setdefault(way, []).append(
                reading(images.stored.__getitem__ if "faults" in way else images.at, num, steps)
            )
            surplus[way] = (bytes_from_disk() - before) / (steps * BATCH * SIZE * SIZE * 3)
            del images
    say("reading", read)
    for way, ratio in surplus.items():
        print(f"{way}: {ratio:.1f} bytes are read for each that is wanted")
    say("training", trained)


def rows_cost(folder: Path, num: int) -> None:
    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    started, before = time.perf_counter(), peak()
    images = ImageSet.open(folder)
    opened = time.perf_counter() - started
    kept = sum(getattr(images, name).nbytes for name in ("rows", "ids", "splits", "labels", "paths"))
    memory = f"{(peak() - before) / num:.0f} B for each, {kept / num:.0f} B of them kept"
    print(f"opening: {opened / num * 1e6:.2f} s for each million, {memory}")
    for block in (0, 256):
        started = time.perf_counter()
        shuffled(num, block, np.random.default_rng(0))
        print(f"shuffling in blocks of {block}: {(time.perf_counter() - started) / num * 1e6:.3f} s for each million")
    started = time.perf_counter()
    draw = randomness.random(0, 2, 0, 0)
    draw.random(num)
    draw.integers(-4, 4, size=(2, num), endpoint=True)
    print(f"drawing flips and crops: {(time.perf_counter() - started) / num * 1e6:.3f} s for each million")
    guesses = np.random.default_rng(0).dirichlet(np.ones(10), num).astype(np.float32)
    started = time.perf_counter()
    path = Predictions(images.ids, guesses, images.classes).save(folder / "predictions.csv")
    seconds = (time.perf_counter() - started) / num * 1e6
    print(f"predictions: {seconds:.1f} s for each million, {path.stat().st_size / num:.0f} B each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=300_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    try:
        make(arguments.folder, arguments.images)
        rows_cost(arguments.folder, arguments.images)  # before the pixels: mapped ones would count as memory
        fill(arguments.folder)
        measure(arguments.folder, arguments.images, arguments.steps, arguments.rounds)
    finally:
        shutil.rmtree(arguments.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
