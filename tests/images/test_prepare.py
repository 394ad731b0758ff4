import csv
import inspect
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from conftest import pack_7z, pack_as_kaggle, pack_zip, write_csv
from made import warnings_in
from snellen.errors import DataError
from snellen.images.imageset import ImageSet, fingerprint
from snellen.images.prepare import SMALLEST, PrepareOptions, prepare
from snellen.images.splits import choose_valid
from snellen.images.workers import SAFE_PATH
from snellen.models import classifier

SIDE = 8


def check(world, images):
    """Every row has the pixels and the label of its own id."""
    for row, id in enumerate(images.ids.tolist()):
        split = "test" if images.splits[row] == "test" else "train"
        assert (images.stored[row] == world.pixels[split, id]).all(), (split, id)
        if split == "train":
            assert images.classes[images.labels[row]] == world.labels[id] == world.true_label(images.stored[row])
        else:
            assert images.labels[row] == -1


def test_every_row_has_the_pixels_and_the_label_of_its_id(world, tmp_path):
    images = prepare(world.folder, tmp_path / "data")
    check(world, images)
    assert images.ids.tolist() == [*world.labels, *world.test_labels], "labels' order, then the sample's"
    assert images.classes == ("cherry", "leaf", "sky")
    assert images.paths[0] == f"train/{images.ids[0]}.png"
    assert images.size == (SIDE, SIDE)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "about.json",
        "images.npy",
        "rows.csv",
        "sample_submission.csv",
    ]
    assert (tmp_path / "data" / "sample_submission.csv").read_bytes() == (
        world.folder / "sampleSubmission.csv"
    ).read_bytes()


def test_every_form_prepares_to_the_same_fingerprint(world, tmp_path):
    forms = [
        world.folder,
        pack_zip(world.folder, tmp_path / "a.zip", below="above/"),
        pack_7z(world.folder, tmp_path / "a.7z"),
        pack_as_kaggle(world, tmp_path / "kaggle.zip"),
    ]
    made = [prepare(form, tmp_path / f"data{n}") for n, form in enumerate(forms)]
    assert len({images.fingerprint for images in made}) == 1
    for images in made:
        check(world, images)
        assert images.fingerprint == fingerprint(images.stored, (images.folder / "rows.csv").read_bytes())


def test_the_split_is_that_of_choose_valid_and_changes_with_its_options_only(world, tmp_path):
    images = prepare(world.folder, tmp_path / "data", valid_share=0.3, seed=5)
    expected = choose_valid(list(world.labels), list(world.labels.values()), 0.3, 5)
    assert set(images.select("valid").ids.tolist()) == expected
    assert images.counts == {"train": 30, "valid": 12, "test": 18}
    other = prepare(world.folder, tmp_path / "other", valid_share=0.3, seed=6)
    assert set(other.select("valid").ids.tolist()) != expected


def test_split_ignores_the_order_of_the_labels(world, tmp_path):
    first = prepare(world.folder, tmp_path / "first")
    lines = list(world.labels.items())
    random.Random(1).shuffle(lines)
    write_csv(world.folder / "trainLabels.csv", [("id", "label"), *lines])
    second = prepare(world.folder, tmp_path / "second")
    assert set(first.select("valid").ids) == set(second.select("valid").ids)
    assert second.ids.tolist()[: len(lines)] == [id for id, _ in lines]


def test_about_tells_how_the_data_was_made(world, tmp_path):
    images = prepare(world.folder, tmp_path / "data", seed=3)
    about = images.about
    assert about["format"] == 1
    assert about["classes"] == ["cherry", "leaf", "sky"]
    assert about["size"] == [8, 8]
    assert about["counts"] == {"train": 39, "valid": 3, "test": 18}
    assert about["class_counts"] == {"cherry": 14, "leaf": 14, "sky": 14}
    assert about["skipped"] == []
    assert about["resized"] == 0
    assert about["sample"] == "sample_submission.csv"
    assert about["source"]["source"] == str(world.folder)
    assert about["options"] == {
        "size": None,
        "valid_share": 0.1,
        "seed": 3,
        "split_rule": "proportional",
        "skip_unreadable": False,
        "group_duplicates": False,
    }
    assert set(about["versions"]) == {"snellen", "python", "numpy", "pillow"}


