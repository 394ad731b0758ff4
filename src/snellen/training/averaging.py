"""The average of the weights: over all steps (`ema`), or over the ends of the last epochs (`average_last`).

A function does nothing if the recipe does not use its average. In a group of processes, all processes must call it and
get the same result.
"""

import copy

import numpy as np
import torch
from torch import nn

from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier, as_input
from snellen.runs.recipe import Recipe
from snellen.system import processes
from snellen.system.device import Runtime

MOST_IMAGES = 10_000  # that batch-norm statistics are computed from
PIECE = 500  # images normalised together, approximately


def begin(model: Classifier, recipe: Recipe) -> Classifier:
    """Return the model to hold the average: a copy, or `model` itself if the recipe does not average."""
    return copy.deepcopy(model) if recipe.ema or recipe.average_last else model


@torch.no_grad()
def after_step(average: nn.Module, model: nn.Module, recipe: Recipe, step: int) -> None:
    """Move the averaged weights and batch-norm statistics towards the model's.

    The average keeps a share of recipe.ema, but at most (1 + step) / (10 + step), so that the initial weights are soon
    forgotten. step: the step that has just ended, counted from 0.
    """
    if not recipe.ema:
        return
    keep = min(recipe.ema, (1 + step) / (10 + step))
    for old, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if new.is_floating_point():
            old.lerp_(new, 1 - keep)
        else:
            old.copy_(new)


@torch.no_grad()
def after_epoch(
    average: Classifier, model: Classifier, recipe: Recipe, epoch: int, images: ImageSet, runtime: Runtime
) -> None:
    """Set `average` to the mean of the models after the last epochs so far; before those, to a copy of the model.

    epoch: the epoch that has just ended, counted from 1. images: the training images.
    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407. As
    there, batch-norm statistics are recomputed: activations vary less in the averaged network than in its members, so
    the average of their statistics would be wrong. Unlike there, the images are not augmented, as in prediction, and
    large sets are sampled.
    """
    if not recipe.average_last:
        return
    number = max(1, epoch - recipe.num_epochs + recipe.average_last)  # of models averaged
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 / number)
    for old_buffer, buffer in zip(average.buffers(), model.buffers(), strict=True):
        old_buffer.copy_(buffer)
    if number > 1:
        _compute_statistics(average, recipe, images, runtime)


def _compute_statistics(model: Classifier, recipe: Recipe, images: ImageSet, runtime: Runtime) -> None:
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    sample = images.take(np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).astype(np.int64))
    model.eval()  # no dropout
    pieces = np.array_split(np.arange(len(sample)), -(-len(sample) // PIECE))
    for number, piece in enumerate(pieces, start=1):
        for norm in norms:
            norm.train()
            norm.momentum = 1 / number  # gives the mean over the pieces
        # Without sync_batchnorm each process computes all pieces.
        first, stop = processes.part_of(len(piece)) if recipe.sync_batchnorm else (0, len(piece))
        with runtime.autocast():
            model(as_input(sample.pixels(piece[0] + first, piece[0] + stop), runtime.device))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    model.eval()
