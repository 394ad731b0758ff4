"""Layouts that invite a wrong guess: each comes out right, is refused with the option that decides, or is warned of."""

import os
import struct

import numpy as np
import pytest
from PIL import Image

from conftest import write_csv
from made import warnings_in
from raw_folder import RawFolder
from snellen.errors import DataError
from snellen.sources import decode as decoding
from snellen.sources.class_names import plain_form
from snellen.sources.decode import UnreadablePicture, decode


class Raw(RawFolder):
    """A folder of raw files with one label per picture."""

    def labels(self, **options):
        return {row.id: row.label for row in self.open(**options).rows if row.split != "test"}


@pytest.fixture
def raw(tmp_path):
    return Raw(tmp_path / "raw")


N = range(1, 7)
TRUTH = {str(n): "cat" if n % 2 else "dog" for n in N}


def simple(raw, header="id,label"):
    raw.numbered("train", *N)
    raw.table("train.csv", header, *TRUTH.items())


def refusal(raw, message, **options):
    with pytest.raises(DataError, match=message) as caught:
        raw.open(**options)
    assert caught.value.do, "a refusal says what to do"
    assert len(str(caught.value).splitlines()) < 20, "no message is longer than a screen"
    return caught.value


# A second table beside the labels.


@pytest.mark.parametrize("name", ["a_metadata.csv", "metadata.csv", "zzz.csv"])
def test_sizes_beside_the_labels_are_not_the_labels(raw, name):
    simple(raw)
    raw.table(name, "id,width,height", *((n, 4 + n % 2, 4 + n % 3) for n in N))
    assert raw.labels() == TRUTH


def test_older_labels_beside_the_labels_are_refused_unless_they_agree(raw):
    simple(raw)
    raw.table("labels_old.csv", "id,label", *TRUTH.items())
    assert raw.labels() == TRUTH
    raw.table("labels_old.csv", "id,label", *((TRUTH | {"3": "dog"}).items()))
    caught = refusal(raw, "two tables could hold the labels, labels_old.csv and train.csv; they differ for 1 pictures")
    assert "--labels labels_old.csv, or --labels train.csv" in caught.do
    assert "train/3.png" in caught.where
    assert raw.labels(labels="train.csv") == TRUTH
    assert raw.labels(labels="labels_old.csv")["3"] == "dog"


def test_predictions_beside_the_labels_are_not_the_labels(raw):
    simple(raw)
    raw.table("a_predictions.csv", "id,label,p_cat,p_dog", *((n, "cat", 0.9, 0.1) for n in N))
    assert raw.labels() == TRUTH
    raw.table("b_predictions.csv", "id,label", *((n, "cat" if n < 3 else "dog") for n in N))
    assert "--labels" in refusal(raw, "two tables could hold the labels").do


def test_a_table_of_sizes_does_not_hide_class_folders(raw):
    raw.pictures(*(f"{label}/{label}{n}.png" for label in ("cat", "dog") for n in N))
    raw.table("sizes.csv", "file,width", *((f"{label}{n}.png", n % 3) for label in ("cat", "dog") for n in N))
    assert raw.open().classes == ("cat", "dog")
    raw.table("sizes.csv", "file,width,height", *((f"{x}{n}.png", n % 3, n % 2) for x in ("cat", "dog") for n in N))
    assert raw.open().classes == ("cat", "dog")


def test_a_table_and_class_folders_that_contradict_each_other_are_refused(raw):
    raw.pictures(*(f"{label}/{label}{n}.png" for label in ("cat", "dog") for n in N))
    truth = {f"{label}{n}": label for label in ("cat", "dog") for n in N}
    raw.table("labels.csv", "file,label", *truth.items())
    assert raw.labels() == truth
    raw.table("labels.csv", "file,label", *(truth | {"cat3": "dog"}).items())
    caught = refusal(raw, "labels.csv and the class folders disagree on 1 of 12 pictures")
    assert "--labels labels.csv or --labels folders" in caught.do
    assert raw.labels(labels="labels.csv")["cat3"] == "dog"
    assert raw.labels(labels="folders")["cat/cat3"] == "cat"


