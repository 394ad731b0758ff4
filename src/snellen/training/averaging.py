"""The plain average of one training's weights at the end of its last epochs.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407. As there
batch-norm statistics are taken anew: the values in an average network vary less than in the networks it is made of, so
the average of their statistics would not be its own. Not as there, without augmentation, which it does not meet when it
predicts, and from a part of the images where there are many.
"""

import numpy as np
import torch
from torch import nn

from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier, as_input
from snellen.runs.recipe import Recipe
from snellen.system import processes, runtime

MOST_IMAGES = 10_000  # that statistics are taken from
PIECE = 500  # images normalised together, about


@torch.no_grad()
def average_epoch(
    average: Classifier, model: Classifier, recipe: Recipe, epoch: int, images: ImageSet, place: runtime.Runtime
) -> None:
    """Make `average` the mean of the models at the end of the last epochs up to this one; before those, the model.

    epoch: the one that has ended, counted from 1. images: those that it trains on. In a group of processes all call
    this and get the same.
    """
    number = max(1, epoch - recipe.num_epochs + recipe.average_last)  # of the models averaged
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 / number)
    for old_buffer, buffer in zip(average.buffers(), model.buffers(), strict=True):
        old_buffer.copy_(buffer)
    if number > 1:
        _take_statistics(average, recipe, images, place)


def _take_statistics(model: Classifier, recipe: Recipe, images: ImageSet, place: runtime.Runtime) -> None:
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    sample = images.take(np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).astype(np.int64))
    model.eval()  # no dropout
    pieces = np.array_split(np.arange(len(sample)), -(-len(sample) // PIECE))
    for number, piece in enumerate(pieces, start=1):
        for norm in norms:
            norm.train()
            norm.momentum = 1 / number  # the mean over the pieces
        # Without sync_batchnorm every process looks at all of them.
        first, stop = processes.part_of(len(piece)) if recipe.sync_batchnorm else (0, len(piece))
        with place.autocast():
            model(as_input(sample.pixels(piece[0] + first, piece[0] + stop), place.device))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    model.eval()
