"""Batches: images from memory or the disk, shuffled, and augmented on the device.

Randomness is a function, not a stream: the order is f(seed, epoch), and the augmentation of a step is
f(seed, epoch, step). So training resumes from any step without replaying the earlier ones. Processes that share a batch
agree: each draws the numbers for the whole batch and prepares its own rows.
"""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.images.imageset import ImageSet
from snellen.runs.recipe import Recipe
from snellen.system import memory, randomness
from snellen.system.device import moved
from snellen.training import augment
from snellen.training.pieces import check_shares, pieces_of

log = logging.getLogger("snellen")

AT_ONCE = 4096  # images copied to the device at a time
NUM_MIXED = 64  # blocks of shuffle_block images that are mixed


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one training step: this process's rows, on the device."""

    x: Tensor  # float32 (B, 3, H, W) in [0, 1], channels-last
    target: Tensor  # int64 (B,); bool (B, K) if images can have several labels; float32 (B, K) if they are mixed
    piece_sizes: list[int]  # images computed at a time
    num_images: int  # in the whole batch, over all processes

    def pieces(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Yield (x, target, share of the batch). The shares of all pieces in all processes sum to 1."""
        shares = [size / self.num_images for size in self.piece_sizes]
        return zip(self.x.split(self.piece_sizes), self.target.split(self.piece_sizes), shares, strict=True)


class Batches:
    """The batches of training images, epoch by epoch.

    Batches are as equal as possible (sizes differ by at most one) and include every image. In a group of processes each
    gets its own rows of every batch. Raises RunError if a process would get no images.

    held: keep the pixels on the device, or read each batch from the disk while the previous one is computed; the images
    are bit-for-bit the same. By default `memory.holds` decides. why: the reason, for the log.
    """

    def __init__(self, images: ImageSet, recipe: Recipe, device: torch.device, *, held: bool | None = None):
        self.recipe = recipe
        self.num_images = len(images)
        self.num_classes = len(images.classes)
        self.steps_per_epoch = -(-self.num_images // recipe.batch_size)
        self.total_steps = recipe.total_steps(self.steps_per_epoch)
        self.device = device
        smallest, more = divmod(self.num_images, self.steps_per_epoch)
        self.smallest_piece = check_shares({smallest, smallest + (more > 0)}, recipe)
        fits, self.why = memory.holds(len(images) * images.stored[0].nbytes, device)
        if images.are_photographs and device.type == "cpu":  # a network for photographs is slower than any disk
            fits, self.why = False, "photographs are read from disk as needed"
        self.held = fits if held is None else held
        self._images = images
        if self.held:
            self._pixels = torch.empty((len(images), *images.size, 3), dtype=torch.uint8, device=device)
            for start in range(
                0, len(images), AT_ONCE
            ):  # so that main memory and the device never both hold all images
                self._pixels[start : start + AT_ONCE] = torch.from_numpy(images.pixels(start, start + AT_ONCE))
        self._labels = torch.from_numpy(images.labels).to(device)
        if recipe.shuffle_block > 1 and _is_sorted_by_class(images.labels):
            log.warning(
                "the images are sorted by class: with shuffle_block=%d each batch has images of only a few classes",
                recipe.shuffle_block,
            )
        self._first_flip = randomness.random(recipe.seed, randomness.FIRST_FLIP).random(self.num_images) < 0.5

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of this epoch (counted from 0), starting at step `start_step`."""
        block = self.recipe.shuffle_block
        order = shuffled(self.num_images, block, randomness.random(self.recipe.seed, randomness.ORDER, epoch))
        window, announced = block * NUM_MIXED, self._range(start_step)[0]

        def read(step: int) -> Tensor:
            nonlocal announced
            first, stop = self._range(step)
            if window and not self.held:
                end = (stop - 1) // window * window + 2 * window  # of the next window
                self._images.announce(order[announced:end])
                announced = end
            return self._read(order[first:stop][self._rows_made(epoch, stop - first)])

        with contextlib.ExitStack() as stack:
            # Read one batch ahead, so that the disk and the device work in parallel. Held images need no reading.
            ahead = None if self.held else stack.enter_context(ThreadPoolExecutor(1))
            num_steps = self.steps_in(epoch)
            coming = ahead.submit(read, start_step) if ahead and start_step < num_steps else None
            for step in range(start_step, num_steps):
                pixels = coming.result() if coming else read(step)
                if ahead and step + 1 < num_steps:
                    coming = ahead.submit(read, step + 1)
                first, stop = self._range(step)
                changes = randomness.random(self.recipe.seed, randomness.CHANGES, epoch, step)
                x, target = self._change(pixels, order[first:stop], epoch, step, changes)
                sizes = [stop - start for start, stop in pieces_of(stop - first, self.recipe)]
                yield Batch(x, target, sizes, stop - first)

    def _read(self, index: np.ndarray) -> Tensor:
        """Return the images at these positions, uint8 (n, H, W, 3), on the device."""
        if self.held:
            return self._pixels[moved(index, self.device)]
        return moved(self._images.at(index), self.device)

    def _mixes(self, epoch: int) -> bool:
        recipe = self.recipe
        return bool(recipe.mixup or recipe.cutmix) and epoch < recipe.epochs - recipe.mix_off_epochs

    def _rows_made(self, epoch: int, num: int) -> np.ndarray:
        """Return the rows of a batch of `num` images that this process prepares: its own, or all if it is mixed."""
        # Mixing partners come from the whole batch.
        return np.arange(num) if self._mixes(epoch) else self._rows_kept(num)

    def _rows_kept(self, num: int) -> np.ndarray:
        return np.concatenate([np.arange(*piece) for piece in pieces_of(num, self.recipe)])

    def steps_in(self, epoch: int) -> int:
        """Return the number of steps in this epoch; the last epoch may be cut short by recipe.epochs."""
        return min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch)

    def images_in(self, epoch: int) -> int:
        """Return the number of images that all processes together use in this epoch."""
        return self._range(self.steps_in(epoch) - 1)[1]

    def _range(self, step: int) -> tuple[int, int]:
        """Return (start, stop) of a batch in the order of its epoch."""
        first, stop = (self.num_images * s // self.steps_per_epoch for s in (step, step + 1))
        return first, stop

    def _change(
        self, pixels: Tensor, chosen: np.ndarray, epoch: int, step: int, draw: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augment and mix the images of a batch with random numbers from `draw`, and return this process's rows.

        pixels: uint8 (n, H, W, 3), the rows of `_rows_made`. chosen: the positions of all images in the batch.
        """
        recipe, num = self.recipe, len(chosen)
        mixes = self._mixes(epoch)
        made = self._rows_made(epoch, num)
        target = self._labels[moved(chosen[made], self.device)]
        x = self._augment(pixels.permute(0, 3, 1, 2), chosen, made, epoch, draw)
        if mixes:
            target = target.float() if target.ndim == 2 else F.one_hot(target, self.num_classes).float()
            if recipe.mixup:
                x, target = augment.mixup(x, target, draw.beta(recipe.mixup, recipe.mixup))
            else:
                centre = tuple(draw.random(2))
                x, target = augment.cutmix(x, target, draw.beta(recipe.cutmix, recipe.cutmix), centre)
            mine = self._rows_kept(num)
            if len(mine) < num:
                x, target = (values[moved(mine, self.device)] for values in (x, target))
        if epoch * self.steps_per_epoch + step < recipe.small_share * self.total_steps:
            x = augment.resize(x, recipe.small_size)
        return x.contiguous(memory_format=torch.channels_last), target

    def _augment(
        self, x: Tensor, chosen: np.ndarray, made: np.ndarray, epoch: int, draw: np.random.Generator
    ) -> Tensor:
        """Return float32 (n, 3, H, W): each image augmented on its own. x: uint8 (n, 3, H, W), the rows `made`.

        Random numbers are drawn for all images in the batch, so that every process draws the same ones.
        """
        recipe, num, size = self.recipe, len(chosen), min(x.shape[2:])

        def tensor(values: np.ndarray) -> Tensor:
            return moved(values[made], self.device)

        flip = np.zeros(num, dtype=bool)
        if recipe.flip == "random":
            flip = draw.random(num) < 0.5
        elif recipe.flip == "alternating":  # seen both ways in each pair of epochs: arXiv:2404.00498, section 3.6
            flip = self._first_flip[chosen] ^ (epoch % 2 == 1)
        down, right = draw.integers(-recipe.crop_pad, recipe.crop_pad, size=(2, num), endpoint=True)
        if recipe.crop_pad or flip.any():
            reflect = recipe.crop_border == "reflect"
            x = augment.shift_and_flip(x, tensor(down), tensor(right), tensor(flip), reflect=reflect)
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
        return x


def shuffled(num: int, block: int, draw: np.random.Generator) -> np.ndarray:
    """Return a random permutation of 0 to num - 1, int64 (num,).

    block: 0 for a full shuffle. Otherwise blocks of this many neighbours are shuffled, then the numbers within each run
    of NUM_MIXED blocks, so the disk reads whole blocks, NUM_MIXED at a time. The start of the first block is random
    too, so any two neighbours are separated in some calls.
    """
    if not block:
        return draw.permutation(num)
    first = int(draw.integers(block))
    blocks = np.split(np.arange(num), np.arange(first, num, block))
    order = np.concatenate([blocks[number] for number in draw.permutation(len(blocks))])
    for start in range(0, num, block * NUM_MIXED):
        draw.shuffle(order[start : start + block * NUM_MIXED])
    return order


def _is_sorted_by_class(labels: np.ndarray) -> bool:
    """Return whether neighbours differ in class less than half as often as they would in random order."""
    if labels.ndim == 2:
        labels = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)  # each combination is one class
    by_chance = float(np.square(np.bincount(labels) / len(labels)).sum())
    return float((labels[1:] == labels[:-1]).mean()) > (1 + by_chance) / 2 if len(labels) > 1 else False
