"""Folds and averages: each labelled image validates once, nothing hangs on order, and a stop loses nothing."""

import hashlib
import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conftest import write_world
from made import make_images, noise, small_model, some
from snellen.cli.commands import main
from snellen.errors import DataError, RunError
from snellen.images.folds import as_trained, fold, fold_numbers, together
from snellen.images.prepare import prepare
from snellen.models.model_file import load_model, save_model
from snellen.prediction.decide import ARGMAX
from snellen.prediction.ensemble import classify_by_all
from snellen.prediction.evaluate import evaluate
from snellen.prediction.opening import is_model
from snellen.prediction.predict import predict
from snellen.prediction.predictions import Predictions
from snellen.reports.check import check
from snellen.reports.compare import compare
from snellen.reports.report import report
from snellen.runs.cross_validation import CrossValidation
from snellen.runs.presets import PRESETS
from snellen.runs.repeat import commands
from snellen.runs.run import Run
from snellen.scoring.scores import score
from snellen.training.cross_validate import cross_validate
from snellen.training.train import train

SMOKE = PRESETS["smoke"].with_settings(["epochs=2", "precision=float32"])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    return prepare(write_world(folder / "world").folder, folder / "data", size=16)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    return cross_validate(images, SMOKE, tmp_path_factory.mktemp("trained") / "cv", 3)


def said(caplog):
    return "\n".join(record.getMessage() for record in caplog.records)


ids_and_labels = st.dictionaries(
    st.text(min_size=1, max_size=6), st.sampled_from("abc"), min_size=6, max_size=40
).filter(lambda labels: len(set(labels.values())) > 1 and min(Counter(labels.values()).values()) > 1)


@some
@given(labels=ids_and_labels, num_folds=st.integers(2, 6), seed=st.integers(0, 3), data=st.data())
def test_folds_are_equal_in_all_and_by_class_and_ignore_order(labels, num_folds, seed, data):
    numbers = fold_numbers(list(labels), list(labels.values()), num_folds, seed)
    assert set(numbers) <= set(range(1, num_folds + 1))
    sizes = [numbers.count(number) for number in range(1, num_folds + 1)]
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels.values()):
        inside = [n for n, name in zip(numbers, labels.values(), strict=True) if name == label]
        by_fold = [inside.count(number) for number in range(1, num_folds + 1)]
        assert max(by_fold) - min(by_fold) <= 1
        assert max(by_fold) < len(inside), "every fold trains on every class"
    shuffled = data.draw(st.permutations(list(labels)))
    again = fold_numbers(shuffled, [labels[id] for id in shuffled], num_folds, seed)
    assert dict(zip(shuffled, again, strict=True)) == dict(zip(labels, numbers, strict=True))


@some
@given(labels=ids_and_labels, num_folds=st.integers(2, 4), seed=st.integers(0, 3), data=st.data())
def test_groups_stay_together_and_the_others_make_up_for_their_sizes(labels, num_folds, seed, data):
    shuffled = data.draw(st.permutations(list(labels)))
    groups, rest = [], shuffled
    while len(rest) > len(labels) // 2:
        size = data.draw(st.integers(2, 4))
        groups, rest = [*groups, rest[:size]], rest[size:]
    try:
        numbers = fold_numbers(list(labels), list(labels.values()), num_folds, seed, groups)
    except DataError as problem:
        assert "cannot be divided" in problem.what  # noqa: PT017
        return
    number_of = dict(zip(labels, numbers, strict=True))
    for group in groups:
        assert len({number_of[id] for id in group}) == 1
    largest = max(map(len, groups))
    for label in set(labels.values()):
        inside = [number_of[id] for id, name in labels.items() if name == label]
        by_fold = [inside.count(number) for number in range(1, num_folds + 1)]
        assert max(by_fold) < len(inside), "every fold trains on every class"
        singles = sum(labels[id] == label for id in rest)
        if singles >= num_folds * largest * len(groups):
            assert max(by_fold) - min(by_fold) <= 1
    again = fold_numbers(
        shuffled, [labels[id] for id in shuffled], num_folds, seed, [group[::-1] for group in groups[::-1]]
    )
    assert dict(zip(shuffled, again, strict=True)) == number_of


