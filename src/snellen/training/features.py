"""Features of frozen networks, computed once and stored beside the images.

DATA/features/KEY.npz holds the features of some rows of images.npy. KEY depends on the images, the network and the
views, so a file is never out of date. The folder can be deleted at any time.
"""

import hashlib
import logging
import zipfile
from pathlib import Path

import numpy as np

from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.prediction.probabilities import features
from snellen.system import files, processes
from snellen.system.device import Runtime
from snellen.system.progress import Progress

log = logging.getLogger("snellen")

AT_ONCE = 64  # images between two progress reports
SAVED = 4096  # images between two writes: the most that is lost if the process is killed


def cached_features(
    model: Classifier, images: ImageSet, runtime: Runtime, *, mirrored: bool, on_progress: Progress | None = None
) -> np.ndarray:
    """Return the inputs of the last layer, float32 (V, N, D): of the plain view, and of the mirrored one if wanted.

    Missing features are computed and added to the cache. Without write permission they are computed but not stored.
    """
    path = images.folder / "features" / f"{_key(model, images, runtime, mirrored)}.npz"
    with processes.copy_of(path) as file:  # all processes must agree on what is missing
        rows, known = _read(file)
    missing = np.flatnonzero(~np.isin(images.rows, rows))
    if len(missing) < len(images):
        log.info("features of %s images are in %s", f"{len(images) - len(missing):,}", path.parent)
    for start in range(0, len(missing), SAVED):
        block = missing[start : start + SAVED]
        new = []
        for first in range(0, len(block), AT_ONCE):
            pixels = images.at(block[first : first + AT_ONCE])
            both = [pixels, np.ascontiguousarray(pixels[:, :, ::-1])] if mirrored else [pixels]
            new.append(np.stack([features(model, view, runtime) for view in both]))
            if on_progress:
                on_progress("features", start + min(first + AT_ONCE, len(block)), len(missing))
        rows = np.concatenate([rows, images.rows[block]])
        known = np.concatenate([known, *new], axis=1) if known.size else np.concatenate(new, axis=1)
        processes.once(_write, path, rows, known)
    order = np.argsort(rows)
    return known[:, order[np.searchsorted(rows, images.rows, sorter=order)]]


def _key(model: Classifier, images: ImageSet, runtime: Runtime, mirrored: bool) -> str:
    facts = f"{images.fingerprint} {model.name} {images.size} {1 + mirrored} {runtime.device.type} {runtime.dtype}"
    digest = hashlib.sha256(facts.encode())
    for name, value in model.network[0].state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(model.mean.cpu().numpy().tobytes() + model.std.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file) as found:
            return found["rows"], found["features"]
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        log.warning("%s is damaged; its features are recomputed", path)
    return np.empty(0, dtype=np.int64), np.empty((0, 0, 0), dtype=np.float32)


def _write(path: Path, rows: np.ndarray, known: np.ndarray) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        with files.replacing(path) as file:
            np.savez(file, rows=rows, features=known)
    except PermissionError:
        log.info("%s cannot be written; the features are not stored", path.parent)