def test_folders_that_only_store_pictures_do_not_matter(raw):
    raw.pictures(*(f"images/{n % 2:02d}/{n}.png" for n in N))
    raw.table("labels.csv", "id,kind", *((n, "ab"[n > 3]) for n in N))
    assert raw.labels() == {str(n): "ab"[n > 3] for n in N}


def test_cities_are_no_classes_if_a_table_has_labels_but_that_is_said(raw, caplog):
    raw.pictures(*(f"images/{'paris' if n < 3 else 'rome'}/{n}.png" for n in N))
    raw.table("labels.csv", "id,label", *TRUTH.items())
    assert raw.labels() == TRUTH
    assert 'the folders "paris", "rome" are not used as classes' in caplog.text
    raw.table("labels.csv", "id,kind", *TRUTH.items())
    assert "--labels folders" in refusal(raw, "disagree on").do


# Ids.


def test_row_numbers_are_not_ids_if_a_column_names_files(raw):
    raw.numbered("train", *range(6))
    order = [3, 0, 5, 1, 4, 2]
    raw.table("train.csv", ",filename,label", *((k, f"{n}.png", "ab"[n % 2]) for k, n in enumerate(order)))
    assert raw.labels() == {str(n): "ab"[n % 2] for n in range(6)}


def test_ids_of_another_spelling_are_refused_with_an_example_of_each_side(raw):
    raw.numbered("train", *range(7, 13))
    raw.table("train.csv", "id,label", *((f"{n:03d}", "ab"[n % 2]) for n in range(7, 13)))
    caught = refusal(raw, "the labels file lists none of the 6 pictures", labels="train.csv")
    assert '"007"' in str(caught)
    assert '"7"' in str(caught)


def test_a_column_can_be_named_as_the_ids(raw):
    raw.numbered("train", *N)
    raw.table("train.csv", "a,b,label", *((n, 7 - n, TRUTH[str(n)]) for n in N))
    assert "--id a or --id b" in refusal(raw, "two columns of train.csv could be the ids").do
    assert raw.labels(id="a") == TRUTH
    assert raw.labels(id="b") == {str(7 - n): TRUTH[str(n)] for n in N}


# The label column.


def test_two_possible_label_columns_are_refused(raw):
    raw.numbered("train", *N)
    raw.table("train.csv", "id,source,diagnosis", *((n, "web" if n < 4 else "lab", TRUTH[str(n)]) for n in N))
    caught = refusal(raw, '2 columns of train.csv could be the labels: "source" .*, "diagnosis"')
    assert "--label source" in caught.do
    assert raw.labels(label="diagnosis") == TRUTH
    assert raw.labels(label="Diagnosis") == TRUTH
    assert '"nothing"' in str(refusal(raw, "no table of these pictures has the column", label="nothing"))


def test_chains_of_hotels_are_not_hotels(raw):
    hotels = {n: 10 * (n % 3) for n in N}
    raw.pictures(*(f"train_images/{n % 2}/{n}.jpg" for n in N), "test_images/99.jpg")
    raw.table("train.csv", "image,chain,hotel_id,timestamp", *((f"{n}.jpg", n % 2, hotels[n], f"20:{n}") for n in N))
    raw.table("sample_submission.csv", "image,hotel_id", ("99.jpg", "0 10 20 30 40"))
    source = raw.open()
    assert (source.classes, source.task.form, source.task.metric) == (("0", "10", "20"), "top5", "map@5")
    assert {row.id: row.label for row in source.rows if row.label} == {str(n): str(hotels[n]) for n in N}


@pytest.mark.parametrize(
    ("values", "sample", "message"),
    [
        ([0.5, 1.5, 2.25, 3, 4, 5], None, 'numbers with fractions, such as "0.5": this is regression'),
        ([1, 2, 3, 1, 2, 3], "50.0", 'has the value "50.0", which is not a training label'),
        (list(range(1, 13)), None, "numbers, with 12 distinct values for 12 images: this is regression"),
    ],
)
def test_regressions_are_refused(raw, values, sample, message):
    raw.numbered("train", *range(len(values)))
    raw.table("train.csv", "id,score", *enumerate(values))
    if sample:
        raw.numbered("test", 99)
        raw.table("sample_submission.csv", "id,score", (99, sample))
    assert "--label" in refusal(raw, message).do
    assert len(raw.open(label="score").classes) == len({*values})


