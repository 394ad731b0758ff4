"""Judge the labels of photographs without a run: out-of-fold predictions from features of a pretrained network."""

import numpy as np
import torch

from snellen.images.imageset import ImageSet
from snellen.models.classifier import build_model
from snellen.prediction.probabilities import calibrated
from snellen.runs.presets import PRESETS
from snellen.system.device import choose_runtime
from snellen.system.progress import Progress
from snellen.training.features import cached_features
from snellen.training.init import start_from, start_of
from snellen.training.logistic import NUM_FOLDS, best_penalty, fit_logistic, folds_of, logistic


def judged_without_run(
    images: ImageSet, device: str | None = None, on_progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities, float32 (n, K), of the labelled images that are not test images, and their positions.

    Each image is judged by a logistic regression fitted on other images, on the features of the recipe `probe`.
    """
    recipe, runtime = PRESETS["probe"], choose_runtime(device=device)
    index = np.flatnonzero(images.has_label & (images.splits != "test"))
    chosen = images.take(index)
    model, start = build_model(recipe, chosen), start_of(recipe)
    assert start is not None, "the recipe names a packaged model"
    start_from(model, start)
    model = model.to_device(runtime.device, runtime.weights).eval()
    features = cached_features(model, chosen, runtime, mirrored=False, on_progress=on_progress)[0]
    x, labels = torch.from_numpy(features), torch.from_numpy(chosen.labels)
    x = (x - x.mean(dim=0)) / x.std(correction=0).clamp(min=1e-6)
    num_classes = len(images.classes)
    penalty, fold = best_penalty(x, labels, num_classes, recipe.seed), folds_of(chosen.labels, recipe.seed)
    found = np.empty((len(chosen), num_classes), dtype=np.float32)
    for number in range(NUM_FOLDS):
        out = fold == number
        weights = fit_logistic(x[~out], labels[~out], num_classes, penalty)
        found[out.numpy()] = calibrated(model, logistic(x[out], weights).numpy())
    return found, index
