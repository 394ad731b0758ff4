"""A small competition with several labels per image, generated offline: one to four shapes in each picture.

    train/<id>.png  test/<id>.png    32x32 RGB, ids from 1 in both folders
    train.csv                        id,labels: the shapes, separated by spaces
    sample_submission.csv            id,labels: every test id once, with the same shape on each line

Each shape lies in a quarter of the picture and occurs at most once. Some shapes are rare, and a star is often beside a
crescent. The colours are random.
"""

from functools import partial
from pathlib import Path

import numpy as np

from snellen.sources.drawing import SIDE, Dice, blur, paint, shape, speck, texture, two_colours
from snellen.sources.new_competition import new_folder, write_pictures, write_table
from snellen.system.progress import Progress

# How often a shape is drawn, relative to the others.
WEIGHTS = {"arrow": 2, "circle": 6, "crescent": 3, "cross": 5, "heart": 4, "ring": 3, "square": 6, "star": 3}
CLASSES = tuple(WEIGHTS)
SPLIT_SEED = {"train": 1, "test": 2}
LABEL_SEED, IMAGE_SEED = 11, 12
HALF = SIDE // 2
QUARTERS = ((0, 0, HALF), (HALF, 0, HALF), (0, HALF, HALF), (HALF, HALF, HALF))


def write_competition(
    folder: str | Path, *, num_train: int = 3000, num_test: int = 600, on_progress: Progress | None = None
) -> None:
    """Draw the competition into `folder`, which is written atomically; see `demo.write_competition`."""
    with new_folder(folder, "demo-multi") as whole:
        pictures = {
            f"{split}/{id}.png": partial(draw, split, id)
            for split, num in (("train", num_train), ("test", num_test))
            for id in range(1, num + 1)
        }
        write_pictures(whole, pictures, on_progress)
        labels = [(str(id), " ".join(labels_of("train", id))) for id in range(1, num_train + 1)]
        write_table(whole / "train.csv", ("id", "labels"), labels)
        constant = [(str(id), "circle square") for id in range(1, num_test + 1)]
        write_table(whole / "sample_submission.csv", ("id", "labels"), constant)


def answers(num_test: int = 600) -> dict[str, list[str]]:
    """Return the true labels of every test id. They are not in the competition's folder."""
    return {str(id): labels_of("test", id) for id in range(1, num_test + 1)}


def labels_of(split: str, id: int) -> list[str]:
    """Return the shapes in an image, sorted."""
    dice = Dice(LABEL_SEED, SPLIT_SEED[split], id)
    num = 1 + sum(dice.between(0, 1) < share for share in (0.7, 0.5, 0.3))
    chosen: list[str] = []
    bag = [name for name, weight in WEIGHTS.items() for _ in range(weight)]
    while len(chosen) < num:
        name = bag[int(dice.between(0, len(bag)))]
        if name in chosen:
            continue
        chosen.append(name)
        if name == "star" and len(chosen) < num and "crescent" not in chosen and dice.between(0, 1) < 0.7:
            chosen.append("crescent")
    return sorted(chosen)


def draw(split: str, id: int) -> np.ndarray:
    """Return one image of the competition: uint8 (32, 32, 3). split: "train" or "test"; id: 1 or more."""
    dice = Dice(IMAGE_SEED, SPLIT_SEED[split], id)
    ground, figure = two_colours(dice, gap=dice.between(0.25, 0.6))
    image = ground + texture(dice)
    for _ in range(int(dice.between(1, 4))):
        image = paint(image, speck(dice), dice.shares(3))
    order = dice.shares(4).argsort(kind="stable")
    for name, quarter in zip(labels_of(split, id), order.tolist(), strict=False):
        image = paint(image, shape(name, dice, sizes=(5.5, 7.5), place=QUARTERS[quarter]), figure + texture(dice) / 2)
    image = blur(image, dice.between(0, 0.5))
    noise = dice.shares(2, SIDE, SIDE, 3)
    image = image + dice.between(0.02, 0.1) * (noise[0] - noise[1])
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)
