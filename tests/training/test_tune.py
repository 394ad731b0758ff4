"""Studies: no trial is lost or repeated, every one is a run, and any stop can be resumed from."""

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
from snellen.prediction.evaluate import evaluate
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.runs.run import Run
from snellen.system.units import percent
from snellen.training.train import train

optuna = pytest.importorskip("optuna")

from snellen.training.search_space import Choices, Range  # noqa: E402
from snellen.training.study import Done, Ended  # noqa: E402
from snellen.training.trials import opened  # noqa: E402
from snellen.training.tune import tune  # noqa: E402

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


def opened_trials(folder, space, *, storage=None, heartbeat_seconds=60, seed=0):
    """The trials of a study whose work is a function, not a training."""
    folder.mkdir(parents=True, exist_ok=True)
    return opened(folder, "s", space, first={}, seed=seed, storage=storage, heartbeat_seconds=heartbeat_seconds)


def optuna_study(folder):
    """The study in the database of a folder, without snellen."""
    storage = f"sqlite:///{folder / 'study.db'}"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


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
            assert run.metrics[-1]["valid_accuracy"] == trial.score == trial.curve[100]
            assert trial.seconds == pytest.approx(sum(row["seconds"] for row in run.metrics))


def test_the_recipe_itself_is_tried_first(study):
    assert study.recipe_of(study.trials[0]) == BRIEF


def test_a_trial_repeated_by_its_recipe_has_the_same_bits(study, images, tmp_path):
    trial = study.best
    again = train(images, Recipe.open(study.run_of(trial) / "recipe.json"), tmp_path / "again")
    assert again.model.read_bytes() == (study.run_of(trial) / "model.safetensors").read_bytes()


def test_the_best_recipe_is_that_of_the_best_trial(study):
    best = max((t for t in study.trials if t.state == "complete"), key=lambda t: (t.score, -t.number))
    assert study.best == best
    assert Recipe.open(study.folder / "best.json") == study.recipe_of(best)
    assert f"trial {best.number:4}" in str(study)
    shown = show(str(study.folder))
    assert f"{study.run_of(best)}, valid accuracy {percent(best.score)}\n" in shown
    assert str(study.folder / "study.html") in shown
    assert str(study.recipe_of(best)) in shown


def test_the_same_study_elsewhere_draws_the_same(study, images, tmp_path):
    other = tune(images, tmp_path / "study", trials=3, space=SPACE, recipe=BRIEF)
    assert [t.settings for t in other.trials] == [t.settings for t in study.trials[:3]]


def test_the_metric_and_its_direction_choose_the_best_trial(images, tmp_path):
    study = tune(images, tmp_path / "study", trials=4, space=SPACE, recipe=BRIEF, metric="log_loss")
    complete = [trial for trial in study.trials if trial.state == "complete"]
    assert study.best.score == min(trial.score for trial in complete)
    assert study.ranked == sorted(complete, key=lambda trial: trial.score)
    for trial in complete:
        scores = evaluate(study.run_of(trial), images)
        assert scores["metric"] == "log_loss"
        assert trial.score == pytest.approx(scores["value"])
        assert trial.interval == pytest.approx((scores["value_low"], scores["value_high"]))
    assert optuna_study(tmp_path / "study").direction == optuna.study.StudyDirection.MINIMIZE
    assert Recipe.open(tmp_path / "study" / "best.json") == study.recipe_of(study.best)
    assert "by valid log_loss" in str(study)
    page = read_page(tmp_path / "study" / "study.html")
    assert [float(value) for value in page.data["score"]] == [study.best.score]
    assert "valid log_loss" in page.text
    with pytest.raises(RunError, match="holds a study with another metric"):
        tune(images, tmp_path / "study", trials=5, space=SPACE, recipe=BRIEF)


def test_a_function_chooses_the_best_trial(images, tmp_path):
    def doubt(labels, probabilities):
        return -float(probabilities.max(axis=1).mean())

    study = tune(images, tmp_path / "study", trials=3, space=SPACE, recipe=BRIEF, metric=doubt)
    assert study.best.score == max(trial.score for trial in study.trials if trial.state == "complete") < 0
    assert json.loads((tmp_path / "study" / "study.json").read_text())["metric"] == "doubt"


