"""Small real things that several test files make: image sets, models, and how long hypothesis may look."""

import csv
import io
import json
from collections import Counter

import numpy as np
from hypothesis import settings

from snellen.images import imageset
from snellen.models.classifier import Classifier, build_network
from snellen.sources.label_lists import as_list
from snellen.task import Task

# The same examples at every run: a failure that only chance finds belongs in the open, not in a colleague's branch.
some = settings(max_examples=25, deadline=None, derandomize=True, database=None)
many = settings(max_examples=120, deadline=None, derandomize=True, database=None)


def make_images(folder, pixels, names, splits, *, classes=None, ids=None, skipped=(), sample=None, task=None):
    """Write an ImageSet folder and open it. pixels: uint8 (N, H, W, 3); names: label of each image, '' for none.

    With a task of several labels, names are lists of labels, or None if they are unknown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lists = [[name] if name else [] for name in names]
    if task is not None and task.has_several:
        lists = [[] if name is None else name for name in names]
        classes, names = task.classes, ["" if name is None else as_list(name) for name in names]
    classes = sorted({name for name in names if name}) if classes is None else list(classes)
    ids = [str(n) for n in range(len(pixels))] if ids is None else ids
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(imageset.COLUMNS)
    rows = [(id, split, name, f"raw/{id}.png") for id, split, name in zip(ids, splits, names, strict=True)]
    writer.writerows(rows)
    rows_csv = text.getvalue().encode()
    trained = np.array([split == "train" for split in splits])
    seen = pixels[trained if trained.any() else slice(None)].reshape(-1, 3) / 255
    counts = Counter(name for labels, split in zip(lists, splits, strict=True) if split != "test" for name in labels)
    about = {
        "format": 1,
        "classes": classes,
        "size": list(pixels.shape[1:3]),
        "counts": dict(Counter(splits)),
        "class_counts": {name: counts[name] for name in classes},
        "skipped": list(skipped),
        "fingerprint": imageset.fingerprint(pixels, rows_csv),
        "mean": seen.mean(axis=0).tolist(),
        "std": seen.std(axis=0).tolist(),
    }
    if task is not None:
        about["task"] = task.to_dict()
    np.save(folder / "images.npy", pixels)
    (folder / "rows.csv").write_bytes(rows_csv)
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    if sample is not None:
        (folder / imageset.SAMPLE).write_bytes(sample)
    return imageset.ImageSet.open(folder)


LIGHTS = ("blue", "green", "red")  # classes of `lights`, in the order of labels


def lights(num, size=16, seed=0):
    """Pictures in which each colour is on or off: uint8 (num, size, size, 3), and the lists of colours that are on."""
    draw = np.random.default_rng(seed)
    is_on = draw.random((num, 3)) < (0.3, 0.5, 0.6)
    pixels = draw.integers(0, 100, (num, size, size, 3), dtype=np.uint8)
    pixels += (is_on[:, ::-1] * np.uint8(120))[:, None, None]
    return pixels, [[name for name, on in zip(LIGHTS, row, strict=True) if on] for row in is_on]


def true_lights(pixels):
    """The colours that are on in images (N, H, W, 3), bool (N, 3) in the order of LIGHTS."""
    return np.asarray(pixels, dtype=float).mean(axis=(1, 2))[:, ::-1] > 110


def several_images(folder, num=150, num_test=20, seed=0, metric="f1_samples", form="labels", sample=None):
    """An ImageSet of `lights`: two thirds train, one third valid, and test images with unknown labels."""
    pixels, names = lights(num + num_test, seed=seed)
    splits = [("valid" if n % 3 == 0 else "train") if n < num else "test" for n in range(num + num_test)]
    names = [name if split != "test" else None for name, split in zip(names, splits, strict=True)]
    ids = [f"{'t' if split == 'test' else ''}{n}" for n, split in enumerate(splits)]
    task = Task(LIGHTS, "multi", form, metric, allows_none=True)
    return make_images(folder, pixels, names, splits, ids=ids, task=task, sample=sample)


def noise(num, size=16, seed=0):
    """uint8 (num, size, size, 3): every pixel drawn by itself."""
    return np.random.default_rng(seed).integers(0, 256, (num, size, size, 3), dtype=np.uint8)


def small_model(classes=("cat", "dog", "owl"), size=(16, 16), name="whitened_cnn"):
    return Classifier(name, build_network(name, len(classes)), tuple(classes), size)


def warnings_in(caplog):
    """The warnings that were said; what else is, depends on the level that other tests have set."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def scenes(num, size=32, seed=0, shape=None):
    """uint8 (num, H, W, 3): smooth colours with a few sharp shapes, as photographs are; no two alike."""
    height, width = shape or (size, size)
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    found = np.empty((num, height, width, 3), dtype=np.uint8)
    for n in range(num):
        image = np.zeros((height, width, 3))
        for _ in range(6):
            a, b, phase = draw.uniform(-9, 9), draw.uniform(-9, 9), draw.uniform(0, 6)
            image += np.sin(a * x + b * y + phase)[..., None] * draw.uniform(-25, 25, 3)
        for _ in range(4):
            centre, radius = draw.uniform(0.1, 0.9, 2), draw.uniform(0.05, 0.25)
            inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
            image[inside] += draw.uniform(-60, 60, 3)
        found[n] = np.clip(image + draw.uniform(90, 160), 0, 255)
    return found


CIFAR_NAMES = {
    "CIFAR-10": ["zebra", "apple"],
    "CIFAR-100": ["road", "bed", "cup"],
}  # not sorted: the order is the file's


def cifar_planes(seed, num):
    """uint8 (num, 3072), plane by plane."""
    return np.random.default_rng(seed).integers(0, 256, size=(num, 3072), dtype=np.uint8)


def cifar_batches(kind):
    """name -> (labels, planes): three train files, out of order on the disk, and a test file."""
    num_classes = len(CIFAR_NAMES[kind])
    names = ["data_batch_10", "data_batch_2", "data_batch_1", "test_batch"] if kind == "CIFAR-10" else ["train", "test"]
    return {
        name: ([(i + seed) % num_classes for i in range(6)], cifar_planes(seed, 6)) for seed, name in enumerate(names)
    }


def write_cifar_binary(folder, kind):
    folder.mkdir(parents=True)
    for name, (labels, planes) in cifar_batches(kind).items():
        columns = [np.array(labels, dtype=np.uint8)[:, None]]
        if kind == "CIFAR-100":
            columns.insert(0, np.full((6, 1), 99, dtype=np.uint8))  # the coarse label is not looked at
        (folder / f"{name}.bin").write_bytes(np.hstack([*columns, planes]).tobytes())
    meta = "batches.meta.txt" if kind == "CIFAR-10" else "fine_label_names.txt"
    (folder / meta).write_text("\n".join(CIFAR_NAMES[kind]) + "\n\n")
    (folder / "readme.html").write_text("<html>")
    return folder
