import os
import subprocess
import sys

import pytest
from PIL import Image

from snellen.charts.figures import save_history


def rows(num, valid=True):
    made = [
        {"epoch": n, "step": 9 * n, "lr": 0.1, "train_loss": 2 / n, "train_accuracy": n / 99} for n in range(1, num + 1)
    ]
    return [row | {"valid_loss": 2.1, "valid_accuracy": 0.5} for row in made] if valid else made


@pytest.mark.parametrize("num", [1, 2, 98])
@pytest.mark.parametrize("valid", [True, False])
def test_any_number_of_epochs_is_drawn_with_or_without_validation(tmp_path, num, valid):
    save_history(rows(num, valid), tmp_path / "history.png")
    with Image.open(tmp_path / "history.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.size == (990, 374)
        assert len(picture.convert("RGB").getcolors(10**6)) > 20, "more than an empty page"
    assert os.listdir(tmp_path) == ["history.png"]


def test_equal_rows_give_equal_bytes_and_redrawing_replaces(tmp_path):
    path = tmp_path / "history.png"
    save_history(rows(3), path)
    first = path.read_bytes()
    save_history(rows(4), path)
    assert path.read_bytes() != first
    save_history(rows(3), path)
    assert path.read_bytes() == first


def test_numbers_that_are_none_are_left_out_of_the_curve(tmp_path):
    history = rows(3)
    history[1]["train_loss"] = float("nan")
    save_history(history, tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 0


def test_drawing_needs_no_window_and_opens_no_global_figure(tmp_path):
    code = (
        "import sys; from snellen.charts import figures; assert 'matplotlib' not in sys.modules\n"
        "figures.save_history([{'epoch': 1, 'train_loss': 1.0, 'train_accuracy': 0.5}], figures.Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, tmp_path / "history.png"], check=True)