def test_mean_and_std_are_those_of_all_pixels_of_the_train_split(world, tmp_path):
    images = prepare(world.folder, tmp_path / "data")
    pixels = images.select("train").pixels().reshape(-1, 3).astype(np.float64) / 255
    assert images.about["mean"] == pytest.approx(pixels.mean(axis=0), rel=1e-12)
    assert images.about["std"] == pytest.approx(pixels.std(axis=0), rel=1e-12)


def test_without_a_sample_there_is_none_and_test_is_in_natural_order(world, tmp_path):
    (world.folder / "sampleSubmission.csv").unlink()
    images = prepare(world.folder, tmp_path / "data")
    assert images.about["sample"] is None
    assert not (tmp_path / "data" / "sample_submission.csv").exists()
    assert " ".join(images.select("test").ids) == "1 3 9 10 12 33 70 200 205 300 1000 2000 a7 b12 d4 e q9 v2.5"


def test_without_test_pictures_there_is_no_test_split(world, tmp_path):
    shutil.rmtree(world.folder / "test")
    (world.folder / "sampleSubmission.csv").unlink()
    assert prepare(world.folder, tmp_path / "data").counts == {"train": 39, "valid": 3}


@pytest.mark.parametrize("form", ["folder", "zip", "kaggle"])
def test_unreadable_pictures_are_all_counted_and_named_and_nothing_is_written(world, tmp_path, form):
    for name in ("train/9.png", "train/a7.png", "test/1000.png", "test/3.png"):
        path = world.folder / name
        path.write_bytes(path.read_bytes()[:60])
    (world.folder / "train" / "31.png").write_bytes(b"")
    source = {
        "folder": lambda: world.folder,
        "zip": lambda: pack_zip(world.folder, tmp_path / "a.zip"),
        "kaggle": lambda: pack_as_kaggle(world, tmp_path / "a.zip"),
    }[form]()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match="5 of 60 pictures cannot be read") as caught:
        prepare(source, tmp_path / "data")
    assert '"train/9.png (' in str(caught.value)
    assert "--skip-unreadable" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before

    images = prepare(source, tmp_path / "data", skip_unreadable=True)
    check(world, images)
    assert len(images) == 55
    skipped = images.about["skipped"]
    assert [(entry["split"], entry["id"]) for entry in skipped] == [
        ("train", "9"), ("train", "a7"), ("train", "31"), ("test", "1000"), ("test", "3"),
    ]  # fmt: skip
    assert skipped[2] == {"id": "31", "split": "train", "path": "train/31.png", "reason": "the file is empty"}
    left = {id: label for id, label in world.labels.items() if id not in ("9", "a7", "31")}
    assert set(images.select("valid").ids.tolist()) == choose_valid(list(left), list(left.values()), 0.1, 0)
    assert images.fingerprint == fingerprint(images.stored, (images.folder / "rows.csv").read_bytes())


def test_what_is_left_out_is_said(world, tmp_path, caplog):
    (world.folder / "train" / "31.png").write_bytes(b"")
    prepare(world.folder, tmp_path / "data", skip_unreadable=True)
    assert '1 unreadable pictures are left out, first "train/31.png (the file is empty)"' in caplog.text


@pytest.mark.parametrize(
    ("sizes", "expected", "why"),
    [
        ([(8, 8)], 8, "as in the first 60 pictures"),
        ([(95, 95)], 95, "as in the first 60 pictures"),
        ([(96, 96)], 96, "photographs: the median shorter side of the first 60 pictures is 96 pixels"),
        ([(96, 128), (120, 110)], 96, "photographs"),
        ([(95, 400)], 32, "have 95x400 pixels"),
        (
            [(300, 400), (80, 90), (400, 300)],
            256,
            "the median shorter side of the first 60 pictures is 300",
        ),
        ([(8, 9)], 32, "have 8x9 pixels"),
        ([(8, 8), (10, 10)], 32, "have different sizes"),
        ([(2, 2)], 32, "have 2x2 pixels"),
    ],
)
def test_the_size_is_that_of_the_pictures_or_32_and_says_why(world, tmp_path, caplog, sizes, expected, why):
    caplog.set_level("INFO", "snellen")
    for number, path in enumerate(sorted(world.folder.rglob("*.png"))):
        Image.open(path).resize(sizes[number % len(sizes)]).save(path)
    images = prepare(world.folder, tmp_path / "data")
    assert images.size == (expected, expected)
    assert f"size: {expected}x{expected} pixels" in caplog.text
    assert why in caplog.text
    resized = 0 if sizes == [(expected, expected)] else 60
    assert images.about["resized"] == resized
    assert (f"{resized} of 60 pictures are resized" in caplog.text) == bool(resized)


