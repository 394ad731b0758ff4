import os
import pickle
import tarfile

import numpy as np
import pytest

from made import CIFAR_NAMES, cifar_batches, write_cifar_binary
from snellen.errors import DataError
from snellen.images.prepare import prepare
from snellen.sources.cifar import find_cifar, read_cifar


def write_python(folder, kind, protocol=2):
    folder.mkdir(parents=True)
    key = "labels" if kind == "CIFAR-10" else "fine_labels"
    for name, (labels, planes) in cifar_batches(kind).items():
        batch = {"data": planes, key: labels, "filenames": [f"{i}.png" for i in range(6)], "batch_label": name}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
    meta, key = ("batches.meta", "label_names") if kind == "CIFAR-10" else ("meta", "fine_label_names")
    (folder / meta).write_bytes(pickle.dumps({key: CIFAR_NAMES[kind], "num_vis": 3072}, protocol))
    return folder


def as_python_2(array):
    """The bytes that Python 2 pickled for a uint8 array: strings are SHORT_BINSTRING and BINSTRING."""
    raw = array.tobytes()
    text = lambda value: b"U" + bytes([len(value)]) + value  # noqa: E731
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR(K\x01"
        + b"M" + array.shape[0].to_bytes(2, "little") + b"M" + array.shape[1].to_bytes(2, "little") + b"\x86"
        + b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    )  # fmt: skip


def expect(kind, rows, classes, pixels):
    assert classes == tuple(CIFAR_NAMES[kind])
    train = ["data_batch_1", "data_batch_2", "data_batch_10"] if kind == "CIFAR-10" else ["train"]
    test = "test_batch" if kind == "CIFAR-10" else "test"
    truth = cifar_batches(kind)
    assert [row.id for row in rows] == [str(n + 1) for n in range(6 * len(train))] + [str(n + 1) for n in range(6)]
    place = 0
    for name in [*train, test]:
        labels, planes = truth[name]
        for i in range(6):
            row = rows[place]
            assert row.label == CIFAR_NAMES[kind][labels[i]]
            assert row.split == ("test" if name == test else None)
            assert row.path == f"{name}/{i + 1}"
            image = pixels[place]
            assert (image[:, :, 0].ravel() == planes[i, :1024]).all()
            assert (image[:, :, 2].ravel() == planes[i, 2048:]).all()
            place += 1
    assert place == len(rows) == len(pixels)


def read(folder):
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = find_cifar(list(contents))
    return read_cifar(found, contents)


@pytest.mark.parametrize("kind", ["CIFAR-10", "CIFAR-100"])
@pytest.mark.parametrize("form", ["binary", *range(2, 6)])
def test_both_forms_hold_the_same_images_in_the_order_of_the_files(tmp_path, kind, form):
    folder = write_cifar_binary(tmp_path / "x", kind) if form == "binary" else write_python(tmp_path / "x", kind, form)
    expect(kind, *read(folder))


def test_a_pickle_of_python_2_is_read(tmp_path):
    folder = write_python(tmp_path / "x", "CIFAR-10")
    for name, (labels, planes) in cifar_batches("CIFAR-10").items():
        items = (
            b"U\x04data" + as_python_2(planes) + b"U\x06labels](" + b"".join(b"K" + bytes([n]) for n in labels) + b"e"
        )
        (folder / name).write_bytes(b"\x80\x02}(" + items + b"u.")
    (folder / "batches.meta").write_bytes(b"\x80\x02}(U\x0blabel_names](U\x05zebraU\x05appleeu.")
    expect("CIFAR-10", *read(folder))


@pytest.mark.parametrize("kind", ["CIFAR-10", "CIFAR-100"])
def test_folder_and_archive_of_both_forms_prepare_to_the_same_data(tmp_path, kind):
    fingerprints = set()
    for form, write in (("binary", write_cifar_binary), ("python", write_python)):
        folder = write(tmp_path / form / "cifar-batches", kind)
        with tarfile.open(tmp_path / f"{form}.tar.gz", "w:gz") as archive:
            archive.add(folder, "cifar-batches")
        for source in (folder, tmp_path / form, tmp_path / f"{form}.tar.gz"):
            images = prepare(source, tmp_path / f"data{len(list(tmp_path.iterdir()))}")
            fingerprints.add(images.fingerprint)
    assert len(fingerprints) == 1
    assert images.classes == tuple(CIFAR_NAMES[kind])
    assert images.size == (32, 32)
    test = images.select("test")
    labels, planes = cifar_batches(kind)["test_batch" if kind == "CIFAR-10" else "test"]
    assert test.labels.tolist() == labels, "labels that the source knows are kept"
    assert (test.pixels()[3, :, :, 1].ravel() == planes[3, 1024:2048]).all()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["batches.meta", "data_batch_1"])
