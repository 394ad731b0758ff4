"""The whole job through the command line, as a person types it: raw PNG files -> submission.csv."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from snellen.cli.commands import main
from snellen.competition.compete import compete
from snellen.competition.submission import check_submission
from snellen.errors import SnellenError
from snellen.images.imageset import ImageSet
from snellen.runs.named_recipes import named_recipe
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.training.record import start_run

SETTINGS = ["--recipe", "smoke", "--set", "epochs=8", "--size", "16"]


def snellen(*words, code=0):
    """Run the command line in a process of its own; returns (stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", "snellen", *map(str, words)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def check_labels(world, path):
    """Every line of the submission has the colour's label, in the sample's order."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    with open(world.folder / "sampleSubmission.csv", newline="") as file:
        sample = list(csv.reader(file))
    assert [row[0] for row in rows] == [row[0] for row in sample]
    right = [world.test_labels[id] == label for id, label in rows[1:]]
    assert all(right), f"{sum(right)} of {len(right)}"


def test_compete_writes_the_right_labels_in_the_samples_order(world, tmp_path):
    out = tmp_path / "out"
    printed, said = snellen("compete", world.folder, "--out", out, *SETTINGS)
    check_labels(world, out / "submission.csv")
    assert str(out / "submission.csv") in printed
    assert "valid accuracy" in printed
    assert "95% interval" in printed
    for word in ("device", "epoch", "checked against"):
        assert word in said
    for name in ("data", "run", "refit", "evaluation.json", "predictions.csv", "submission.csv"):
        assert (out / name).exists()
    assert json.loads((out / "evaluation.json").read_text())["split"] == "valid"

    # Again: nothing is trained or prepared twice, and the result is the same bytes.
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != ".lock"}
    _, said = snellen("compete", world.folder, "--out", out, *SETTINGS)
    assert said.count("is finished") == 2
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != ".lock"}


def test_compete_is_not_mixed_with_its_source(world):
    before = sorted(world.folder.rglob("*"))
    done = CliRunner().invoke(main, ["compete", str(world.folder), "--out", str(world.folder)])
    assert done.exit_code == 1
    assert "holds the source: data/, run/ and the other results would be mixed with it" in done.stderr
    assert "do: choose another --out\n" in done.stderr
    assert sorted(world.folder.rglob("*")) == before


def test_compete_says_where_there_is_no_sample_to_check_against(world, tmp_path):
    (world.folder / "sampleSubmission.csv").unlink()
    words = ["compete", str(world.folder), "--out", str(tmp_path / "out"), "--no-refit", *SETTINGS[:2], "--size", "16"]
    done = CliRunner().invoke(main, [*words, "--set", "epochs=1"], catch_exceptions=False)
    assert "submission: 18 lines, one for each test picture; there is no sample to check against" in done.stderr
    assert "checked against" not in done.stderr


def test_the_stages_one_by_one_give_what_compete_gives(world, tmp_path):
    data, run, guesses, submission = (tmp_path / name for name in ("data", "run", "predictions.csv", "submission.csv"))
    snellen("prepare", world.folder, "--out", data, "--size", 16)
    snellen("train", data, "--out", run, "--recipe", "smoke", "--set", "epochs=8")
    scores = json.loads(snellen("evaluate", run, data, "--json")[0])
    assert scores["accuracy"] == 1.0
    snellen("predict", run, data, "--out", guesses)
    printed = snellen("submission", guesses, data, "--out", submission)[0]
    assert printed == f"{len(world.test_labels)} lines, all checked\n{submission}\n"
    check_labels(world, submission)
    assert check_submission(submission, ImageSet.open(data)) == len(world.test_labels)
    assert "classes" in snellen("show", data)[0]
    assert "8 of 8 epochs" in snellen("show", run)[0]
    snellen("compete", world.folder, "--out", tmp_path / "whole", "--no-refit", *SETTINGS)
    assert (tmp_path / "whole" / "submission.csv").read_bytes() == submission.read_bytes()


@pytest.mark.parametrize("folds", [None, 2])
def test_compete_by_a_function_is_scored_by_it(world, tmp_path, folds):
    def surest(labels, probabilities):
        return float(probabilities.max(axis=1).mean())

    recipe = PRESETS["smoke"]
    entry = compete(world.folder, tmp_path / "out", recipe=recipe, size=16, folds=folds, metric=surest, refit=False)
    assert entry.scores["metric"] == entry.run.metric.name == "surest"
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["value"] == entry.scores["value"]
    assert entry.images.task.metric == "accuracy"
    with pytest.raises(SnellenError, match="a function without a name"):
        compete(world.folder, tmp_path / "other", recipe=recipe, size=16, metric=lambda labels, probabilities: 0.0)
    assert not (tmp_path / "other").exists()


def test_compete_with_folds_submits_the_average_of_their_models(world, tmp_path):
    def typed(*words):  # in this process: five more would each begin by importing torch
        done = CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        return done.stdout, done.stderr

    out, cv, guesses = tmp_path / "out", tmp_path / "cv", tmp_path / "guesses.csv"
    printed, said = typed("compete", world.folder, "--out", out, "--folds", 2, *SETTINGS)
    check_labels(world, out / "submission.csv")
    assert "out-of-fold accuracy" in printed
    assert "fold 2 of 2: 21 images to train on, 21 to validate" in said
    assert f"next: snellen show {out / 'folds'}" in said
    assert not (out / "run").exists()
    assert not (out / "refit").exists()
    assert json.loads((out / "evaluation.json").read_text())["images"] == len(world.labels)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != ".lock"}
    _, said = typed("compete", world.folder, "--out", out, "--folds", 2, *SETTINGS)
    assert said.count("is finished") == 2
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != ".lock"}
    # By hand, stage by stage, and with the folds named one by one: the same.
    printed, _ = typed("train", out / "data", "--out", cv, "--folds", 2, *SETTINGS[:4])
    assert str(cv / "out_of_fold.csv") in printed
    typed("predict", cv / "fold-1", cv / "fold-2", out / "data", "--out", guesses)
    assert guesses.read_bytes() == (out / "predictions.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "nowhere", "--out", "run"], "does not exist"),
        (["train", "nowhere", "--out", "run", "--recipe", "fsat"], 'did you mean "fast"?'),
        (["train", "nowhere", "--out", "run", "--set", "epoch=3"], 'did you mean "epochs"?'),
        (["train", "nowhere", "--out", "run", "--set", "epochs=many"], '"many" is not a value for epochs'),
        (["train", "nowhere", "--out", "run", "--set", "epochs"], "is not a setting"),
        (["evaluate", "nowhere", "nowhere"], "does not exist"),
        (["submission", "nowhere.csv", "nowhere", "--out", "s.csv"], "does not exist"),
        (["prepare", "nowhere", "--out", "data"], "nowhere"),
        (["show", "fats"], 'did you mean "fast"?'),
        (["show", "nothing"], '"nothing" does not exist'),
    ],
)
def test_wrong_words_get_a_message_and_exit_code_1(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1, done.exception
    assert message in done.stderr
    assert done.stderr.startswith("snellen: ")
    assert list(tmp_path.iterdir()) == [], "nothing half-written is left"


def test_a_file_of_others_is_not_called_a_damaged_model(tmp_path):
    (tmp_path / "README.md").write_text("# words")
    done = CliRunner().invoke(main, ["show", str(tmp_path / "README.md")])
    assert done.exit_code == 1
    assert 'README.md" was not written by snellen' in done.stderr
    assert "a model.safetensors" in done.stderr


def test_message_of_a_process_goes_to_stderr_with_exit_code_1():
    printed, said = snellen("show", "nothing", code=1)
    assert printed == ""
    assert said.startswith('snellen: "nothing" does not exist')


@pytest.mark.parametrize("words", [["train"], ["evaluate", "a", "b", "--views", "3"], ["prepare", "x", "--size", "3"]])
def test_wrong_usage_has_exit_code_2(words):
    assert CliRunner().invoke(main, words).exit_code == 2


def test_interrupting_has_exit_code_130(world, tmp_path):
    command = [sys.executable, "-m", "snellen", "compete", world.folder, "--out", tmp_path / "out", *SETTINGS]
    with subprocess.Popen(
        [*map(str, command), "--set", "epochs=10000"],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with SIGINT ignored; the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            for line in process.stderr:
                if "epoch" in line and "loss" in line:
                    break
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "stopped. Run the same command again to resume." in said
    assert "Traceback" not in said


def test_a_run_names_its_recipe(tmp_path):
    recipe = Recipe(epochs=3, seed=5)
    run = start_run(tmp_path / "run", recipe, {"fingerprint": "x", "on": "train", "metric": "accuracy"})
    assert named_recipe(str(run.folder), ()) == recipe
    assert named_recipe(str(run.folder / "recipe.json"), ("epochs=4",)) == recipe.with_settings(["epochs=4"])


def test_lists_and_recipes_are_shown():
    def printed(*words):
        return CliRunner().invoke(main, words).stdout

    assert "fast" in printed("list", "recipes")
    assert "(default)" in printed("list", "recipes")
    assert "11,176,970 parameters" in printed("list", "models")
    assert "lr_drop_every" in printed("show", "d2l")


def test_no_command_replaces_raw_files(world, tmp_path):
    """Whatever a slip of --out names: labels, the sample, a picture, the predictions it reads."""
    run, data, predictions = (str(tmp_path / name) for name in ("run", "data", "predictions.csv"))
    sample, labels = world.folder / "sampleSubmission.csv", world.folder / "trainLabels.csv"
    pictures = sorted((world.folder / "train").iterdir())
    invoke = CliRunner().invoke
    for line in (
        ["prepare", str(world.folder), "--out", data, "--size", "16"],
        ["train", data, "--out", run, "--recipe", "smoke"],
        ["predict", run, data, "--out", predictions],
    ):
        assert invoke(main, line).exit_code == 0, line
    kept = {path: path.read_bytes() for path in (sample, labels, pictures[0], Path(predictions))}
    for line in (
        ["predict", run, data, "--out", str(sample)],
        ["predict", run, data, "--out", str(pictures[0])],
        ["predict", run, str(pictures[0]), "--out", str(labels)],
        ["report", run, "--data", data, "--out", str(labels)],
        ["check", data, "--out", str(pictures[0])],
        ["submission", predictions, data, "--out", predictions],
        ["submission", predictions, data, "--out", str(sample)],
        ["submission", predictions, data, "--out", str(labels)],
        ["submission", predictions, data, "--out", str(tmp_path)],
        ["export", run, "--to", "torch", "--out", str(pictures[0])],
    ):
        found = invoke(main, line)
        assert found.exit_code == 1, line
        assert "--out" in found.output, line
    assert {path: path.read_bytes() for path in kept} == kept
    # What a command wrote itself it may write again.
    assert invoke(main, ["predict", run, data, "--out", predictions]).exit_code == 0
    for _ in range(2):
        assert invoke(main, ["submission", predictions, data, "--out", str(tmp_path / "s.csv")]).exit_code == 0
