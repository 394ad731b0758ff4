"""Raw files -> images ready to train on: ours, and the book's way in the same run.

    python benchmarks/prepare.py FOLDER [--zip FILE] [--workers 1 2 ...]

FOLDER is the competition unpacked (train/ test/ trainLabels.csv sampleSubmission.csv), FILE the zip as Kaggle has it.
Prints seconds and the peak memory of the largest process for each number of decoding workers, and the ratio. The book's
way copies every file into class folders and then decodes each picture again in every epoch; this counts the copying and
one such decoding.
"""

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import seeds
from snellen.sources.decode import decode


def ours(source: Path, out: Path, workers: int) -> tuple[float, float]:
    """Return seconds and peak MB of `snellen prepare` as a whole process."""
    command = [sys.executable, "-m", "snellen", "prepare", source, "--out", out, "--workers", str(workers)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def the_books(source: Path, out: Path) -> tuple[float, float]:
    """Return the seconds to copy into class folders, and those to decode each copy once."""
    with open(source / "trainLabels.csv", newline="") as file:
        labels = dict(list(csv.reader(file))[1:])
    started = time.perf_counter()
    seeds.reorganise(source, labels, out)
    copied = time.perf_counter()
    for split in ("train", "valid", "test"):
        for path in (out / split).rglob("*.png"):
            decode(path, 32)
    return copied - started, time.perf_counter() - copied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--zip", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out, shown = Path(scratch), []
        for number in arguments.workers:
            for source in filter(None, (arguments.folder, arguments.zip)):
                seconds, peak = ours(source, out / f"{source.name}-{number}", number)
                shown.append(seconds)
                print(f"snellen prepare {source.name}, {number} decoding: {seconds:.1f} s, peak memory {peak:.0f} MB")
        copying, decoding = the_books(arguments.folder, out / "train_valid_test")
        print(f"the book's way: {copying:.1f} s to copy, {decoding:.1f} s to decode each once")
        print(f"ratio (the book's / ours, from the folder): {(copying + decoding) / shown[0]:.2f}")


if __name__ == "__main__":
    main()