def test_a_pickle_runs_no_code(tmp_path, name):
    folder = write_python(tmp_path / "x", "CIFAR-10")
    (folder / name).write_bytes(pickle.dumps({"data": Evil(str(tmp_path / "made")), "labels": [0]}))
    with pytest.raises(DataError, match=f"{name} is damaged: it refers to posix.mkdir"):
        read(folder)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".",  # a bytearray of a terabyte
        b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b".",  # bytes
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo of four thousand million places
        b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00xK\x01sb.",  # changes one of our functions
        b"cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01K\x05K\x05\x86cnumpy\ndtype\n(U\x02f4tR\x89U\x01xtb.",
        pickle.dumps([1, 2]),
        pickle.dumps({"data": 3, "labels": [1]}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": "ab"}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}),
        pickle.dumps({"data": np.zeros((1, 3072), np.float32), "labels": [0]}),
        pickle.dumps({"data": np.zeros((1, 100), np.uint8), "labels": [0]}),
        pickle.dumps({"data": {1, 2}, "labels": [1]}),  # other operations than those of CIFAR
        b"\x80\x02K\x01)R.",  # calls a number
        b"\x80\x02cnumpy\nndarray\n)R.",  # a name that is never called
        b"",
        b"not a pickle",
        b"c\x1b[31mos\nsystem\n.",
    ],
)
def test_a_hostile_or_damaged_pickle_is_a_clear_message(tmp_path, pickled):
    folder = write_python(tmp_path / "x", "CIFAR-10")
    (folder / "data_batch_2").write_bytes(pickled)
    with pytest.raises(DataError, match="data_batch_2 is damaged") as caught:
        read(folder)
    assert "as its author publishes it" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_pickle_cut_anywhere_is_a_clear_message(tmp_path):
    folder = write_python(tmp_path / "x", "CIFAR-10")
    data = (folder / "data_batch_1").read_bytes()
    for length in range(0, len(data) - 1, 997):
        (folder / "data_batch_1").write_bytes(data[:length])
        with pytest.raises(DataError, match="data_batch_1 is damaged"):
            read(folder)


def test_a_binary_file_of_odd_length_or_with_an_unknown_label_is_named(tmp_path):
    folder = write_cifar_binary(tmp_path / "x", "CIFAR-10")
    path = folder / "data_batch_2.bin"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(
        DataError, match=r"data_batch_2\.bin is damaged: 18,437 bytes are not a whole number of images of 3073"
    ):
        read(folder)
    path.write_bytes(data[: 2 * 3073] + b"\x07" + data[2 * 3073 + 1 :])
    with pytest.raises(DataError, match="record 3 has the label 7, but there are 2 classes"):
        read(folder)


@pytest.mark.parametrize("text", ["", "one\n", "one\none\n", "\xff\xfe", "one\n\x1b[31mtwo\n", "one\n" + "x" * 1001])
def test_a_list_of_classes_that_names_none_is_refused(tmp_path, text):
    folder = write_cifar_binary(tmp_path / "x", "CIFAR-10")
    (folder / "batches.meta.txt").write_text(text)
    with pytest.raises(DataError, match=r"batches\.meta\.txt is damaged"):
        read(folder)


@pytest.mark.parametrize(
    "names", [["train/1.png", "test/1.png", "meta/x.png"], ["data_batch_1"], ["a/meta", "b/train"], []]
)
def test_other_files_are_not_taken_for_cifar(names):
    assert find_cifar(names) is None


def test_options_without_meaning_are_refused(tmp_path):
    folder = write_cifar_binary(tmp_path / "x", "CIFAR-10")
    with pytest.raises(DataError, match=r"--labels a\.csv does not apply"):
        prepare(folder, tmp_path / "data", labels="a.csv")
