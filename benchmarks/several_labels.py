"""Several labels per image against one class per combination of labels, on two or four real pictures side by side.

    python benchmarks/several_labels.py IMAGES --out FOLDER [--seeds 3] [--train 2400] [--test 1000]
        [--tiles 2] [--recipe fast] [--set epochs=5]... [--init MODEL]

IMAGES: prepared images with one label each, such as CIFAR-10. Each new image shows two of them, squeezed to half their
width, or four of half the size, and has the labels of all. The same images are trained as a task of several labels, and
as a task of one label per image in which each combination is a class ("cat+dog"), which is what one does without
several labels. The probability of a label is then the sum over the classes that contain it, and the answer is the most
probable class.

Both are scored on the same hold-out images, which share no picture with the others. The seed draws them, and the
initial weights and the order of training. Printed: f1_samples and mAP with their 95% intervals by seed, and the mean
difference.
"""

import argparse
import csv
import logging
from pathlib import Path

import numpy as np
from PIL import Image

from snellen.images.imageset import ImageSet
from snellen.images.prepare import prepare
from snellen.prediction.predict import predict
from snellen.runs.presets import PRESETS
from snellen.scoring.metrics import MULTI_METRICS
from snellen.training.train import train


def write_pictures(images: ImageSet, index: np.ndarray, tiles: int, folder: Path, split: str) -> list[list[str]]:
    """Write pictures of several images below folder/split and return their labels, sorted. index: (tiles * N,)."""
    (folder / split).mkdir(parents=True)
    pixels, labels, side = images.take(index).pixels(), images.labels[index], images.size[1]
    shape = (side // 2, side if tiles == 2 else side // 2)  # width and height of a tile
    small = [np.asarray(Image.fromarray(one).resize(shape, Image.Resampling.BOX)) for one in pixels]
    found = []
    for number, start in enumerate(range(0, len(index), tiles), start=1):
        lines = [np.concatenate(small[first : first + 2], axis=1) for first in range(start, start + tiles, 2)]
        Image.fromarray(np.concatenate(lines)).save(folder / split / f"{number}.png")
        found.append(sorted({images.classes[label] for label in labels[start : start + tiles]}))
    return found


def write_table(path: Path, header: str, rows: list[list[str]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["id", header], *([n, text] for n, [text] in enumerate(rows, start=1))])


def prepared(
    images: ImageSet, folder: Path, tiles: int, num_train: int, num_test: int, seed: int
) -> tuple[ImageSet, ImageSet, np.ndarray]:
    """Return the images prepared as several labels and as combinations, and the true labels of the test images."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(images.has_label))
    order = order[: tiles * (num_train + num_test)]
    raw = folder / "raw"
    if not raw.exists():
        names = write_pictures(images, order[: tiles * num_train], tiles, raw, "train")
        truth = write_pictures(images, order[tiles * num_train :], tiles, raw, "test")
        write_table(folder / "several.csv", "labels", [[" ".join(one)] for one in names])
        write_table(folder / "combined.csv", "label", [["+".join(one)] for one in names])
        write_table(folder / "truth.csv", "labels", [[" ".join(one)] for one in truth])
    several = prepare(raw, folder / "several", labels=folder / "several.csv", kind="multi")
    combined = prepare(raw, folder / "combined", labels=folder / "combined.csv", kind="single")
    with open(folder / "truth.csv", newline="") as file:
        truth_of = {row["id"]: row["labels"].split() for row in csv.DictReader(file)}
    ids = several.select("test").ids.tolist()
    return several, combined, np.array([[name in truth_of[id] for name in several.classes] for id in ids])


def as_several(
    combined: ImageSet, classes: tuple[str, ...], probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of the labels, (N, K), and those of the most probable combination, bool (N, K)."""
    holds = np.array([[name in one.split("+") for name in classes] for one in combined.classes])
    return probabilities @ holds, holds[probabilities.argmax(axis=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=2400)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--tiles", type=int, default=2, choices=(2, 4))
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--init")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    folder = Path(options.out)
    images_of_one = ImageSet.open(options.images)
    gaps: dict[str, list[float]] = {"f1_samples": [], "map": []}
    for seed in range(options.seeds):
        here = folder / f"seed-{seed}"
        several, combined, truth = prepared(images_of_one, here, options.tiles, options.train, options.test, seed)
        print(f"{len(several.classes)} labels, {len(combined.classes)} combinations; {several}", flush=True)
        recipe = PRESETS[options.recipe].with_settings([*options.settings, f"seed={seed}"])
        answers = {}
        for name, images in (("several labels", several), ("combinations", combined)):
            run = train(images, recipe, here / f"run-{name.split()[0]}", init=options.init)
            guesses = predict(run, images)
            assert (guesses.ids == several.select("test").ids).all()
            answers[name] = (guesses.probabilities, guesses.labels)
        answers["combinations"] = as_several(combined, several.classes, answers["combinations"][0])
        for metric, found in gaps.items():
            measured = {name: MULTI_METRICS[metric].measure(truth, *both) for name, both in answers.items()}
            texts = (f"{name} {m.value:.4f} ({m.low:.4f} to {m.high:.4f})" for name, m in measured.items())
            print(f"seed {seed}, {metric}: {'; '.join(texts)}", flush=True)
            found.append(measured["several labels"].value - measured["combinations"].value)
    for metric, found in gaps.items():
        spread = np.std(found, ddof=1)
        print(f"{metric}: several labels are better by {np.mean(found):.4f}, standard deviation {spread:.4f}")


if __name__ == "__main__":
    main()
