"""Model + images -> probabilities. Every score, report and submission comes out of `probabilities` below."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snellen import __version__
from snellen.errors import DataError, some_of
from snellen.images.folds import FOLDS, CrossValidation, as_trained
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier, as_input
from snellen.models.model_file import load_model, packaged_models
from snellen.prediction import calibrate
from snellen.prediction.predictions import PREFIX, Predictions
from snellen.runs.run import Run, locked
from snellen.system import files, processes, runtime
from snellen.system.progress import Progress

log = logging.getLogger("snellen")

Model = Run | CrossValidation | Classifier | str | Path  # a path is that of a run, a cross-validation or a model file

PART = 100_000  # images whose probabilities are written at once, where there are more
VIEWS = (1, 2, 6)  # see `mean_logits`
PIECE = {"cpu": 500, "cuda": 4096, "mps": 1024}  # images at once: pieces that fit a processor's cache are fastest


def predict(
    model: Model | Sequence[Model],
    images: ImageSet | str | Path,
    *,
    split: str = "test",
    out: str | Path | None = None,
    views: int | None = None,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Predictions:
    """Classify the images of a split; with `out`, write them as CSV too (id, label, one probability per class).

    model: a Run, a Classifier, or the path of either. Of several, and of the folds of a cross-validation, the
    probabilities are averaged, and what that gains is logged. views: 1, 2 or 6; by default as the model's recipe says.
    The valid and train images of a fold's model are those of its fold.
    With `out` and more than 100,000 images, what is computed is kept in parts beside it: after a stop the same call
    goes on with them to the same bytes, and memory is bounded by a part; the result is memory-mapped.
    Raises DataError where models and images do not fit, or the split is empty; RunError where another one writes `out`.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    models = members(model)
    first = models[0][1]
    if out is not None:
        files.check_target(out, f"id,label,{PREFIX}", "predictions")
    if len(models) == 1:
        images = as_trained(images, first.about)
    chosen = images.select(split)
    check_fit(first, images)
    with processes.joined(device):
        parts = None
        if out is not None and len(chosen) > PART and processes.size() == 1:
            parts = Path(out).with_name(f".{Path(out).name}.parts")
        with locked(parts) if parts else contextlib.nullcontext():
            if len(models) > 1:
                from snellen.prediction.ensemble import average  # here: it scores, and scores come from this file

                found = average(models, images, split, views=views, device=device, parts=parts, on_progress=on_progress)
            else:
                place = place_of(first, processes.device_here(device))
                log.info("%s", place.why)
                found = in_parts(first, chosen, place, parts, views=views, on_progress=on_progress)
            guesses = Predictions(chosen.ids, found, first.classes)
            if out is not None:
                processes.once(guesses.save, out)
        if parts:
            shutil.rmtree(parts, ignore_errors=True)  # Windows keeps what is mapped; elsewhere only the name goes
    return guesses


def opened(model: Run | Classifier | str | Path) -> Classifier:
    """The Classifier that any of these forms means."""
    if isinstance(model, Classifier):
        return model
    return load_model(model.folder if isinstance(model, Run) else model)


def place_of(model: Classifier, device: str | None) -> runtime.Runtime:
    """Where a model computes, in the precision of its recipe."""
    return runtime.choose(model.about.get("recipe", {}).get("precision", "auto"), device)


def views_of(model: Classifier, views: int | None) -> int:
    """How many views are averaged: those asked for, or those of the model's recipe. Raises DataError for others."""
    if views is not None and views not in VIEWS:
        raise DataError(
            f"{views} views cannot be averaged.",
            expected="1 (the image), 2 (mirrored too) or 6 (moved by a pixel too)",
            do="leave views out to take what the model's recipe says",
        )
    return views or model.about.get("recipe", {}).get("views", 1)


def is_model(name: str) -> bool:
    """Whether a word of the command line is a model: it holds one, or is the name of a packaged one."""
    path = Path(name)
    if path.is_dir():
        return any((path / file).exists() for file in ("recipe.json", "model.safetensors", FOLDS))
    return path.suffix == ".safetensors" or (not path.exists() and name in packaged_models())


def members(model: Model | Sequence[Model]) -> list[tuple[str, Classifier]]:
    """The models meant, each with a name for people: one, several, or those of all folds of a cross-validation.

    Raises DataError where their classes or sizes differ, or there are none.
    """
    given = [model] if isinstance(model, Run | CrossValidation | Classifier | str | Path) else model
    found: list[tuple[str, Classifier]] = []
    for one in given:
        if isinstance(one, str | Path) and (Path(one) / FOLDS).exists():
            one = CrossValidation.open(one)
        if isinstance(one, CrossValidation):
            found += [(str(folder), load_model(folder)) for folder in one.folders]
        else:
            name = one.name if isinstance(one, Classifier) else str(one.folder if isinstance(one, Run) else one)
            found.append((name, opened(one)))
    if not found:
        raise DataError("there is no model to predict with.", expected="one or more", do="name a run")
    (first_name, first), *others = found
    for name, other in others:
        if (other.classes, other.size) != (first.classes, first.size):
            raise DataError(
                f"{name} tells {len(other.classes)} classes of {other.size[1]}x{other.size[0]} pixels apart "
                f"({some_of(other.classes)}); {first_name} {len(first.classes)} of {first.size[1]}x{first.size[0]} "
                f"({some_of(first.classes)}).",
                expected="models with the same classes, in the same order, and the same size",
                do="average models that were trained on the same data",
            )
    return found


