"""Random changes to a batch of images, as plain functions.

Each takes its random numbers as arguments. loader.py draws them, as a function of seed, epoch and step, and the tests
compare each function with a slow, obvious version. Images are (B, 3, H, W); floats are in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def shift_and_flip(x: Tensor, down: Tensor, right: Tensor, flip: Tensor, *, reflect: bool) -> Tensor:
    """Shift each image by whole pixels, then mirror some of them: padding, cropping and flipping in one step.

    x: any dtype. down, right: int64 (B,), pixels, up to H-1 and W-1 either way. flip: bool (B,), whether to mirror.
    reflect: fill the border with the mirror image of the inside, without repeating the edge pixel (numpy's mode
    "reflect"); otherwise fill it with zeros.
    """
    num, _, height, width = x.shape
    rows = torch.arange(height, device=x.device) - down[:, None]
    columns = torch.arange(width, device=x.device).expand(num, width)
    columns = torch.where(flip[:, None], width - 1 - columns, columns) - right[:, None]
    outside = None if reflect else (_outside(rows, height)[:, :, None] | _outside(columns, width)[:, None, :])
    image = torch.arange(num, device=x.device)[:, None, None]
    # Indexing the channels-last view takes whole pixels, three values at a time, and keeps that layout.
    moved = x.permute(0, 2, 3, 1)[image, _reflected(rows, height)[:, :, None], _reflected(columns, width)[:, None, :]]
    if outside is not None:
        moved = moved.masked_fill(outside[..., None], 0)
    return moved.permute(0, 3, 1, 2)


def _reflected(index: Tensor, length: int) -> Tensor:
    index = index.abs()
    return torch.where(index >= length, 2 * (length - 1) - index, index).clamp(0, length - 1)


def _outside(index: Tensor, length: int) -> Tensor:
    return (index < 0) | (index >= length)


def crop_and_resize(x: Tensor, top: Tensor, left: Tensor, side: Tensor, enlarged: int) -> Tensor:
    """Enlarge each image to `enlarged` pixels, crop a square of `side` pixels at (top, left), and scale it back.

    x: float (B, 3, S, S). top, left, side: int64 (B,), in pixels of the enlarged image.
    Both resizings are linear in the rows and in the columns, so each image takes two small matrix products with its own
    (S, S) matrices. The filter is bilinear with antialiasing, as in torch's interpolate(mode="bilinear",
    antialias=True) and in Pillow.
    """
    size = x.shape[-1]
    enlarge = _resize_matrix(top.new_zeros(1), top.new_full((1,), size), enlarged, size).to(x)
    down = _resize_matrix(top, side, size, enlarged).to(x) @ enlarge
    across = _resize_matrix(left, side, size, enlarged).to(x) @ enlarge
    return torch.einsum("bij,bcjk,blk->bcil", down, x, across)


def _resize_matrix(start: Tensor, length: Tensor, num_out: int, num_in: int) -> Tensor:
    """Return the matrices, float32 (B, num_out, num_in), that resample `length` input pixels from `start` on.

    The filter is a triangle as wide as the coarser of the two grids, cut off at the window's edge and normalised.
    """
    start, length = start.float()[:, None, None], length.float()[:, None, None]
    scale = length / num_out
    width = scale.clamp(min=1.0)
    centres = start + (torch.arange(num_out, device=start.device)[None, :, None] + 0.5) * scale
    pixels = torch.arange(num_in, device=start.device)[None, None, :] + 0.5
    weights = (1 - ((pixels - centres) / width).abs()).clamp(min=0.0)
    weights = weights * ((pixels > start) & (pixels < start + length))
    return weights / weights.sum(dim=2, keepdim=True)


def cutout(x: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Blank one square of `side` pixels per image with mid-grey.

    top, left: int64 (B,). They may be negative or beyond the edge: the square is then clipped, so its area varies.
    Source: DeVries & Taylor, arXiv:1708.04552. They blank normalised images with 0; we blank with 0.5.
    """
    rows = torch.arange(x.shape[2], device=x.device)
    columns = torch.arange(x.shape[3], device=x.device)
    inside_rows = (rows >= top[:, None]) & (rows < top[:, None] + side)
    inside_columns = (columns >= left[:, None]) & (columns < left[:, None] + side)
    return x.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0.5)


def mixup(x: Tensor, target: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return share * image + (1 - share) * partner, and targets likewise; partners are the batch in reverse order.

    target: float (B, K). Source: Zhang et al., arXiv:1710.09412. Using one share per batch, and the reversed batch as
    partners, comes from GluonCV.
    """
    return torch.lerp(x.flip(0), x, share), torch.lerp(target.flip(0), target, share)


def cutmix(x: Tensor, target: Tensor, share: float, centre: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Paste a rectangle with (1 - share) of the area from the partner (the batch reversed); mix targets by true area.

    centre: the centre of the rectangle, both coordinates in [0, 1). target: float (B, K).
    Source: Yun et al., arXiv:1905.04899, section 3.1. They draw the partner at random.
    """
    height, width = x.shape[2:]
    half = (1 - share) ** 0.5 / 2
    top, bottom = (round(min(max(centre[0] + side * half, 0.0), 1.0) * height) for side in (-1, 1))
    left, right = (round(min(max(centre[1] + side * half, 0.0), 1.0) * width) for side in (-1, 1))
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = x.flip(0)[:, :, top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, torch.lerp(target.flip(0), target, kept)


def resize(x: Tensor, size: int) -> Tensor:
    """Resize float (B, 3, H, W) to size x size with antialiasing, unless it already has that size."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
