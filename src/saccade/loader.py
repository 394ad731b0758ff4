"""Batches: images in memory on the device, shuffled and augmented there.

Randomness is a function, not a stream: the order is f(seed, epoch), what happens to the images of a step is
f(seed, epoch, step). So training can go on from any step at once, and processes that share a batch agree: each draws
the numbers for the whole batch and makes its own rows of it.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade import augment, distributed, runtime
from saccade.imageset import ImageSet
from saccade.recipe import Recipe

# What a random draw is for; part of its key, so that no two draws share numbers.
ORDER, CHANGES, FIRST_FLIP = 1, 2, 3


class Batches:
    """The training images of one epoch after another, as (x, target) on the device.

    x: float32 (B, 3, H, W) in [0, 1], channels-last. target: int64 (B,), or float32 (B, classes) when images are mixed.
    Batches are as equal as they can be (sizes differ by at most one) and leave no image out. In a group of processes
    x and target are this one's rows of the batch. Raises RunError where one would get none.
    """

    def __init__(self, images: ImageSet, recipe: Recipe, device: torch.device):
        self.recipe = recipe
        self.num_images = len(images)
        self.num_classes = len(images.classes)
        self.steps_per_epoch = -(-self.num_images // recipe.batch_size)
        self.total_steps = recipe.total_steps(self.steps_per_epoch)
        self.device = device
        smallest, more = divmod(self.num_images, self.steps_per_epoch)
        distributed.check_shares({smallest, smallest + (more > 0)}, recipe)
        self._pixels = torch.from_numpy(images.pixels()).to(device)  # uint8 (N, H, W, 3)
        self._labels = torch.from_numpy(images.labels).to(device)
        self._first_flip = runtime.random(recipe.seed, FIRST_FLIP).random(self.num_images) < 0.5

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of this epoch (counted from 0), from `start_step` of it on."""
        order = runtime.random(self.recipe.seed, ORDER, epoch).permutation(self.num_images)
        for step in range(start_step, self.steps_in(epoch)):
            first, stop = self._range(step)
            changes = runtime.random(self.recipe.seed, CHANGES, epoch, step)
            yield self._change(order[first:stop], epoch, step, changes)

    def pieces(self, x: Tensor, target: Tensor, step: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Cut what `epoch` gave for this step into the pieces that are held at once: (x, target, share of the batch).

        The shares of all pieces in all processes sum to 1.
        """
        first, stop = self._range(step)
        sizes = [stop - start for start, stop in distributed.pieces_of(stop - first, self.recipe)]
        shares = [size / (stop - first) for size in sizes]
        return zip(x.split(sizes), target.split(sizes), shares, strict=True)

    def steps_in(self, epoch: int) -> int:
        """Weight updates of this epoch: fewer in the last one where recipe.epochs ends inside it."""
        return min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch)

    def images_in(self, epoch: int) -> int:
        """Images that all processes together see in this epoch."""
        return self._range(self.steps_in(epoch) - 1)[1]

    def _range(self, step: int) -> tuple[int, int]:
        """(start, stop) of a batch in the order of its epoch."""
        first, stop = (self.num_images * s // self.steps_per_epoch for s in (step, step + 1))
        return first, stop

    def _change(self, chosen: np.ndarray, epoch: int, step: int, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The images of these indices, augmented as the recipe says with numbers from `draw`: this process's rows."""
        recipe, num = self.recipe, len(chosen)
        mine = np.concatenate([np.arange(*piece) for piece in distributed.pieces_of(num, recipe)])
        mixes = (recipe.mixup or recipe.cutmix) and epoch < recipe.epochs - recipe.mix_off_epochs
        made = np.arange(num) if mixes else mine  # partners come from the whole batch

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values[made]).to(self.device)

        index = tensor(chosen)
        pixels, labels = self._pixels[index].permute(0, 3, 1, 2), self._labels[index]
        size = min(pixels.shape[2:])

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
        if mixes:
            target = F.one_hot(labels, self.num_classes).float()
            if recipe.mixup:
                x, target = augment.mixup(x, target, draw.beta(recipe.mixup, recipe.mixup))
            else:
                centre = tuple(draw.random(2))
                x, target = augment.cutmix(x, target, draw.beta(recipe.cutmix, recipe.cutmix), centre)
            if len(mine) < num:
                x, target = (values[torch.from_numpy(mine).to(self.device)] for values in (x, target))
        if epoch * self.steps_per_epoch + step < recipe.small_share * self.total_steps:
            x = augment.resize(x, recipe.small_size)
        return x.contiguous(memory_format=torch.channels_last), target
