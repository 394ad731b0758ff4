"""Show training images before and after augmentation."""

from typing import Any

import numpy as np
import torch

from snellen.charts import pages
from snellen.images.imageset import ImageSet
from snellen.runs.recipe import Recipe
from snellen.training.loader import Batches

OFF = {"flip": "off", "crop_pad": 0, "crop_area": 1.0, "cutout": 0, "mixup": 0.0, "cutmix": 0.0}


def augmentation(recipe: Recipe, images: ImageSet, num_images: int = 5, num_epochs: int = 8) -> dict[str, Any]:
    """Return a few training images for the page, each unchanged and as augmented in several epochs."""
    if all(getattr(recipe, name) == value for name, value in OFF.items()):
        return {"variants": [], "augmentation_note": ""}
    strips = []
    some = np.linspace(0, len(images) - 1, num_images).astype(int)
    for index in some:
        one = images.take([index])
        batches = Batches(one, recipe, torch.device("cpu"))
        views = [_pixels(batch.x) for epoch in range(num_epochs) for batch in batches.epoch(epoch)]
        shown = [one.pixels()[0], *(view[0] for view in views)]
        alts = [f"image {one.ids[0]} unchanged", *(f"in epoch {epoch + 1}" for epoch in range(num_epochs))]
        strips.append(_strip(f"image {one.ids[0]}", shown, alts))
    note = "Left: the original image. Then: what the network sees in the first epochs."
    if recipe.mixup or recipe.cutmix:
        several = images.take(np.linspace(0, len(images) - 1, min(num_epochs + 1, len(images))).astype(int))
        mixed = next(Batches(several, recipe, torch.device("cpu")).epoch(0)).x
        shown = list(_pixels(mixed))
        alts = [f"mixed image {place + 1}" for place in range(len(shown))]
        strips.append(_strip("a batch, mixed", shown, alts))
        note += " Last row: a batch of mixed images."
    return {"variants": strips, "augmentation_note": note}


def _strip(what: str, shown: list[np.ndarray], alts: list[str]) -> dict[str, Any]:
    is_large = max(shown[0].shape) > pages.SMALL
    return {"what": what, "pictures": [pages.picture(p) for p in shown], "alts": alts, "is_large": is_large}


def _pixels(x: torch.Tensor) -> np.ndarray:
    """Turn float (B, 3, H, W) in [0, 1] into uint8 (B, H, W, 3)."""
    return (x.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
