import shutil
from pathlib import PureWindowsPath

import numpy as np
import pytest
from PIL import Image

from conftest import pack_7z, pack_as_kaggle, pack_zip, write_csv
from made import warnings_in
from snellen.errors import DataError
from snellen.images.prepare import prepare
from snellen.sources.archives import Folder
from snellen.sources.decode import decode
from snellen.sources.option_files import with_test
from snellen.sources.origin import identity, located, results_inside
from snellen.sources.source import open_source
from snellen.sources.source_files import Place


def unpacked(world, path):
    return world.folder


def train_packed(world, path):
    pack_7z(world.folder / "train", world.folder / "train.7z", below="train/")
    shutil.rmtree(world.folder / "train")
    return world.folder


def both_packed_without_folders_inside(world, path):
    pack_7z(world.folder / "test", world.folder / "test.7z")
    shutil.rmtree(world.folder / "test")
    pack_zip(world.folder / "train", world.folder / "train.zip")
    shutil.rmtree(world.folder / "train")
    return world.folder


def unpacked_beside_its_archives(world, path):
    pack_zip(world.folder, world.folder / "competition.zip")
    (world.folder / "train.7z").write_bytes(b"not looked at, so it may be damaged")
    return world.folder


def one_folder_above(world, path):
    (path / "above" / "deeper").mkdir(parents=True)
    shutil.move(world.folder, path / "above" / "deeper")
    return path / "above"


def as_zip(world, path):
    return pack_zip(world.folder, path / "a.zip")


def as_zip_with_a_folder_above(world, path):
    return pack_zip(world.folder, path / "a.zip", below="kaggle_tiny/")


def as_7z(world, path):
    return pack_7z(world.folder, path / "a.7z", below="all/")


def as_kaggle_serves_it(world, path):
    return pack_as_kaggle(world, path / "kaggle.zip")


def the_download_alone_in_a_folder(world, path):
    (path / "downloads").mkdir()
    return pack_as_kaggle(world, path / "downloads" / "kaggle.zip").parent


def all_in_one_folder(world, path):
    folder = path / "flat"
    (folder / "images").mkdir(parents=True)
    lines = {}
    for split in ("train", "test"):
        for file in (world.folder / split).iterdir():
            shutil.copy(file, folder / "images" / f"{split}_{file.name}")
    for name, truth in (("labels.csv", world.labels), ("sample_submission.csv", world.test_labels)):
        split = "train" if truth is world.labels else "test"
        lines = [(f"{split}_{id}.png", label if split == "train" else "sky") for id, label in truth.items()]
        write_csv(folder / name, [("image", "category"), *lines])
    return folder


