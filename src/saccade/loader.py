"""Batches: images in memory on the device, shuffled and augmented there.

Randomness is a function, not a stream: the order is f(seed, epoch), what happens to the images of a step is
f(seed, epoch, step). So training can go on from any step at once, and processes that share a batch agree.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade import augment, runtime
from saccade.imageset import ImageSet
from saccade.recipe import Recipe

# What a random draw is for; part of its key, so that no two draws share numbers.
ORDER, CHANGES, FIRST_FLIP = 1, 2, 3


class Batches:
    """The training images of one epoch after another, as (x, target) on the device.

    x: float32 (B, 3, H, W) in [0, 1], channels-last. target: int64 (B,), or float32 (B, classes) when images are mixed.
    Batches are as equal as they can be (sizes differ by at most one) and leave no image out.
    """

    def __init__(self, images: ImageSet, recipe: Recipe, device: torch.device):
        self.recipe = recipe
        self.num_images = len(images)
        self.num_classes = len(images.classes)
        self.steps_per_epoch = -(-self.num_images // recipe.batch_size)
        self.device = device
        self._pixels = torch.from_numpy(images.pixels()).to(device)  # uint8 (N, H, W, 3)
        self._labels = torch.from_numpy(images.labels).to(device)
        self._first_flip = runtime.random(recipe.seed, FIRST_FLIP).random(self.num_images) < 0.5

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of this epoch (counted from 0), from `start_step` of it on."""
        order = runtime.random(self.recipe.seed, ORDER, epoch).permutation(self.num_images)
        for step in range(start_step, self.steps_per_epoch):
            first, stop = (self.num_images * s // self.steps_per_epoch for s in (step, step + 1))
            chosen = order[first:stop]
            index = torch.from_numpy(chosen).to(self.device)
            pixels = self._pixels[index].permute(0, 3, 1, 2)
            changes = runtime.random(self.recipe.seed, CHANGES, epoch, step)
            yield self._change(pixels, self._labels[index], chosen, epoch, step, changes)

    def _change(
        self, pixels: Tensor, labels: Tensor, chosen: np.ndarray, epoch: int, step: int, draw: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augment uint8 images as the recipe says, with numbers from `draw`."""
        recipe, num, size = self.recipe, len(labels), min(pixels.shape[2:])

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(self.device)

        flip = np.zeros(num, dtype=bool)
        if recipe.flip == "random":
            flip = draw.random(num) < 0.5
        elif recipe.flip == "alternating":  # seen both ways in each pair of epochs: arXiv:2404.00498, section 3.6
            flip = self._first_flip[chosen] ^ (epoch % 2 == 1)
        down, right = draw.integers(-recipe.crop_pad, recipe.crop_pad, size=(2, num), endpoint=True)
        x = pixels
        if recipe.crop_pad or flip.any():
            x = augment.shift_and_flip(
                x, tensor(down), tensor(right), tensor(flip), reflect=recipe.crop_border == "reflect"
            )
        x = x.float().div_(255)
        if recipe.crop_area < 1:
            enlarged = round(size * recipe.enlarge)
            area = draw.uniform(recipe.crop_area, 1, num)
            side = np.maximum(np.rint(enlarged * np.sqrt(area)).astype(np.int64), 1)
            top, left = (np.floor(draw.random(num) * (enlarged - side + 1)).astype(np.int64) for _ in range(2))
            x = augment.crop_and_resize(x, tensor(top), tensor(left), tensor(side), enlarged)
        if recipe.cutout:
            centres = draw.random((2, num)) * [[x.shape[2]], [x.shape[3]]]
            corners = np.floor(centres).astype(np.int64) - recipe.cutout // 2
            x = augment.cutout(x, tensor(corners[0]), tensor(corners[1]), recipe.cutout)
        target = labels
        if (recipe.mixup or recipe.cutmix) and epoch < recipe.epochs - recipe.mix_off_epochs:
            target = F.one_hot(labels, self.num_classes).float()
            if recipe.mixup:
                x, target = augment.mixup(x, target, draw.beta(recipe.mixup, recipe.mixup))
            else:
                centre = tuple(draw.random(2))
                x, target = augment.cutmix(x, target, draw.beta(recipe.cutmix, recipe.cutmix), centre)
        if epoch * self.steps_per_epoch + step < recipe.small_share * recipe.epochs * self.steps_per_epoch:
            x = augment.resize(x, recipe.small_size)
        return x.contiguous(memory_format=torch.channels_last), target
