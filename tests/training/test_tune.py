"""Studies: no trial lost or repeated, every one a run, and going on after any stop."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from conftest import write_world
from made import make_images
from read_page import read_page
from snellen.cli.commands import main
from snellen.cli.show import show
from snellen.errors import RecipeError, RunError, SnellenError
from snellen.models.model_file import load_model
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.runs.run import Run
from snellen.training.train import train

pytest.importorskip("optuna")

from snellen.training import ledger as ledgers
from snellen.training.ledger import Ledger
from snellen.training.search_space import Choices, Range
from snellen.training.tune import tune

BRIEF = PRESETS["smoke"].with_settings(["batch_size=8", "precision=float32"])
SPACE = ("peak_lr=0.01..50", "crop_pad=0..4")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two classes told apart by brightness, not without doubt."""
    pixels = np.random.default_rng(0).integers(0, 128, (36, 16, 16, 3), dtype=np.uint8)
    bright = np.arange(36) % 2 == 1
    pixels[bright] += 30
    splits = ["valid" if n // 2 % 3 == 2 else "train" for n in range(36)]
    names = ["bright" if one else "dark" for one in bright]
    return make_images(tmp_path_factory.mktemp("tune") / "data", pixels, names, splits)


@pytest.fixture(scope="module")
def study(images, tmp_path_factory):
    return tune(images, tmp_path_factory.mktemp("study") / "study", trials=9, space=SPACE, recipe=BRIEF)


def worker(images, out, *words):
    """`snellen tune` in a process of its own."""
    recipe = out.parent / "recipe.json"
    BRIEF.save(recipe)
    command = [sys.executable, "-m", "snellen", "tune", images.folder, "--out", out, "--recipe", recipe, *words]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
    return found


def settings_of(trials):
    return [json.dumps(trial.settings, sort_keys=True) for trial in trials]


def test_every_trial_is_a_run_of_its_own_recipe(study, images):
    assert [trial.number for trial in study.trials] == list(range(9))
    assert study.count("complete") + study.count("pruned") == 9
    for trial in study.trials:
        run = Run.open(study.run_of(trial))
        assert run.recipe == study.recipe_of(trial)
        assert 0.01 <= run.recipe.peak_lr <= 50
        assert run.recipe.crop_pad in range(5)
        if trial.state == "complete":
            assert run.finished
            assert run.metrics[-1]["valid_accuracy"] == trial.accuracy == trial.curve[100]
            assert trial.seconds == pytest.approx(sum(row["seconds"] for row in run.metrics))


def test_the_recipe_itself_is_tried_first(study):
    assert study.recipe_of(study.trials[0]) == BRIEF


def test_a_trial_repeated_by_its_recipe_has_the_same_bits(study, images, tmp_path):
    trial = study.best
    again = train(images, Recipe.open(study.run_of(trial) / "recipe.json"), tmp_path / "again")
    assert again.model.read_bytes() == (study.run_of(trial) / "model.safetensors").read_bytes()


def test_the_best_recipe_is_that_of_the_best_trial(study):
    best = max((t for t in study.trials if t.state == "complete"), key=lambda t: (t.accuracy, -t.number))
    assert study.best == best
    assert Recipe.open(study.folder / "best.json") == study.recipe_of(best)
    assert f"trial {best.number:4}" in str(study)
    shown = show(str(study.folder))
    assert f"{study.run_of(best)}, valid accuracy {best.accuracy:.4f}\n" in shown
    assert str(study.folder / "study.html") in shown
    assert str(study.recipe_of(best)) in shown


def test_the_same_study_elsewhere_draws_the_same(study, images, tmp_path):
    other = tune(images, tmp_path / "study", trials=3, space=SPACE, recipe=BRIEF)
    assert [t.settings for t in other.trials] == [t.settings for t in study.trials[:3]]


def test_finished_trials_count_and_are_not_trained_again(study, images, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study.folder, folder)
    seen = []
    again = tune(images, folder, trials=9, space=SPACE, recipe=BRIEF, on_epoch=seen.append)
    assert not seen
    assert again.trials == study.trials
    more = tune(images, folder, trials=10, space=SPACE, recipe=BRIEF, on_epoch=seen.append)
    assert len(seen) == 1
    assert more.trials[:9] == study.trials


def test_page_stands_alone_and_agrees(study):
    page = read_page(study.folder / "study.html")
    assert [float(value) for value in page.data["accuracy"]] == [study.best.accuracy]
    assert len(page.all("svg")) == 2 + bool(study.importances)
    assert "peak_lr" in page.text
    assert f"{len(study.trials)} trials" in page.text


def test_importances_are_shares(study):
    if study.importances:
        assert set(study.importances) == {"peak_lr", "crop_pad"}
        assert sum(study.importances.values()) == pytest.approx(1)


def test_another_study_in_the_folder_is_refused(study, images):
    for arguments, words in (
        ({"space": ("peak_lr=1..2",)}, "another space"),
        ({"space": SPACE, "recipe": BRIEF.with_settings(["seed=1"])}, "another recipe"),
        ({"space": SPACE, "storage": "sqlite://"}, "another storage"),
    ):
        with pytest.raises(RunError, match=words):
            tune(images, study.folder, trials=9, **{"recipe": BRIEF} | arguments)


def test_a_folder_with_something_else_is_refused(images, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds no study"):
        tune(images, tmp_path, trials=1, recipe=BRIEF)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"space": ["seed=0,1"]}, "luck"),
        ({"space": ["model=whitened_cnn,resnet19"]}, 'no model "resnet19"'),
        ({"trials": 0}, "number of trials is 0"),
        ({"budget": -1.0}, "budget"),
        ({"storage": "nonsense"}, "cannot be used"),
        ({"storage": "postgresql+psycopg://me:secret@127.0.0.1:1/none"}, "cannot be used"),
    ],
)
def test_mistakes_are_named(images, tmp_path, arguments, words):
    with pytest.raises(SnellenError, match=words) as caught:
        tune(images, tmp_path / "study", recipe=BRIEF, **{"trials": 1} | arguments)
    assert "secret" not in str(caught.value)