def test_a_requested_size_is_used(world, tmp_path):
    images = prepare(world.folder, tmp_path / "data", size=16)
    assert images.size == (16, 16)
    assert images.about["resized"] == 60
    assert [world.true_label(image) for image in images.select("test").pixels()] == list(world.test_labels.values())


@pytest.mark.parametrize(
    ("size", "message"),
    [(3, "out of range"), (4, "cannot be read"), (1024, "cannot be read"), (1025, "image size 1025 is out of range")],
)
def test_sizes_from_4_to_1024_pixels_are_taken(tmp_path, size, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "nowhere", tmp_path / "data", size=size)


def test_sizes_that_no_network_takes_are_warned_of(world, tmp_path, caplog):
    assert SMALLEST == classifier.SMALLEST
    for name, size in (("asked", 8), ("found", None)):
        caplog.clear()
        prepare(world.folder, tmp_path / name, size=size)
        size_warning = "images have 8x8 pixels, but every network needs 16 or more; see --size"
        assert [text for text in warnings_in(caplog) if "validation images" not in text] == [size_warning]
    caplog.clear()
    prepare(world.folder, tmp_path / "large", size=16)
    assert not [text for text in warnings_in(caplog) if "pixels" in text]


def test_the_same_again_is_opened_and_not_made_again(world, tmp_path, caplog):
    caplog.set_level("INFO", "snellen")
    first = prepare(world.folder, tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    second = prepare(str(world.folder), str(tmp_path / "data"))
    assert second.fingerprint == first.fingerprint
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()} == before
    assert "already contains these images" in caplog.text