def check_fit(model: Classifier, images: ImageSet) -> None:
    """Raise DataError where this model cannot have been made for these images."""
    if model.size != images.size:
        raise DataError(
            f"the images have {images.size[1]}x{images.size[0]} pixels, the model {model.size[1]}x{model.size[0]}.",
            where=str(images.folder),
            do=f"prepare them with --size {model.size[0]}",
        )
    if model.classes != images.classes:
        raise DataError(
            f"the images' classes are {some_of(images.classes)}; the model's {some_of(model.classes)}.",
            where=str(images.folder),
            expected="the classes that the model was trained on, in its order",
            do="use the data that the model was trained on, or train on this data",
        )


def probabilities(
    model: Classifier,
    images: ImageSet | np.ndarray,
    place: runtime.Runtime,
    *,
    views: int | None = None,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """float32 (N, classes), rows in the order of `images`; each sums to 1. Calibrated by the model's temperature."""
    return calibrate.softmax(
        logits(model, images, place, views=views, on_progress=on_progress), float(model.temperature)
    )


def in_parts(
    model: Classifier,
    images: ImageSet,
    place: runtime.Runtime,
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
        return probabilities(model, images, place, views=views, on_progress=on_progress)
    num, stride = len(images), 4 * len(model.classes)
    key = _key(model, images, place, views)
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

            file.write(probabilities(model, part, place, views=views, on_progress=tell).tobytes())
            file.flush()
            os.fsync(file.fileno())
            files.write_json(note, {"images": start + len(part)})
    return np.memmap(values, np.float32, "r", shape=(num, len(model.classes))).view(np.ndarray)


def _key(model: Classifier, images: ImageSet, place: runtime.Runtime, views: int | None) -> str:
    """What decides every bit of the probabilities, as far as it can be known."""
    facts = [__version__, model.about, images.fingerprint, views, PART, place.why]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(images.rows.tobytes())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def logits(
    model: Classifier,
    images: ImageSet | np.ndarray,
    place: runtime.Runtime,
    *,
    views: int | None = None,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """float32 (N, classes), rows in the order of `images`: an ImageSet, or pixels as uint8 (N, H, W, 3).

    Leaves the model in the mode it was in. In a group of processes each computes its part and all get all rows.
    """
    views = views_of(model, views)
    found = np.zeros((len(images), len(model.classes)), dtype=np.float32)
    with evaluating(model, place):
        for start, stop, x in _pieces(images, place):
            with place.autocast():
                found[start:stop] = mean_logits(model, x, views).float().cpu().numpy()
            if on_progress:
                first, last = processes.part_of(len(images))
                on_progress("predict", len(images) * (stop - first) // (last - first), len(images))
    return processes.gather_rows(found)


@torch.no_grad()
def features(model: Classifier, images: ImageSet | np.ndarray, place: runtime.Runtime) -> np.ndarray:
    """float32 (N, D): what the last layer sees of each image, plain view."""
    found = np.zeros((len(images), len(model.feature_mean)), dtype=np.float32)
    with evaluating(model, place):
        for start, stop, x in _pieces(images, place):
            with place.autocast():
                found[start:stop] = model.features(x).float().cpu().numpy()
    return processes.gather_rows(found)


def familiarity(model: Classifier, seen: np.ndarray) -> np.ndarray:
    """float64 (N,) in [-1, 1], of features (N, D): the largest cosine with a class direction, see calibrate.py."""
    centred = seen.astype(np.float64) - model.feature_mean.cpu().numpy()
    lengths = np.maximum(np.linalg.norm(centred, axis=1), 1e-12)
    return (centred @ model.directions.cpu().numpy().T.astype(np.float64)).max(axis=1) / lengths


@contextlib.contextmanager
def evaluating(model: Classifier, place: runtime.Runtime) -> Iterator[None]:
    """In evaluation mode on its device for a while."""
    was_training = model.training
    model.to_device(place.device, place.weights).eval()
    try:
        yield
    finally:
        model.train(was_training)


def _pieces(images: ImageSet | np.ndarray, place: runtime.Runtime) -> Iterator[tuple[int, int, Tensor]]:
    """(start, stop, float (stop - start, 3, H, W) in [0, 1] on the device) of the rows that this process computes.

    Memory is bounded by a piece.
    """
    step = PIECE.get(place.device.type, 1024)
    first, last = processes.part_of(len(images))
    for start in range(first, last, step):
        stop = min(start + step, last)
        pixels = images.pixels(start, stop) if isinstance(images, ImageSet) else images[start:stop]
        yield start, stop, as_input(pixels, place.device)


def mean_logits(model: Classifier, x: Tensor, views: int) -> Tensor:
    """Logits averaged over views of float (B, 3, H, W).

    1: as it is. 2: and mirrored. 6: those two with weight 1/2, and the images moved by one pixel up-left and
    down-right with reflected border, each plain and mirrored, with weight 1/2 together (arXiv:2404.00498, section 3.7).
    """
    if views == 1:
        return model(x)
    mean = (model(x) + model(x.flip(3))) / 2
    if views == 2:
        return mean
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    height, width = x.shape[2:]
    moved = [padded[:, :, shift : shift + height, shift : shift + width] for shift in (0, 2)]
    return mean / 2 + sum(model(m) + model(m.flip(3)) for m in moved) / 8
