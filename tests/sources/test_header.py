import io

import pytest
from PIL import ExifTags, Image, features

from snellen.sources.decode import MAX_PIXELS, TooManyPixels, UnreadablePicture
from snellen.sources.header import read_header

TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6


def saved(kind, mode="RGB", size=(600, 400), **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 1).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "TGA"])
def test_format_and_size_are_read(kind):
    header = read_header(saved(kind), 32)
    assert (header.format, header.width, header.height) == (kind, 600, 400)
    assert header.memory > 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"lossless": False}, {"exif": TURNED}], ids=["lossless", "lossy", "extended"]
)
def test_webp_is_read_as_pillow_reads_it(mode, options):
    file = saved("WEBP", mode, (321, 1234), **options)
    header = read_header(file, 32)
    image = Image.open(io.BytesIO(file))
    assert (header.width, header.height) == image.size
    assert header.memory == 321 * 1234 * (26 if image.mode == "RGBA" else 21)


def test_a_webp_of_too_many_pixels_is_refused_before_pillow_opens_it():
    file = bytearray(saved("WEBP", "RGB", exif=TURNED))
    side = int(MAX_PIXELS**0.5) + 1
    file[24:27] = file[27:30] = (side - 1).to_bytes(3, "little")
    with pytest.raises(TooManyPixels, match="more than 100 million pixels"):
        read_header(bytes(file), 32)


def test_a_large_jpeg_takes_less_for_a_small_model():
    photo = saved("JPEG", size=(4000, 3000))
    assert read_header(photo, 32).memory < 40e6 < read_header(photo, 1000).memory


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_avif_is_named():
    assert read_header(saved("AVIF"), 32).format == "AVIF"


@pytest.mark.parametrize(
    "file", [b"", b"RIFF\x10\0\0\0WEBP", b"RIFF\x10\0\0\0WEBPVP8?" + bytes(30), b"II*\0" + bytes(20)]
)
def test_damaged_headers_are_unreadable(file):
    with pytest.raises(UnreadablePicture):
        read_header(file, 32)
