"""Which presets suit which images: small ones or photographs, many or few, of equal or unequal classes."""

from dataclasses import replace

import numpy as np
import torch

from snellen.images.choices import PHOTOGRAPH
from snellen.images.imageset import ImageSet
from snellen.runs.presets import CURVES, DEFAULT, PRESETS
from snellen.runs.recipe import Recipe
from snellen.system.device import choose_runtime

# Labelled photographs below which `photo` makes the probe worse: 28 against 44% with 12, 52 against 55% with 30 and 67
# against 70% with 60 images of six classes (TrashNet, two draws each; lab notes, 2026-11-25).
FEW = 100
# Metrics for which `class_power` was shown to help with unequal classes, and the power. At 1:50, `fast`, three seeds:
# macro-F1 0.381 +- 0.019 without it and 0.413 +- 0.015 with 0.5, balanced accuracy 0.372 and 0.394 (2026-11-25).
CLASS_POWER = {"f1_macro": 0.5, "balanced_accuracy": 0.5}
UNEQUAL = 50  # times as many images of the largest class as of the smallest


def presets_for(images: ImageSet, device: str | None = None) -> tuple[tuple[str, ...], str]:
    """Return the names of the presets that suit these images on this machine, and the reason.

    The first one is the default; a budget may choose another one.
    """
    pixels = f"{images.size[1]}x{images.size[0]} pixels"
    if not images.are_photographs:
        others = tuple(name for name in CURVES if name != DEFAULT)
        return (DEFAULT, *others), f"images of {pixels} are small (photographs have {PHOTOGRAPH} or more)"
    why = f"images of {pixels} are photographs ({PHOTOGRAPH} or more), so training starts from ImageNet weights"
    if (num := int(np.count_nonzero(images.has_label & (images.splits != "test")))) < FEW:
        return ("probe",), f"{why}; {num} are too few to train more than the last layer (fewer than {FEW})"
    if choose_runtime(device=device).dtype == torch.bfloat16:
        return ("photo", "probe"), why
    return ("photo_light", "probe"), why + "; a light recipe, as this device has no fast bfloat16"


def suited_preset(name: str, images: ImageSet) -> Recipe:
    """Return a preset with the `class_power` that suits the images."""
    return replace(PRESETS[name], class_power=_class_power_for(images))


def _class_power_for(images: ImageSet) -> float:
    """Return the `class_power` of images to be trained from scratch: 0 unless their metric gains by it."""
    if images.task.has_several or images.are_photographs:
        return 0.0
    counts = np.bincount(images.labels[images.has_label & (images.splits != "test")])
    is_unequal = counts.max(initial=0) >= UNEQUAL * counts[counts > 0].min(initial=counts.max(initial=0))
    return CLASS_POWER.get(images.task.metric, 0.0) if is_unequal and np.count_nonzero(counts) > 1 else 0.0
