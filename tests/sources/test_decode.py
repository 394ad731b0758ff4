import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from snellen.sources.decode import (
    MAX_BYTES,
    QUIET,
    UnreadablePicture,
    decode,
    draft_scale,
    is_picture,
    picture_size,
)
from snellen.sources.resize import BORDER, Resize


def saved(image, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def noise():
    return np.random.default_rng(1).integers(0, 256, size=(12, 12, 3), dtype=np.uint8)


def test_png_of_the_right_size_is_kept_bit_for_bit(noise):
    pixels, is_resized = decode(saved(Image.fromarray(noise)), 12)
    assert (pixels == noise).all()
    assert pixels.dtype == np.uint8
    assert not is_resized


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_becomes_rgb(noise, mode):
    image = Image.fromarray(noise)
    image = image.convert("L").convert(mode) if mode in ("LA", "PA") else image.convert(mode)
    expected = np.asarray(image.convert("RGB"))
    kind = {"CMYK": "TIFF", "YCbCr": "TIFF", "LAB": "TIFF", "PA": "TIFF", "HSV": "TIFF"}.get(mode, "PNG")
    try:
        data = saved(image, kind)
    except (OSError, KeyError):
        pytest.skip(f"no format here stores {mode}")
    assert np.abs(decode(data, 12)[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "TGA"])
def test_common_formats_are_read(kind):
    red = Image.new("RGB", (12, 12), (250, 10, 10))
    pixels, _ = decode(saved(red, kind), 12)
    assert pixels.shape == (12, 12, 3)
    assert np.abs(pixels.astype(int) - (250, 10, 10)).max() <= 6


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.linspace(0, 65535, 144).astype(np.uint16).reshape(12, 12)
    pixels, _ = decode(saved(Image.fromarray(values)), 12)
    assert (pixels[:, :, 0] == values >> 8).all()


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (np.linspace(0, 1, 144, dtype=np.float32), 1),
        (np.linspace(0, 200, 144, dtype=np.float32), 255),
        (np.linspace(0, 60000, 144, dtype=np.float32), 65535),
        (np.linspace(0, 1e6, 144, dtype=np.float32), 1e6),
        (np.linspace(0, 200, 144).astype(np.int32), 255),
        (np.linspace(0, 60000, 144).astype(np.int32), 65535),
    ],
)
def test_float_and_32_bit_pictures_are_scaled_by_the_stated_rule(values, white):
    pixels, _ = decode(saved(Image.fromarray(values.reshape(12, 12)), "TIFF"), 12)
    expected = values.astype(float).reshape(12, 12) / white * 255
    assert np.abs(pixels[:, :, 2] - expected).max() <= 0.51


def test_negative_and_not_finite_floats_are_stretched_without_a_warning():
    values = np.linspace(-5, 5, 144, dtype=np.float32).reshape(12, 12)
    assert decode(saved(Image.fromarray(values), "TIFF"), 12)[0][[0, -1], [0, -1], 0].tolist() == [0, 255]
    values[0, :3] = np.nan, np.inf, -np.inf
    assert decode(saved(Image.fromarray(values), "TIFF"), 12)[0].shape == (12, 12, 3)


def test_transparency_is_laid_over_white(noise):
    image = Image.fromarray(noise).convert("RGBA")
    image.putalpha(Image.new("L", (12, 12), 0))
    assert (decode(saved(image), 12)[0] == 255).all()
    image.putalpha(Image.new("L", (12, 12), 128))
    half = noise * (128 / 255) + 255 * (127 / 255)
    assert np.abs(decode(saved(image), 12)[0] - half).max() <= 1


