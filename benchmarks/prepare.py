"""Raw files -> images ready to train on: ours, and the book's way in the same run.

    python benchmarks/prepare.py FOLDER [--zip FILE]

FOLDER is the competition unpacked (train/ test/ trainLabels.csv sampleSubmission.csv), FILE the zip as Kaggle has it.
Prints seconds, peak memory and the ratio. The book's way copies every file into class folders and then decodes each
picture again in every epoch; counted here is the copying and one such decoding.
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
from saccade.decode import decode


def ours(source: Path, out: Path) -> tuple[float, float]:
    """(seconds, peak MB) of `saccade prepare` as a whole process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "saccade", "prepare", source, "--out", out], check=True, capture_output=True)
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def the_books(source: Path, out: Path) -> tuple[float, float]:
    """Seconds to copy into class folders, and to decode each copy once."""
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
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        seconds, peak = ours(arguments.folder, out / "from_folder")
        print(f"saccade prepare, from the folder: {seconds:.1f} s, peak memory {peak:.0f} MB")
        if arguments.zip:
            zip_seconds, peak = ours(arguments.zip, out / "from_zip")
            print(f"saccade prepare, from the zip:    {zip_seconds:.1f} s, peak memory {peak:.0f} MB")
        copying, decoding = the_books(arguments.folder, out / "train_valid_test")
        print(f"the book's way: {copying:.1f} s to copy, {decoding:.1f} s to decode each once")
        print(f"ratio (the book's / ours, from the folder): {(copying + decoding) / seconds:.2f}")


if __name__ == "__main__":
    main()
