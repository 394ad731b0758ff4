"""Decode picture files of any common format and mode to square RGB pixels.

A picture is rotated according to EXIF and resized (bicubic, antialiased); see resize.py for pictures that are not
square. A picture that already has the right size is left unchanged, bit for bit.
"""

import contextlib
import functools
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from snellen.errors import DataError
from snellen.sources.resize import CROP, Resize
from snellen.system.shared import Shared
from snellen.system.units import size

log = logging.getLogger("snellen")

# Files with other extensions are not treated as pictures, whatever their contents.
KINDS = "png jpg jpeg jpe jfif bmp dib gif webp tif tiff ppm pgm pbm pnm tga jp2 avif"
SUFFIXES = frozenset(f".{kind}" for kind in KINDS.split())
MAX_BYTES = 64 * 10**6  # of one picture file
MAX_PIXELS = 100_000_000  # refused before decoding: a file of 20 KB on disk can take gigabytes in memory
DEPTHS = (255, 1023, 4095, 16383, 65535)  # white of 8, 10, 12, 14 and 16 bits
SAMPLES_PER_PIXEL = 277  # a TIFF tag


class UnreadablePicture(Exception):
    """A picture that cannot be decoded; the text is the reason, for messages."""


class TooManyPixels(UnreadablePicture):
    """A picture of more than MAX_PIXELS pixels."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_PIXELS // 10**6} million pixels")


def too_large(limit: int) -> UnreadablePicture:
    """Return the error for a file of more than `limit` bytes."""
    return UnreadablePicture(f"larger than {size(limit)}")


def is_picture(name: str) -> bool:
    """Return whether a file is treated as a picture, by its extension only."""
    return name[name.rfind(".") :].lower() in SUFFIXES if "." in name else False


def decode(picture: bytes | Path | np.ndarray, size: int, resize: Resize = CROP) -> tuple[np.ndarray, bool]:
    """Return the picture as uint8 RGB (size, size, 3), and whether it had to be resized.

    picture: the bytes of a file, its path, or pixels already decoded, uint8 (H, W, 3).
    Transparent pixels are blended with white; the first frame of an animation is used. 16-bit grey values are scaled:
    white is the first of 255, 1023, 4095, 16383 and 65535 that no pixel exceeds, with a warning unless it is the last.
    32-bit and float formats do not define white: it is the first of 1 (float), 255 and 65535 that no pixel exceeds;
    otherwise the picture is stretched from its minimum to its maximum.

    Raises UnreadablePicture, or DataError if memory runs out: then the picture may be intact.
    """
    with opened_picture(picture) as image:
        is_deep = image.mode == "RGB" and "16" in str([tile[3] for tile in getattr(image, "tile", [])])
        as_stored = image.size
        if image.format in ("JPEG", "MPO") and (shrink := draft_scale(as_stored, size, resize)) > 1:
            # Letting the decoder halve the picture is 3x faster; twice the requested side keeps it sharp.
            image.draft(None, (max(1, image.width // shrink), max(1, image.height // shrink)))
        image.load()
        if is_deep and 0 < int(np.asarray(image).max()) < 16:
            raise UnreadablePicture("16 bits per colour, of which at most 12 are used: convert it to 8 bits")
        if image.mode == "RGB" and image.size == (size, size) and not image.info:  # most pictures in a Kaggle archive
            return np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(size, size, 3), False
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # exif_transpose copies every picture
            image = ImageOps.exif_transpose(image)
        pixels = _square(_rgb(image), size, resize)
        return np.asarray(pixels), as_stored != (size, size)


def draft_scale(stored: tuple[int, int], size: int, resize: Resize = CROP) -> int:
    """Return the factor by which the JPEG decoder shrinks each side: 1, 2, 4 or 8."""
    return next((scale for scale in (8, 4, 2) if resize.side(*stored) >= 2 * scale * size), 1)


def picture_size(picture: bytes | Path | np.ndarray) -> tuple[int, int]:
    """Return (width, height) from the file's header, as stored (before EXIF rotation). Raises UnreadablePicture."""
    with opened_picture(picture) as image:
        return image.size