def test_a_transparent_palette_colour_and_a_transparent_rgb_colour_become_white(noise):
    palette = Image.new("P", (12, 12), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.paste(0, (0, 0, 6, 12))
    pixels, _ = decode(saved(palette, transparency=1), 12)
    assert pixels[0, [0, 11]].tolist() == [[10, 20, 30], [255, 255, 255]]
    colour = tuple(noise[0, 0].tolist())
    assert decode(saved(Image.fromarray(noise), transparency=colour), 12)[0][0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_honoured(orientation, kind):
    upright = Image.new("RGB", (16, 16), "black")
    upright.paste((255, 0, 0), (0, 0, 8, 8))
    upright.paste((0, 255, 0), (8, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(upright, "PNG", exif=exif))))
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    exif[0x0112] = inverse
    pixels, _ = decode(saved(stored, kind, exif=exif), 16)
    assert np.abs(pixels[[2, 2, 13], [2, 13, 2]].astype(int) - [(255, 0, 0), (0, 255, 0), (0, 0, 0)]).max() < 60


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (12, 12), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        assert decode(data, 12)[0][0, 0].tolist()[0] > 240, kind


@pytest.mark.parametrize(("width", "height"), [(90, 30), (30, 90), (56, 40), (24, 20)])
def test_the_shorter_side_is_scaled_and_the_centre_cut_out(width, height):
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, size=(height, width, 3), dtype=np.uint8))
    scale = 10 / min(width, height)
    scaled = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (scaled.width - 10) // 2, (scaled.height - 10) // 2
    pixels, is_resized = decode(saved(image), 10)
    assert is_resized
    assert np.abs(pixels.astype(int) - np.asarray(scaled.crop((left, top, left + 10, top + 10)))).max() <= 2


def test_a_side_that_fits_is_only_cropped():
    image = np.random.default_rng(2).integers(0, 256, size=(12, 21, 3), dtype=np.uint8)
    pixels, is_resized = decode(saved(Image.fromarray(image)), 12)
    assert is_resized
    assert (pixels == image[:, 4:16]).all()


def test_scaling_down_averages_and_does_not_pick_pixels():
    chess = np.indices((64, 64)).sum(axis=0) % 2 * 255
    pixels, _ = decode(saved(Image.fromarray(chess.astype(np.uint8))), 16)
    assert np.abs(pixels.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 20000), (20000, 1), (3, 7)])
def test_odd_shapes_are_scaled_up_without_much_memory(shape):
    pixels, _ = decode(saved(Image.new("RGB", shape, (9, 8, 7))), 32)
    assert (pixels == (9, 8, 7)).all()


def test_a_large_jpeg_is_nearly_the_same_as_decoded_in_full():
    rng = np.random.default_rng(3)
    large = Image.fromarray(rng.integers(0, 256, size=(60, 80, 3), dtype=np.uint8)).resize((1600, 1200), 3)
    data = saved(large, "JPEG", quality=95)
    full = Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BICUBIC, box=(200, 0, 1400, 1200))
    assert np.abs(decode(data, 32)[0].astype(int) - np.asarray(full)).mean() < 2


def test_pixels_already_decoded_are_taken_as_they_are(noise):
    pixels, is_resized = decode(noise, 12)
    assert (pixels == noise).all()
    assert not is_resized


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(10001, 10000), (20000, 20000), (2**31 - 1, 2**31 - 1)])
def test_pictures_of_over_100_million_pixels_are_refused_before_decoding(width, height):
    with pytest.raises(UnreadablePicture, match="million pixels"):
        decode(png_that_claims(width, height), 32)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_truncation_anywhere_is_an_unreadable_picture_or_all_of_it(noise, kind):
    data = saved(Image.fromarray(noise), kind)
    whole, _ = decode(data, 12)
    unreadable = 0
    for length in range(len(data)):
        try:
            assert decode(data[:length], 12)[0].shape == whole.shape
        except UnreadablePicture as problem:
            unreadable += bool(str(problem))
    assert unreadable > len(data) // 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not a picture", "known format"),
        (b"<html>" * 100, "known format"),
        (b"%!PS\n", "known format"),
    ],
)
def test_what_is_no_picture_says_so(data, reason):
    with pytest.raises(UnreadablePicture, match=reason):
        decode(data, 32)


