"""Probabilities of many images, stored part by part, so that a stopped command can resume and memory is bounded."""

import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np

from snellen import __version__
from snellen.errors import DataError
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.prediction.probabilities import probabilities
from snellen.system import files
from snellen.system.device import Runtime
from snellen.system.progress import Progress

log = logging.getLogger("snellen")

PART = 100_000  # images whose probabilities are written at a time


def in_parts(
    model: Classifier,
    images: ImageSet,
    runtime: Runtime,
    folder: Path | None,
    *,
    views: int | None = None,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """Return what `probabilities` does, but stored part by part in a file in `folder` and memory-mapped read-only.

    Existing parts are reused if the model, images, views and arithmetic are the same. Without a folder nothing is
    stored.
    """
    if folder is None:
        return probabilities(model, images, runtime, views=views, on_progress=on_progress)
    num, stride = len(images), 4 * len(model.classes)
    key = _key(model, images, runtime, views)
    values, note = folder / f"{key}.float32", folder / f"{key}.json"
    is_begun = note.exists() and values.exists()
    done = files.read_json(note, error=DataError, do=f"remove {folder}")["images"] if is_begun else 0
    if done:
        log.info("resuming: %d of %d images are classified", done, num)
    with files.disk_errors(values), open(values, "ab") as file:
        file.truncate(done * stride)  # drop an incomplete part
        for start in range(done, num, PART):
            part = images.take(np.arange(start, min(start + PART, num)))

            def tell(stage: str, part_done: int, _: int, before: int = start) -> None:
                if on_progress:
                    on_progress(stage, before + part_done, num)

            file.write(probabilities(model, part, runtime, views=views, on_progress=tell).tobytes())
            file.flush()
            os.fsync(file.fileno())
            files.write_json(note, {"images": start + len(part)})
    return np.memmap(values, np.float32, "r", shape=(num, len(model.classes))).view(np.ndarray)


def _key(model: Classifier, images: ImageSet, runtime: Runtime, views: int | None) -> str:
    """Return everything known to affect the bits of the probabilities."""
    facts = [__version__, model.about, images.fingerprint, views, PART, runtime.why]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(images.rows.tobytes())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