def test_groups_of_equal_size_leave_the_folds_equal():
    ids, labels = [f"{n}" for n in range(24)], ["cat", "dog"] * 12
    groups = [["0", "2", "4"], ["1", "3"], ["6", "8"]]
    numbers = fold_numbers(ids, labels, 3, 0, groups)
    for name in ("cat", "dog"):
        inside = [number for number, label in zip(numbers, labels, strict=True) if label == name]
        assert sorted(Counter(inside).values()) == [4, 4, 4]


def test_a_class_of_one_image_or_one_group_trains_in_every_fold():
    assert fold_numbers(list("123456"), list("aaaabb"), 2, 0, [["5", "6"]])[4:] == [0, 0]
    numbers = fold_numbers(list("1234567"), list("aaaabbc"), 2, 0)
    assert numbers[6] == 0
    assert sorted(numbers[:4]) == [1, 1, 2, 2]


def test_groups_of_several_classes_share_the_rare_class_out():
    """40 patients with nine negative images each; ten of them have a positive one as well."""
    ids, labels, groups = [], [], []
    for patient in range(40):
        names = ["negative"] * 9 + ["positive"] * (patient < 10)
        groups.append([f"{patient}:{n}" for n in range(len(names))])
        ids, labels = ids + groups[-1], labels + names
    numbers = fold_numbers(ids, labels, 5, 0, groups)
    number_of = dict(zip(ids, numbers, strict=True))
    assert all(len({number_of[id] for id in group}) == 1 for group in groups)
    for name, most in (("negative", 9), ("positive", 0)):
        by_fold = Counter(number for number, label in zip(numbers, labels, strict=True) if label == name)
        assert set(by_fold) == {1, 2, 3, 4, 5}
        assert max(by_fold.values()) - min(by_fold.values()) <= most


def test_groups_that_share_an_image_are_one():
    images = SimpleNamespace(
        ids=np.array(list("abcdefgh")),
        splits=np.array(["train"] * 7 + ["test"]),
        about={"duplicates": [["a", "b"], ["c", "d"], ["g", "h"]], "groups": [["b", "e"], ["d", "e", "f"]]},
    )
    assert [sorted(group) for group in together(images)] == [list("abcdef")]
    images.about = {"duplicates": [["d", "c"], ["a", "b"]]}
    assert together(images) == [["d", "c"], ["a", "b"]], "as prepare wrote them"