FORMS = [
    unpacked, train_packed, both_packed_without_folders_inside, unpacked_beside_its_archives, one_folder_above, as_zip,
    as_zip_with_a_folder_above, as_7z, as_kaggle_serves_it, the_download_alone_in_a_folder, all_in_one_folder,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_of_the_competition_gives_the_same_rows_and_pictures(world, tmp_path, form):
    source = open_source(form(world, tmp_path), scratch=tmp_path)
    prefix = {"train": "train_", "test": "test_"} if form is all_in_one_folder else {"train": "", "test": ""}
    rows = [(row.split or "train", row.id, row.label) for row in source.rows]
    assert rows == [("train", prefix["train"] + id, label) for id, label in world.labels.items()] + [
        ("test", prefix["test"] + id, None) for id in world.test_labels
    ]
    assert source.classes == ("cherry", "leaf", "sky")
    assert source.sample.startswith(b"id,label\n" if not prefix["test"] else b"image,category\n")
    seen = set()
    for index, picture in source.read():
        split, id, _ = rows[index]
        pixels, _ = decode(picture, 8)
        assert (pixels == world.pixels[split, id.removeprefix(prefix[split])]).all(), id
        seen.add(index)
    assert seen == set(range(len(rows)))


@pytest.mark.parametrize("form", [unpacked, as_zip, as_kaggle_serves_it], ids=lambda form: form.__name__)
def test_labelled_pictures_are_read_first(world, tmp_path, form):
    source = open_source(form(world, tmp_path), scratch=tmp_path)
    splits = [source.rows[index].split for index, _ in source.read()]
    assert splits == sorted(splits, key=lambda split: split is not None)


def test_pictures_can_be_read_twice(world, tmp_path):
    source = open_source(pack_as_kaggle(world, tmp_path / "kaggle.zip"), scratch=tmp_path)
    assert [index for index, _ in source.read()] == [index for index, _ in source.read()]


def test_class_folders_in_a_zip(world, tmp_path):
    tree = tmp_path / "tree"
    for id, label in world.labels.items():
        (tree / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(world.folder / "train" / f"{id}.png", tree / label)
    for source in (tree, pack_zip(tree, tmp_path / "tree.zip", below="data/"), pack_7z(tree, tmp_path / "tree.7z")):
        opened = open_source(source, scratch=tmp_path)
        assert {(row.id, row.label) for row in opened.rows} == {(f"{v}/{k}", v) for k, v in world.labels.items()}
        assert [row.id for row in opened.rows][:4] == [f"cherry/{n}" for n in (2, 4, 10, 12)]
        for index, picture in opened.read():
            assert world.true_label(decode(picture, 8)[0]) == opened.rows[index].label


def test_class_folders_may_come_with_a_sample_submission(world, tmp_path):
    for id, label in world.labels.items():
        (world.folder / "train" / label).mkdir(exist_ok=True)
        shutil.move(world.folder / "train" / f"{id}.png", world.folder / "train" / label)
    (world.folder / "trainLabels.csv").unlink()
    source = open_source(world.folder, scratch=tmp_path)
    assert [row.id for row in source.rows if row.split == "test"] == list(world.test_labels)
    assert source.sample == (world.folder / "sampleSubmission.csv").read_bytes()
    (world.folder / "test" / "3.png").unlink()
    with pytest.raises(DataError, match="1 of 18 ids of the sample have no test picture"):
        open_source(world.folder, scratch=tmp_path)
    shutil.move(world.folder / "sampleSubmission.csv", tmp_path / "s.csv")
    write_csv(tmp_path / "other.csv", [("id", "label"), ("x", "sky")])
    with pytest.raises(DataError, match="the sample submission lists none of the 17 pictures"):
        open_source(world.folder, sample=tmp_path / "other.csv", scratch=tmp_path)


def test_a_csv_that_names_few_pictures_does_not_hide_class_folders(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "tree" / label).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (4, 4)).save(tmp_path / "tree" / label / f"{label}{n}.png")
    write_csv(tmp_path / "tree" / "doubtful.csv", [("file", "who"), ("cat1.png", "me")])
    assert {row.label for row in open_source(tmp_path / "tree", scratch=tmp_path).rows} == {"cat", "dog"}


def test_labels_and_sample_may_lie_elsewhere(world, tmp_path):
    labels = shutil.move(world.folder / "trainLabels.csv", tmp_path / "l.txt")
    sample = shutil.move(world.folder / "sampleSubmission.csv", tmp_path / "s.txt")
    source = open_source(world.folder, labels=labels, sample=str(sample), scratch=tmp_path)
    assert [row.id for row in source.rows] == [*world.labels, *world.test_labels]


def test_labels_may_be_named_as_they_are_called_in_the_archive(world, tmp_path):
    write_csv(world.folder / "old.csv", [("id", "label"), *((id, "cherry") for id in world.labels)])
    archive = pack_zip(world.folder, tmp_path / "a.zip")
    source = open_source(archive, labels="old.csv", scratch=tmp_path)
    assert source.classes == ("cherry",)
    with pytest.raises(DataError, match="neither on disk nor in the source") as caught:
        open_source(archive, labels="odl.csv", scratch=tmp_path)
    assert 'did you mean "old.csv"?' in str(caught.value)


@pytest.mark.parametrize("place", ["elsewhere", "elsewhere.zip", "inside", "inside by its name"])
def test_test_pictures_may_lie_elsewhere(world, tmp_path, place, caplog):
    (world.folder / "sampleSubmission.csv").unlink()
    holdout = tmp_path / "x" if place.startswith("elsewhere") else world.folder / "holdout"
    holdout.mkdir()
    for name in ("1.png", "10.png"):
        Image.new("RGB", (8, 8)).save(holdout / name)
    test = {"elsewhere.zip": lambda: pack_zip(holdout, tmp_path / "x.zip"), "inside by its name": lambda: "holdout"}
    source = open_source(world.folder, test=test.get(place, lambda: holdout)(), scratch=tmp_path)
    assert [row.id for row in source.rows] == [*world.labels, "1", "10"]
    assert "18 pictures in other test folders are left out" in caplog.text
    for index, picture in source.read():
        if source.rows[index].split == "test":
            assert not decode(picture, 8)[0].any()


class WindowsPath(PureWindowsPath):
    def resolve(self):
        return self


def test_a_test_folder_is_found_inside_the_source_on_windows_too(tmp_path, monkeypatch):
    monkeypatch.setattr("snellen.sources.option_files.Path", WindowsPath)
    raw = Folder(WindowsPath(r"C:\raw"))
    files = {name: Place(raw, name) for name in ("holdout/1.png", "train/1.png", "train/2.png")}
    found, test = with_test(files, r"C:\raw\holdout", tmp_path)
    assert test == {"test/1.png"}
    assert set(found) == {"test/1.png", "train/1.png", "train/2.png"}


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("nowhere", '"nowhere" is neither on disk nor in the source'),
        ("empty", '"empty" contains no pictures'),
        ("texts", '"texts" contains no pictures'),
    ],
)
def test_a_test_folder_without_pictures_is_refused(world, tmp_path, monkeypatch, test, message):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "texts"):
        (tmp_path / name).mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    with pytest.raises(DataError, match=message) as caught:
        open_source(world.folder, test=test, scratch=tmp_path)
    assert caught.value.where == "--test"


