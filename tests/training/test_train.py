"""The loop: it learns, says what it did, and going on after any stop gives the bits of never having stopped."""

import json
import math
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import write_world
from snellen.errors import DataError, RecipeError, RunError
from snellen.images.imageset import ImageSet
from snellen.images.prepare import prepare
from snellen.models.model_file import identity, load_model
from snellen.prediction import calibrate
from snellen.prediction.evaluate import evaluate
from snellen.prediction.probabilities import logits
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.runs.repeat import commands
from snellen.runs.run import Run
from snellen.system import files
from snellen.system.device import choose_runtime
from snellen.system.folders import locked
from snellen.training.cross_validate import cross_validate
from snellen.training.train import train

SMOKE = PRESETS["smoke"].with_settings(["epochs=2", "precision=float32"])


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageSet:
    folder = tmp_path_factory.mktemp("prepared")
    return prepare(write_world(folder / "world").folder, folder / "data", size=16)


def without_clocks(run: Run) -> list[dict]:
    clocks = ("seconds", "train_seconds", "images_per_second", "peak_memory_bytes")
    return [{k: v for k, v in row.items() if k not in clocks} for row in run.metrics]


def stop_after(num_steps: int):
    """An on_progress that ends the training as Ctrl-C would, after so many steps."""
    count = 0

    def on_progress(stage, done, total):
        nonlocal count
        count += 1
        if count == num_steps:
            raise KeyboardInterrupt

    return on_progress


def test_a_run_says_what_it_did(images, tmp_path):
    seen = []
    run = train(images, SMOKE, tmp_path / "run", on_epoch=seen.append)
    assert [row["epoch"] for row in run.metrics] == [1, 2]
    assert run.metrics == seen
    assert {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "lr", "seconds"} <= run.metrics[0].keys()
    assert 2**20 < run.metrics[0]["peak_memory_bytes"] < 2**40
    assert run.finished
    names = {path.name for path in run.folder.iterdir()} - {"best.safetensors", ".lock"}
    assert names == {"recipe.json", "about.json", "metrics.jsonl", "history.png", "model.safetensors"}
    model = load_model(run.folder)
    assert model.classes == images.classes
    assert model.about["fingerprint"] == images.fingerprint
    assert model.about["scores"]["valid_accuracy"] == run.metrics[-1]["valid_accuracy"]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(images, tmp_path):
    first, second = (train(images, SMOKE, tmp_path / name).model.read_bytes() for name in "ab")
    assert first == second
    other = train(images, SMOKE.with_settings(["seed=1"]), tmp_path / "c").model.read_bytes()
    assert first != other


SETTINGS = [
    [],
    [
        *("optimizer=muon", "muon_lr=0.2", "flip=alternating", "piece_size=7", "precision=bfloat16"),
        *("whiten_bias_share=0.3", "first_group_share=0.5", "lr_drops=1"),
    ],
    ["ema=0.9", "mixup=1", "mix_off_epochs=1", "crop_area=0.64", "cutout=4"],
    ["model=cifar_wideresnet10_1", "dropout=0.3", "peak_lr=0.1", "head_lr=0"],
    ["epochs=2.4", "schedule=linear"],
    ["precision=float64", "cutmix=1"],
    ["average_last=2", "model=cifar_resnet8_v1", "peak_lr=0.1", "head_lr=0"],
]


