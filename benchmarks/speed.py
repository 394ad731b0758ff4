"""Images per second of training and prediction: ours, and the book's own functions in the same run.

    python benchmarks/speed.py DATA FOLDER [--recipe d2l] [--set FIELD=VALUE] [--batches 12] [--rounds 3]

DATA is what `snellen prepare` made of FOLDER (train/ test/ trainLabels.csv). The book's resnet18 takes batches of 128;
ours are the recipe's, by default the book's network with batches of 128 in the precision of this machine. Rounds
alternate between the two; medians and the ratio of each round are printed.
"""

import argparse
import csv
import itertools
import statistics
import time
from pathlib import Path

import torch

import seeds
from snellen.images.imageset import ImageSet
from snellen.models.classifier import build_model
from snellen.prediction.probabilities import probabilities
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.system.device import choose_runtime
from snellen.training.budget import MOST_EPOCHS, step_seconds
from snellen.training.job import Job


def train_rate(images: ImageSet, recipe: Recipe, num_batches: int) -> float:
    """Images per second of the steps of train.py, loading and augmentation included."""
    runtime = choose_runtime(recipe.precision)
    model = build_model(recipe, images).to_device(runtime.device).train()
    job = Job(recipe.lasting(MOST_EPOCHS), images, None, runtime)
    return 1 / statistics.median(itertools.islice(step_seconds(job, model), num_batches))


def predict_rate(images: ImageSet, recipe: Recipe, num_images: int) -> float:
    """Images per second of the one path to a prediction."""
    runtime = choose_runtime(recipe.precision)
    model = build_model(recipe, images)
    few = images.take(range(min(num_images, len(images))))
    probabilities(model, few.take(range(min(500, len(few)))), runtime)  # warms up
    started = time.perf_counter()
    probabilities(model, few, runtime)
    return len(few) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", default="d2l", choices=PRESETS)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    images = ImageSet.open(arguments.data)
    with open(arguments.folder / "trainLabels.csv", newline="") as file:
        rows = list(csv.reader(file))[1:5001]
    files = [arguments.folder / "train" / f"{id}.png" for id, _ in rows]
    labels = [images.classes.index(label) for _, label in rows]
    usual = ["batch_size=128", "precision=auto"] if arguments.recipe == "d2l" else []
    recipe = PRESETS[arguments.recipe].with_settings([*usual, *arguments.settings])
    print(choose_runtime().why, f"torch {torch.__version__}", sep="; ")

    pairs = {"train": [], "predict": []}
    for _ in range(arguments.rounds):
        theirs = seeds.train_rate(files, labels, 128, max(3, arguments.batches // 2))
        pairs["train"].append((train_rate(images.select("train"), recipe, arguments.batches), theirs))
        theirs = seeds.predict_rate(files, 128, max(3, arguments.batches // 2))
        pairs["predict"].append((predict_rate(images.select("train"), recipe, 128 * arguments.batches), theirs))
    for what, rates in pairs.items():
        mine, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
        ratios = sorted(a / b for a, b in rates)
        print(
            f"{what}: {arguments.recipe} ({recipe.model}) {mine:.0f} images/s, the book's resnet18 {theirs:.0f}, "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} rounds)"
        )


if __name__ == "__main__":
    main()
