"""The average of a training's weights: over its steps (`ema`), or at the end of its last epochs (`average_last`).

Each function does nothing if the recipe does not ask for its average. In a group of processes all call it, and get the
same.
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

MOST_IMAGES = 10_000  # to compute statistics from
PIECE = 500  # images normalised together, about


def begin(model: Classifier, recipe: Recipe) -> Classifier:
    """Return the model that will hold the average: a copy, or `model` itself if the recipe averages nothing."""
    return copy.deepcopy(model) if recipe.ema or recipe.average_last else model


@torch.no_grad()
def after_step(average: nn.Module, model: nn.Module, recipe: Recipe, step: int) -> None:
    """Move the averaged weights and batch-norm statistics towards the model's, in runtime.

    A share of recipe.ema of the average stays, but at most (1 + step) / (10 + step), so that the first weights are soon
    forgotten. step: the one that has ended, counted from 0.
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
    """Make `average` the mean of the models at the end of the last epochs so far; before those, a copy of the model.

    epoch: the one that has ended, counted from 1. images: the training images.
    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407. As
    there, batch-norm statistics are computed anew: values vary less in an average network than in those it is made of,
    so the average of their statistics would be wrong for it. Unlike there, this is done on images that are not
    augmented, as in prediction, and on a part of them if there are many.
    """
    if not recipe.average_last:
        return
    number = max(1, epoch - recipe.num_epochs + recipe.average_last)  # of the models averaged
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
            norm.momentum = 1 / number  # the mean over the pieces
        # Without sync_batchnorm each process computes all of them.
        first, stop = processes.part_of(len(piece)) if recipe.sync_batchnorm else (0, len(piece))
        with runtime.autocast():
            model(as_input(sample.pixels(piece[0] + first, piece[0] + stop), runtime.device))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    model.eval()