def test_small_spaces_are_tried_whole_and_nothing_twice(images, tmp_path):
    study = tune(images, tmp_path / "study", trials=20, space=["crop_pad=0,1,2", "flip=off,random"], recipe=BRIEF)
    assert len(study.trials) == len(set(settings_of(study.trials))) == 6


def test_a_trial_that_diverges_is_a_weak_one_and_the_study_goes_on(images, tmp_path):
    study = tune(images, tmp_path / "study", trials=3, space=["peak_lr=0.1,1,1e6", "head_lr=0"], recipe=BRIEF)
    wild = next(trial for trial in study.trials if trial.settings["peak_lr"] == 1e6)
    assert (wild.state, wild.accuracy) == ("pruned", None)
    assert "loss is infinite or not a number" in wild.note
    assert study.count("complete") == 2
    assert "loss is infinite or not a number" in read_page(study.folder / "study.html").text


def test_contradictory_recipes_fail_alone_but_not_for_ever(images, tmp_path):
    study = tune(images, tmp_path / "some", trials=2, space=["optimizer=sgd,muon"], recipe=BRIEF)
    assert sorted(trial.state for trial in study.trials) == ["complete", "failed"]
    assert "muon_lr" in next(trial for trial in study.trials if trial.state == "failed").note
    with pytest.raises(RunError, match=r"3 trials failed and none worked.* has no dropout"):
        tune(images, tmp_path / "all", space=["dropout=0.1..0.9"], recipe=BRIEF)


def test_weak_trials_are_stopped_by_their_curves(images, tmp_path):
    """After four trials that learn, one whose weights never move is stopped half-way, and can be gone on with."""
    recipe = BRIEF.with_settings(["epochs=4", "head_lr=0"])
    folder = tmp_path / "study"
    ledger = Ledger(folder, "s", {"peak_lr": Range(0.0, 50.0)}, {}, 0, None)
    for _ in range(4):
        claim = ledger.claim(None)
        for percent in (25, 50, 75, 100):
            claim.report(percent, 0.9)
        claim.end("complete", 1.0, accuracy=0.9)
        claim.release()
    ledger._study.enqueue_trial({"peak_lr": 0.0})
    from snellen.training.tune import _work

    claim = ledger.claim(None)
    _work(claim, recipe, images, folder, None, None, None, None)
    claim.release()
    weak = ledger.entries()[-1]
    assert weak.state == "pruned"
    run = Run.open(folder / "trials" / "0004")
    assert 1 <= len(run.metrics) < 4
    assert len(weak.curve) == len(run.metrics)
    assert train(images, run.recipe, run.folder).finished


