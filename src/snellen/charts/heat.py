"""Overlay images with a heat map."""

import numpy as np
from PIL import Image

COLOUR = (230, 90, 0)  # orange, legible beside grey for colour-blind people as well
STRONGEST = 0.75  # share of the colour at the highest value of the map


def tinted(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the image in grey, tinted where `heat` is positive: uint8 (H, W, 3).

    pixels: uint8 (H, W, 3). heat: float (h, w), enlarged to the image; its maximum gets the strongest tint.
    """
    height, width = pixels.shape[:2]
    enlarged = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    share = STRONGEST * np.clip(enlarged, 0, None)[..., None] / max(float(heat.max()), 1e-9)
    grey = pixels.mean(axis=2, keepdims=True)
    mixed = grey * (1 - share.clip(0, 1)) + np.array(COLOUR) * share.clip(0, 1)
    return np.rint(mixed).astype(np.uint8)