# What the sample's values are.


def with_sample(raw, header, *lines):
    simple(raw)
    raw.numbered("test", *(90 + k for k in range(len(lines))))
    raw.table("sample_submission.csv", header, *((90 + k, *line) for k, line in enumerate(lines)))


def test_a_sample_with_another_spelling_of_the_classes_is_refused(raw):
    with_sample(raw, "id,label", ("CAT",), ("DOG",))
    caught = refusal(raw, 'has the label "CAT", but the training labels have "cat"')
    assert "--form label" in caught.do
    assert raw.open(form="label").task.form == "label"


def test_zeros_where_classes_have_names_are_refused(raw):
    with_sample(raw, "id,label", (0,), (0,))
    caught = refusal(raw, 'has the value "0", but the classes are cat, dog')
    assert "--form label" in caught.do
    assert "--form positive --positive dog" in caught.do
    task = raw.open(form="positive", positive="cat").task
    assert (task.form, task.positive, task.metric) == ("positive", "cat", "log_loss")
    assert raw.open(metric="auc").task.form == "positive"


def test_unknown_labels_in_a_sample_are_warned_of(raw, caplog):
    with_sample(raw, "id,label", ("unknown",))
    assert raw.open().task.form == "label"
    assert '1 labels that are not classes, first "unknown"' in caplog.text


@pytest.mark.parametrize(
    ("header", "line", "form", "positive"),
    [
        ("id,label", (0.5,), "positive", "dog"),
        ("id,dog", (0,), "positive", "dog"),
        ("id,is_cat", (0.5,), "positive", "cat"),
        ("id,dog,cat", (0.5, 0.5), "columns", None),
        ("id,label", ("cat",), "label", None),
        ("id,label", ("",), "label", None),
    ],
)
def test_the_form_follows_from_the_sample(raw, header, line, form, positive):
    with_sample(raw, header, line)
    task = raw.open().task
    assert (task.form, task.positive) == (form, positive)


def test_a_positive_class_that_nothing_names_is_warned_of(raw, caplog):
    with_sample(raw, "id,label", (0.5,))
    raw.open()
    assert 'no positive class was chosen: the submission contains the probability of "dog"' in caplog.text
    assert "--positive cat" in caplog.text
    assert '"owl" is not a class' in str(refusal(raw, "is not a class", positive="owl"))


def test_zeros_for_classes_0_and_1_get_a_hint_and_metric_or_form_decides(raw, caplog):
    raw.numbered("train", *N)
    raw.numbered("test", 99)
    raw.table("train.csv", "id,label", *((n, n % 2) for n in N))
    raw.table("sample_submission.csv", "id,label", (99, 0))
    assert raw.open().task.form == "label"
    assert "--metric auc" in caplog.text
    assert (raw.open(metric="auc").task.form, raw.open(metric="auc").task.positive) == ("positive", "1")
    assert raw.open(form="positive").task.metric == "log_loss"
    assert raw.open(metric="qwk").task.form == "label"


def test_columns_that_are_not_the_classes_are_refused(raw):
    with_sample(raw, "id,cat,owl", (0.5, 0.5))
    caught = refusal(raw, '1 classes have no column, first "dog"; 1 columns are not classes, first "owl"')
    assert "--sample CSV" in caught.do


def test_a_form_that_contradicts_the_sample_is_refused(raw):
    with_sample(raw, "id,cat,dog", (0.5, 0.5))
    refusal(raw, "--form is label, but sample_submission.csv has one column per class", form="label")
    refusal(raw, 'unknown form "colums"', form="colums")
    refusal(raw, 'unknown metric "acuracy"', metric="acuracy")


# Lines and spellings.


@pytest.mark.parametrize("line", ["1,bear, brown", "1,0,5"])
def test_a_line_with_more_values_than_the_header_is_refused(raw, line):
    raw.numbered("train", 1, 2)
    (raw.folder / "train.csv").write_text(f"id,label\n{line}\n2,cat\n")
    assert "quotes" in refusal(raw, "1 of 3 lines have more values than the first line").do


