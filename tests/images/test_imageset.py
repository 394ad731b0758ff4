import hashlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import make_images, noise, some
from snellen.errors import DataError
from snellen.images.imageset import ImageSet, fingerprint
from snellen.images.labels import UNLABELLED
from snellen.images.prepare import prepare
from snellen.images.reading import read_rows

IDS = ["9", "10", "a7", "1", "1", "x,y", 'q"z', "猫"]
SPLITS = ["train", "valid", "train", "train", "test", "test", "valid", "test"]
NAMES = ["dog", "cat", "cat", "dog", "", "dog", "dog", ""]


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "data", noise(8, 4), NAMES, SPLITS, ids=IDS)


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("forty"), noise(40, 4), ["a", "b"] * 20, ["train"] * 40)


def damaged(images, name, content):
    path = images.folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        ImageSet.open(images.folder)
    assert str(images.folder) in str(caught.value)
    return caught.value


def test_every_column_and_pixel_comes_back_in_its_row(images):
    assert images.ids.tolist() == IDS
    assert images.splits.tolist() == SPLITS
    assert [images.classes[label] if label >= 0 else "" for label in images.labels] == NAMES
    assert images.paths[0] == "raw/9.png"
    assert images.size == (4, 4)
    assert len(images) == 8
    assert images.labels[4] == UNLABELLED
    assert (images.pixels() == noise(8, 4)).all()


def test_opening_reads_no_pixels(images):
    assert isinstance(images.stored, np.memmap)
    assert isinstance(images.select("train").stored, np.memmap)


def test_pixels_are_a_copy_that_may_be_changed(images):
    for part in (images, images.select("train"), images.take([3, 0])):
        pixels = part.pixels()
        assert type(pixels) is np.ndarray or not isinstance(pixels.base, np.memmap)
        pixels[:] = 0
    assert (images.pixels() == noise(8, 4)).all()


@some
@given(rows=st.lists(st.integers(0, 39), max_size=60), is_told=st.booleans())
def test_rows_read_from_the_file_are_those_of_the_map_in_any_order(forty, rows, is_told):
    rows = np.array(rows, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        if not is_told:
            patch.setattr("snellen.images.reading.CAN_READ_AT", False)  # as on Windows
        found = read_rows(forty.stored, rows)
        part = forty.take(np.arange(39, -1, -1))
        part.announce(rows)
        reversed_rows = part.at(rows)
    assert found.dtype == np.uint8
    assert (found == noise(40, 4)[rows]).all()
    assert (reversed_rows == noise(40, 4)[39 - rows]).all()


def test_a_file_that_was_cut_after_opening_is_a_message(images):
    with open(images.folder / "images.npy", "r+b") as file:
        file.truncate(128 + 3 * 48 + 7)
    assert (images.pixels(0, 3) == noise(8, 4)[:3]).all()
    with pytest.raises(DataError, match="shorter than when it was opened"):
        images.pixels(2, 5)
    (images.folder / "images.npy").unlink()
    images.announce(np.arange(3))  # no more than advice
    with pytest.raises(DataError, match=r"images\.npy cannot be read: No such file"):
        images.pixels(0, 3)


def test_select_keeps_each_images_own_id_label_and_pixels(images):
    whole = noise(8, 4)
    for splits in (["train"], ["valid"], ["test"], ["train", "valid"], ["valid", "train"], ["train", "valid", "test"]):
        part = images.select(*splits)
        own = [row for row in range(8) if SPLITS[row] in splits]
        assert part.rows.tolist() == own, "in row order, whatever the order of the splits"
        assert part.ids.tolist() == [IDS[row] for row in own]
        assert (part.pixels() == whole[own]).all()
        assert (part.labels == images.labels[own]).all()


def test_a_part_of_a_part_is_looked_up_in_the_part(images):
    part = images.take([6, 2, 0, 7, 3]).take([4, 0, 1])
    assert part.ids.tolist() == ["1", 'q"z', "a7"]
    assert (part.pixels() == noise(8, 4)[[3, 6, 2]]).all()
    assert part.select("train").ids.tolist() == ["1", "a7"]


@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 4], [5], [], [0, 0, 0], [2, 3, 3, 4], [1, 3, 2, 4]]
)
def test_pixels_come_in_the_order_of_the_set_from_any_piece_of_it(images, order):
    whole, part = noise(8, 4), images.take(np.array(order, dtype=np.int64))
    for start in range(len(order) + 1):
        for stop in (*range(start, len(order) + 2), None):
            assert (part.pixels(start, stop) == whole[order][start:stop]).all()
            assert part.pixels(start, stop).shape == whole[order][start:stop].shape


def test_counts_name_only_the_splits_there_are(images):
    assert images.counts == {"train": 3, "valid": 2, "test": 3}
    assert images.select("test").counts == {"test": 3}


def test_an_unknown_split_is_put_right_and_an_empty_one_refused(images):
    with pytest.raises(DataError, match='did you mean "train"') as caught:
        images.select("trian")
    assert caught.value.expected == "train, valid, test"
    with pytest.raises(DataError) as caught:
        images.select("train").select("valid")
    assert "there are no valid images" in caught.value.what
    assert caught.value.expected.endswith("train")


def test_it_says_what_it_is(images):
    assert str(images) == "8 images of 4x4 pixels (3 train, 2 valid, 3 test); 2 classes: cat, dog"
    assert str(images.folder) in repr(images)


def test_a_folder_that_is_none_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none", str(tmp_path / "none")):
        with pytest.raises(DataError, match=r"does not (hold prepared images|exist)") as caught:
            ImageSet.open(folder)
        assert "snellen prepare" in caught.value.do


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "{}", '{"classes": 3}', '{"classes": null}', b"\xff"])
def test_a_damaged_about_is_refused(images, content):
    assert "prepare" in damaged(images, "about.json", content).do