def test_a_test_folder_that_takes_all_pictures_is_refused(world, tmp_path):
    with pytest.raises(DataError, match='/train" contains all 42 pictures, so no labelled pictures remain') as caught:
        open_source(world.folder, test=world.folder / "train", scratch=tmp_path)
    assert caught.value.where == "--test"
    assert "separate from the labelled ones" in caught.value.expected
    assert "pass the folder of the test pictures" in caught.value.do


def test_labels_that_were_named_as_the_sample_are_said_to_be_missing(world, tmp_path):
    with pytest.raises(DataError, match="is the sample submission, and no other file lists the") as caught:
        open_source(world.folder, sample=world.folder / "trainLabels.csv", scratch=tmp_path)
    assert "trainLabels.csv" in caught.value.what
    assert caught.value.where == "--sample"
    assert "leave out --sample" in caught.value.do


def test_labels_without_lines_are_said_to_have_none(world, tmp_path):
    (world.folder / "trainLabels.csv").write_text("id,label\n")
    (world.folder / "sampleSubmission.csv").unlink()
    with pytest.raises(DataError, match=r'no labels; "trainLabels\.csv" has no lines below its header\.\n'):
        open_source(world.folder, scratch=tmp_path)
    with pytest.raises(DataError, match="the labels file has no lines below its header"):
        open_source(world.folder, labels="trainLabels.csv", scratch=tmp_path)


def test_a_sample_that_is_not_used_is_said(world, tmp_path, caplog):
    write_csv(world.folder / "sampleSubmission.csv", [("id", "label"), *((f"x{n}", "sky") for n in range(1, 13))])
    assert open_source(world.folder, scratch=tmp_path).sample is None
    assert warnings_in(caplog) == [
        'sampleSubmission.csv lists none of the 18 test pictures (first id "x1"): it is not used; pass the right file '
        "with --sample"
    ]
    shutil.rmtree(world.folder / "test")
    (world.folder / "test").mkdir()
    caplog.clear()
    assert open_source(world.folder, scratch=tmp_path).sample is None
    assert warnings_in(caplog) == ["sampleSubmission.csv has 12 ids, but no test pictures were found"]
    (world.folder / "sampleSubmission.csv").write_text("id,label\n")
    caplog.clear()
    assert open_source(world.folder, scratch=tmp_path).sample is None
    assert warnings_in(caplog) == ["sampleSubmission.csv has no lines below its header: it is not used"]