def test_a_trial_whose_metric_is_undefined_has_failed(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 3), dtype=np.uint8)
    data = make_images(tmp_path / "data", pixels, ["a", "b"] * 8 + ["a"] * 8, ["train"] * 16 + ["valid"] * 8)
    study = tune(data, tmp_path / "study", trials=1, space=SPACE, recipe=BRIEF, metric="auc")
    assert [(trial.state, trial.note) for trial in study.trials] == [
        ("failed", "auc is undefined on these 8 valid images")
    ]


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


def test_a_renamed_folder_holds_the_same_study(study, images, tmp_path):
    folder = shutil.copytree(study.folder, tmp_path / "renamed")
    assert tune(images, folder, trials=9, space=SPACE, recipe=BRIEF).trials == study.trials


def test_page_stands_alone_and_agrees(study):
    page = read_page(study.folder / "study.html")
    assert [float(value) for value in page.data["score"]] == [study.best.score]
    assert len(page.all("svg")) == 2 + bool(study.importances)
    assert "peak_lr" in page.text
    assert f"{len(study.trials)} trials" in page.text


def test_importances_are_those_of_the_settings_that_matter(tmp_path):
    with opened_trials(tmp_path, {"peak_lr": Range(0.0, 1.0), "flip": Choices(("off", "random"))}) as trials:
        for number in range(16):
            assert trials.importances() == {} or number >= 8
            trials.run(lambda attempt: Done(attempt.settings["peak_lr"], 1.0), None)
        shares = trials.importances()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["peak_lr"] > 0.8 > shares["flip"]


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
    with pytest.raises(RunError, match="does not hold a study"):
        tune(images, tmp_path, trials=1, recipe=BRIEF)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"space": ["seed=0,1"]}, "luck"),
        ({"space": ["model=whitened_cnn,resnet19"]}, 'unknown model "resnet19"'),
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
    assert (wild.state, wild.score) == ("pruned", None)
    assert "loss is infinite or not a number" in wild.note
    assert study.count("complete") == 2
    assert "loss is infinite or not a number" in read_page(study.folder / "study.html").text


def test_contradictory_recipes_fail_alone_but_not_for_ever(images, tmp_path):
    study = tune(images, tmp_path / "some", trials=2, space=["optimizer=sgd,muon"], recipe=BRIEF)
    assert sorted(trial.state for trial in study.trials) == ["complete", "failed"]
    assert "muon_lr" in next(trial for trial in study.trials if trial.state == "failed").note
    with pytest.raises(RunError, match=r"3 trials failed and none succeeded.* has no dropout"):
        tune(images, tmp_path / "all", space=["dropout=0.1..0.9"], recipe=BRIEF)


def test_weak_trials_are_stopped_by_their_curves(images, tmp_path):
    """After four trials that learn, one whose weights never move is stopped half-way. Its run can be finished."""
    recipe, folder = BRIEF.with_settings(["epochs=4", "head_lr=0"]), tmp_path / "study"
    tune(images, folder, trials=1, space=["peak_lr=0.0..50"], recipe=recipe)
    study = optuna_study(folder)
    for accuracy in (0.9, 0.91, 0.92, 0.93):
        trial = study.ask({"peak_lr": optuna.distributions.FloatDistribution(0.0, 50.0)})
        for share in (25, 50, 75, 100):
            trial.report(accuracy, share)
        study.tell(trial, accuracy)
    study.enqueue_trial({"peak_lr": 0.0})
    weak = tune(images, folder, trials=6, space=["peak_lr=0.0..50"], recipe=recipe).trials[5]
    assert (weak.state, weak.settings) == ("pruned", {"peak_lr": 0.0})
    run = Run.open(folder / "trials" / "0005")
    assert 1 <= len(run.metrics) < 4
    assert len(weak.curve) == len(run.metrics)
    assert train(images, run.recipe, run.folder).finished