@contextlib.contextmanager
def _ignored_warnings() -> Iterator[None]:
    """Ignore warnings in the block: Pillow warns about odd metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


QUIET = Shared(_ignored_warnings)  # `warnings.catch_warnings` alone is not thread-safe


@contextlib.contextmanager
def opened_picture(picture: bytes | Path | np.ndarray) -> Iterator[Image.Image]:
    """Yield the picture with only its header read. Errors in the block become UnreadablePicture.

    Raises DataError if memory runs out: then the picture may be intact.
    """
    with QUIET:
        try:
            yield _open(picture)
        except (UnreadablePicture, DataError):
            raise
        except Image.UnidentifiedImageError:
            raise UnreadablePicture("not a picture of a known format, or its first bytes are damaged") from None
        except Image.DecompressionBombError:
            raise TooManyPixels from None
        except MemoryError:
            raise DataError(
                "there is not enough memory to decode a picture.",
                expected="memory for the largest picture of the source",
                do="close other programs, or shrink the pictures first",
            ) from None
        except Exception as problem:
            # Decoders raise almost anything for damaged bytes: struct.error, SyntaxError, IndexError, zlib.error.
            reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
            raise UnreadablePicture(reason or type(problem).__name__) from None


def _open(picture: bytes | Path | np.ndarray) -> Image.Image:
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    if isinstance(picture, Path):
        with open(picture, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise too_large(MAX_BYTES)
            picture = file.read()
    if not picture:
        raise UnreadablePicture("the file is empty")
    image = Image.open(io.BytesIO(picture), formats=_formats())
    if image.width * image.height > MAX_PIXELS:
        raise TooManyPixels
    bands = getattr(image, "tag_v2", {}).get(SAMPLES_PER_PIXEL, 1)
    if isinstance(bands, int) and bands > 4:
        raise UnreadablePicture(f"{bands} bands: only grey and RGB pictures can be read")
    return image


@functools.cache
def _formats() -> list[str]:
    """Return the allowed formats. Pillow would run an EPS file, whatever its name, as a program in Ghostscript."""
    Image.init()
    known = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
    return [name for name in known if name in Image.OPEN]


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray(_from_16_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=1e30, neginf=-1e30)
        return Image.fromarray(_eight_bits(values, whites=(1, 255, 65535) if image.mode == "F" else (255, 65535)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _from_16_bits(values: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W) of 16-bit values (H, W), by the rule in `decode`."""
    high = int(values.max())
    white = next(white for white in DEPTHS if high <= white)
    if white == DEPTHS[-1]:
        return (values >> 8).astype(np.uint8)
    _warn_of_depth(white)
    return np.round(values.astype(np.float32) * np.float32(255 / white)).astype(np.uint8)


@functools.cache
def _warn_of_depth(white: int) -> None:
    log.warning("16-bit pictures with values of at most %d are stretched: %d becomes white", white, white)


def _eight_bits(values: np.ndarray, *, whites: tuple[int, ...]) -> np.ndarray:
    """Return uint8 (H, W, 3) of float32 values (H, W) of an unknown range, by the rule in `decode`."""
    low, high = float(values.min()), float(values.max())
    white = next((white for white in whites if low >= 0 and high <= white), None)
    low, high = (0.0, float(white)) if white else (low, high)
    grey = (values - np.float32(low)) * np.float32(255 / max(high - low, 1e-30)) + np.float32(0.5)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def _square(image: Image.Image, size: int, resize: Resize) -> Image.Image:
    width, height = image.size
    if (width, height) == (size, size):
        return image
    if resize.how == "stretch":
        return image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    side = resize.side(width, height)
    if resize.how == "pad":
        inner = (max(1, round(width * size / side)), max(1, round(height * size / side)))
        square = Image.new("RGB", (size, size), resize.border)
        if inner != image.size:
            image = image.resize(inner, Image.Resampling.BICUBIC, reducing_gap=3.0)
        square.paste(image, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return square
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    if side == size:
        return image.crop(box)
    # Crop while resizing: a picture of 1x100000 never becomes one of 32x3200000.
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
