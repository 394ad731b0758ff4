"""Small real things that several test files make: image sets, models, and how long hypothesis may look."""

import csv
import io
import json
from collections import Counter

import numpy as np
from hypothesis import settings

from snellen import imageset
from snellen.models import Classifier, build_network

# The same examples at every run: a failure that only chance finds belongs in the open, not in a colleague's branch.
some = settings(max_examples=25, deadline=None, derandomize=True, database=None)
many = settings(max_examples=120, deadline=None, derandomize=True, database=None)


def make_images(folder, pixels, names, splits, *, classes=None, ids=None, skipped=(), sample=None):
    """Write an ImageSet folder and open it. pixels: uint8 (N, H, W, 3); names: label of each image, '' for none."""
    folder.mkdir(parents=True, exist_ok=True)
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
    counts = Counter(name for name, split in zip(names, splits, strict=True) if split != "test")
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
    np.save(folder / "images.npy", pixels)
    (folder / "rows.csv").write_bytes(rows_csv)
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    if sample is not None:
        (folder / imageset.SAMPLE).write_bytes(sample)
    return imageset.ImageSet.open(folder)


def noise(num, size=16, seed=0):
    """uint8 (num, size, size, 3): every pixel drawn by itself."""
    return np.random.default_rng(seed).integers(0, 256, (num, size, size, 3), dtype=np.uint8)


def small_model(classes=("cat", "dog", "owl"), size=(16, 16), name="whitened_cnn"):
    return Classifier(name, build_network(name, len(classes)), tuple(classes), size)


def warnings_in(caplog):
    """The warnings that were said; what else is, depends on the level that other tests have set."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