def test_nothing_is_overwritten(world, tmp_path):
    out = tmp_path / "data"
    prepare(world.folder, out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    for options in ({"seed": 1}, {"valid_share": 0.2}, {"size": 16}, {"skip_unreadable": True}):
        name, value = next(iter(options.items()))
        with pytest.raises(DataError, match="with other options") as caught:
            prepare(world.folder, out, **options)
        assert f"{name}: " in str(caught.value)
        assert f", {name}: " not in str(caught.value)
        assert f"{value} now" in str(caught.value)
    (world.folder / "test" / "3.png").touch()
    os.utime(world.folder / "test" / "3.png", (1, 1))
    with pytest.raises(DataError, match="prepared from other files, or the files have changed since"):
        prepare(world.folder, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "novel.txt").write_text("once upon a time")
    with pytest.raises(DataError, match="is not empty and does not hold prepared images"):
        prepare(world.folder, tmp_path / "mine")
    with pytest.raises(DataError, match="is a file"):
        prepare(world.folder, tmp_path / "mine" / "novel.txt")
    assert (tmp_path / "mine" / "novel.txt").read_text() == "once upon a time"


def test_removing_is_advised_for_what_snellen_wrote_alone(world, tmp_path):
    out = tmp_path / "data"
    prepare(world.folder, out)
    with pytest.raises(DataError, match="with other options") as caught:
        prepare(world.folder, out, seed=1)
    assert caught.value.do == "choose another --out, or remove the folder"
    (out / "features").mkdir()  # of a pretrained network, see training/features.py
    with pytest.raises(DataError, match="with other options") as caught:
        prepare(world.folder, out, seed=1)
    assert caught.value.do == "choose another --out, or remove the folder"
    (out / "novel.txt").write_text("once upon a time")
    with pytest.raises(DataError, match="with other options") as caught:
        prepare(world.folder, out, seed=1)
    assert caught.value.do == "choose another --out"
    for around in (tmp_path, world.folder / "train"):
        with pytest.raises(DataError, match="is not empty and does not hold prepared images") as caught:
            prepare(world.folder, around)
        assert caught.value.do == "choose another --out"


def test_the_source_is_not_overwritten(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world.folder)
    for source, out in ((world.folder, "."), (pack_zip(world.folder, tmp_path / "a.zip"), tmp_path / "a.zip")):
        with pytest.raises(DataError, match="is the source, which is never overwritten") as caught:
            prepare(source, out)
        assert (caught.value.where, caught.value.do) == ("--out", "choose another --out")
    assert len(list(world.folder.rglob("*"))) == 64


def test_an_empty_folder_may_be_written(world, tmp_path):
    (tmp_path / "data").mkdir()
    check(world, prepare(world.folder, tmp_path / "data"))


def test_the_result_may_lie_in_the_source_folder(world, monkeypatch):
    monkeypatch.chdir(world.folder)
    images = prepare(".", "out/data")
    check(world, images)
    assert prepare(".", "out/data").fingerprint == images.fingerprint


@pytest.mark.parametrize("bad", [("nowhere", "cannot be read: No such file"), ("labels.doc", "neither a folder nor a")])
def test_a_source_that_is_none_leaves_nothing_behind(tmp_path, bad):
    (tmp_path / "labels.doc").write_text("id,label\n1,a\n")
    name, message = bad
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / name, tmp_path / "deep" / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.doc"]


def test_labels_that_cannot_be_split_are_refused_before_decoding(world, tmp_path):
    (world.folder / "train" / "9.png").write_bytes(b"broken")
    write_csv(world.folder / "trainLabels.csv", [("id", "label"), *dict.fromkeys(world.labels, "cherry").items()])
    with pytest.raises(DataError, match="one class"):
        prepare(world.folder, tmp_path / "data")


def test_a_class_with_a_single_image_trains_and_is_reported(world, tmp_path, caplog):
    write_csv(world.folder / "trainLabels.csv", [("id", "label"), *(world.labels | {"1": "owl"}).items()])
    images = prepare(world.folder, tmp_path / "data")
    assert images.splits[images.ids.tolist().index("1")] == "train"
    assert '1 of 4 classes have a single image, used only for training, first "owl"' in warnings_in(caplog)


def test_the_split_follows_the_rule_that_is_named(world, tmp_path):
    labels = {id: "leaf" if name == "sky" else name for id, name in world.labels.items()}  # 14 cherries, 28 leaves
    write_csv(world.folder / "trainLabels.csv", [("id", "label"), *labels.items()])
    for rule, expected in (("proportional", {"cherry": 3, "leaf": 5}), ("seeds", {"cherry": 2, "leaf": 2})):
        images = prepare(world.folder, tmp_path / rule, valid_share=0.2, split_rule=rule).select("valid")
        assert Counter(images.classes[label] for label in images.labels) == expected


def test_progress_counts_every_picture(world, tmp_path):
    news = []
    prepare(world.folder, tmp_path / "data", on_progress=lambda *words: news.append(words))
    assert news == [("decode", 60, 60)]


def test_classes_without_pictures_are_said(world, tmp_path, caplog):
    for id, label in world.labels.items():
        if label == "sky":
            (world.folder / "train" / f"{id}.png").write_bytes(b"")
    images = prepare(world.folder, tmp_path / "data", skip_unreadable=True)
    assert images.about["class_counts"] == {"cherry": 14, "leaf": 14, "sky": 0}
    assert '1 classes have no image, first "sky"' in caplog.text


def test_what_a_spreadsheet_would_compute_is_kept_and_warned_of(tmp_path, caplog):
    ids = ["=1+1", "@sum", "-x", "-5", "+1.5", "plain"]
    for number, id in enumerate(ids):
        folder = tmp_path / "raw" / "train"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{id}.png")
    labels = [("id", "label"), *((id, ["=cmd()", "dog"][number % 2]) for number, id in enumerate(ids))]
    write_csv(tmp_path / "raw" / "trainLabels.csv", labels)
    images = prepare(tmp_path / "raw", tmp_path / "data", valid_share=0.34)
    assert sorted(images.ids.tolist()) == sorted(ids)
    assert "4 ids or classes look like formulas" in caplog.text
    assert '"=cmd()"' in caplog.text


def test_commas_quotes_and_letters_of_all_kinds_survive_in_names(tmp_path):
    names = ["a,b", 'say "hi"', "Zürich", "日本", " space", "semi;colon"]
    rng = np.random.default_rng(0)
    folder = tmp_path / "raw" / "train"
    folder.mkdir(parents=True)
    images = {}
    for name in names:
        images[name.strip()] = rng.integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
        Image.fromarray(images[name.strip()]).save(folder / f"{name.strip()}.png")
    labels = ["one, two", 'the "other"']
    lines = [(name, labels[n % 2]) for n, name in enumerate(names)]
    write_csv(tmp_path / "raw" / "labels.csv", [("file", "kind of thing"), *lines])
    made = prepare(tmp_path / "raw", tmp_path / "data")
    assert set(made.classes) == set(labels)
    for row, id in enumerate(made.ids.tolist()):
        assert (made.stored[row] == images[id]).all()
        assert made.classes[made.labels[row]] == {name.strip(): label for name, label in lines}[id]
    with open(tmp_path / "data" / "rows.csv", newline="", encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [name.strip() for name in names]


def test_it_is_repeated_bit_for_bit(world, tmp_path):
    first = prepare(world.folder, tmp_path / "a")
    second = prepare(world.folder, tmp_path / "b")
    for name in ("images.npy", "rows.csv", "about.json", "sample_submission.csv"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


KILL_AT = """
import os, signal, sys
from snellen.images.prepare import prepare
def kill(stage, done, total):
    os.kill(os.getpid(), signal.SIGKILL)
prepare(sys.argv[1], sys.argv[2], on_progress=kill)
"""


def test_a_killed_prepare_leaves_no_half_of_it_and_the_next_cleans_up(world, tmp_path):
    undisturbed = prepare(world.folder, tmp_path / "undisturbed")
    out = tmp_path / "there" / "data"
    done = subprocess.run([sys.executable, "-c", KILL_AT, str(world.folder), str(out)])
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert len(list(out.parent.iterdir())) == 1
    images = prepare(world.folder, out)
    assert [path.name for path in out.parent.iterdir()] == ["data"]
    assert images.fingerprint == undisturbed.fingerprint


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """3,000 files in class folders: 40 pictures of 6x6 pixels under many names, and two that cannot be read."""
    folder = tmp_path_factory.mktemp("many")
    for number, pixels in enumerate(np.random.default_rng(5).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "40.png").write_bytes(b"broken")
    for name in ("a", "b"):
        (folder / name).mkdir()
    for number in range(3000):
        os.link(
            folder / f"{40 if number in (100, 2900) else number % 40}.png", folder / "ab"[number % 2] / f"{number}.png"
        )
    for path in folder.glob("*.png"):
        path.unlink()
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(many, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "data"
    return contents(prepare(many, out, skip_unreadable=True, workers=1).folder)


def test_several_workers_prepare_what_one_does(many, undisturbed, world, tmp_path):
    assert contents(prepare(many, tmp_path / "folder", skip_unreadable=True, workers=3).folder) == undisturbed
    packed = prepare(pack_zip(many, tmp_path / "a.zip"), tmp_path / "zip", skip_unreadable=True, workers=2)
    assert packed.fingerprint == json.loads(undisturbed["about.json"])["fingerprint"]
    assert contents(prepare(world.folder, tmp_path / "three", size=16, workers=3).folder) == contents(
        prepare(world.folder, tmp_path / "one", size=16).folder
    )


STOP_AT = """
import os, signal, sys
from snellen.images.prepare import prepare
def stop(stage, done, total):
    if done >= int(sys.argv[4]):
        os.kill(os.getpid(), getattr(signal, sys.argv[3]))
prepare(sys.argv[1], sys.argv[2], skip_unreadable=True, workers=int(sys.argv[5]), on_progress=stop)
"""


@pytest.mark.parametrize(("how", "workers"), [("SIGKILL", 1), ("SIGKILL", 2), ("SIGINT", 2)])
def test_a_stopped_prepare_resumes_to_the_same_bytes(many, undisturbed, tmp_path, caplog, how, workers):
    caplog.set_level("INFO", "snellen")
    out = tmp_path / "data"
    for at in ("1500", "2250"):
        stopped = [sys.executable, "-c", STOP_AT, str(many), str(out), how, at, str(workers)]
        done = subprocess.run(
            stopped,
            capture_output=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's "&" ignores it
        )
        assert done.returncode == -getattr(signal, how)
        assert not out.exists()
    news = []
    prepare(many, out, skip_unreadable=True, seed=0, on_progress=lambda *words: news.append(words[1]))
    assert "resuming: 2000 of 3000 pictures are decoded" in caplog.text
    assert news == [2250, 2500, 2750, 3000]
    assert contents(out) == undisturbed
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "step",
    ["readable_rows", "copy_readable", "duplicate_ids", "rows_text", "measure", "about_of", "check_sample"],
)
def test_a_stop_at_any_step_gives_no_picture_the_label_of_another(world, tmp_path, monkeypatch, step, when):
    for name in ("9", "31"):
        (world.folder / "train" / f"{name}.png").write_bytes(b"broken")
    how = {"size": 16, "skip_unreadable": True, "group_duplicates": True}
    undisturbed = contents(prepare(world.folder, tmp_path / "undisturbed", **how).folder)
    module = sys.modules[prepare.__module__]
    whole = getattr(module, step)

    def stop(*given):
        if when == "after":
            whole(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, step, stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                prepare(world.folder, tmp_path / "data", **how)
    images = prepare(world.folder, tmp_path / "data", **how)
    labelled = images.labels >= 0
    names = [images.classes[label] for label in images.labels[labelled]]
    assert [world.true_label(pixels) for pixels in images.stored[labelled]] == names
    assert contents(images.folder) == undisturbed


def test_what_was_decoded_of_other_files_is_not_used(many, tmp_path, caplog):
    caplog.set_level("INFO", "snellen")
    folder, out = tmp_path / "mine", tmp_path / "data"
    shutil.copytree(many, folder, copy_function=os.link)
    subprocess.run([sys.executable, "-c", STOP_AT, str(folder), str(out), "SIGKILL", "1500", "1"], capture_output=True)
    replaced = folder / "a" / "0.png"
    replaced.unlink()
    Image.new("RGB", (6, 6), "red").save(replaced)
    images = prepare(folder, out, skip_unreadable=True)
    assert "resuming" not in caplog.text
    assert (images.pixels()[images.ids == "a/0"] == [255, 0, 0]).all()
    assert sorted(os.listdir(tmp_path)) == ["data", "mine"]


WORKER_KILLED = """
import multiprocessing, sys
from snellen.images.prepare import prepare
def kill(*progress):
    for worker in multiprocessing.active_children():
        worker.kill()
prepare(sys.argv[1], sys.argv[2], workers=2, on_progress=kill)
"""


def test_a_killed_process_is_an_error_and_no_hang(many, tmp_path):
    run = [sys.executable, "-c", WORKER_KILLED, str(many), str(tmp_path / "data")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert "DataError: a process that decodes pictures was killed or could not start" in done.stderr
    assert "--workers 1" in done.stderr
    assert not os.listdir(tmp_path)


ALL_BUT_WORKERS_KILLED = """
import multiprocessing, os, signal, sys
from snellen.images.prepare import prepare
def kill(*progress):
    print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
prepare(sys.argv[1], sys.argv[2], workers=2, on_progress=kill)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_when_the_command_is_killed(many, tmp_path):
    run = [sys.executable, "-c", ALL_BUT_WORKERS_KILLED, str(many), str(tmp_path / "data")]
    pids = subprocess.run(run, capture_output=True, text=True, timeout=60).stdout.split()
    assert len(pids) == 2

    def is_running(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    deadline = time.monotonic() + 60
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "a worker outlives its command"
        time.sleep(0.01)


IN_FOLDER = """
import sys
sys.path.remove("")
from snellen.images.prepare import prepare
prepare(sys.argv[1], sys.argv[2], skip_unreadable=True, workers=2)
"""


def test_a_process_imports_nothing_from_the_current_folder(many, tmp_path):
    (tmp_path / "pickle.py").write_text("open('was_here', 'w')")
    subprocess.run([sys.executable, "-c", IN_FOLDER, str(many), "data"], cwd=tmp_path, check=True)
    assert sorted(os.listdir(tmp_path)) == ["data", "pickle.py"]


@pytest.mark.parametrize("before", [None, "0"])
def test_the_environment_is_restored_by_the_last_of_several_threads(monkeypatch, before):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    SAFE_PATH.__enter__()
    SAFE_PATH.__enter__()
    SAFE_PATH.__exit__()
    assert os.environ["PYTHONSAFEPATH"] == "1", "one is still inside"
    SAFE_PATH.__exit__()
    assert os.environ.get("PYTHONSAFEPATH") == before


def test_a_warning_of_processes_is_given_once(tmp_path, caplog):
    for number in range(600):
        path = tmp_path / "raw" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint16)).save(path)
    prepare(tmp_path / "raw", tmp_path / "data", workers=2)
    assert (
        warnings_in(caplog).count("16-bit pictures with values of at most 1023 are stretched: 1023 becomes white") == 1
    )


LITTLE_MEMORY = """
import resource, sys
from snellen.images.prepare import prepare
resource.setrlimit(resource.RLIMIT_AS, (480 * 2**20, resource.RLIM_INFINITY))
prepare(sys.argv[1], sys.argv[2], skip_unreadable=True, workers=int(sys.argv[3]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_memory_that_runs_out_stops_and_does_not_skip_the_picture(tmp_path, workers):
    for label in ("a", "b"):
        (tmp_path / "raw" / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (16, 16), "red").save(tmp_path / "raw" / label / f"{number}.png")
    Image.new("RGB", (9900, 9900), "red").save(tmp_path / "raw" / "b" / "large.png")  # 392 MB once decoded
    run = [sys.executable, "-c", LITTLE_MEMORY, str(tmp_path / "raw"), str(tmp_path / "data"), str(workers)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert "DataError: there is not enough memory to decode a picture" in done.stderr
    assert "in: b/large.png" in done.stderr
    assert os.listdir(tmp_path) == ["raw"]


SCRIPT = """
from snellen.images.workers import choose_workers
for side, num, wanted in ((32, 60_000, None), (32, 100, None), (512, 100, None), (32, 100, 3)):
    workers = choose_workers([(side, side)] * 64, num, wanted)
    print(workers.num, workers.are_processes)
"""


def test_photographs_get_threads_and_many_tiny_pictures_processes_unless_those_would_run_a_script_again(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__main__.py").write_text(SCRIPT)
    every = len(os.sched_getaffinity(0))
    for how, tiny in (
        (["script.py"], 1),
        (["-m", "script"], 1),
        (["-c", SCRIPT], every),
        (["-m", "own"], every),
    ):
        run = subprocess.run([sys.executable, *how], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert run.stdout.splitlines() == [f"{tiny} True", "1 True", f"{every} False", "3 True"], how


FULL_DISK = """
import resource, sys
from snellen.models import classifier
from snellen.errors import DataError
from snellen.images.prepare import prepare
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    prepare(sys.argv[1], sys.argv[2])
except DataError as problem:
    print(problem)
"""


@pytest.mark.parametrize("missing", [1, 100, 5000])
def test_a_disk_that_fills_is_a_clear_message_and_leaves_nothing(world, tmp_path, missing):
    space = 128 + 60 * SIDE * SIDE * 3 - missing
    run = [sys.executable, "-c", FULL_DISK, str(world.folder), str(tmp_path / "data"), str(space)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "the folder cannot be written" in done.stdout
    assert "free some space" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_damaged_results_are_not_taken_for_done(world, tmp_path):
    out = tmp_path / "data"
    prepare(world.folder, out)
    about = json.loads((out / "about.json").read_text())
    (out / "about.json").write_text("{")
    with pytest.raises(DataError, match=r"about\.json is damaged"):
        prepare(world.folder, out)
    (out / "about.json").write_text(json.dumps(about))
    with open(out / "images.npy", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match="damaged"):
        prepare(world.folder, out)


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    # 96x96x3 pixels are 27 KB; 4,000 of them 110 MB. What a process needs for itself is measured in the same way.
    code = """
import resource, sys
import numpy as np
from snellen.images.prepare import prepare
prepare(sys.argv[1], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

    def peak(num):
        folder = tmp_path / f"raw{num}"
        for label in ("a", "b"):
            (folder / label).mkdir(parents=True)
        Image.new("RGB", (96, 96), "red").save(folder / "0.png")
        for n in range(num):
            os.link(folder / "0.png", folder / "ab"[n % 2] / f"{n}.png")
        (folder / "0.png").unlink()
        run = [sys.executable, "-c", code, str(folder), str(tmp_path / f"data{num}")]
        return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout) / 1024

    assert peak(4000) - peak(10) < 30, "MB"


def test_an_imageset_opens_what_was_written(world, tmp_path):
    prepare(world.folder, tmp_path / "data")
    opened = ImageSet.open(tmp_path / "data")
    assert str(opened).startswith("60 images of 8x8 pixels (39 train, 3 valid, 18 test); 3 classes: cherry, leaf, sky")
    assert not math.isnan(sum(opened.about["std"]))


def test_duplicates_stay_on_one_side_of_the_split(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "raw"
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    pictures = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    for number in range(40):
        twin = pictures[number - number % 2] if number < 20 else pictures[number]  # 0 = 1, 2 = 3, ... up to 19
        Image.fromarray(twin).save(folder / "ab"[number // 2 % 2] / f"{number}.png")
    plain = prepare(folder, tmp_path / "plain", valid_share=0.3)
    grouped = prepare(folder, tmp_path / "grouped", valid_share=0.3, group_duplicates=True)
    has_twin = np.array([int(id.rpartition("/")[2]) < 20 for id in grouped.ids])
    assert (plain.splits[has_twin] == "valid").any(), "else this shows nothing"
    assert not (grouped.splits[has_twin] == "valid").any()
    assert grouped.counts == plain.counts


@pytest.mark.parametrize(("old", "new"), [(",leaf,", ",sky,"), (",train,", ",valid,")])
def test_rows_that_were_changed_by_hand_are_refused(world, tmp_path, old, new):
    images = prepare(world.folder, tmp_path / "data")
    rows = tmp_path / "data" / "rows.csv"
    whole = rows.read_text()
    rows.write_text(whole.replace(old, new, 1))
    with pytest.raises(DataError, match=r"rows\.csv has changed since `snellen prepare` wrote it") as caught:
        ImageSet.open(tmp_path / "data")
    assert caught.value.where == str(rows)
    rows.write_bytes(whole.replace("\n", "\r\n").encode())  # a spreadsheet saved it and changed nothing
    assert ImageSet.open(tmp_path / "data").labels.tolist() == images.labels.tolist()


@pytest.mark.parametrize(("how", "picture"), [("crop", "gg"), ("pad", ".rgb."), ("stretch", "rgb")])
def test_pictures_that_are_not_square_are_resized_as_asked_for(tmp_path, how, picture):
    stripes = np.zeros((32, 96, 3), np.uint8)  # red, green and blue, side by side
    for third in range(3):
        stripes[:, 32 * third : 32 * third + 32, third] = 255
    for label in ("a", "b"):
        for turn in range(2):
            (tmp_path / "raw" / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rot90(stripes, turn)).save(tmp_path / "raw" / label / f"{turn}.png")
    images = prepare(tmp_path / "raw", tmp_path / "data", size=30, resize=how)
    border = images.about.get("resize", {}).get("border", [0, 0, 0])
    seen = {"r": [255, 0, 0], "g": [0, 255, 0], "b": [0, 0, 255], ".": border}
    for id, pixels in zip(images.ids.tolist(), images.pixels(), strict=True):
        upright = np.rot90(pixels, -int(id.rpartition("/")[2]))
        line, column = upright[15].tolist(), upright[:, 15].tolist()
        if how == "pad":
            assert column[2] == column[-3] == border == [124, 116, 104]
            assert [line[n] for n in (5, 15, 25)] == [seen[c] for c in "rgb"]
        else:
            places = (10, 20) if how == "crop" else (5, 15, 25)
            assert [line[n] for n in places] == [seen[c] for c in picture]
    assert images.resize.how == how
    assert ("resize" in images.about["options"]) == (how != "crop"), "the default changes no file"
    with pytest.raises(DataError, match="with other options"):
        prepare(tmp_path / "raw", tmp_path / "data", size=30, resize="crop" if how == "pad" else "pad")


@pytest.mark.parametrize(
    ("size", "how", "is_warned"), [((64, 16), "crop", True), ((64, 16), "pad", False), ((64, 40), "crop", False)]
)
def test_cropping_most_of_a_panorama_is_warned_of(world, tmp_path, caplog, size, how, is_warned):
    for path in world.folder.rglob("*.png"):
        Image.open(path).resize(size).save(path)
    prepare(world.folder, tmp_path / "data", resize=how)
    assert ("cropping the centre drops about 75% of each; --resize pad keeps all of it" in caplog.text) == is_warned


def test_an_unknown_way_to_resize_is_refused(world, tmp_path):
    with pytest.raises(DataError, match='unknown way to resize pictures: "crp"') as caught:
        prepare(world.folder, tmp_path / "data", resize="crp")
    assert caught.value.do == 'did you mean "crop"?'


def test_the_disk_space_is_reported_and_too_little_is_refused_before_decoding(world, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", "snellen")
    needed = 60 * 300 * 300 * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    prepare(world.folder, tmp_path / "data", size=300)
    assert "disk space: 16.2 MB needed, 16.2 MB free" in caplog.text
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(DataError, match=r"need 16\.2 MB of disk space") as caught:
        prepare(world.folder, tmp_path / "other", size=300)
    assert "--size" in caught.value.do
    assert not (tmp_path / "other").exists()


def test_functions_that_pass_options_on_know_all_of_them():
    own = {"source", "out", "metric", "on_progress"}  # which those functions have themselves
    assert {*PrepareOptions.__annotations__} == {*inspect.signature(prepare).parameters} - own
