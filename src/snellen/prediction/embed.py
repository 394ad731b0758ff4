"""Verb: model + images -> embeddings: the inputs of the last layer, in a .npy file with the ids.

One row per image, with the fields `id` (str) and `features` (float32 (D,)):
    rows = np.load("features.npy")
    rows["id"], rows["features"]
"""

from pathlib import Path

import numpy as np

from snellen.errors import DataError
from snellen.images.folds import as_trained
from snellen.images.imageset import ImageSet
from snellen.prediction.opening import Model, folders_of, opened, runtime_of
from snellen.prediction.probabilities import features
from snellen.system import files
from snellen.system.targets import check_file

FIELDS = ("id", "features")


def embed(
    model: Model,
    images: ImageSet | str | Path,
    out: str | Path,
    *,
    split: str = "test",
    device: str | None = None,
    precision: str | None = None,
) -> np.ndarray:
    """Write and return the embeddings of the images of a split: a structured array (N,) with `id` and `features`.

    The images may have other classes and another size than those the model was trained on. Only the plain view counts.
    Raises DataError if the split is empty, or if `out` is not a .npy file that may be written.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    if Path(out).suffix != ".npy":
        raise DataError(
            f'"{out}" has an unknown extension.', where="--features", expected=".npy", do="name the file FILE.npy"
        )
    check_file(out, "embeddings", _is_ours, source=images.source, owners=folders_of(model))
    network = opened(model)
    chosen = as_trained(images, network.about).select(split)
    found = features(network, chosen, runtime_of(network, device, precision))
    rows = np.empty(len(chosen), dtype=[("id", chosen.ids.dtype), ("features", np.float32, found.shape[1:])])
    rows["id"], rows["features"] = chosen.ids, found
    with files.replacing(Path(out)) as file:
        np.save(file, rows)
    return rows


def _is_ours(path: Path) -> bool:
    try:
        return np.load(path, mmap_mode="r").dtype.names == FIELDS
    except (OSError, ValueError, EOFError):
        return False
