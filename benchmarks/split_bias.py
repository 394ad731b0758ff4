"""Is the validation score of unequal classes right? Validation against a large hold-out, for both split rules.

    python benchmarks/split_bias.py DATA [--ratio 50] [--most 1000] [--seeds 5] [--epochs 15]

DATA: prepared images with many labelled ones, such as CIFAR-10. For each seed a set is drawn from them whose largest
class has `most` images and whose smallest has 1 / ratio of that, with a geometric fall between. Each rule splits it and
the recipe `fast` trains on the train split. A hold-out with the same shares, drawn from the other images, has three
times as many images. Printed are each metric on validation and hold-out, their mean difference over the seeds with its
standard error, and how often the interval of validation holds the value of the hold-out.
"""

import argparse
import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from snellen.images.choices import SPLIT_RULES
from snellen.images.imageset import ImageSet
from snellen.images.splits import choose_valid
from snellen.prediction.predict import predict
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.scoring.metrics import METRICS
from snellen.training.train import train

METRICS_SHOWN = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss", "auc", "mcc")


def unequal(images: ImageSet, ratio: float, most: int, seed: int, holdout: int = 3) -> tuple[ImageSet, ImageSet]:
    """Return (a set with unequal classes, a hold-out with the same shares and `holdout` times as many images)."""
    draw = np.random.default_rng(seed)
    num_classes = len(images.classes)
    drawn: list[list[np.ndarray]] = [[], []]
    for label in range(num_classes):
        size = round(most * ratio ** (-label / (num_classes - 1)))
        rows = draw.permutation(np.flatnonzero((images.splits != "test") & (images.labels == label)))
        if len(rows) < (1 + holdout) * size:
            raise SystemExit(f"{images.classes[label]} has {len(rows)} images; {(1 + holdout) * size} are needed")
        drawn[0].append(rows[:size])
        drawn[1].append(rows[size : (1 + holdout) * size])
    small, large = (images.take(np.sort(np.concatenate(rows))) for rows in drawn)
    return with_splits(small, np.full(len(small), "train")), with_splits(large, np.full(len(large), "valid"))


def with_splits(images: ImageSet, splits: np.ndarray) -> ImageSet:
    """Return the images with other splits, under a fingerprint of its own, as a fold has one."""
    text = json.dumps([images.fingerprint, images.rows.tolist(), splits.tolist()])
    prepared = (images.about.get("fold") or {}).get("images", images.fingerprint)
    fold = {"images": prepared, "number": 1, "of": 1, "seed": 0}
    about = images.about | {"fingerprint": hashlib.sha256(text.encode()).hexdigest(), "fold": fold}
    return replace(images, splits=splits, about=about)


def trained_scores(images: ImageSet, holdout: ImageSet, recipe: Recipe) -> list[tuple[np.ndarray, np.ndarray]]:
    """Train on the train split; return (labels, probabilities) of validation and of the hold-out."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(images, recipe, Path(folder) / "run")
        found = []
        for part in (images, holdout):
            labels = part.select("valid").labels
            found.append((labels, predict(run, part, split="valid").probabilities))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--ratio", type=float, default=50)
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=15)
    parser.add_argument("--share", type=float, default=0.1)
    arguments = parser.parse_args()
    images = ImageSet.open(arguments.data)
    for rule in SPLIT_RULES:
        values: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in METRICS_SHOWN}
        for seed in range(arguments.seeds):
            drawn, holdout = unequal(images, arguments.ratio, arguments.most, seed)
            names = [drawn.classes[label] for label in drawn.labels.tolist()]
            valid = choose_valid(drawn.ids.tolist(), names, arguments.share, seed, rule=rule)
            splits = np.where(np.isin(drawn.ids, list(valid)), "valid", "train")
            recipe = replace(PRESETS["fast"].lasting(arguments.epochs), seed=seed)
            own, other = trained_scores(with_splits(drawn, splits), holdout, recipe)
            for name in METRICS_SHOWN:
                on_valid, on_holdout = (METRICS[name].measure(y, p, p.argmax(axis=1)) for y, p in (own, other))
                values[name].append((on_valid.value, on_valid.low, on_valid.high, on_holdout.value))
            print(f"{rule}, seed {seed}: {len(valid)} of {len(drawn)} validate, hold-out {len(holdout)}", flush=True)
        print(f"{'':20}{'validation':>11}{'hold-out':>10}{'difference':>12}{'+-':>8}   interval holds the hold-out")
        for name, rows in values.items():
            value, low, high, true = np.array(rows).T
            error = (value - true).std(ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else float("nan")
            held = int(((low <= true) & (true <= high)).sum())
            print(
                f"{name:20}{value.mean():11.4f}{true.mean():10.4f}{(value - true).mean():12.4f}{error:8.4f}"
                f"   {held} of {len(rows)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