@pytest.mark.parametrize(
    "settings", SETTINGS, ids=["sgd", "muon", "averaged", "dropout", "fraction", "float64", "average of epochs"]
)
def test_resumed_run_equals_uninterrupted_run(images, tmp_path, settings):
    recipe = SMOKE.with_settings(settings)
    whole = train(images, recipe, tmp_path / "whole")
    steps = whole.metrics[-1]["step"]
    assert steps >= 6
    # A checkpoint after every step (0 seconds), and stops inside and between epochs.
    for num_steps in (2, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            train(images, recipe, tmp_path / "parts", checkpoint_seconds=0, on_progress=stop_after(num_steps))
    parts = train(images, recipe, tmp_path / "parts", checkpoint_seconds=0)
    assert without_clocks(parts) == without_clocks(whole)
    assert parts.model.read_bytes() == whole.model.read_bytes()
    assert parts.best.exists() == whole.best.exists()
    assert not whole.best.exists() or parts.best.read_bytes() == whole.best.read_bytes()


def test_a_fraction_of_an_epoch_is_trained_and_counted(images, tmp_path):
    run = train(images, SMOKE.with_settings(["epochs=1.5"]), tmp_path / "run")
    first, last = run.metrics
    assert (last["epoch"], last["step"]) == (2, math.ceil(1.5 * first["step"]))
    assert 0 < last["train_accuracy"] <= 1
    few = train(images, SMOKE.with_settings(["epochs=0.3"]), tmp_path / "few")
    assert [row["step"] for row in few.metrics] == [math.ceil(0.3 * first["step"])]


def test_resume_does_not_repeat_what_was_done(images, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(images, SMOKE, tmp_path / "run", checkpoint_seconds=0, on_progress=stop_after(2))
    seen = []
    train(images, SMOKE, tmp_path / "run", on_progress=lambda stage, done, total: seen.append(stage))
    total = Run.open(tmp_path / "run").metrics[-1]["step"]
    assert len(seen) == total - 1  # the stop came before the second step's checkpoint


def test_killed_process_goes_on_to_the_same_bytes(images, tmp_path):
    recipe = SMOKE.with_settings(["epochs=6"])
    recipe.save(tmp_path / "recipe.json")
    whole = train(images, recipe, tmp_path / "whole")
    code = (
        "import sys, snellen\n"
        "recipe = snellen.Recipe.open(sys.argv[2])\n"
        "snellen.train(sys.argv[1], recipe, sys.argv[3], checkpoint_seconds=0)\n"
    )
    command = [sys.executable, "-c", code, str(images.folder), str(tmp_path / "recipe.json"), str(tmp_path / "killed")]
    metrics = tmp_path / "killed" / "metrics.jsonl"
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert metrics.exists()
    assert not (tmp_path / "killed" / "model.safetensors").exists(), "it was killed too late to test anything"
    killed = train(images, recipe, tmp_path / "killed")
    assert without_clocks(killed) == without_clocks(whole)
    assert killed.model.read_bytes() == whole.model.read_bytes()
    assert not list(killed.folder.glob(".*.partial")), "what the killed process left half-written is gone"


def test_about_json_is_enough_to_repeat_a_run(tmp_path, monkeypatch):
    """Of all the files only about.json and recipe.json are kept, and what they name: raw files and models."""
    monkeypatch.chdir(tmp_path)
    images = prepare(write_world(tmp_path / "world").folder, "data", size=16, valid_share=0.3, seed=4)
    first = train(images, SMOKE, "first")
    run = train(images, SMOKE.with_settings(["seed=3"]), "run", on="train+valid", init="first", calibrated_by="first")
    wanted = run.model.read_bytes()
    about = Run.open(run.folder).about
    assert (
        about["init"]["sha256"] == about["calibrated_by"]["sha256"] == identity("first", load_model("first"))["sha256"]
    )
    for path in (*Path("data").iterdir(), run.model, run.folder / "metrics.jsonl"):
        path.unlink()
    Path("data").rmdir()
    kept = Run(run.folder, Recipe.open("run/recipe.json"), about)
    lines = commands(kept)
    assert [line.partition("snellen ")[2].split()[0] for line in lines] == ["prepare", "train"]
    here = f'snellen() {{ {shlex.quote(sys.executable)} -m snellen "$@"; }}; '
    for line in lines:
        done = subprocess.run(["bash", "-c", here + line], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert Run.open("again").about["fingerprint"] == about["fingerprint"]
    assert Run.open("again").about["versions"] == about["versions"]
    assert Run.open("again").model.read_bytes() == wanted
    assert first.about["precision"] == "float32"
    assert first.about["device"] == "cpu"


def test_going_on_elsewhere_is_written_down(images, tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        train(images, SMOKE, tmp_path / "run", checkpoint_seconds=0, on_progress=stop_after(2))
    about = tmp_path / "run" / "about.json"
    facts = json.loads(about.read_text())
    began = facts["versions"]["torch"]
    facts["versions"]["torch"] = "1.0"
    about.write_text(json.dumps(facts))
    with caplog.at_level("WARNING"):
        run = train(images, SMOKE, tmp_path / "run")
    assert f"torch was 1.0, is now {began}" in caplog.text
    assert "versions was" not in caplog.text
    assert [entry["versions"]["torch"] for entry in Run.open(run.folder).about["continued"]] == [began]


def test_going_on_at_home_is_not_worth_a_word(images, tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        train(images, SMOKE, tmp_path / "run", checkpoint_seconds=0, on_progress=stop_after(2))
    with caplog.at_level("WARNING"):
        run = train(images, SMOKE, tmp_path / "run")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert "continued" not in Run.open(run.folder).about


def test_a_temperature_from_elsewhere_is_refused_where_it_would_not_be_used(images, tmp_path):
    first = train(images, SMOKE.with_settings(["epochs=1"]), tmp_path / "first")
    with pytest.raises(DataError, match="fits its own temperature"):
        train(images, SMOKE, tmp_path / "run", calibrated_by=first)
    train(images, SMOKE, tmp_path / "both", on="train+valid")
    with pytest.raises(RunError, match="its temperature from another model"):
        train(images, SMOKE, tmp_path / "both", on="train+valid", calibrated_by=first)


def test_finished_run_is_left_alone(images, tmp_path):
    run = train(images, SMOKE, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.folder.iterdir() if path.name != ".lock"}
    train(images, SMOKE, tmp_path / "run")
    assert before == {path: path.stat().st_mtime_ns for path in run.folder.iterdir() if path.name != ".lock"}


def test_train_plus_valid_uses_every_labelled_image_and_no_validation(images, tmp_path):
    first = train(images, SMOKE, tmp_path / "first")
    run = train(images, SMOKE, tmp_path / "run", on="train+valid", calibrated_by=first.folder)
    assert "valid_accuracy" not in run.metrics[0]
    sizes = []
    train(
        images, SMOKE, tmp_path / "again", on="train+valid", on_progress=lambda stage, done, total: sizes.append(total)
    )
    assert set(sizes) == {len(images.select("train", "valid"))}
    assert load_model(run.folder).temperature == load_model(first.folder).temperature != 1
    assert (load_model(run.folder).familiar == load_model(first.folder).familiar).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": SMOKE.with_settings(["epochs=3"])}, "epochs was 2, is now 3"),
        ({"on": "train+valid"}, "other splits"),
    ],
)
def test_folder_of_another_run_is_refused(images, tmp_path, change, words):
    train(images, SMOKE, tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match=words):
        train(images, **({"recipe": SMOKE, "out": tmp_path / "run"} | change))
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_folder_with_other_files_is_refused(images, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="not empty and does not hold a run"):
        train(images, SMOKE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_start_that_was_cut_short_is_begun_again(images, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.json.abc.partial").write_text("{")
    run = train(images, SMOKE.with_settings(["epochs=1"]), tmp_path / "run")
    assert not list(run.folder.glob(".*.partial"))


def test_two_trainings_in_one_folder_are_refused(images, tmp_path):
    with locked(tmp_path / "run"), pytest.raises(RunError, match="another snellen command"):
        train(images, SMOKE, tmp_path / "run")


def test_damaged_checkpoint_is_named(images, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(images, SMOKE, tmp_path / "run", checkpoint_seconds=0, on_progress=stop_after(2))
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    whole = checkpoint.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:-100], bytes(flipped)):
        checkpoint.write_bytes(content)
        with pytest.raises(RunError, match="checkpoint is damaged"):
            train(images, SMOKE, tmp_path / "run")
    checkpoint.write_bytes(whole)
    assert train(images, SMOKE, tmp_path / "run").finished


@pytest.mark.parametrize("verb", [train, cross_validate])
def test_a_model_that_cannot_be_built_is_refused_before_anything_is_written(images, tmp_path, verb):
    out = tmp_path / "run"
    with pytest.raises(RecipeError, match=r'unknown model "resnet19"[\s\S]*did you mean "resnet18"'):
        verb(images, SMOKE.with_settings(["model=resnet19"]), out)
    assert not out.exists()
    tiny = prepare(write_world(tmp_path / "world").folder, tmp_path / "tiny")
    with pytest.raises(DataError, match="the images have 8x8 pixels"):
        verb(tiny, SMOKE, out)
    assert not out.exists()


def test_a_finished_run_whose_model_is_damaged_is_not_called_finished(images, tmp_path, caplog):
    run = train(images, SMOKE, tmp_path / "run")
    run.model.write_bytes(run.model.read_bytes()[:-100])
    caplog.clear()
    for again in (lambda: train(images, SMOKE, run.folder), lambda: load_model(run.folder)):
        with pytest.raises(RunError, match="the model file is damaged") as caught:
            again()
        assert caught.value.where == str(run.model)
        assert caught.value.do == "remove the folder and train again"
    assert "nothing to do" not in caplog.text


def test_diverged_training_says_what_to_do(images, tmp_path):
    recipe = SMOKE.with_settings(["peak_lr=1e6", "head_lr=1e6", "weight_decay=1", "decay_all=true", "epochs=4"])
    with pytest.raises(RunError, match=r"infinite or not a number in epoch \d[\s\S]*peak_lr=20,"):
        train(images, recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_weights_can_be_taken_over(images, tmp_path):
    first = train(images, SMOKE, tmp_path / "first")
    frozen = SMOKE.with_settings(["peak_lr=0", "head_lr=0", "epochs=1"])
    second = train(images, frozen, tmp_path / "second", init=first.folder)
    a, b = load_model(first.folder), load_model(second.folder)
    for (name, mine), (_, other) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        assert (mine == other).all(), name
    with pytest.raises(RunError, match="do not fit"):
        train(images, SMOKE.with_settings(["model=resnet18"]), tmp_path / "third", init=first.folder)


def test_without_valid_images_the_message_says_so(images, tmp_path):
    only = images.take((images.splits == "train").nonzero()[0])
    with pytest.raises(DataError, match="no valid images"):
        train(only, SMOKE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(RunError, match="does not hold a run"):
        Run.open(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    (tmp_path / "about.json").write_text(json.dumps([]))
    with pytest.raises(RunError, match="does not hold a run"):
        Run.open(Path(tmp_path))


def test_runs_and_prepared_images_in_each_others_place_are_told_apart(images, tmp_path):
    run = train(images, SMOKE, tmp_path / "run")
    swapped = "order of the arguments"
    with pytest.raises(DataError, match="holds a run, not prepared images") as caught:
        evaluate(images.folder, run.folder)
    assert swapped in caught.value.do
    for verb in (Run.open, load_model):
        with pytest.raises(RunError, match="holds prepared images, not") as refused:
            verb(images.folder)
        assert swapped in refused.value.do
    before = sorted(path.name for path in images.folder.iterdir())
    with pytest.raises(RunError, match="holds prepared images") as there:
        train(images, SMOKE, images.folder)
    assert there.value.do == "choose another --out"
    assert sorted(path.name for path in images.folder.iterdir()) == before


def test_the_best_model_is_calibrated_like_the_last_one(images, tmp_path):
    run = train(
        images, SMOKE.with_settings(["epochs=6"]), tmp_path / "run"
    )  # soon all right, so no later epoch is better
    accuracies = [row["valid_accuracy"] for row in run.metrics]
    assert accuracies.index(max(accuracies)) < 5
    best, last = load_model(run.best), load_model(run.model)
    assert [model.about["scores"]["epoch"] for model in (best, last)] == [accuracies.index(max(accuracies)) + 1, 6]
    for model in (best, last):
        raw = logits(model, images.select("valid"), choose_runtime("float32"), views=1)
        labels = images.select("valid").labels
        assert float(model.temperature) == pytest.approx(calibrate.fit_temperature(raw, labels), rel=1e-5)
        assert model.familiar[0] > model.familiar[1]


def test_a_whitening_bias_that_never_trains_stays_at_zero(images, tmp_path):
    run = train(images, SMOKE.with_settings(["whiten_bias_share=0"]), tmp_path / "run")
    assert not load_model(run).network.features[0].bias.any()


@pytest.mark.parametrize("settings", [["batch_size=1"], ["piece_size=1", "sync_batchnorm=false"]])
def test_pieces_of_one_image_that_batch_norm_cannot_use_are_refused(images, tmp_path, settings):
    with pytest.raises(RunError, match=r"one image of 16x16 pixels at a time: batch norm needs more"):
        train(images, SMOKE.with_settings(settings), tmp_path / "run")


def test_what_the_caller_does_wrong_keeps_its_own_error(images, tmp_path):
    with pytest.raises(FileNotFoundError):
        train(images, SMOKE, tmp_path / "run", on_epoch=lambda row: (tmp_path / "no" / "log").touch())


def test_a_training_that_begins_leaves_alone_what_others_write_in_its_folder(images, tmp_path):
    (tmp_path / "run").mkdir()
    left = tmp_path / "run" / ".old.csv.1.partial"
    left.write_bytes(b"")
    with files.replacing(tmp_path / "run" / "predictions.csv") as file:
        file.write(b"id")
        train(images, SMOKE, tmp_path / "run")
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == b"id"
    assert not left.exists()


@pytest.mark.parametrize("name", ["about.json", "recipe.json"])
def test_a_folder_with_half_of_what_makes_a_run_holds_none(images, tmp_path, name):
    run = train(images, SMOKE.with_settings(["epochs=1"]), tmp_path / "run")
    (run.folder / name).unlink()
    with pytest.raises(RunError, match="holds a model, not a run"):
        Run.open(run.folder)


LITTLE_MEMORY = """
import resource, sys
from snellen.cli.commands import main
from snellen.system import memory
from snellen.system.device import choose_runtime
from snellen.training.train import train
in_use = memory.bytes_in("/proc/self/status", "VmData")
resource.setrlimit(resource.RLIMIT_DATA, (in_use + 200 * 2**20,) * 2)
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_running_out_of_memory_is_a_message_with_the_settings_to_change(images, tmp_path):
    words = ["train", images.folder, "--out", tmp_path / "run", "--recipe", "smoke", "--device", "cpu"]
    words += ["--set", "model=cifar_wideresnet40_8", "--set", "batch_size=36"]  # weights alone take 143 MB
    command = [sys.executable, "-c", LITTLE_MEMORY, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "snellen: the machine ran out of memory." in done.stderr
    assert "in: model=cifar_wideresnet40_8, batch_size=36, piece_size=0" in done.stderr
    assert "--set piece_size=18" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recipe_that_was_edited_after_the_start_is_not_resumed(images, tmp_path):
    run = train(images, SMOKE, tmp_path / "run")
    text = (run.folder / "recipe.json").read_text()
    edited = Recipe.open(run.folder / "recipe.json").with_settings(["epochs=9"])
    edited.save(run.folder / "recipe.json")
    with pytest.raises(RunError, match=r"recipe\.json was changed after the run had started"):
        train(images, edited, run.folder)
    (run.folder / "recipe.json").write_text(text)
    assert train(images, SMOKE, run.folder).finished
