"""How far several processes are from one, in float32 and in float64, and how far float32 is from float64.

    python benchmarks/equality.py DATA [--recipe resnet20] [--set FIELD=VALUE ...] [--images 500] [--epochs 3]

DATA is what `snellen prepare` made. Trains the same short run with 1, 2 and 3 processes on the processor and prints,
for each, the relative difference from one process in float64: of the training loss by epoch, and of all weights
together (Euclidean norms) in the model file, which rounds to float32. Two ways of doing the same differ in float64 by
nothing that can be seen there; in float32 by as much as one process alone differs from the truth.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from scaling import write_part
from snellen.images.imageset import ImageSet
from snellen.models.model_file import load_model
from snellen.runs.named_recipes import named_recipe
from snellen.runs.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="resnet20")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_part(ImageSet.open(arguments.data), arguments.images, folder / "data")
        truth = train(folder, "float64", 1, arguments)
        for precision in ("float64", "float32"):
            for num in (1, 2, 3):
                run = train(folder, precision, num, arguments)
                losses = [
                    f"{abs(row['train_loss'] / true['train_loss'] - 1):.0e}"
                    for row, true in zip(run.metrics, truth.metrics, strict=True)
                ]
                difference = (weights(run) - weights(truth)).norm() / weights(truth).norm()
                print(f"{precision}, {num} processes: losses {', '.join(losses)}, weights {difference:.0e}", flush=True)


def train(folder: Path, precision: str, num: int, arguments: argparse.Namespace) -> Run:
    settings = (*arguments.settings, f"epochs={arguments.epochs}", f"precision={precision}")
    named_recipe(arguments.recipe, settings).save(folder / f"{precision}.json")
    out = folder / f"{precision}-{num}"
    words = ["train", folder / "data", "--out", out, "--recipe", folder / f"{precision}.json"]
    command = [sys.executable, "-m", "snellen", *words, "--device", "cpu", "--devices", num]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return Run.open(out)


def weights(run: Run) -> torch.Tensor:
    return torch.cat([weight.detach().flatten().double() for weight in load_model(run).parameters()])


if __name__ == "__main__":
    main()
