"""The world that most tests live in: a tiny image competition whose right answers can be read off the pixels."""

import csv
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import py7zr
import pytest
import torch
from PIL import Image

# One thread a process: pytest-xdist runs as many processes as there are cores, and threads that wait for each other on
# a busy core are many times slower than one.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

CLASSES = ("cherry", "leaf", "sky")  # red, green, blue
SIDE = 8  # pixels

# Neither in numeric nor in alphabetic order, not all of them numbers, one with a dot; a third of the test ids are
# train ids as well, there with another picture.
TRAIN_IDS = (
    "10 9 a7 2 31 100 v1.5 40 1 b12 22 3 77 5 11 b2 8 19 4 101 30 a10 6 55 12 7 13 90 x-2 14 21 z 17 15 66 c3 18 16 44 "
    "20 07 99"
)
TEST_IDS = "9 1000 200 10 a7 3 d4 1 2000 70 33 b12 e 12 205 v2.5 300 q9"


def true_label(pixels: np.ndarray) -> str:
    """The class of an image of the world, (H, W, 3) of any type and scale, by its colour."""
    return CLASSES[int(np.asarray(pixels, dtype=float).mean(axis=(0, 1)).argmax())]


@dataclass(frozen=True)
class World:
    """Where the competition lies, and its truth."""

    folder: Path  # train/ test/ trainLabels.csv sampleSubmission.csv
    labels: dict[str, str]  # of the labelled images, in the order of trainLabels.csv
    test_labels: dict[str, str]  # of the test images, in the order of sampleSubmission.csv; stands in no file
    pixels: dict[tuple[str, str], np.ndarray]  # ("train" or "test", id) -> uint8 (8, 8, 3); no two are alike

    def true_label(self, pixels: np.ndarray) -> str:
        return true_label(pixels)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A fresh competition in Kaggle's layout: 42 labelled and 18 test PNG files of 8x8 pixels, three classes."""
    return write_world(tmp_path / "world")


def write_world(folder: Path) -> World:
    rng = np.random.default_rng(0)
    labels = {id: CLASSES[number % 3] for number, id in enumerate(TRAIN_IDS.split())}
    test_labels = {id: CLASSES[number % 3] for number, id in enumerate(TEST_IDS.split())}
    pixels = {}
    for split, truth in (("train", labels), ("test", test_labels)):
        (folder / split).mkdir(parents=True)
        for id, label in truth.items():
            image = rng.integers(0, 100, size=(SIDE, SIDE, 3), dtype=np.uint8)
            image[:, :, CLASSES.index(label)] += 120
            pixels[split, id] = image
            Image.fromarray(image).save(folder / split / f"{id}.png")
    write_csv(folder / "trainLabels.csv", [("id", "label"), *labels.items()])
    write_csv(folder / "sampleSubmission.csv", [("id", "label"), *((id, "cherry") for id in test_labels)])
    return World(folder, labels, test_labels, pixels)


def write_csv(path: Path, rows: list[tuple[str, ...]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def pack_zip(folder: Path, path: Path, *, below: str = "") -> Path:
    """A zip of all files of a folder, in the order of a disk that knows none."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.name[::-1]):
            archive.write(file, below + file.relative_to(folder).as_posix())
    return path


def pack_7z(folder: Path, path: Path, *, below: str = "") -> Path:
    """A solid 7z of all files of a folder; quick to write."""
    with py7zr.SevenZipFile(path, "w", filters=[{"id": py7zr.FILTER_LZMA2, "preset": 0}]) as archive:
        for file in sorted((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.name[::-1]):
            archive.write(file, below + file.relative_to(folder).as_posix())
    return path


def pack_as_kaggle(world: World, path: Path) -> Path:
    """The zip exactly as Kaggle serves it: train.7z, test.7z and the two CSV files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("train", "test"):
            inner = pack_7z(world.folder / split, path.with_name(f"{split}.7z"), below=f"{split}/")
            archive.write(inner, inner.name)
            inner.unlink()
        for name in ("trainLabels.csv", "sampleSubmission.csv"):
            archive.write(world.folder / name, name)
    return path
