"""The check finds what was planted, says what it could not look at, and writes all of it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from made import make_images, noise, scenes
from read_page import read_page
from snellen.charts.pages import mark
from snellen.errors import DataError, RunError, SnellenError
from snellen.images import oddities
from snellen.prediction.predictions import Predictions
from snellen.reports.check import check
from snellen.runs.presets import PRESETS
from snellen.training.train import train

BRIEF = PRESETS["smoke"].with_settings(["precision=float32"])
NASTY = "<b onclick='x'>&amp;"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("check")


@pytest.fixture(scope="module")
def images(place):
    """60 scenes: 0-39 train, 40-49 valid, 50-59 test; and then the planted ones."""
    pixels = scenes(60, size=16, seed=4)
    darker = (pixels * 0.8).astype(np.uint8)
    planted = [
        (pixels[0], "train", "cat"),  # 60: exact copy, same label
        (pixels[1], "train", "owl"),  # 61: exact copy, other label
        (darker[2], "valid", "owl"),  # 62: near copy of a train image, other label
        (pixels[3], "test", ""),  # 63: exact copy of a train image
        (darker[41], "test", ""),  # 64: near copy of a valid image
        (darker[4, :, ::-1], "train", "cat"),  # 65: mirrored
        (np.full((16, 16, 3), 77, np.uint8), "train", "cat"),  # 66: blank
        (pixels[50], "test", ""),  # 67: exact copy inside test
    ]
    splits = ["train"] * 40 + ["valid"] * 10 + ["test"] * 10
    names = ["cat"] * 20 + ["owl"] * 20 + ["cat"] * 5 + ["owl"] * 5 + [""] * 10
    names[2] = names[4] = "cat"
    everything = np.concatenate([pixels, np.stack([image for image, _, _ in planted])])
    # Test ids start again at 0: they repeat those of labelled images.
    splits += [split for _, split, _ in planted]
    names += [name for _, _, name in planted]
    turns = {"test": 0, "labelled": 0}
    ids = []
    for split in splits:
        kind = "test" if split == "test" else "labelled"
        ids.append(str(turns[kind]))
        turns[kind] += 1
    return make_images(place / "data", everything, names, splits, ids=ids)


@pytest.fixture(scope="module")
def findings(images):
    return check(images)


def test_groups_are_the_planted_ones(findings):
    found = {tuple(group.index.tolist()): group for group in findings.groups}
    assert {*found} == {(0, 60), (1, 61), (2, 62), (3, 63), (41, 64), (4, 65), (50, 67)}
    assert {index for index, group in found.items() if group.exact} == {(0, 60), (1, 61), (3, 63), (50, 67)}
    assert found[3, 63].splits == ("train", "test")
    assert found[3, 63].labels == ("cat",)


def test_conflicts_come_first(findings):
    assert [tuple(group.index.tolist()) for group in findings.conflicts] == [(2, 62), (1, 61)]
    assert list(findings.groups[:2]) == findings.conflicts
    assert findings.conflicts[0].labels == ("cat", "owl")


def test_leaks_are_counted_in_images(findings):
    assert findings.leaked("valid") == 1
    assert findings.leaked("test") == 1
    assert findings.leaked("test", "valid") == 1
    summary = dict(findings.summary)
    assert summary["valid in train"].startswith("1 of 11 valid images")
    assert summary["test in train"].startswith("1 of 13 test images")
    assert summary["inside train"].startswith("3 groups")
    assert summary["inside test"].startswith("1 group ")
    assert summary["duplicates"].startswith("14 images in 7 groups, 4 of them exact copies; 1 mirrored pair")
    assert summary["conflicts"].startswith("2 groups (2, 1)")


def test_blank_image_and_classes_are_told(findings):
    assert [(odd.index, odd.kind) for odd in findings.odd if odd.kind == "blank"] == [(66, "blank")]
    assert findings.counts == {"cat": {"train": 23, "valid": 5}, "owl": {"train": 21, "valid": 6}}
    assert "27 (owl) to 28 images (cat)" in str(findings)


def test_json_names_every_image_by_its_own_id(findings, images, place):
    found = json.loads(findings.save(place / "check.json").read_text())
    assert found["images"] == {"train": 44, "valid": 11, "test": 13}
    assert found["fingerprint"] == images.fingerprint
    group = next(group for group in found["duplicates"] if {one["split"] for one in group["images"]} == {"test"})
    assert [one["id"] for one in group["images"]] == ["0", "12"]
    assert [one["id"] for one in found["odd"] if one["kind"] == "blank"] == ["54"]
    assert sum(group["conflict"] for group in found["duplicates"]) == 2
    assert "label_errors" not in found


def test_text_and_page_are_written(findings, place):
    assert findings.save(place / "check.txt").read_text() == f"made by {mark('check')}\n{findings}\n"
    page = read_page(findings.save(place / "check.html"))
    assert "different labels" in page.text
    assert "prepare --group-duplicates" in page.text
    assert len(page.captions) == 14 + len(findings.odd)
    assert findings.save(place / "again.html").read_bytes() == (place / "check.html").read_bytes()


def test_another_ending_is_refused(images, place):
    with pytest.raises(SnellenError, match=r"check\.pdf"):
        check(images, out=place / "check.pdf")


def test_names_cannot_break_the_page(place):
    pixels = scenes(4, seed=8)[[0, 1, 2, 3, 0, 1]]
    ids = [f"{n}{NASTY}" for n in range(6)]
    images = make_images(place / "nasty", pixels, ["a", NASTY] * 3, ["train", "train", "valid"] * 2, ids=ids)
    page = read_page(check(images).save(place / "nasty.html"))
    assert NASTY in page.text
    assert {attributes.get("onclick") for _, attributes in page.tags} == {None}


def test_small_images_are_checked_for_exact_copies_and_that_is_said(place):
    pixels = noise(12, 8)
    pixels[7] = pixels[2]
    findings = check(make_images(place / "small", pixels, ["a", "b"] * 6, ["train"] * 9 + ["valid"] * 3))
    assert [group.index.tolist() for group in findings.groups] == [[2, 7]]
    assert "images below 16 pixels are not searched for near duplicates" in str(findings)
    assert findings.groups[0].labels == ("a", "b")


def test_a_part_of_a_set_is_checked_by_its_own_positions(images):
    part = images.take(np.array([61, 5, 1, 66]))
    findings = check(part)
    assert [group.index.tolist() for group in findings.groups] == [[0, 2]]
    assert [odd.index for odd in findings.odd if odd.kind == "blank"] == [3]


def test_classes_without_images_are_named(place):
    pixels = scenes(6, seed=3)
    images = make_images(
        place / "gap", pixels, ["a", "a", "b", "a", "b", "a"], ["train"] * 5 + ["valid"], classes=["a", "b", "c"]
    )
    text = str(check(images))
    assert '1 without train images, first "c"' in text
    assert '2 without valid images, first "b", "c"' in text


def test_out_of_fold_predictions_find_planted_label_errors(images, place):
    index = np.flatnonzero(images.labels >= 0)[::-1]  # in an order of their own
    truth = images.labels[index].copy()
    wrong = np.array([3, 17, 30])
    truth[wrong] = 1 - truth[wrong]
    guesses = np.full((len(index), 2), 0.1, dtype=np.float32)
    guesses[np.arange(len(index)), truth] = 0.9
    path = Predictions(images.ids[index], guesses, images.classes).save(place / "folds.csv")
    findings = check(images, run=path)
    assert {*findings.suspects.index.tolist()} == {*index[wrong].tolist()}
    assert (findings.suspects.suggested == 1 - images.labels[findings.suspects.index]).all()
    errors = findings.to_dict()["label_errors"]
    assert [one["id"] for one in errors] == images.ids[findings.suspects.index].tolist()
    assert all(one["suggested"] != one["label"] and one["probability"] == 0.9 for one in errors)
    page = read_page(findings.save(place / "errors.html"))
    assert sum("looks like" in caption for caption in page.captions) == 3


def test_predictions_for_other_ids_or_classes_are_refused(images):
    one = np.array([[0.5, 0.5]], dtype=np.float32)
    with pytest.raises(DataError, match='1 of 1 predicted ids do not belong to a labelled image, first "none"'):
        check(images, run=Predictions(np.array(["none"]), one, images.classes))
    with pytest.raises(DataError, match='classes, first "dog"'):
        check(images, run=Predictions(images.ids[:1], one, ("dog", "owl")))


def test_a_run_is_asked_about_the_images_it_did_not_train_on(images, place):
    run = train(images, BRIEF, place / "run")
    findings = check(images, run=run.folder)
    assert "Based on the 11 valid images only" in findings.basis
    assert "Based on the 11 valid images only" in str(findings)
    assert {*images.splits[findings.suspects.index].tolist()} <= {"valid"}


def test_a_run_that_saw_all_labels_is_refused(images, place):
    run = train(images, BRIEF, place / "on all", on="train+valid")
    with pytest.raises(RunError, match="trained on all labelled images"):
        check(images, run=run)


def test_a_run_on_other_images_is_refused(images, place):
    other = make_images(place / "other", scenes(12, 16, 6), ["cat", "owl"] * 6, ["train"] * 8 + ["valid"] * 4)
    run = train(other, BRIEF, place / "stranger")
    with pytest.raises(RunError, match="made with other images"):
        check(images, run=run)


def test_looking_for_duplicates_loads_no_torch():
    code = "import sys, snellen.reports.check; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_odd_images_are_found_and_ordinary_ones_are_not():
    pixels = scenes(200, seed=11)
    assert not oddities.find(pixels)
    grey = pixels[:5].mean(axis=3, keepdims=True).astype(np.uint8).repeat(3, axis=3)
    black = np.full((1, 32, 32, 3), 1, dtype=np.uint8)
    busy = noise(2, 32) // 3 + np.uint8(80)
    found = oddities.find(np.concatenate([pixels, grey, black, busy]))
    kinds = {odd.index: odd.kind for odd in found}
    assert {kinds[n] for n in range(200, 205)} == {"without colour"}
    assert kinds[205] == "blank"
    assert {kinds[n] for n in (206, 207)} == {"very busy"}
    assert not [n for n in kinds if n < 200]
    assert all(odd.why for odd in found)


def test_grey_images_are_not_odd_where_many_are():
    pixels = scenes(100, seed=12).mean(axis=3, keepdims=True).astype(np.uint8).repeat(3, axis=3)
    assert not [odd for odd in oddities.find(pixels) if odd.kind == "without colour"]


def test_labels_of_photographs_are_checked_without_a_run(tmp_path):
    """Three of 40 pictures get the wrong label; the others are told apart by their brightness."""
    pixels = scenes(40, 96)
    pixels[1::2] = 255 - pixels[1::2] // 3
    names = ["dark", "pale"] * 20
    for n, wrong in ((4, "pale"), (17, "dark"), (30, "pale")):
        names[n] = wrong
    images = make_images(tmp_path / "photographs", pixels, names, ["train"] * 30 + ["valid"] * 10)
    found = check(images)
    assert {4, 17, 30} <= {*found.suspects.index.tolist()}
    assert "on features of a network trained on ImageNet" in found.basis