@pytest.mark.parametrize(
    "content",
    [
        "", "\n", "id,split,label\n", "id,split,path,label\n", b"\xff\xfe", '"', "id;split;label;path\n",
        "id,split,label,path\n1,train,cat\n", "id,split,label,path\n", "id,split,label,path\n1,train,cat,p\n",
    ],
)  # fmt: skip
def test_damaged_rows_are_refused(images, content):
    damaged(images, "rows.csv", content)


def test_one_quote_too_many_in_a_long_file_is_refused(images):
    rows = (images.folder / "rows.csv").read_text(encoding="utf-8")
    damaged(images, "rows.csv", rows + '"' + "1,train,cat,p\n" * 20_000)


def test_a_label_that_is_no_class_is_refused_by_name(images):
    rows = (images.folder / "rows.csv").read_text(encoding="utf-8")
    assert '"cow"' in damaged(images, "rows.csv", rows.replace("cat", "cow")).what


def test_a_split_that_is_none_is_refused_by_name(images):
    rows = (images.folder / "rows.csv").read_text(encoding="utf-8")
    assert '"vaild"' in damaged(images, "rows.csv", rows.replace("valid", "vaild", 1)).what


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 4, 4, 3)),
        np.zeros((8, 4, 4, 1), np.uint8),
        np.zeros((8, 48), np.uint8),
        np.zeros((7, 4, 4, 3), np.uint8),
        np.zeros((9, 4, 4, 3), np.uint8),
        np.uint8(3),
    ],
)
def test_pixels_of_another_shape_or_type_are_refused(images, array):
    problem = damaged(images, "images.npy", npy(array))
    assert "one uint8 image" in problem.expected
    assert "rows.csv has 8 rows" in problem.what


def test_pixel_files_cut_off_anywhere_or_of_another_kind_are_refused(images):
    whole = (images.folder / "images.npy").read_bytes()
    for stop in (*range(0, 140, 3), len(whole) // 2, len(whole) - 1):
        damaged(images, "images.npy", whole[:stop])
    zipped = io.BytesIO()
    np.savez(zipped, a=np.zeros(3))
    for content in (zipped.getvalue(), b"\x80\x04.", b"PK\x03\x04", b"no" * 500):
        damaged(images, "images.npy", content)


def test_a_changed_byte_in_the_pixel_header_is_refused_or_harmless(images):
    whole = (images.folder / "images.npy").read_bytes()
    for position in range(128):
        for value in (0, 39, 48):
            changed = bytearray(whole)
            changed[position] = value
            (images.folder / "images.npy").write_bytes(changed)
            try:
                opened = ImageSet.open(images.folder)
            except DataError:
                continue
            assert opened.pixels().dtype == np.uint8
            assert len(opened.pixels()) == 8


def test_a_missing_part_is_refused_by_name(images):
    for name in ("images.npy", "rows.csv"):
        before = (images.folder / name).read_bytes()
        (images.folder / name).unlink()
        with pytest.raises(DataError, match="damaged"):
            ImageSet.open(images.folder)
        (images.folder / name).write_bytes(before)
    ImageSet.open(images.folder)


def test_crlf_line_endings_from_a_spreadsheet_do_no_harm(images):
    rows = (images.folder / "rows.csv").read_bytes()
    (images.folder / "rows.csv").write_bytes(rows.replace(b"\n", b"\r\n"))
    assert ImageSet.open(images.folder).ids.tolist() == IDS


def test_labels_follow_the_order_of_classes_in_about(images):
    about = json.loads((images.folder / "about.json").read_text())
    about["classes"].reverse()
    (images.folder / "about.json").write_text(json.dumps(about))
    again = ImageSet.open(images.folder)
    assert [again.classes[label] if label >= 0 else "" for label in again.labels] == NAMES
    assert again.labels[0] == 0


def test_the_fingerprint_is_of_rows_and_pixels_in_order():
    pixels = noise(5000, 2)  # more than one of the pieces it is read in
    expected = hashlib.sha256(b"rows" + pixels.tobytes()).hexdigest()
    assert fingerprint(pixels, b"rows") == expected
    assert fingerprint(pixels[:, :, ::-1][:, :, ::-1], b"rows") == expected, "whatever the layout in memory"
    assert fingerprint(pixels[::-1], b"rows") != expected
    assert fingerprint(pixels, b"Rows") != expected
    changed = pixels.copy()
    changed[4999, 1, 1, 2] ^= 1
    assert fingerprint(changed, b"rows") != expected


def test_an_image_set_opens_without_torch(images):
    code = (
        "import sys; from snellen.images.imageset import ImageSet\n"
        "ImageSet.open(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, images.folder], check=True)


def test_replaced_pixels_are_found_by_the_fingerprint(world, tmp_path):
    images = prepare(world.folder, tmp_path / "data")
    images.check_fingerprint()
    rows = (tmp_path / "data/rows.csv").read_bytes()
    (tmp_path / "data/rows.csv").write_bytes(rows.replace(b"\n", b"\r\n"))
    ImageSet.open(tmp_path / "data").check_fingerprint()
    data = bytearray((tmp_path / "data/images.npy").read_bytes())
    data[-1] ^= 1
    (tmp_path / "data/images.npy").write_bytes(data)
    with pytest.raises(DataError, match=r"images\.npy has changed since `snellen prepare` wrote it") as caught:
        ImageSet.open(tmp_path / "data").check_fingerprint()
    assert "prepare` again" in caught.value.do
