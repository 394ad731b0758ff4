"""Model + images -> probabilities. Every score, report and submission uses `probabilities` below."""

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from snellen.errors import DataError, DivergedError
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier, as_input
from snellen.prediction import calibrate
from snellen.runs.recipe import VIEWS
from snellen.system import processes
from snellen.system.device import Runtime
from snellen.system.progress import Progress

PIECE = {"cpu": 500, "cuda": 4096, "mps": 1024}  # images at a time: pieces that fit a processor's cache are fastest


def probabilities(
    model: Classifier,
    images: ImageSet | np.ndarray,
    runtime: Runtime,
    *,
    views: int | None = None,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """Return calibrated probabilities, float32 (N, K), in the order of `images`.

    Each row sums to 1, unless images can have several labels. Raises DivergedError if the model's weights or
    temperature give numbers that are not finite.
    """
    temperatures = model.temperature.flatten().tolist()
    if not all(0 < temperature < math.inf for temperature in temperatures):
        raise _not_finite(model, f"the model's temperature is {', '.join(map(str, temperatures[:3]))}.")
    return calibrated(model, logits(model, images, runtime, views=views, on_progress=on_progress))


def calibrated(model: Classifier, outputs: np.ndarray) -> np.ndarray:
    """Return the probabilities, float32 (N, K), of a model's logits (N, K)."""
    if model.task.has_several:
        temperature, shift = (values.double().cpu().numpy() for values in (model.temperature, model.shift))
        return calibrate.sigmoid(outputs, temperature, shift)
    return calibrate.softmax(outputs, float(model.temperature))


def activated(model: Classifier, outputs: Tensor) -> Tensor:
    """Return `calibrated` as a computation of torch, for exported programs."""
    if model.task.has_several:
        return (outputs / model.temperature + model.shift).sigmoid()
    return (outputs / model.temperature).softmax(dim=1)


@torch.no_grad()
def logits(
    model: Classifier,
    images: ImageSet | np.ndarray,
    runtime: Runtime,
    *,
    views: int | None = None,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """Return the logits, float32 (N, K), in the order of `images`: an ImageSet, or pixels as uint8 (N, H, W, 3).

    The model's mode is restored. Each of several processes computes a part, and all get all rows.
    Raises DivergedError if a number is infinite or not a number.
    """
    views = views_of(model, views)
    found = np.zeros((len(images), len(model.classes)), dtype=np.float32)
    with evaluating(model, runtime):
        for start, stop, x in _pieces(images, runtime):
            with runtime.autocast():
                found[start:stop] = mean_logits(model, x, views).float().cpu().numpy()
            if on_progress:
                first, last = processes.part_of(len(images))
                on_progress("predict", len(images) * (stop - first) // (last - first), len(images))
    found = processes.gather_rows(found)
    if num := int((~np.isfinite(found).all(axis=1)).sum()):
        raise _not_finite(model, f"the model's outputs for {num:,} of {len(found):,} images are not finite numbers.")
    return found


def _not_finite(model: Classifier, what: str) -> DivergedError:
    return DivergedError(
        what,
        where=f"a model of {model.name}",
        expected="finite weights",
        do="use another model, or train again with a lower learning rate",
    )


@torch.no_grad()
def features(model: Classifier, images: ImageSet | np.ndarray, runtime: Runtime) -> np.ndarray:
    """Return the input of the last layer for each image, float32 (N, D), without averaging views."""
    found = np.zeros((len(images), len(model.feature_mean)), dtype=np.float32)
    with evaluating(model, runtime):
        for start, stop, x in _pieces(images, runtime):
            with runtime.autocast():
                found[start:stop] = model.features(x).float().cpu().numpy()
    return processes.gather_rows(found)


def familiarity(model: Classifier, seen: np.ndarray) -> np.ndarray:
    """Return the largest cosine of features (N, D) with a class direction, float64 (N,); see calibrate.py."""
    centred = seen.astype(np.float64) - model.feature_mean.cpu().numpy()
    lengths = np.maximum(np.linalg.norm(centred, axis=1), 1e-12)
    return (centred @ model.directions.cpu().numpy().T.astype(np.float64)).max(axis=1) / lengths


@contextlib.contextmanager
def evaluating(model: Classifier, runtime: Runtime) -> Iterator[None]:
    """Move the model to the device, and put it in evaluation mode for the block."""
    was_training = model.training
    model.to_device(runtime.device, runtime.weights).eval()
    try:
        yield
    finally:
        model.train(was_training)


def _pieces(images: ImageSet | np.ndarray, runtime: Runtime) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (start, stop, float (stop - start, 3, H, W) in [0, 1] on the device) for the rows of this process.

    Only one piece is in memory at a time.
    """
    height, width = images.size if isinstance(images, ImageSet) else images.shape[1:3]
    step = max(16, PIECE.get(runtime.device.type, 1024) * 32 * 32 // max(32 * 32, height * width))
    first, last = processes.part_of(len(images))
    for start in range(first, last, step):
        stop = min(start + step, last)
        pixels = images.pixels(start, stop) if isinstance(images, ImageSet) else images[start:stop]
        yield start, stop, as_input(pixels, runtime.device)


def mean_logits(model: Classifier, x: Tensor, views: int) -> Tensor:
    """Return the logits of float (B, 3, H, W), averaged over views.

    1: the image. 2: also mirrored. 6: those two with a total weight of 1/2, and the image shifted by one pixel up-left
    and down-right with a reflected border, plain and mirrored, also with 1/2 in total (arXiv:2404.00498, section 3.7).
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


def views_of(model: Classifier, views: int | None) -> int:
    """Return the number of views to average: `views`, or that of the recipe. Raises DataError if it is invalid."""
    if views is not None and views not in VIEWS:
        raise DataError(
            f"{views} views cannot be averaged.",
            expected="1 (the image), 2 (also mirrored) or 6 (also shifted by a pixel)",
            do="leave views out to use those of the model's recipe",
        )
    return views or model.about.get("recipe", {}).get("views", 1)