def test_postscript_is_not_run_whatever_its_name():
    eps = saved(Image.new("RGB", (12, 12)), "EPS")
    with pytest.raises(UnreadablePicture, match="known format"):
        decode(eps, 32)


def test_missing_and_oversized_files_are_unreadable(tmp_path):
    with pytest.raises(UnreadablePicture, match="No such file"):
        decode(tmp_path / "gone.png", 32)
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UnreadablePicture, match=r"larger than 64\.0 MB"):
        decode(tmp_path / "large.png", 32)


def test_a_path_is_read_like_its_bytes(tmp_path, noise):
    path = tmp_path / "a.png"
    path.write_bytes(saved(Image.fromarray(noise)))
    assert (decode(path, 12)[0] == noise).all()
    assert picture_size(path) == (12, 12)


@pytest.mark.parametrize("name", ["1.png", "a.b.JPG", "x/y.JpEg", "ü.webp"])
def test_pictures_are_known_by_their_ending(name):
    assert is_picture(name)


@pytest.mark.parametrize("name", ["labels.csv", "png", "a.png.txt", "train.7z", "v1.5", str(Path("a.png") / "b")])
def test_other_files_are_no_pictures(name):
    assert not is_picture(name)


def test_warnings_are_ignored_while_any_thread_decodes_and_no_longer():
    before = list(warnings.filters)
    with ThreadPoolExecutor(1) as other:
        QUIET.__enter__()
        other.submit(QUIET.__enter__).result()
        QUIET.__exit__()
        warnings.warn("of a picture that the other thread decodes", stacklevel=1)
        other.submit(QUIET.__exit__).result()
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning):
        warnings.warn("of anything", stacklevel=1)


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1200, 900), (400, 1600)])
def test_letting_the_jpeg_decoder_shrink_a_picture_changes_little(how, shape):
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    smooth = np.stack([np.sin(x / 90), np.cos(y / 70), np.sin((x + y) / 80)], axis=-1) * 100 + 128
    data = saved(Image.fromarray(smooth.astype(np.uint8)), "JPEG", quality=95)
    assert draft_scale(shape[::-1], 64, Resize(how)) > 1, "otherwise this shows nothing"
    shrunk, _ = decode(data, 64, Resize(how))
    with Image.open(io.BytesIO(data)) as whole:
        plain, _ = decode(np.asarray(whole), 64, Resize(how))
    assert np.abs(shrunk.astype(int) - plain).mean() < 1.5
    assert np.abs(shrunk.astype(int) - plain).max() < 12


def test_a_panorama_keeps_its_proportions_between_borders_after_its_rotation():
    panorama = Image.new("RGB", (80, 20), "red")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # shown upright: 20 wide, 80 high
    for data, turn in ((saved(panorama), 0), (saved(panorama, exif=exif), 1)):
        pixels, is_resized = decode(data, 40, Resize("pad"))
        upright = np.rot90(pixels, turn)
        assert is_resized
        assert (upright[15:25] == [255, 0, 0]).all()
        assert (upright[:15] == BORDER).all()
        assert (upright[25:] == BORDER).all()


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 5000), (3000, 2), (1, 1)])
def test_extreme_shapes_become_images(how, shape):
    pixels, _ = decode(saved(Image.new("RGB", shape, "white")), 32, Resize(how))
    assert pixels.shape == (32, 32, 3)
    assert (pixels == 255).all(axis=2).any()


@pytest.mark.parametrize("values", [{"how": "zoom"}, {"how": "pad", "border": [1, 2]}, {"border": [1, 2, 300]}])
def test_a_way_to_resize_that_no_version_wrote_is_refused(values):
    with pytest.raises(ValueError, match=r"resize|colour"):
        Resize.from_dict(values)
    assert Resize.from_dict(Resize("pad", (1, 2, 3)).to_dict()) == Resize("pad", (1, 2, 3))
