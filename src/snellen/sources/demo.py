"""A small image competition in Kaggle's layout, generated offline: ten shapes to tell apart.

    train/<id>.png  test/<id>.png    32x32 RGB, ids from 1 in both folders
    trainLabels.csv                  id,label
    sampleSubmission.csv             id,label: every test id once, with the same label on each line

Shape is the only clue. Position, size, rotation and colours are random, and a figure is as often darker than its
background as lighter. A linear classifier is right on 15% of the test images, the nearest neighbour by pixels on 21%,
and a network of four convolutions on 97% after eight epochs. About one image in eight is hard on purpose: faint,
scratched and noisy.

The pixels are the same on every machine; see drawing.py.
"""

from functools import partial
from pathlib import Path

import numpy as np

from snellen.sources.drawing import SIDE, Dice, blur, paint, shape, speck, texture, two_colours
from snellen.sources.new_competition import new_folder, write_pictures, write_table
from snellen.system.progress import Progress

CLASSES = ("arrow", "bars", "circle", "crescent", "cross", "heart", "ring", "square", "star", "triangle")
SPLIT_SEED = {"train": 1, "test": 2}
LABEL_SEED, IMAGE_SEED = 1, 2


def write_competition(
    folder: str | Path, *, num_train: int = 3000, num_test: int = 600, on_progress: Progress | None = None
) -> None:
    """Draw the competition into `folder`, which is written atomically.

    An image and its label depend only on its split and id: a smaller competition is the start of a larger one.
    on_progress: called with ("draw", images drawn, images in all).

    Raises DataError if `folder` already holds something or cannot be written.
    """
    with new_folder(folder, "demo") as whole:
        pictures = {
            f"{split}/{id}.png": partial(draw, split, id)
            for split, num in (("train", num_train), ("test", num_test))
            for id in range(1, num + 1)
        }
        write_pictures(whole, pictures, on_progress)
        labels = [(str(id), label_of("train", id)) for id in range(1, num_train + 1)]
        write_table(whole / "trainLabels.csv", ("id", "label"), labels)
        constant = [(str(id), CLASSES[0]) for id in range(1, num_test + 1)]
        write_table(whole / "sampleSubmission.csv", ("id", "label"), constant)


def answers(num_test: int = 600) -> dict[str, str]:
    """Return the true label of every test id. They are not in the competition's folder."""
    return {str(id): label_of("test", id) for id in range(1, num_test + 1)}


def label_of(split: str, id: int) -> str:
    """Return the class of an image: ten ids in a row (1 to 10, 11 to 20, ...) have each class once, in random order."""
    block, place = divmod(id - 1, len(CLASSES))
    order = Dice(LABEL_SEED, SPLIT_SEED[split], block).shares(len(CLASSES)).argsort(kind="stable")
    return CLASSES[order[place]]


def draw(split: str, id: int) -> np.ndarray:
    """Return one image of the competition: uint8 (32, 32, 3).

    split: "train" or "test"; id: 1 or more.
    """
    dice = Dice(IMAGE_SEED, SPLIT_SEED[split], id)
    is_hard = dice.between(0, 1) < 0.12
    ground, figure = two_colours(dice, gap=dice.between(0.1, 0.2) if is_hard else dice.between(0.25, 0.6))
    image = ground + texture(dice)
    for _ in range(int(dice.between(2, 6))):
        image = paint(image, speck(dice), dice.shares(3))
    image = paint(image, shape(label_of(split, id), dice), figure + texture(dice) / 2)
    for _ in range(int(dice.between(1, 4)) if is_hard else 0):
        image = paint(image, speck(dice), ground)
    image = blur(image, dice.between(0, 1))
    noise = dice.shares(2, SIDE, SIDE, 3)
    image = image + dice.between(0.02, 0.3 if is_hard else 0.12) * (noise[0] - noise[1])
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)