@pytest.mark.parametrize(
    ("one", "other"), [("cat", "Cat"), ("a b", "ab"), ("cat\u200b", "cat"), ("caf\u00e9", "cafe\u0301"), ("1", "1.0")]
)
def test_labels_that_look_alike_are_warned_of_with_counts(raw, caplog, one, other):
    raw.numbered("train", *N)
    raw.table("train.csv", "id,label", *((n, one if n < 5 else other) for n in N))
    assert len(raw.open().classes) == 2
    assert plain_form(one) == plain_form(other)
    [warning] = [text for text in warnings_in(caplog) if "look alike" in text]
    assert "(4)" in warning
    assert "(2)" in warning


def test_labels_that_differ_are_not_warned_of(raw, caplog):
    simple(raw)
    raw.open()
    assert warnings_in(caplog) == []


# Folders and links.


def test_documents_beside_the_pictures_are_no_class(raw, caplog):
    raw.pictures(*(f"images/{label}/{n}.png" for label in ("cat", "dog") for n in N), "docs/chart.png", "docs/logo.png")
    assert raw.open().classes == ("cat", "dog")
    assert '2 pictures outside every class folder are left out, first "docs/chart.png", "docs/logo.png"' in caplog.text


def test_folders_below_classes_are_named(raw, caplog):
    raw.pictures("cat/tabby/1.png", "cat/black/2.png", "dog/3.png", "dog/4.png")
    assert raw.open().classes == ("cat", "dog")
    assert 'class folders contain folders, first "cat/black", "cat/tabby"' in caplog.text


def test_two_levels_that_could_be_the_classes_are_refused_and_parts_are_not(raw):
    raw.pictures(*(f"{place}/{kind}/{n}.png" for place in ("bern", "rome") for kind in ("benign", "sick") for n in N))
    refusal(raw, 'the classes could be the folders "bern", "rome", or "benign", "sick"')


def test_classes_may_lie_in_parts(raw):
    raw.pictures(*(f"part{p}/{kind}/{p}{n}.png" for p in (1, 2) for kind in ("benign", "sick") for n in N))
    assert raw.open().classes == ("benign", "sick")


def test_images_and_masks_are_no_classes(raw):
    raw.pictures(*(f"{folder}/x{n}y.png" for folder in ("images", "masks") for n in "abc"))
    refusal(raw, "no labels")


def test_system_folders_and_dangling_links_are_named(raw, caplog):
    raw.pictures(*(f"{label}/{n}.png" for label in ("cat", "dog") for n in N), "$RECYCLE.BIN/old/9.png")
    os.symlink("nowhere.png", raw.folder / "cat" / "99.png")
    source = raw.open()
    assert source.classes == ("cat", "dog")
    assert len(source.rows) == 12
    assert "$RECYCLE.BIN belongs to the operating system: it is ignored" in caplog.text
    assert '1 links point to missing files and are left out, first "cat/99.png"' in caplog.text


@pytest.mark.parametrize("names", [("bus", "car", "train"), ("forged", "valid"), ("test-tubes", "beakers")])
def test_classes_called_like_a_role_are_classes(raw, caplog, names):
    raw.pictures(*(f"{name}/{n}.png" for name in names for n in N))
    assert raw.open().classes == tuple(sorted(names))
    if {*names} & {"train", "valid"}:
        assert "is treated as a class" in caplog.text


def test_a_class_called_unknown_does_not_take_unlabelled_test_pictures(raw, caplog):
    raw.pictures(*(f"train/{label}/{n}.png" for label in ("cat", "unknown") for n in N), "test/unknown/7.png")
    source = raw.open()
    assert source.classes == ("cat", "unknown")
    assert [(row.label, row.split) for row in source.rows if row.split == "test"] == [(None, "test")]
    assert "treated as unlabelled" in caplog.text