def test_a_budget_that_ends_during_a_trial_loses_nothing(images, tmp_path):
    """The trial resumes from its checkpoint, and is the same as one that was never interrupted."""
    recipe, before, after = BRIEF.with_settings(["epochs=8"]), [], []

    def slow(row):
        before.append(row["epoch"])
        if row["epoch"] == 3:
            time.sleep(1)

    study = tune(images, tmp_path / "study", budget=1, space=SPACE, recipe=recipe, on_epoch=slow)
    assert [trial.state for trial in study.trials] == ["waiting"]
    assert study.best is None
    assert not (study.folder / "best.json").exists()
    whole = tune(images, study.folder, trials=1, space=SPACE, recipe=recipe, on_epoch=after.append)
    assert [(trial.number, trial.state) for trial in whole.trials] == [(0, "complete")]
    assert before + [row["epoch"] for row in after] == list(range(1, 9))
    assert sorted(whole.trials[0].curve) == [100 * epoch // 8 for epoch in range(1, 9)]
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
    names = {f"{trial.number:04}" for trial in study.trials}
    assert {path.name for path in (out / "trials").iterdir()} == names
    lines = [line for output in outputs for line in output.splitlines() if " after " in line]
    assert {line.split()[1] for line in lines} == {f"{trial.number}:" for trial in study.trials}
    assert len(lines) == 6
    assert str(out / "study.html") in outputs[0]
    assert "xperimental" not in "".join(outputs)


def test_stopped_with_ctrl_c_it_resumes(images, tmp_path):
    out = tmp_path / "study"
    words = ["--trials", 1, "--set", "epochs=20", *(word for text in SPACE for word in ("--set", text))]
    process = worker(images, out, *words)
    wait_for(lambda: list(out.glob("trials/*/checkpoint.safetensors")))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 130, output
    done, seen = len(Run.open(out / "trials" / "0000").metrics), []
    study = tune(images, out, trials=1, space=[*SPACE, "epochs=20"], recipe=BRIEF, on_epoch=seen.append)
    assert [(trial.number, trial.state) for trial in study.trials] == [(0, "complete")]
    assert [row["epoch"] for row in seen] == list(range(done + 1, 21))
    assert [path.name for path in (out / "trials").iterdir()] == ["0000"]


def test_the_trial_of_a_killed_worker_is_resumed(images, tmp_path):
    out, space = tmp_path / "study", [*SPACE, "epochs=8"]
    words = ["--trials", 2, "--set", "epochs=8", *(word for text in SPACE for word in ("--set", text))]
    process = worker(images, out, *words)
    wait_for(lambda: list(out.glob("trials/*/checkpoint.safetensors")))
    process.send_signal(signal.SIGKILL)
    process.communicate()

    def resumed():
        study = tune(images, out, trials=2, space=space, recipe=BRIEF, heartbeat_seconds=1)
        return None if study.count("running") else study

    study = wait_for(resumed)
    assert [trial.number for trial in study.trials] == [0, 1]
    for trial in study.ranked:
        assert load_model(study.run_of(trial)).about["recipe"] == study.recipe_of(trial).to_dict()
    first = study.trials[0]
    assert first.state == "complete"
    never = train(images, study.recipe_of(first), tmp_path / "never")
    assert never.model.read_bytes() == (study.run_of(first) / "model.safetensors").read_bytes()


def complete(attempt):
    return Done(0.5, 1.0)


def test_an_interrupted_trial_waits_with_its_number_and_settings(tmp_path):
    settings = []

    def interrupted(attempt):
        settings.append(attempt.settings)
        raise KeyboardInterrupt

    space = {"peak_lr": Range(0.0, 1.0)}
    for _ in range(2):
        with opened_trials(tmp_path, space) as trials:
            with pytest.raises(KeyboardInterrupt):
                trials.run(interrupted, 1)
            assert [(trial.number, trial.state) for trial in trials.all()] == [(0, "waiting")]
    with opened_trials(tmp_path, space) as trials:
        assert trials.is_left(1)
        trials.run(complete, 1)
        assert not trials.is_left(1)
        (trial,) = trials.all()
    assert settings == [trial.settings] * 2
    assert (trial.number, trial.state) == (0, "complete")


def test_trials_in_work_are_not_given_to_others(tmp_path):
    space = {"flip": Choices(("off", "random"))}
    with opened_trials(tmp_path, space) as first, opened_trials(tmp_path, space) as second:

        def work(attempt):
            assert second.is_left(2)
            second.run(complete, 2)
            assert not second.is_left(2)
            return Done(0.5, 1.0)

        first.run(work, 2)
        assert sorted(trial.settings["flip"] for trial in first.all()) == ["off", "random"]


def test_a_trial_too_many_gives_way(tmp_path):
    space = {"peak_lr": Range(0.0, 1.0)}
    with opened_trials(tmp_path, space) as first, opened_trials(tmp_path, space) as second:
        first.run(complete, 1)
        second.run(lambda attempt: pytest.fail("the study has its one trial"), 1)  # as if both asked at once
        assert [trial.number for trial in second.all()] == [0]
        second.run(complete, 2)
        assert len(second.all()) == 2


def test_a_worker_killed_before_its_first_heartbeat_loses_no_settings(tmp_path):
    space = {"flip": Choices(("off", "random"))}
    with opened_trials(tmp_path, space):
        pass
    study = optuna_study(tmp_path)
    study.enqueue_trial({"flip": "random"})
    study.ask()  # takes them, and is heard of no more
    with opened_trials(tmp_path, space, heartbeat_seconds=1) as trials:
        assert [trial.state for trial in trials.all()] == ["running"]
        wait_for(lambda: trials.is_left(1))
        trials.run(complete, 1)
        (trial,) = trials.all()
    assert (trial.number, trial.state, trial.settings) == (0, "complete", {"flip": "random"})


def test_failures_have_their_reason(tmp_path):
    def fails(attempt):
        raise Ended("failed", 2.0, "too steep")

    with opened_trials(tmp_path, {"peak_lr": Range(0.0, 1.0)}) as trials:
        trials.run(fails, None)
        (trial,) = trials.all()
    assert (trial.state, trial.note, trial.seconds, trial.score) == ("failed", "too steep", 2.0, None)


@pytest.mark.parametrize("content", [b"words" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_database_is_refused(tmp_path, content):
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(RunError, match="study's database cannot be used") as caught, opened_trials(tmp_path, {}):
        pass
    assert caught.value.where == str(tmp_path / "study.db")


def test_a_database_that_breaks_later_is_a_message_too(tmp_path, caplog):
    def work(attempt):
        (tmp_path / "study.db").write_bytes(b"words" * 1000)
        wait_for(lambda: "heartbeat could not be written" in caplog.text)
        return Done(0.5, 1.0)

    space = {"peak_lr": Range(0.0, 1.0)}
    opening = opened_trials(tmp_path, space, heartbeat_seconds=1)
    with pytest.raises(RunError, match="database cannot be used"), opening as trials:
        trials.run(work, None)


def test_any_folder_name_will_do(tmp_path):
    with opened_trials(tmp_path / "50% {new}?#", {"peak_lr": Range(0.0, 1.0)}) as trials:
        trials.run(complete, None)
    assert (tmp_path / "50% {new}?#" / "study.db").exists()


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
    from snellen.runs.named_recipes import named_recipe

    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(RecipeError, match="no trial of this study is complete"):
        named_recipe(str(tmp_path), ())


def test_durations_are_seconds():
    from snellen.cli.options import Duration

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


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_trial_that_was_taken_over_is_given_up(kind, request, tmp_path):
    """Two folders stand for two machines, of which one is not heard of for a while."""
    url = f"sqlite:///{tmp_path}/shared.db" if kind == "sqlite" else request.getfixturevalue("postgres")
    space = {"crop_pad": Range(0, 4)}
    with (
        opened_trials(tmp_path / "one", space, storage=url, heartbeat_seconds=1000) as silent,
        opened_trials(tmp_path / "two", space, storage=url, heartbeat_seconds=1) as second,
    ):
        taken = []

        def slow(attempt):
            assert not second.is_left(1)
            wait_for(lambda: second.is_left(1))
            second.run(lambda other: taken.append(other) or Done(0.6, 1.0), 1)
            assert (taken[0].number, taken[0].settings) == (attempt.number, attempt.settings)
            attempt.report(50, 0.5)
            return Done(0.5, 1.0)

        with pytest.raises(RunError, match="taken over by another worker"):
            silent.run(slow, 1)
        assert [trial.score for trial in silent.all()] == [0.6]
