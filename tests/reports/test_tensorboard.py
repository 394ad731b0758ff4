"""What TensorBoard's own reader finds in a run's folder."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from snellen.runs.recipe import Recipe

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from snellen.reports.tensorboard import TensorBoard, tag
from snellen.training.record import save_metrics, start_run


@pytest.fixture
def run(tmp_path):
    run = start_run(tmp_path / "run", Recipe(epochs=40, lr_drops=(3, 9)), {"fingerprint": "x", "on": "train"})
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(run.folder / "history.png")
    return run


def row(epoch):
    figures = {"train_loss": 2 / epoch, "train_accuracy": 0.5, "valid_loss": 3 / epoch, "valid_accuracy": epoch / 100}
    return {"epoch": epoch, "step": 9 * epoch, "lr": 0.1, **figures, "images_per_second": 100.0, "seconds": 4.5}


def fit(run, epochs, board=None):
    """What `train` does with its on_epoch."""
    rows = run.metrics
    with board or TensorBoard(run.folder) as board:
        for epoch in epochs:
            rows.append(row(epoch))
            save_metrics(run, rows)
            board(rows[-1])


def read(run):
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    return events


def test_every_figure_is_a_scalar_by_epoch(run):
    fit(run, [1, 2, 3])
    events = read(run)
    names = {"loss/train", "loss/valid", "accuracy/train", "accuracy/valid", "lr", "images_per_second", "seconds"}
    assert set(events.Tags()["scalars"]) == names
    found = [(event.step, round(event.value, 6)) for event in events.Scalars("accuracy/valid")]
    assert found == [(1, 0.01), (2, 0.02), (3, 0.03)]


def test_the_metric_is_a_scalar_too_and_the_column_of_hparams(tmp_path):
    about = {"fingerprint": "x", "on": "train", "metric": "map@5"}
    run, rows = start_run(tmp_path / "by_map", Recipe(epochs=3), about), []
    with TensorBoard(run.folder) as board:
        for epoch, value in ((1, None), (2, 0.25), (3, 0.5)):
            rows.append(row(epoch) | {"valid_map@5": value})
            save_metrics(run, rows)
            board(rows[-1])
    events = read(run)
    assert [(event.step, event.value) for event in events.Scalars("map_at_5/valid")] == [(2, 0.25), (3, 0.5)]
    content = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    (info,) = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.metric_infos
    assert info.name.tag == "map_at_5/valid"


def test_epochs_can_be_read_while_training_goes_on(run):
    save_metrics(run, [row(1)])
    with TensorBoard(run.folder) as board:
        board(row(1))
        assert [event.step for event in read(run).Scalars("loss/train")] == [1]


def test_a_run_that_goes_on_has_each_epoch_once(run):
    fit(run, [1, 2])
    fit(run, [3, 4])
    assert [event.step for event in read(run).Scalars("loss/train")] == [1, 2, 3, 4]


def test_it_can_be_switched_on_in_the_middle(run):
    save_metrics(run, [row(1), row(2)])
    fit(run, [3])
    assert [event.step for event in read(run).Scalars("loss/train")] == [1, 2, 3]


def test_the_figure_is_drawn_now_and_then_and_at_the_end(run):
    fit(run, range(1, 41))
    images = read(run).Images("history")
    assert images[-1].step == 40
    assert (images[-1].width, images[-1].height) == (40, 30)
    assert all(image.step % 2 == 0 for image in images)


def test_the_recipe_is_text_and_can_be_compared(run):
    fit(run, [1])
    events = read(run)
    text = events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "lr_drops" in text
    assert "    " in text.splitlines()[0], "not shown as code: the columns would not stand under each other"
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["epochs"].number_value == 40
    assert settings["model"].string_value == "resnet18"
    assert settings["lr_drops"].string_value == "[3, 9]"
    content = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    metrics = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.metric_infos
    assert [metric.name.tag for metric in metrics] == ["accuracy/valid"]


def test_the_folder_is_not_touched_before_the_first_epoch(tmp_path):
    with TensorBoard(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_names_are_grouped_by_what_they_measure():
    assert [tag(name) for name in ("train_loss", "valid_accuracy", "train_seconds", "lr", "images_per_second")] == [
        "loss/train", "accuracy/valid", "train_seconds", "lr", "images_per_second",
    ]  # fmt: skip


def test_without_the_extra_the_message_names_the_command():
    code = (
        "import sys\nsys.modules['tensorboard'] = None\nfrom snellen.errors import SnellenError\n"
        "from snellen.reports.tensorboard import TensorBoard\n"
        "try:\n    TensorBoard('run')\nexcept SnellenError as problem:\n    print(problem)\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'pip install "snellen[tensorboard]"' in printed