# File names.


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ([f"cat.{n}.jpg" for n in N] + [f"dog.{n}.jpg" for n in N], ("cat", "dog")),
        ([f"Abyssinian_{n}.jpg" for n in N] + [f"great_pyrenees_{n}.jpg" for n in N], ("Abyssinian", "great_pyrenees")),
        ([f"sunny{n}.png" for n in N] + [f"rain{n}.png" for n in N], ("rain", "sunny")),
        ([f"{n}_cat.png" for n in N] + [f"{n}_dog.png" for n in N], ("cat", "dog")),
        ([f"cat ({n}).png" for n in N] + [f"dog ({n}).png" for n in N], ("cat", "dog")),
    ],
)
def test_labels_may_be_in_file_names(raw, names, classes):
    raw.pictures(*names)
    source = raw.open()
    assert source.classes == classes
    assert all(row.label in row.path for row in source.rows)


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{n}.jpg" for n in N] + [f"DSC_{n}.jpg" for n in N],
        [f"{n}.jpg" for n in N],
        [f"{name}{n}.jpg" for n, name in enumerate("abcdefgh")],
        [f"train_{n}.jpg" for n in N] + [f"test_{n}.jpg" for n in N],
    ],
)
def test_other_file_names_hold_no_labels(raw, names):
    raw.pictures(*(f"x/{name}" for name in names))
    refusal(raw, "no labels")


def test_a_picture_without_a_label_in_its_name_is_refused(raw):
    raw.pictures(*(f"{name}.{n}.jpg" for name in ("cat", "dog") for n in range(20)), "cover.jpg")
    assert "--labels CSV" in refusal(raw, '1 of 41 file names contain no label, first "cover.jpg"').do


# Pictures.