def test_budget_ends_in_time_and_loses_nothing(images, tmp_path):
    """The trial that the budget cuts goes on from its checkpoint, and is the same as one that was never cut."""
    recipe = BRIEF.with_settings(["epochs=20"])
    started = time.monotonic()
    study = tune(images, tmp_path / "study", budget=0.5, space=SPACE, recipe=recipe)
    assert time.monotonic() - started < 30
    assert [trial.state for trial in study.trials][-1] == "running"
    assert study.best is None
    assert not (study.folder / "best.json").exists()
    seen = []
    whole = tune(images, tmp_path / "study", trials=1, space=SPACE, recipe=recipe, on_epoch=seen.append)
    assert whole.trials[0].state == "complete"
    assert 0 < len(seen) <= 20
    assert sorted(whole.trials[0].curve) == sorted({100 * epoch // 20 for epoch in range(1, 21)})
    never = train(images, whole.recipe_of(whole.trials[0]), tmp_path / "never")
    assert never.model.read_bytes() == (whole.run_of(whole.trials[0]) / "model.safetensors").read_bytes()


def test_two_workers_lose_and_repeat_no_trial(images, tmp_path):
    out = tmp_path / "study"
    words = ["--trials", 6, "--set", "peak_lr=0.01..50", "--set", "crop_pad=0..4"]
    outputs = [ended(process) for process in [worker(images, out, *words) for _ in range(2)]]
    study = tune(images, out, trials=6, space=SPACE, recipe=BRIEF)
    assert len(study.trials) == 6
    assert not study.count("running")
    assert len(set(settings_of(study.trials))) == 6
    assert sorted(path.name for path in (out / "trials").iterdir()) == [f"{n:04}" for n in range(6)]
    worked = [{line.split()[1] for line in output.splitlines() if line.startswith("trial ")} for output in outputs]
    assert worked[0] | worked[1] == {f"{number}:" for number in range(6)}
    assert str(out / "study.html") in outputs[0]


def test_a_killed_worker_leaves_a_study_that_goes_on(images, tmp_path):
    out = tmp_path / "study"
    words = ["--trials", 2, "--set", "epochs=20", *(word for text in SPACE for word in ("--set", text))]
    process = worker(images, out, *words)
    wait_for(lambda: list(out.glob("trials/*/checkpoint.safetensors")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    study = tune(images, out, trials=2, space=[*SPACE, "epochs=20"], recipe=BRIEF)
    assert [trial.number for trial in study.trials] == [0, 1]
    assert not study.count("running")
    for trial in study.ranked:
        assert load_model(study.run_of(trial)).about["recipe"] == study.recipe_of(trial).to_dict()
    first = study.trials[0]
    assert first.state == "complete"
    never = train(images, study.recipe_of(first), tmp_path / "never")
    assert never.model.read_bytes() == (study.run_of(first) / "model.safetensors").read_bytes()


@pytest.mark.parametrize("line", ['{"a" 1}', "words", "{}", "2\0"])
def test_a_journal_whose_last_line_is_damaged_is_refused(tmp_path, line):
    Ledger(tmp_path, "s", {"crop_pad": Range(0, 4)}, {}, 0, None)
    with open(tmp_path / ledgers.JOURNAL, "a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match="journal is damaged"):
        Ledger(tmp_path, "s", {"crop_pad": Range(0, 4)}, {}, 0, None)


def test_a_journal_cut_short_goes_on(tmp_path):
    space = {"crop_pad": Range(0, 4)}
    first = Ledger(tmp_path, "s", space, {}, 0, None)
    claim = first.claim(None)
    claim.end("complete", 1.0, accuracy=0.5)
    claim.release()
    with open(tmp_path / ledgers.JOURNAL, "ab") as file:
        file.write(b'{"op_code":6,"wor')
    again = Ledger(tmp_path, "s", space, {}, 0, None)
    assert [entry.accuracy for entry in again.entries()] == [0.5]
    again.claim(None)
    assert len(Ledger(tmp_path, "s", space, {}, 0, None).entries()) == 2


def test_a_claimed_trial_is_left_alone_and_one_left_behind_is_not(tmp_path):
    space = {"flip": Choices(("off", "random"))}
    first, second = (Ledger(tmp_path, "s", space, {}, 0, None) for _ in "ab")
    claim = first.claim(2)
    other = second.claim(2)
    assert claim.settings != other.settings
    assert first.claim(2) is None
    claim.release()
    assert second.claim(2).settings == claim.settings


def test_command_line_and_recipe_of_the_best(study, images, tmp_path):
    runner = CliRunner()
    out = tmp_path / "run"
    result = runner.invoke(main, ["train", str(images.folder), "--out", str(out), "--recipe", str(study.folder)])
    assert result.exit_code == 0, result.output
    assert Run.open(out).recipe == study.recipe_of(study.best)
    refused = runner.invoke(main, ["tune", str(images.folder), "--out", str(out), "--budget", "soon"])
    assert refused.exit_code == 2
    assert "90s, 30m or 2h" in refused.output


def test_compete_submits_what_the_best_recipe_of_a_study_predicts(tmp_path):
    """From raw files: prepare, search, and the whole job again with the recipe found; also with folds."""

    def typed(*words):
        done = CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr

    raw, data, out = write_world(tmp_path / "raw"), tmp_path / "data", tmp_path / "study"
    typed("prepare", raw.folder, "--out", data, "--size", 16)
    words = ("--recipe", "smoke", "--trials", 2, "--set", "epochs=8", "--set", "peak_lr=17,18,19")
    typed("tune", data, "--out", out, *words)
    best = Recipe.open(out / "best.json")
    assert best.peak_lr in (17, 18, 19)
    for name, options, folders in (
        ("refitted", [], ["run", "refit"]),
        ("folded", ["--folds", 2], ["folds/fold-1", "folds/fold-2"]),
    ):
        typed("compete", raw.folder, "--out", tmp_path / name, "--size", 16, "--recipe", out, *options)
        assert [Run.open(tmp_path / name / folder).recipe for folder in folders] == [best, best]
        lines = (tmp_path / name / "submission.csv").read_text().splitlines()[1:]
        right = [raw.test_labels[line.split(",")[0]] == line.split(",")[1] for line in lines]
        assert len(right) == len(raw.test_labels)
        assert all(right), f"{sum(right)} of {len(right)}"


def test_a_study_without_a_complete_trial_has_no_recipe(tmp_path):
    from snellen.cli.options import chosen_recipe

    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(RecipeError, match="no trial of this study is complete"):
        chosen_recipe(str(tmp_path), ())


def test_durations_are_seconds():
    from snellen.cli.commands import Duration

    read = [Duration().convert(text, None, None) for text in ("90", "90s", "30m", "1.5h", "1d")]
    assert read == [90, 90, 1800, 5400, 86400]


def test_without_optuna_the_message_names_the_extra():
    code = (
        "import sys; sys.modules['optuna'] = None\nimport snellen\n"
        "try: snellen.tune('data', 'study')\nexcept snellen.SnellenError as problem: print(problem)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'snellen[tune]'" in output


@pytest.fixture(scope="module")
def postgres():
    """URL of a real server of its own, on a free port of loopback."""
    pytest.importorskip("psycopg")
    found = [shutil.which(name) for name in ("initdb", "pg_ctl")]
    if not all(found):
        pytest.skip("PostgreSQL is not installed")
    user = None
    folder = Path(tempfile.mkdtemp())  # not pytest's: the server's user may not look into that
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("PostgreSQL does not run as root")
        user = "postgres"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command):
        subprocess.run(list(map(str, command)), user=user, check=True, stdout=subprocess.DEVNULL, cwd=folder)

    run(found[0], "-D", folder / "data", "-U", "tester", "-A", "trust", "--no-sync")
    options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
    run(found[1], "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
    yield f"postgresql+psycopg://tester:secret@127.0.0.1:{port}/postgres"
    run(found[1], "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def test_machines_share_a_study_in_postgresql(postgres, images, tmp_path):
    """Two folders stand for two machines; each has the runs that it made, and knows all."""
    words = ["--trials", 5, "--storage", postgres, *(word for text in SPACE for word in ("--set", text))]
    folders = [tmp_path / machine / "study" for machine in ("one", "two")]
    for folder in folders:
        folder.parent.mkdir()
    for process in [worker(images, folder, *words) for folder in folders]:
        ended(process)
    studies = [tune(images, f, trials=5, space=SPACE, recipe=BRIEF, storage=postgres) for f in folders]
    assert studies[0].trials == studies[1].trials
    assert 5 <= len(studies[0].trials) <= 6
    assert len(set(settings_of(studies[0].trials))) == len(studies[0].trials)
    made = [{path.name for path in folder.glob("trials/*")} for folder in folders]  # a slow starter may have none
    assert not made[0] & made[1]
    assert len(made[0] | made[1]) == len(studies[0].trials)
    assert (folders[0] / "best.json").read_bytes() == (folders[1] / "best.json").read_bytes()
    for folder in folders:
        assert "secret" not in (folder / "study.json").read_text()


def test_a_silent_machine_gives_its_trial_away(postgres, tmp_path, monkeypatch):
    space = {"crop_pad": Range(0, 4)}
    first = Ledger(tmp_path / "one", "silent", space, {}, 0, postgres)
    second = Ledger(tmp_path / "two", "silent", space, {}, 0, postgres)
    claim = first.claim(None)
    assert second.claim(1) is None
    monkeypatch.setattr(ledgers, "SILENT_SECONDS", 0)
    taken = second.claim(1)
    assert taken.settings == claim.settings
    assert taken.number != claim.number
    with pytest.raises(RunError, match="taken over by another machine"):
        claim.report(50, 0.5)
    with pytest.raises(RunError, match="taken over by another machine"):
        claim.end("complete", 1.0, accuracy=0.5)
    taken.end("complete", 1.0, accuracy=0.6)
    assert [entry.accuracy for entry in first.entries()] == [0.6]