def test_a_sample_that_is_not_used_is_said_beside_class_folders_too(world, tmp_path, caplog):
    for id, label in world.labels.items():
        (world.folder / "train" / label).mkdir(exist_ok=True)
        shutil.move(world.folder / "train" / f"{id}.png", world.folder / "train" / label)
    (world.folder / "trainLabels.csv").unlink()
    write_csv(world.folder / "sampleSubmission.csv", [("id", "label"), ("x1", "sky")])
    assert open_source(world.folder, scratch=tmp_path).sample is None
    assert ["sampleSubmission.csv lists none of the 18 test pictures" in text for text in warnings_in(caplog)] == [True]


def test_without_test_pictures_there_are_none(world, tmp_path):
    shutil.rmtree(world.folder / "test")
    source = open_source(world.folder, scratch=tmp_path)
    assert len(source.rows) == len(world.labels)
    assert source.sample is None


def test_pictures_without_labels_are_refused(world, tmp_path):
    (world.folder / "trainLabels.csv").unlink()
    with pytest.raises(DataError, match="60 pictures were found, but no labels") as caught:
        open_source(world.folder, scratch=tmp_path)
    assert "--labels" in str(caught.value)


def test_a_folder_without_pictures_says_what_is_in_it(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("hello")
    (tmp_path / "x" / "more.txt").write_text("hello")
    with pytest.raises(DataError, match=r'the source contains no pictures, only "more\.txt", "notes\.txt"'):
        open_source(tmp_path / "x", scratch=tmp_path)


def test_a_source_without_files_says_so(world, tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=r"^the folder is empty\."):
        open_source(tmp_path / "x", scratch=tmp_path)
    prepare(world.folder, tmp_path / "x" / "data")
    with pytest.raises(DataError, match=r"^the source contains only hidden files and files that snellen wrote\."):
        open_source(tmp_path / "x", scratch=tmp_path)


def test_labels_that_cannot_be_read_are_named(world, tmp_path):
    (world.folder / "trainLabels.csv").write_bytes("id,label\n1,é\n".encode("latin1"))
    with pytest.raises(DataError, match=r"trainLabels\.csv is not UTF-8"):
        open_source(world.folder, scratch=tmp_path)


def test_a_sample_that_cannot_be_read_is_named_and_another_file_is_left_aside(world, tmp_path, caplog):
    (world.folder / "notes.csv").write_bytes(b"\xff\xff")
    assert open_source(world.folder, scratch=tmp_path).sample
    assert "notes.csv is ignored: notes.csv is not UTF-8" in caplog.text
    (world.folder / "sampleSubmission.csv").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match=r"sampleSubmission\.csv is not UTF-8"):
        open_source(world.folder, scratch=tmp_path)


def test_a_huge_csv_is_left_aside(world, tmp_path, caplog):
    with open(world.folder / "measurements.csv", "wb") as file:
        file.truncate(300 * 2**20)
    assert len(open_source(world.folder, scratch=tmp_path).rows) == 60
    assert "measurements.csv is ignored: measurements.csv cannot be read: larger than 256.0 MB" in caplog.text


def test_an_archive_in_a_7z_is_refused_by_name(world, tmp_path):
    (tmp_path / "x").mkdir()
    pack_7z(world.folder / "train", tmp_path / "x" / "train.7z")
    shutil.copy(world.folder / "trainLabels.csv", tmp_path / "x")
    with pytest.raises(DataError, match=r'"train\.7z" is an archive inside x\.7z'):
        open_source(pack_7z(tmp_path / "x", tmp_path / "x.7z"), scratch=tmp_path)


def test_what_was_found_is_said(world, tmp_path, caplog):
    caplog.set_level("INFO", "snellen")
    open_source(world.folder, scratch=tmp_path)
    assert 'labels: trainLabels.csv, ids in column "id", labels in column "label"' in caplog.text
    assert "source: pictures with labels from trainLabels.csv; 42 labelled, 18 test, 3 classes" in caplog.text


def test_identity_changes_with_the_files_and_the_options_only(world, tmp_path):
    first = identity(world.folder)
    assert identity(str(world.folder)) == first
    assert identity(world.folder, sample="sampleSubmission.csv") != first
    file = world.folder / "train" / "1.png"
    file.write_bytes(file.read_bytes() + b"x")
    assert identity(world.folder) != first
    archive = pack_zip(world.folder, tmp_path / "a.zip")
    before = identity(archive)
    archive.write_bytes(archive.read_bytes() + b"x")
    assert identity(archive) != before


