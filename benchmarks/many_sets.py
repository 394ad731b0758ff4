"""Does the default recipe learn, whatever the pictures are?

    python benchmarks/many_sets.py --out /tmp/many --quick
    python benchmarks/many_sets.py --out /tmp/many --real cifar10=DATA letters=DATA trashnet=DATA flowers=DATA

Trains with seeds 0, 1 and 2 on each set and prints one Markdown line for it: validation accuracy by seed, the share of
the most frequent class, and what went wrong. Drawn sets: the shapes of `demo`, and variants of them that once caused
trouble. --real adds prepared image sets. --quick: one seed and a single epoch. --only NAME ...: these sets alone.
A set is silent if its model is no better than the most frequent class and no warning was given; with fewer than 20
validation images this is not judged.
"""

import argparse
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from snellen import ImageSet, prepare, train
from snellen.errors import SnellenError
from snellen.runs.presets import DEFAULT, PRESETS
from snellen.runs.recipe import Recipe
from snellen.sources import demo

FEWEST = 20  # validation images, for a judgement
Drawn = tuple[np.ndarray, list[str]]  # uint8 (N, H, W, 3), the label of each image


def shapes(num: int, folder: Path) -> Drawn:
    """The demo's labelled pictures."""
    demo.write_competition(folder, num_train=num, num_test=1)
    lines = (folder / "trainLabels.csv").read_text().split()[1:]
    ids, labels = zip(*(line.split(",") for line in lines), strict=True)
    return np.stack([np.asarray(Image.open(folder / "train" / f"{id}.png").convert("RGB")) for id in ids]), list(labels)


def grey(drawn: Drawn) -> Drawn:
    pixels, labels = drawn
    return pixels.mean(axis=3, keepdims=True).astype(np.uint8).repeat(3, axis=3), labels


def two_tone(drawn: Drawn) -> Drawn:
    """Black and white, each image split at its own median."""
    pixels, labels = grey(drawn)
    middle = np.median(pixels, axis=(1, 2, 3), keepdims=True)
    return np.where(pixels > middle, 255, 0).astype(np.uint8), labels


def without_blue(drawn: Drawn) -> Drawn:
    pixels, labels = drawn
    return pixels * np.array([1, 1, 0], dtype=np.uint8), labels


def two_classes(drawn: Drawn) -> Drawn:
    return _kept(drawn, [label in ("circle", "cross") for label in drawn[1]])


def unequal(drawn: Drawn) -> Drawn:
    """Circles and crosses, 50 to 1."""
    crosses = np.cumsum([label == "cross" for label in drawn[1]])
    most = max(4, sum(label == "circle" for label in drawn[1]) // 50)
    keep = [label == "circle" or (label == "cross" and n <= most) for label, n in zip(drawn[1], crosses, strict=True)]
    return _kept(drawn, keep)


def two_hundred_classes(drawn: Drawn) -> Drawn:
    """Each shape in twenty tints, which are classes of their own."""
    pixels, labels = drawn
    tints = np.random.default_rng(0).uniform(0.3, 1, (20, 3))
    which = np.arange(len(pixels)) % 20
    names = [f"{label} {tint}" for label, tint in zip(labels, which, strict=True)]
    return (pixels * tints[which][:, None, None]).astype(np.uint8), names


def twenty_images(drawn: Drawn) -> Drawn:
    return _kept(two_classes(drawn), [n < 20 for n in range(len(two_classes(drawn)[1]))])


def duplicates(drawn: Drawn) -> Drawn:
    """One image of each class, many times."""
    pixels, labels = drawn
    first = [labels.index(label) for label in labels]
    return pixels[first], labels


def noise(drawn: Drawn) -> Drawn:
    pixels, labels = drawn
    return np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8), labels


def _kept(drawn: Drawn, keep: list[bool]) -> Drawn:
    pixels, labels = drawn
    return pixels[np.array(keep)], [label for label, kept in zip(labels, keep, strict=True) if kept]


VARIANTS: dict[str, Callable[[Drawn], Drawn]] = {
    "demo": lambda drawn: drawn,
    "grey": grey,
    "two-tone": two_tone,
    "constant-channel": without_blue,
    "2-classes": two_classes,
    "200-classes": two_hundred_classes,
    "1-to-50": unequal,
    "20-images": twenty_images,
    "duplicates": duplicates,
    "noise": noise,
}


def write_classes(drawn: Drawn, folder: Path) -> None:
    for n, (pixels, label) in enumerate(zip(*drawn, strict=True)):
        (folder / "train" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "train" / label / f"{n:05}.png", compress_level=1)


def image_sets(out: Path, num: int, real: list[str], only: list[str]) -> Iterator[tuple[str, ImageSet]]:
    drawn: Drawn | None = None
    for name, variant in VARIANTS.items():
        if only and name not in only:
            continue
        if not (out / name / "about.json").exists():
            with tempfile.TemporaryDirectory() as place:
                drawn = shapes(num, Path(place) / "demo") if drawn is None else drawn
                write_classes(variant(drawn), Path(place) / "raw")
                prepare(Path(place) / "raw", out / name)
        yield name, ImageSet.open(out / name)
    for text in real:
        name, _, folder = text.partition("=")
        if not only or name in only:
            yield name, ImageSet.open(folder)


def line(name: str, images: ImageSet, recipe: Recipe, seeds: range, log: io.StringIO) -> str:
    """Train with every seed; return the set's line of the table."""
    valid = images.select("valid")
    chance = np.bincount(valid.labels).max() / len(valid)
    found, problems = [], set()
    for seed in seeds:
        log.truncate(0)
        try:
            with tempfile.TemporaryDirectory() as run:
                rows = train(images, replace(recipe, seed=seed), Path(run) / "run").metrics
        except SnellenError as problem:
            problems.add(problem.what)
            continue
        found.append(rows[-1]["valid_accuracy"])
        lowest, warned = min(row["valid_accuracy"] for row in rows[len(rows) // 2 :]), bool(log.getvalue().strip())
        if len(valid) < FEWEST:  # one image more or less decides; `prepare` has warned of this
            problems.add(f"{len(valid)} validation images" + (", with a warning" if warned else ""))
        elif found[-1] <= chance + 0.02:
            problems.add("at chance, with a warning" if warned else "AT CHANCE, SILENT")
        elif lowest <= chance + 0.02:
            problems.add("an epoch at chance, with a warning" if warned else "AN EPOCH AT CHANCE, SILENT")
    scores = " / ".join(f"{100 * score:.1f}" for score in found)
    height, width = images.size
    cells = [
        name,
        f"{images.counts['train']:,}",
        f"{width}x{height}",
        len(images.classes),
        f"{100 * chance:.1f}",
        scores,
    ]
    return f"| {' | '.join(map(str, cells))} | {'; '.join(sorted(problems)) or 'none'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where drawn sets are kept")
    parser.add_argument("--real", nargs="*", default=[], metavar="NAME=DATA")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--recipe", default=DEFAULT, choices=PRESETS)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    recipe = PRESETS[arguments.recipe]
    if epochs := arguments.epochs or (1 if arguments.quick else None):
        recipe = recipe.lasting(epochs)
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setLevel(logging.WARNING)
    logging.getLogger("snellen").addHandler(handler)
    print(
        "| set | training images | pixels | classes | most frequent class, % | valid accuracy by seed, % | problems |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    num, seeds = (1000, range(1)) if arguments.quick else (3000, range(3))
    for name, images in image_sets(arguments.out, num, arguments.real, arguments.only):
        print(line(name, images, recipe, seeds, log), flush=True)


if __name__ == "__main__":
    main()
