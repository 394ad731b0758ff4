"""The live figure, in a real IPython shell and outside of one."""

import base64
import io
import subprocess
import sys

import pytest
from PIL import Image

from snellen.charts.figures import history_png
from snellen.reports.notebook import describe
from snellen.runs.recipe import Recipe
from snellen.training.record import save_metrics, start_run


def row(epoch, **changes):
    figures = {"train_loss": 2 / epoch, "train_accuracy": 1 - 0.5 / epoch}
    figures |= {"valid_loss": 3 / epoch, "valid_accuracy": 0.9 - 0.5 / epoch}
    return {"epoch": epoch, "images_per_second": 11250.4, "seconds": 4.5, **figures, **changes}


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """What a notebook gets to show: one dictionary for each output or change of one."""
    pytest.importorskip("IPython")
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    with capture_output() as captured:
        outputs = captured._outputs
        yield outputs
    InteractiveShell.clear_instance()


def test_the_figure_is_drawn_over_in_its_place(publish):
    from snellen.reports.notebook import LiveFigure

    figure = LiveFigure()
    for epoch in (1, 2, 3):
        figure(row(epoch))
    assert [output["update"] for output in publish] == [False, True, True]
    assert len({output["transient"]["display_id"] for output in publish}) == 1
    pictures = [output["data"]["image/png"] for output in publish]
    assert len(set(pictures)) == 3
    with Image.open(io.BytesIO(base64.b64decode(pictures[-1]))) as picture:
        assert picture.size == (990, 374)
    assert base64.b64decode(pictures[-1]) == history_png([row(1), row(2), row(3)])
    assert publish[-1]["data"]["text/plain"].startswith("epoch 3: train loss 0.667")


def test_a_second_training_gets_a_figure_of_its_own(publish):
    from snellen.reports.notebook import LiveFigure

    figure = LiveFigure()
    for epoch in (1, 2, 1, 2):
        figure(row(epoch))
    assert [output["update"] for output in publish] == [False, True, False, True]
    assert publish[0]["transient"] != publish[2]["transient"]
    assert [r["epoch"] for r in figure.rows] == [1, 2]


def test_a_resumed_run_shows_its_earlier_epochs(publish, tmp_path):
    from snellen.reports.notebook import LiveFigure

    run = start_run(tmp_path / "run", Recipe(epochs=7), {"fingerprint": "x", "on": "train"})
    rows = [row(epoch) for epoch in (1, 2, 3)]
    save_metrics(run, rows)
    figure = LiveFigure(run.folder)
    figure(rows[-1])
    assert figure.rows == rows
    assert base64.b64decode(publish[0]["data"]["image/png"]) == history_png(rows, 7)
    # The refit of `compete` is another run: its rows are not those of this folder.
    figure(row(1, train_loss=3.0))
    assert figure.rows == [row(1, train_loss=3.0)]


def test_without_validation_the_line_does_not_mention_it():
    plain = {name: value for name, value in row(1).items() if not name.startswith("valid")}
    assert describe(plain) == "epoch 1: train loss 2.000, accuracy 50.00%; 11,250 images/s"


def test_the_metric_stands_in_the_line():
    assert describe(row(1, valid_auc=0.75)).endswith("accuracy 40.00%, auc 0.7500; 11,250 images/s")
    assert describe(row(1, valid_auc=None)).endswith("accuracy 40.00%, auc undefined; 11,250 images/s")
    assert describe(row(1, valid_log_loss=3.0)) == describe(row(1))


def test_outside_a_notebook_the_epochs_are_lines(tmp_path):
    pytest.importorskip("IPython")
    code = f"from snellen.reports.notebook import LiveFigure\nLiveFigure()({row(1)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    line = "epoch 1: train loss 2.000, accuracy 50.00%; valid loss 3.000, accuracy 40.00%; 11,250 images/s"
    assert line in done.stdout


def test_without_ipython_the_message_names_the_command():
    code = (
        "import sys\nsys.modules['IPython'] = None\nfrom snellen.errors import SnellenError\n"
        "from snellen.reports.notebook import LiveFigure\n"
        "try:\n    LiveFigure()\nexcept SnellenError as problem:\n    print(problem)\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'pip install "snellen[notebook]"' in printed
    assert "history.png" in printed
