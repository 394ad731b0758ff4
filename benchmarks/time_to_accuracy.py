"""What a recipe reaches in its time, and what the book's own loop has reached in the same time, on the same images.

    python benchmarks/time_to_accuracy.py DATA FOLDER --out RUN [--recipe fast] [--set FIELD=VALUE]

DATA is what `snellen prepare` made of FOLDER (train/ test/ trainLabels.csv). Trains the recipe first and prints its
valid accuracy by seconds of training, then the chapter's resnet18 (batches of 32, as it has them) for as many seconds,
scored on the same valid images in evaluation mode. Both use all threads: wants a quiet machine.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import seeds
import snellen
from snellen.models.resnet18 import resnet18
from snellen.scoring.intervals import wilson_interval

SCORED_AT_ONCE = 250


def files_of(images: snellen.ImageSet, folder: Path) -> tuple[list[Path], list[int]]:
    return [folder / "train" / f"{id}.png" for id in images.ids], images.labels.tolist()


@torch.no_grad()
def accuracy(network: torch.nn.Module, images: snellen.ImageSet, folder: Path) -> float:
    network.eval()
    loader = torch.utils.data.DataLoader(seeds.Files(*files_of(images, folder), augment=False), SCORED_AT_ONCE)
    return float(np.mean(torch.cat([network(x).argmax(dim=1) == y for x, y in loader]).numpy()))


def shown(share: float, num: int) -> str:
    low, high = wilson_interval(round(share * num), num)
    return f"{100 * share:.2f}% of {num:,} valid images (95% interval {100 * low:.2f} to {100 * high:.2f}%)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="fast", choices=snellen.PRESETS)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="FIELD=VALUE")
    arguments = parser.parse_args()

    images = snellen.ImageSet.open(arguments.data)
    train, valid = images.select("train"), images.select("valid")
    recipe = snellen.PRESETS[arguments.recipe].with_settings(arguments.settings)
    spent = 0.0
    for row in snellen.train(images, recipe, arguments.out).metrics:
        spent += row["train_seconds"]
        print(f"{arguments.recipe}: {spent:6.0f} s, {shown(row['valid_accuracy'], len(valid))}", flush=True)

    network, num_steps, started = resnet18(10), 0, time.perf_counter()
    for _ in seeds.steps(network, *files_of(train, arguments.folder), batch_size=32):
        num_steps += 1
        if time.perf_counter() - started > spent:
            break
    epochs = 32 * num_steps / len(train)
    print(
        f"the book's loop: {spent:6.0f} s ({epochs:.2f} epochs), "
        f"{shown(accuracy(network, valid, arguments.folder), len(valid))}"
    )


if __name__ == "__main__":
    main()
