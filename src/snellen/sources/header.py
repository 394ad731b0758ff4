"""Read the header of a picture file: format, size, and an estimate of the memory for decoding."""

from dataclasses import dataclass

from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin

from snellen.sources.decode import MAX_PIXELS, TooManyPixels, draft_scale, opened_picture
from snellen.sources.resize import CROP, Resize


@dataclass(frozen=True)
class Header:
    format: str  # Pillow's name: "PNG", "JPEG", ...
    width: int
    height: int  # as stored, before EXIF rotation
    memory: int  # peak bytes while decoding: an estimate, never much too low


def read_header(picture: bytes, size: int, resize: Resize = CROP) -> Header:
    """Return the header of a file. size, resize: as in `decode`, for the memory estimate.

    Raises UnreadablePicture.
    """
    webp = _webp(picture)
    if webp is not None:
        width, height, is_transparent = webp
        if width * height > MAX_PIXELS:
            raise TooManyPixels
        return Header("WEBP", width, height, width * height * (26 if is_transparent else 21))
    with opened_picture(picture) as image:
        return Header(image.format or "", *image.size, _memory(image, size, resize))


def _memory(image: Image.Image, size: int, resize: Resize) -> int:
    """Return the estimate in bytes. The figures are slightly above the measured ones (lab notes 2026-11-24)."""
    pixels = image.width * image.height
    if image.mode in ("I", "F"):
        per_pixel = 24.0  # float32 copies while finding the range
    elif len(image.getbands()) > 1 and (image.mode != "RGB" or "transparency" in image.info):
        per_pixel = 14  # blended with white, or converted to RGB
    else:
        per_pixel = 11 if "transparency" in image.info else 9
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        # libjpeg keeps 16 bits of each sample until the last scan of a progressive file.
        areas = [across * down for _, across, down, _ in image.layer]
        return int(pixels * (2 * sum(areas) / max(areas) + per_pixel / draft_scale(image.size, size, resize) ** 2))
    if image.format in ("AVIF", "JPEG2000"):
        per_pixel += 12  # the decoder's own copies
    block = _tiff_block(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else 0
    return int(pixels * per_pixel) + block


def _tiff_block(image: TiffImagePlugin.TiffImageFile) -> int:
    """Return the bytes of one strip or tile before it becomes pixels. A tile may be larger than its picture."""
    tags = image.tag_v2
    width = int(tags.get(ExifTags.Base.TileWidth, image.width))
    height = int(tags.get(ExifTags.Base.TileLength, min(image.height, tags.get(ExifTags.Base.RowsPerStrip, 2**31))))
    bits = max(tags.get(ExifTags.Base.BitsPerSample, (1,))) * int(tags.get(ExifTags.Base.SamplesPerPixel, 1))
    return width * height * max(32, bits) // 8


def _webp(file: bytes) -> tuple[int, int, bool] | None:
    """Return (width, height, whether it is transparent) of a WebP file, or None for other files.

    When Pillow opens one, it already allocates 8 bytes per pixel. Source: RFC 9649, sections 2.5 to 2.7.
    """
    if file[:4] != b"RIFF" or file[8:12] != b"WEBP" or len(file) < 30:
        return None
    if file[12:16] == b"VP8X":  # extended: flags, then both sides minus one
        sides = [1 + int.from_bytes(file[start : start + 3], "little") for start in (24, 27)]
        return sides[0], sides[1], bool(file[20] & 0x10)
    if file[12:16] == b"VP8L":  # lossless: 14 bits for each side minus one, then one bit for transparency
        bits = int.from_bytes(file[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if file[12:16] == b"VP8 ":
        width, height = (int.from_bytes(file[start : start + 2], "little") & 0x3FFF for start in (26, 28))
        return width, height, False
    return None