def test_results_in_the_source_folder_are_no_part_of_it(world):
    out = world.folder / "results" / "data"
    before = identity(world.folder)
    out.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(world.folder / "results" / "history.png")
    assert results_inside(world.folder, out) == world.folder.resolve() / "results"
    assert identity(world.folder, skip=results_inside(world.folder, out)) == before
    assert results_inside(world.folder, world.folder.parent / "data") is None
    assert results_inside("demo", out) is None


def run_folder(folder):
    """A run as far as its files tell: with a picture in it, as `report` draws them."""
    folder.mkdir(parents=True)
    for name in ("about.json", "recipe.json"):
        (folder / name).write_text("{}")
    Image.new("RGB", (4, 4)).save(folder / "history.png")


def test_what_snellen_wrote_into_the_source_is_not_read(world, tmp_path, caplog):
    before, known = identity(world.folder), open_source(world.folder, scratch=tmp_path)
    caplog.set_level("INFO", "snellen")
    prepare(world.folder, world.folder / "data")
    prepare(world.folder, world.folder / "result" / "data")  # what compete writes
    for name in ("run", "refit"):
        run_folder(world.folder / "result" / name)
    shutil.copy(world.folder / "trainLabels.csv", world.folder / "result" / "predictions.csv")
    run_folder(world.folder / "cv" / "fold-1")
    (world.folder / "cv" / "folds.json").write_text("{}")
    shutil.copy(world.folder / "trainLabels.csv", world.folder / "cv" / "out_of_fold.csv")
    run_folder(world.folder / "deep" / "er" / "run")
    caplog.clear()
    again = open_source(world.folder, labels=world.folder / "trainLabels.csv", scratch=tmp_path)
    assert again.rows == known.rows
    assert again.sample == known.sample
    said = [text for text in caplog.messages if "it is ignored" in text]
    assert said == [
        f"{name} was written by snellen: it is ignored" for name in ("cv/", "data/", "deep/er/run/", "result/")
    ]
    assert identity(world.folder) == before
    caplog.clear()
    open_source(world.folder, scratch=tmp_path, skip=world.folder / "result")
    assert "result/ is the output folder: it is ignored" in caplog.messages


@pytest.mark.parametrize("name", ["data", "run"])
def test_folders_of_a_person_are_read_whatever_their_name(world, tmp_path, name):
    (world.folder / "result").mkdir()
    shutil.move(world.folder / "train", world.folder / "result" / name)
    (world.folder / "result" / "evaluation.json").write_text("{}")
    assert len(open_source(world.folder, scratch=tmp_path).rows) == 60


def test_a_folder_with_pictures_beside_the_results_of_compete_is_read(world, tmp_path):
    (tmp_path / "all").mkdir()
    shutil.move(world.folder, tmp_path / "all" / "raw")
    prepare(tmp_path / "all" / "raw", tmp_path / "all" / "raw" / "data")
    run_folder(tmp_path / "all" / "raw" / "run")
    assert len(open_source(tmp_path / "all", scratch=tmp_path).rows) == 60


def test_a_word_is_the_word_although_a_folder_has_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert identity("demo") == {"source": "demo"}
    assert identity("./demo")["source"] == str(tmp_path / "demo")
    assert identity("cifar10-tiny")["checksum"] == "2068874e4b9a9f0fb07ebe0ad2b29754449ccacd"


def test_a_folder_named_like_a_word_is_pointed_to_where_it_holds_pictures_of_a_person(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "snellen")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("snellen.sources.demo.write_competition", lambda *args, **options: None)
    run_folder(tmp_path / "demo" / "run")  # `compete demo --out demo`
    located("demo", tmp_path, None)
    assert not caplog.messages
    Image.new("RGB", (4, 4)).save(tmp_path / "demo" / "cat.png")
    located("demo", tmp_path, None)
    assert caplog.messages == ['"demo" is the built-in source; for the folder of that name pass ./demo']


@pytest.mark.slow
def test_demo_is_drawn(tmp_path):
    source = open_source("demo", scratch=tmp_path)
    assert len(source.classes) == 10
    assert source.sample