def tiff(bands):
    """An uncompressed 8x8 TIFF file with so many bands."""
    extra = [0] * (bands - 3)
    entries = [(256, 4, [8]), (257, 4, [8]), (258, 3, [8] * bands), (259, 3, [1]), (262, 3, [2]), (273, 4, [0])]
    entries += [(277, 3, [bands]), (278, 4, [8]), (279, 4, [64 * bands])] + ([(338, 3, extra)] if extra else [])
    directory, beyond, start = b"", b"", 8 + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        packed = struct.pack("<" + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(packed) > 4:
            place = struct.pack("<I", start + len(beyond))
            beyond += packed
        else:
            place = packed.ljust(4, b"\0")
        directory += struct.pack("<HHI", tag, kind, len(values)) + (b"DATA" if tag == 273 else place)
    directory = directory.replace(b"DATA", struct.pack("<I", start + len(beyond)))
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    return head + directory + bytes(4) + beyond + bytes(range(64)) * bands


def test_pictures_of_more_than_four_bands_are_refused():
    assert decode(tiff(3), 8)[0].shape == (8, 8, 3)
    with pytest.raises(UnreadablePicture, match="5 bands"):
        decode(tiff(5), 8)


@pytest.mark.parametrize(("white", "is_warned"), [(255, True), (1023, True), (4095, True), (65535, False)])
def test_values_of_12_bits_in_16_are_stretched_with_a_warning(tmp_path, caplog, white, is_warned):
    decoding._warn_of_depth.cache_clear()
    values = np.linspace(0, white, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    pixels, _ = decode(tmp_path / "a.png", 8)
    assert np.abs(pixels[..., 0].astype(int) - values.astype(float) * 255 / white).max() <= 1
    assert [f"{white} becomes white" in text for text in warnings_in(caplog)] == [True] * is_warned


def test_too_little_memory_is_no_property_of_a_picture(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match="not enough memory to decode a picture"):
        decode(tmp_path / "a.png", 4)


# Names for people, groups.


def test_classes_get_names_for_people(raw):
    raw.numbered("train", *N)
    raw.table("train.csv", "id,label", *((n, n % 2) for n in N))
    (raw.folder / "names.json").write_text('{"0": "blight", "1": "healthy"}')
    raw.table("names.csv", "code,name", (0, "blight"), (1, "healthy"))
    for file in ("names.json", "names.csv"):
        task = raw.open(class_names=file).task
        assert (task.classes, task.display_names) == (("0", "1"), ("blight", "healthy"))
    (raw.folder / "names.json").write_text('{"0": "blight"}')
    refusal(raw, '1 of 2 classes have no name, first "1"', class_names="names.json")


def test_groups_come_from_a_column(raw):
    raw.numbered("train", *N)
    raw.table("train.csv", "id,label,patient", *((n, TRUTH[str(n)], f"p{n // 3}") for n in N))
    assert {row.id: row.group for row in raw.open(label="label", group_by="patient").rows} == {
        str(n): f"p{n // 3}" for n in N
    }
    assert 'did you mean "patient"?' in str(refusal(raw, 'has the column "patien"', group_by="patien"))


# Found by trying variations.


def test_numbered_parts_are_no_classes_and_two_columns_stay_two_readings(raw):
    raw.pictures(*(f"HAM_images_part_{1 + n % 2}/{n}.jpg" for n in N))
    raw.table("metadata.csv", "image_id,dx,dx_type", *((n, "abc"[n % 3], "xy"[n % 2]) for n in N))
    assert "--label dx" in refusal(raw, "2 columns of metadata.csv could be the labels").do
    assert raw.open(label="dx").classes == ("a", "b", "c")


def test_folders_do_not_decide_between_two_columns_unless_one_agrees_with_them(raw):
    raw.pictures(*(f"{'paris' if n < 4 else 'rome'}/{n}.png" for n in N))
    raw.table("train.csv", "id,source,diagnosis", *((n, "ab"[n % 2], "xyz"[n % 3]) for n in N))
    assert "--labels folders" in refusal(raw, "2 columns of train.csv could be the labels").do
    assert raw.open(labels="folders").classes == ("paris", "rome")
    raw.table("train.csv", "id,source,place", *((n, "ab"[n % 2], "p" if n < 4 else "r") for n in N))
    assert raw.open().classes == ("paris", "rome")


def test_a_coordinate_is_no_label(raw):
    raw.numbered("train", *N)
    raw.table("train.csv", "id,x,y,w", *((n, n % 3, n % 2, n % 4) for n in N))
    refusal(raw, "3 columns of train.csv could be the labels")


def test_three_labels_in_a_line_of_the_sample_are_refused(raw):
    with_sample(raw, "id,label", ("cat dog",))
    assert "--form top5" in refusal(raw, 'has 2 labels in a line: "cat dog"').do


def test_labels_of_test_arrays_must_be_known(raw):
    images = np.zeros((4, 8, 8), np.uint8)
    np.savez(
        raw.folder / "a.npz", x_train=images, y_train=np.array([0, 1, 0, 1]), x_test=images[:1], y_test=np.array([7])
    )
    refusal(raw, '1 labels of test pictures are not among the training labels, first "7"')


def test_objects_in_arrays_are_refused(raw):
    labels = np.array(["a", {}, "b", "c"], dtype=object)
    np.savez(raw.folder / "a.npz", train_images=np.zeros((4, 8, 8), np.uint8), train_labels=labels)
    refusal(raw, r"a\.npz contains Python objects")


def test_tables_for_each_split_and_their_test_labels(raw):
    raw.numbered("images", *range(12))
    for name, numbers in (("train", range(8)), ("val", (8, 9)), ("test", (10, 11))):
        raw.table(f"{name}.csv", "image,label", *((n, "ab"[n % 2]) for n in numbers))
    assert [(row.id, row.split, row.label) for row in raw.open().rows][7:] == [
        ("7", "train", "b"),
        ("8", "valid", "a"),
        ("9", "valid", "b"),
        ("10", "test", "a"),
        ("11", "test", "b"),
    ]


def test_lists_in_text_files(raw):
    raw.numbered("images", *range(12))
    for name, numbers in (("train", range(8)), ("test", range(8, 12))):
        lines = [f"images/{n}.png {n % 3}\n" for n in numbers]
        (raw.folder / f"{name}.txt").write_text("".join(lines))
    rows = raw.open().rows
    assert [row.split for row in rows] == [None] * 8 + ["test"] * 4
    assert [row.label for row in rows] == [str(n % 3) for n in range(12)]


# Found by trying more variations.


def test_masks_of_the_pictures_are_not_pictures(raw, caplog):
    names = [f"{label}/{n}" for label in ("cat", "dog") for n in N]
    raw.pictures(*(f"{folder}/{name}.png" for folder in ("images", "masks") for name in names))
    assert raw.labels() == {name: name[:3] for name in names}
    assert '12 pictures outside every class folder are left out, first "masks/cat/1.png"' in caplog.text


def test_numbered_folders_on_two_levels_are_two_readings(raw):
    raw.pictures(*(f"{n % 3}/{n % 2}/{n}.png" for n in N))
    refusal(raw, 'the classes could be the folders "0", "1", "2", or "0", "1"')
    for path in sorted(raw.folder.rglob("*.png")):
        path.unlink()
    raw.pictures(*(f"site{n % 2}/{kind}/{n}.png" for n in N for kind in ("benign", "sick")))
    refusal(raw, 'the classes could be the folders "site0", "site1", or "benign", "sick"')


def test_absolute_paths_of_another_machine_are_matched_by_their_end(raw):
    raw.pictures(*(f"{folder}/{n}.png" for folder in ("train", "test") for n in N))
    raw.table("train.csv", "path,label", *((f"/kaggle/input/pets/train/{n}.png", TRUTH[str(n)]) for n in N))
    rows = raw.open().rows
    assert {row.path: row.label for row in rows if row.label} == {f"train/{n}.png": TRUTH[str(n)] for n in N}
    assert sum(row.split == "test" for row in rows) == len(N)


def test_a_path_to_another_folder_is_not_a_file_name(raw):
    raw.numbered("pictures", *N)
    raw.table("train.csv", "path,label", *((f"/data/others/{n}.png", TRUTH[str(n)]) for n in N))
    refusal(raw, "no labels")


@pytest.mark.parametrize("word", ["nan", "-1", "N/A", "unlabelled"])
def test_labels_that_may_mean_a_missing_label_are_warned_of(raw, caplog, word):
    raw.numbered("train", *N)
    raw.table("train.csv", "id,label", *((n, word if n < 3 else TRUTH[str(n)]) for n in N))
    assert len(raw.open().classes) == 3
    assert f'may mean a missing label are classes: "{word}" (2)' in caplog.text


def test_many_numbers_with_few_images_each_are_warned_of(raw, caplog):
    raw.numbered("train", *range(100))
    raw.table("train.csv", "id,age", *((n, n % 40) for n in range(100)))
    assert len(raw.open().classes) == 40
    assert "the labels are 40 different numbers" in caplog.text
    assert "ages or counts" in caplog.text


def test_the_fold_of_a_picture_is_not_its_label(raw):
    raw.numbered("train", *N)
    raw.table("train.csv", "id,kfold,kind", *((n, n % 3, TRUTH[str(n)]) for n in N))
    assert raw.labels() == TRUTH


def test_two_columns_of_one_name_that_differ_are_refused(raw):
    raw.numbered("train", *N)
    raw.table("train.csv", "id,label,label", *((n, "ab"[n % 2], "ab"[1 - n % 2]) for n in N))
    refusal(raw, "2 columns of train.csv could be the labels")


@pytest.mark.parametrize("values", [[f"{n}%" for n in range(12)], [f"{n % 4},5" for n in range(12)]])
def test_percentages_and_decimal_commas_are_numbers(raw, values):
    raw.numbered("train", *range(12))
    raw.table("train.csv", "id,score", *enumerate(values))
    assert "--label" in refusal(raw, "this is regression").do


def test_lists_of_a_split_that_are_not_read_are_named(raw, caplog):
    raw.pictures(*(f"images/{label}/{n}.png" for label in ("cat", "dog") for n in N))
    (raw.folder / "train.txt").write_text("".join(f"cat/{n}\n" for n in N))
    (raw.folder / "test.txt").write_text("".join(f"dog/{n}\n" for n in N))
    raw.open()
    assert '"test.txt", "train.txt" are not read: if they list a split' in caplog.text
    assert "--labels" in caplog.text


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_arrays_of_0_and_1_become_black_and_white_with_a_warning(raw, caplog, dtype):
    bits = np.random.default_rng(0).integers(0, 2, (6, 8, 8))
    np.savez(raw.folder / "a.npz", images=bits.astype(dtype), labels=np.arange(6) % 2)
    assert np.array_equal([pixels[..., 0] for _, pixels in raw.open().read()], 255 * bits)
    assert ("1 becomes white" in caplog.text) == (dtype is not bool)


def test_a_table_of_0_and_1_becomes_black_and_white_with_a_warning(raw, caplog):
    bits = np.random.default_rng(0).integers(0, 2, (6, 16))
    pixel_table(raw, ",".join(["label", *(f"pixel{n}" for n in range(16))]), bits.tolist(), [0, 1, 0, 1, 0, 1])
    assert np.array_equal([pixels[..., 0].ravel() for _, pixels in raw.open().read()], 255 * bits)
    assert "1 becomes white" in caplog.text


# Pixels in a table.


def pixel_table(raw, header, images, labels, name="train.csv", after=False):
    lines = [[*image, label] if after else [label, *image] for image, label in zip(images, labels, strict=True)]
    raw.table(name, header, *lines)


def colours(order):
    """Six 4x4 images in which red, green and blue have values of their own, as lines of numbers in this order."""
    images = np.random.default_rng(0).integers(0, 80, (6, 4, 4, 3)) + np.array([0, 80, 160])
    if order == "planes":
        return images, images.transpose(0, 3, 1, 2).reshape(6, -1).tolist()
    return images, images.reshape(6, -1).tolist()


@pytest.mark.parametrize("order", ["planes", "pixels"])
def test_the_names_of_pixel_columns_give_the_order_of_colours(raw, order):
    if order == "planes":
        header = [f"{colour}{n}" for colour in ("r", "g", "b") for n in range(16)]
    else:
        header = [f"pixel_{n}_{colour}" for n in range(16) for colour in ("red", "green", "blue")]
    images, lines = colours(order)
    pixel_table(raw, ",".join(["label", *header]), lines, [0, 1, 0, 1, 0, 1])
    assert np.array_equal([pixels for _, pixels in raw.open().read()], images)


@pytest.mark.parametrize("order", ["planes", "pixels"])
def test_colours_in_an_order_that_nothing_tells_are_refused(raw, order):
    _, lines = colours(order)
    pixel_table(raw, ",".join(["label", *(f"pixel{n}" for n in range(48))]), lines, [0, 1, 0, 1, 0, 1])
    caught = refusal(raw, "colour by colour .as in CIFAR. or pixel by pixel")
    assert "r0, r1" in caught.do
    assert ".npz" in caught.do


def test_pixel_columns_of_other_kinds_are_refused(raw):
    _, lines = colours("planes")
    names = [f"{colour}{n}" for colour in ("h", "s", "v") for n in range(16)]
    pixel_table(raw, ",".join(["label", *names]), lines, [0, 1, 0, 1, 0, 1])
    refusal(raw, "the order of the pixel columns of train.csv is unknown")


@pytest.mark.parametrize("after", [False, True])
def test_a_pixel_table_without_a_header_needs_the_column_of_labels(raw, after):
    images = np.random.default_rng(0).integers(0, 256, (6, 16))
    lines = [
        [*image, label] if after else [label, *image] for image, label in zip(images, [5, 0, 4, 1, 9, 2], strict=True)
    ]
    write_csv(raw.folder / "mnist_train.csv", lines)
    caught = refusal(raw, "mnist_train.csv has no header, and 17 columns: one of labels and 16 of pixels")
    assert "--label 1 if it is the first column, or --label 17" in caught.do
    source = raw.open(label="17" if after else "1")
    assert [row.label for row in source.rows] == list("504192")
    assert np.array_equal([pixels[..., 0].ravel() for _, pixels in source.read()], images)


def test_fractions_below_a_first_line_of_whole_numbers_are_refused(raw):
    lines = [[200] * 16, *([[0.5] * 16] * 3)]
    pixel_table(raw, ",".join(["label", *(f"pixel{n}" for n in range(16))]), lines, [0, 1, 0, 1])
    with pytest.raises(DataError, match="whole numbers in the first line, and fractions in others"):
        list(raw.open().read())
