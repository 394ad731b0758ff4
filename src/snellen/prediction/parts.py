"""Probabilities of many images, kept part by part, so that a stopped command resumes and memory is bounded."""

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

PART = 100_000  # images whose probabilities are written at once, where there are more


def in_parts(
    model: Classifier,
    images: ImageSet,
    runtime: Runtime,
    folder: Path | None,
    *,
    views: int | None = None,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """As `probabilities`, but kept in a file in `folder` part by part, and read-only memory-mapped from there.

    Parts that are there already are taken if they are of the same model, images, views and kind of arithmetic. Without
    a folder there are no parts.
    """
    if folder is None:
        return probabilities(model, images, runtime, views=views, on_progress=on_progress)
    num, stride = len(images), 4 * len(model.classes)
    key = _key(model, images, runtime, views)
    values, note = folder / f"{key}.float32", folder / f"{key}.json"
    is_begun = note.exists() and values.exists()
    done = files.read_json(note, error=DataError, do=f"remove {folder}")["images"] if is_begun else 0
    if done:
        log.info("going on: %d of %d images are classified", done, num)
    with files.disk_errors(values), open(values, "ab") as file:
        file.truncate(done * stride)  # what a kill left of a part
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
    """What decides every bit of the probabilities, as far as it can be known."""
    facts = [__version__, model.about, images.fingerprint, views, PART, runtime.why]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(images.rows.tobytes())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
