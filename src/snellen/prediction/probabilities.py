"""Model + images -> probabilities. Every score, report and submission comes out of `probabilities` below."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from snellen.errors import DataError
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier, as_input
from snellen.prediction import calibrate
from snellen.system import processes, runtime
from snellen.system.progress import Progress

VIEWS = (1, 2, 6)  # see `mean_logits`
PIECE = {"cpu": 500, "cuda": 4096, "mps": 1024}  # images at once: pieces that fit a processor's cache are fastest


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


def views_of(model: Classifier, views: int | None) -> int:
    """How many views are averaged: those asked for, or those of the model's recipe. Raises DataError for others."""
    if views is not None and views not in VIEWS:
        raise DataError(
            f"{views} views cannot be averaged.",
            expected="1 (the image), 2 (mirrored too) or 6 (moved by a pixel too)",
            do="leave views out to take what the model's recipe says",
        )
    return views or model.about.get("recipe", {}).get("views", 1)
