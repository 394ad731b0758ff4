"""Which presets suit which images: the only place that decides between photographs and small images."""

import numpy as np
import torch

from snellen.images.choices import PHOTOGRAPH
from snellen.images.imageset import ImageSet
from snellen.runs.presets import CURVES, DEFAULT
from snellen.system.device import choose_runtime

# Labelled photographs below which `photo` makes the probe worse: 28 against 44% with 12, 52 against 55% with 30 and 67
# against 70% with 60 images of six classes (TrashNet, two draws each; lab notes, 2026-11-25).
FEW = 100


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