def write_twins(folder):
    """50 pictures of two classes; 0 = 1, 2 = 3, ... up to 19 are the same."""
    pixels = noise(50)
    for number in range(50):
        path = folder / "ab"[number // 2 % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number - number % 2 if number < 20 else number]).save(path)


def twins(images):
    """For each image the number of its picture, the same for both of a pair."""
    numbers = [int(id.rpartition("/")[2]) for id in images.ids.tolist()]
    return np.array([number // 2 if number < 20 else number for number in numbers])


def test_folds_keep_duplicates_together_where_prepare_grouped_them(tmp_path):
    write_twins(tmp_path / "raw")
    grouped = prepare(tmp_path / "raw", tmp_path / "grouped", group_duplicates=True)
    plain = prepare(tmp_path / "raw", tmp_path / "plain")
    torn = []
    for number in (1, 2, 3):
        views = [fold(images, number, 3, 0) for images in (grouped, plain)]
        assert (as_trained(grouped, views[0].about).splits == views[0].splits).all()
        sides = [{side: set(twins(view)[view.splits == side]) for side in ("train", "valid")} for view in views]
        assert not sides[0]["valid"] & sides[0]["train"]
        torn += sides[1]["valid"] & sides[1]["train"]
    assert torn, "else this shows nothing"
    sizes = [fold(grouped, number, 3, 0).counts["valid"] for number in (1, 2, 3)]
    assert max(sizes) - min(sizes) <= 1
    assert fold(grouped.select("train"), 1, 3, 0).counts["valid"], "a part of a group is one as well"


def test_folds_of_a_source_with_its_own_split_group_duplicates_too(tmp_path):
    write_twins(tmp_path / "raw")
    for split, digits in (("train", "02468"), ("valid", "13579")):
        ignored = shutil.ignore_patterns(*(f"*{digit}.png" for digit in digits))
        shutil.copytree(tmp_path / "raw", tmp_path / "own" / split, ignore=ignored)
    grouped = prepare(tmp_path / "own", tmp_path / "grouped", group_duplicates=True)
    plain = prepare(tmp_path / "own", tmp_path / "plain")
    assert grouped.fingerprint == plain.fingerprint, "its own split stays"
    view = fold(grouped, 1, 3, 0)
    assert not set(twins(view)[view.splits == "valid"]) & set(twins(view)[view.splits == "train"])
    assert fold(plain, 1, 3, 0).fingerprint != view.fingerprint
    assert as_trained(plain, view.about) is plain, "those folds are not of these images"


EXPECTED = [3, 2, 3, 2, 1, 3, 2, 1, 2, 1, 1, 3]


def test_folds_are_these_on_every_machine():
    ids, labels = [f"{n}" for n in range(12)], ["cat", "dog"] * 6
    # By hand: the ids of each class in the order of `printf 7:0 | sha256sum`, dealt out to 1, 2, 3, 1, ...
    assert fold_numbers(ids, labels, 3, seed=7) == EXPECTED
    assert fold_numbers(ids, labels, 3, seed=8) != EXPECTED


def test_groups_of_one_size_are_dealt_out_by_the_smallest_hash_of_their_ids():
    ids, groups, seeds = "abcdefghijkl", ["ab", "cd", "ef", "gh", "ij", "kl"], range(20)
    for seed in seeds:
        numbers = dict(zip(ids, fold_numbers(ids, "xy" * 6, 6, seed, groups), strict=True))
        smallest = sorted(ids, key=lambda id: hashlib.sha256(f"{seed}:{id}".encode()).digest())
        assert [numbers[id] for id in dict.fromkeys(ids[ids.index(id) // 2 * 2] for id in smallest)] == [
            1,
            2,
            3,
            4,
            5,
            6,
        ]


@pytest.mark.parametrize(
    ("labels", "num_folds", "words"),
    [
        ("aabb", 1, "4 labelled images cannot be divided into 1 folds"),
        ("aabb", 5, "4 labelled images cannot be divided into 5 folds"),
        ("aaaa", 2, "all labelled images are of one class"),
    ],
)
def test_impossible_folds_are_refused(labels, num_folds, words):
    with pytest.raises(DataError, match=words):
        fold_numbers([str(n) for n in range(len(labels))], list(labels), num_folds, 0)


def test_a_fold_is_a_view_with_other_splits_and_a_fingerprint_of_its_own(images):
    views = [fold(images, number, 4, seed=0) for number in (1, 2, 3, 4)]
    validated = Counter(id for view in views for id in view.select("valid").ids.tolist())
    assert validated == Counter(images.select("train", "valid").ids.tolist())
    others = [images, fold(images, 1, 4, seed=1), fold(images, 1, 5, seed=0)]
    assert len({view.fingerprint for view in [*views, *others]}) == 7
    for view in views:
        assert view.stored is images.stored
        assert (view.ids == images.ids).all()
        assert ((view.splits == "test") == (images.splits == "test")).all()
        assert (as_trained(images, view.about).splits == view.splits).all()
    assert "fold" not in images.about, "the images themselves stay as they are"


def test_a_models_fold_is_not_looked_for_in_other_images(images, tmp_path):
    other = make_images(tmp_path / "other", noise(6), ["cherry", "leaf", "sky"] * 2, ["train"] * 6)
    assert as_trained(other, fold(images, 1, 3, 0).about) is other
    assert as_trained(images, {}) is images


def test_each_image_is_predicted_by_the_model_that_did_not_train_on_it(images, trained):
    guesses = Predictions.open(trained.predictions)
    assert guesses.ids.tolist() == images.select("train", "valid").ids.tolist()
    row = {id: n for n, id in enumerate(guesses.ids.tolist())}
    for number, run in enumerate(trained.runs, start=1):
        valid = fold(images, number, 3, 0).select("valid")
        assert run.about["fold"] | {"images": ""} == {"number": number, "of": 3, "seed": 0, "images": ""}
        alone = predict(run, images, split="valid")  # of the whole images: its own fold is looked up
        assert alone.ids.tolist() == valid.ids.tolist()
        assert (guesses.probabilities[[row[id] for id in valid.ids.tolist()]] == alone.probabilities).all()
        figures = evaluate(run, images)
        assert figures["images"] == 14
        assert figures["accuracy"] == run.metrics[-1]["valid_accuracy"]
        assert trained.scores["folds"][number - 1]["right"] == figures["right"]
    scores = score(guesses.probabilities, images.select("train", "valid").labels)
    assert scores.items() <= trained.scores.items()
    assert trained.scores["images"] == 42
    assert str(trained).startswith("3 folds of 42 labelled images: accuracy ")


def test_other_verbs_know_a_models_fold(images, trained, tmp_path):
    run = trained.runs[1]
    assert report(run, images, out=tmp_path / "report.html").exists()
    assert "the 14 valid images only" in check(images, run=run).basis
    assert "predictions for 42 labelled images" in check(images, run=trained.predictions).basis
    assert compare([run, run], images).runs[0].scores["images"] == 14
    with pytest.raises(RunError, match="other images"):
        compare(trained.runs[:2], images)
    assert "--folds 3" in commands(run)[-1]


def test_a_finished_cross_validation_is_left_alone(images, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*") if path.name != ".lock"}
    assert cross_validate(images, SMOKE, trained.folder, 3).scores == trained.scores
    assert before == {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*") if path.name != ".lock"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"folds": 4}, "a cross-validation with 3 folds"),
        ({"recipe": SMOKE.with_settings(["epochs=3"])}, "epochs was 2, is now 3"),
    ],
)
def test_going_on_with_other_folds_is_refused(images, trained, change, words):
    with pytest.raises((RunError, DataError), match=words):
        cross_validate(images, **({"recipe": SMOKE, "out": trained.folder, "folds": 3} | change))


def test_going_on_with_another_fold_or_other_images_is_refused(images, trained, tmp_path):
    for view, words in (
        (fold(images, 2, 3, 0), "it trained fold 1 of 3 by seed 0, now fold 2 of 3"),
        (fold(images, 1, 3, 1), "now fold 1 of 3 by seed 1"),
        (images, "now no fold"),
    ):
        with pytest.raises(RunError, match=words):
            train(view, SMOKE, trained.folders[0])
    other = prepare(write_world(tmp_path / "world").folder, tmp_path / "data", size=16, seed=1)
    with pytest.raises(RunError, match="a cross-validation with other images"):
        cross_validate(other, SMOKE, trained.folder, 3)
    with pytest.raises(RunError, match="holds a cross-validation"):
        train(images, SMOKE, trained.folder)


@pytest.mark.parametrize("option", ["--on train+valid", "--calibrated-by model", "--tensorboard"])
def test_options_for_one_run_are_refused_beside_folds(images, tmp_path, option):
    command = ["train", str(images.folder), "--out", str(tmp_path / "cv"), "--folds", "2", *option.split()]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert f"{option.split()[0]} cannot be combined with --folds" in result.output
    assert not (tmp_path / "cv").exists()


def test_folds_do_not_overwrite_what_is_there(images, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="not empty"):
        cross_validate(images, SMOKE, tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "cv").mkdir()
    (tmp_path / "cv" / "folds.json").write_text("[]")
    with pytest.raises(RunError, match="does not hold a cross-validation"):
        CrossValidation.open(tmp_path / "cv")
    with pytest.raises(DataError, match="42 labelled images cannot be divided into 43 folds"):
        cross_validate(images, SMOKE, tmp_path / "many", 43)
    assert not (tmp_path / "many").exists()


def test_killed_folds_go_on_to_the_same_bytes(images, trained, tmp_path):
    SMOKE.save(tmp_path / "recipe.json")
    code = (
        "import sys, snellen\n"
        "recipe = snellen.Recipe.open(sys.argv[2])\n"
        "snellen.cross_validate(sys.argv[1], recipe, sys.argv[3], 3, checkpoint_seconds=0)\n"
    )
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, (images.folder, tmp_path / "recipe.json", killed))]
    )
    deadline = time.monotonic() + 90
    while not (killed / "fold-2").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (killed / "fold-2").exists()
    assert CrossValidation.open(killed).scores is None, "it was killed too late to test anything"
    again = cross_validate(images, SMOKE, killed, 3)
    assert again.scores == trained.scores
    assert again.predictions.read_bytes() == trained.predictions.read_bytes()
    for mine, other in zip(again.runs, trained.runs, strict=True):
        assert mine.model.read_bytes() == other.model.read_bytes()


def test_an_average_is_the_mean_of_its_models_by_id(images, trained, tmp_path):
    by_model = [predict(run, images).probabilities for run in trained.runs]
    together = predict(trained, images, out=tmp_path / "guesses.csv")
    np.testing.assert_allclose(together.probabilities, np.mean(by_model, axis=0), atol=1e-6)
    assert together.ids.tolist() == images.select("test").ids.tolist()
    for same in (trained.folder, str(trained.folder), trained.runs, [load_model(run.folder) for run in trained.runs]):
        assert (predict(same, images).probabilities == together.probabilities).all()
    assert Predictions.open(tmp_path / "guesses.csv").labels.tolist() == together.labels.tolist()


def test_what_the_average_gains_is_said_on_images_new_to_all_models(images, tmp_path, caplog):
    caplog.set_level(logging.INFO, "snellen")
    runs = [train(images, SMOKE.with_settings([f"seed={n}"]), tmp_path / str(n)) for n in (1, 2)]
    expected = [100 * evaluate(run, images)["accuracy"] for run in runs]
    caplog.clear()
    progress = []
    predict(runs, images, on_progress=lambda stage, done, total: progress.append((done, total)))
    words = said(caplog)
    for run, accuracy in zip(runs, expected, strict=True):
        assert f"{run.folder}: valid accuracy {accuracy:.2f}%" in words
    mean = score(predict(runs, images, split="valid").probabilities, images.select("valid").labels)
    assert f"average of 2 models: valid accuracy {100 * mean['accuracy']:.2f}% on {mean['images']} images" in words
    assert progress[:2] == [(18, 36), (36, 36)]
    caplog.clear()
    predict(runs, images, split="train")
    assert "trained on train images" in said(caplog)
    assert "gain of the average is unknown" in said(caplog)


def test_no_gain_is_claimed_on_images_that_a_fold_trained_on(images, trained, caplog):
    caplog.set_level(logging.INFO, "snellen")
    predict(trained, images)
    assert "the gain of the average is unknown: no labelled images are new to all 3 models" in said(caplog)
    assert "accuracy" not in said(caplog)
    predict(trained, images, split="valid")
    assert "trained on valid images" in said(caplog)
    assert "accuracy" not in said(caplog)


def test_the_gain_on_a_labelled_test_split_counts_for_folds_too(images, trained, caplog, tmp_path):
    caplog.set_level(logging.INFO, "snellen")
    pixels = np.stack([np.full((16, 16, 3), 40, dtype=np.uint8)] * 6)
    for n in range(6):
        pixels[n, :, :, n % 3] = 220
    names = ["cherry", "leaf", "sky"] * 2
    labelled = make_images(tmp_path / "labelled", pixels, names, ["test"] * 6, classes=images.classes)
    predict(trained, labelled)
    assert "average of 3 models: test accuracy" in said(caplog)
    assert "trained on" not in said(caplog)


def test_models_of_other_classes_or_size_are_not_averaged(images, trained, tmp_path):
    for name, model in (("classes", small_model(("a", "b"))), ("size", small_model(images.classes, (24, 24)))):
        save_model(tmp_path / f"{name}.safetensors", model)
        with pytest.raises(DataError, match="models with the same classes") as caught:
            predict([trained.runs[0], tmp_path / f"{name}.safetensors"], images)
        assert f"{name}.safetensors has" in str(caught.value)
    with pytest.raises(DataError, match="no model to predict with"):
        predict([], images)
    with pytest.raises(RunError, match=r"nowhere\" does not exist"):
        predict([trained.runs[0], tmp_path / "nowhere"], images)


def test_an_unfinished_fold_is_named(images, trained, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(trained.folder, part)
    (part / "fold-3" / "model.safetensors").unlink()
    with pytest.raises(RunError, match="fold-3"):
        predict(part, images)


def test_pictures_are_classified_by_all_models(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 16), (200, 30, 30)).save("red.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    models = [(str(run.folder), load_model(run.folder)) for run in trained.runs]
    found = [("red", tmp_path / "red.png"), ("broken", tmp_path / "broken.png")]
    alone = [classify_by_all([model], found, ARGMAX) for model in models]
    together = classify_by_all(models, found, ARGMAX)
    expected = np.mean([one[0].probabilities for one in alone], axis=0)
    np.testing.assert_allclose(together[0].probabilities, expected, atol=1e-6)
    assert together[0].strangeness == pytest.approx(np.mean([one[0].strangeness for one in alone]))
    assert together[1].problem == alone[0][1].problem != ""
    words = ["predict", *(str(run.folder) for run in trained.runs), "red.png", "broken.png", "--out", "all.json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("red.png: ")
    written = json.loads((tmp_path / "all.json").read_text())
    assert list(written[0]["classes"].values()) == pytest.approx(together[0].probabilities.tolist())


def test_words_of_predict_are_models_then_images(images, trained, tmp_path):
    assert is_model(str(trained.folder))
    assert is_model(str(trained.folders[0]))
    assert not is_model(str(images.folder))
    assert not is_model(str(images.folder / "images.npy"))
    out, one = tmp_path / "out.csv", str(trained.folders[0])
    done = CliRunner().invoke(main, ["predict", one, str(trained.folders[1]), str(images.folder), "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    assert (Predictions.open(out).probabilities == predict(trained.runs[:2], images).probabilities).all()
    for words in ([one], [one, str(trained.folders[1])]):
        assert CliRunner().invoke(main, ["predict", *words]).exit_code == 2
    assert CliRunner().invoke(main, ["predict", "nowhere", str(images.folder), "--out", str(out)]).exit_code == 1
    assert "3 folds" in CliRunner().invoke(main, ["show", str(trained.folder)]).stdout


def test_tensorboard_is_for_one_run(images, tmp_path):
    words = ["train", str(images.folder), "--out", str(tmp_path / "cv"), "--folds", "2", "--tensorboard"]
    assert CliRunner().invoke(main, words).exit_code == 2


def test_a_run_without_folds_says_nothing_of_them(images, tmp_path):
    run = train(images, SMOKE, tmp_path / "run")
    assert isinstance(run, Run)
    assert "fold" not in run.about
    assert "fold" not in load_model(run.folder).about
