"""The figures show the numbers that they are given: each is read back from its SVG."""

import io
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from read_figure import read_figure
from snellen.charts import figures
from snellen.charts.figures import BLUE, GREEN, ORANGE
from snellen.scoring.metrics import METRICS


def rows(num, valid=True):
    made = [{"epoch": n, "step": 9 * n, "train_loss": 2 / n, "train_accuracy": n / 100} for n in range(1, num + 1)]
    return [row | {"valid_loss": 2.1, "valid_accuracy": n / 200} for n, row in enumerate(made, 1)] if valid else made


def near(points):
    return [pytest.approx(point, abs=0.02) for point in points]


def points_of(axes, colour):
    (line,) = [line for line in axes.lines if line.colour == colour]
    return line.points


@pytest.mark.parametrize("num", [2, 7, 98])
def test_the_history_goes_through_losses_and_accuracies(num):
    losses, accuracies = read_figure(figures.history(rows(num)))
    epochs = range(1, num + 1)
    assert points_of(losses, BLUE) == near([(n, 2 / n) for n in epochs])
    assert points_of(losses, ORANGE) == near([(n, 2.1) for n in epochs])
    assert points_of(accuracies, BLUE) == near([(n, n) for n in epochs])
    assert points_of(accuracies, ORANGE) == near([(n, n / 2) for n in epochs])
    assert {line.dashed for line in losses.lines if line.colour == BLUE} == {True}
    assert {line.dashed for line in losses.lines if line.colour == ORANGE} == {False}


def test_the_history_names_its_axes_and_the_last_values():
    losses, accuracies = read_figure(figures.history(rows(4)))
    assert {"epoch", "loss (nats)", "train 0.50", "valid 2.10"} <= {*losses.texts}
    assert {"epoch", "accuracy (%)", "train 4.00%", "valid 2.00%"} <= {*accuracies.texts}


def test_without_validation_the_history_has_one_curve():
    for axes in read_figure(figures.history(rows(3, valid=False))):
        assert {line.colour for line in axes.lines} == {BLUE}
        assert not any("valid" in text for text in axes.texts)


def test_one_epoch_is_a_mark():
    losses, accuracies = read_figure(figures.history(rows(1)))
    for axes, values in ((losses, (2.0, 2.1)), (accuracies, (1.0, 0.5))):
        marks = [line.marks for line in axes.lines]
        assert [len(found) for found in marks] == [1, 1]
        assert (marks[0][0][1] - marks[1][0][1]) * (values[0] - values[1]) > 0


def test_the_axis_has_the_length_of_the_plan():
    for axes in read_figure(figures.history(rows(3), num_epochs=20)):
        assert axes.x_range == pytest.approx((0.5, 20.5), abs=0.02)
    for axes in read_figure(figures.history(rows(3))):
        assert axes.x_range == pytest.approx((0.5, 3.5), abs=0.02)


def test_a_value_that_is_not_a_number_leaves_a_gap():
    history = rows(5)
    history[2]["train_loss"] = float("nan")
    losses, accuracies = read_figure(figures.history(history))
    assert [x for x, _ in points_of(losses, BLUE)] == near([1, 2, 4, 5])
    assert [x for x, _ in points_of(accuracies, BLUE)] == near([1, 2, 3, 4, 5])


def test_the_png_is_the_same_figure(tmp_path):
    path = tmp_path / "history.png"
    figures.save_history(rows(3), path)
    assert path.read_bytes() == figures.history_png(rows(3))
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (990, 374))
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour in (BLUE, ORANGE):
        rgb = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
        assert (pixels == rgb).all(axis=1).sum() > 200, colour


def test_redrawing_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "history.png"
    figures.save_history(rows(3), path)
    first = path.read_bytes()
    figures.save_history(rows(4), path)
    assert path.read_bytes() != first
    figures.save_history(rows(3), path)
    assert path.read_bytes() == first
    assert os.listdir(tmp_path) == ["history.png"]


def test_the_learning_rate_goes_through_its_values():
    (axes,) = read_figure(figures.learning_rate([0, 1, 2, 3], [0.0, 8.0, 4.0, 0.5]))
    assert points_of(axes, BLUE) == near([(0, 0), (1, 8), (2, 4), (3, 0.5)])


def test_reliability_has_a_bar_for_each_bin_with_images():
    upper, lower = read_figure(figures.reliability(np.array([0, 10, 0, 40]), np.array([0, 0.5, 0, 0.9])))
    shares = {round((left + right) / 2, 1): round(top, 1) for left, _, right, top, _ in lower.bars}
    assert shares == {12.5: 0, 37.5: 10, 62.5: 0, 87.5: 40}
    assert len(upper.bars) == 2
    first, second = sorted(upper.bars)
    assert (second[3] - second[1]) / (first[3] - first[1]) == pytest.approx(0.9 / 0.5, rel=0.01)
    assert "predicted probability (%)" in lower.texts


def test_a_study_shows_each_trial_and_the_best_so_far():
    points = [(0, 0.5, True), (1, 0.3, False), (2, 0.4, True), (3, 0.7, True)]
    (axes,) = read_figure(figures.study_history(points))
    marks = {line.colour: line.marks for line in axes.lines if line.marks}
    assert marks[BLUE][:3] == near([(0, 50), (2, 40), (3, 70)])
    assert marks[ORANGE][:1] == near([(1, 30)])
    assert points_of(axes, GREEN) == near([(0, 50), (2, 50), (2, 50), (3, 50), (3, 70)])
    assert {"complete", "stopped early", "best so far"} <= {*axes.texts}


def test_the_curves_of_trials_are_dashed_if_they_were_stopped():
    (axes,) = read_figure(figures.study_curves([({50: 0.2, 100: 0.6}, True), ({25: 0.1, 50: 0.15}, False)]))
    found = {line.dashed: line.points for line in axes.lines}
    assert found[False] == near([(50, 20), (100, 60)])
    assert found[True] == near([(25, 10), (50, 15)])


def test_importances_are_bars_in_their_order():
    (axes,) = read_figure(figures.importances({"peak_lr": 0.75, "flip": 0.25}))
    assert [(round(left, 2), round(right, 2)) for left, _, right, _, _ in axes.bars] == [(0, 0.75), (0, 0.25)]
    assert axes.texts.index("peak_lr") < axes.texts.index("flip")


def test_a_comparison_shows_accuracies_with_intervals_and_curves():
    names, shares = ["a", "$b_1$"], [(0.7, 0.8, 0.85), (0.5, 0.6, 0.7)]
    dots, lines = read_figure(figures.comparison(names, shares, [([1, 2], [0.4, 0.8]), ([3, 5], [0.5, 0.6])]))
    marks = [mark for line in dots.lines for mark in line.marks]
    for place, (low, middle, high) in enumerate(shares):
        assert sorted(x for x, y in marks if round(y) == place) == near([100 * low, 100 * middle, 100 * high])
    assert points_of(lines, BLUE) == near([(1, 40), (2, 80)])
    assert points_of(lines, ORANGE) == near([(3, 50), (5, 60)])
    assert {*names} <= {*dots.texts}, "names as they are, dollar signs included"


def test_figures_of_a_page_share_no_ids():
    one, two = figures.history(rows(2)), figures.learning_rate([0, 1], [0, 1])
    ids = [{part.split('"')[0] for part in svg.split(' id="')[1:]} for svg in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_equal_numbers_give_equal_bytes():
    for one, two in pairwise(figures.history(rows(3)) for _ in range(2)):
        assert one == two


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense", "qtagg"])
def test_the_backend_of_a_notebook_does_not_matter(tmp_path, backend):
    """A notebook sets MPLBACKEND for the commands that it starts, where its backend may not be installed."""
    code = (
        "import os, sys; from snellen.charts import figures; assert 'matplotlib' not in sys.modules\n"
        "rows = [{'epoch': 1, 'train_loss': 1.0, 'train_accuracy': 0.5}]\n"
        "figures.save_history(rows, figures.Path(sys.argv[1])); assert '<svg' in figures.history(rows)\n"
        "assert 'matplotlib.pyplot' not in sys.modules; print(os.environ['MPLBACKEND'])"
    )
    command = [sys.executable, "-W", "error", "-c", code, tmp_path / "history.png"]
    done = subprocess.run(command, env=os.environ | {"MPLBACKEND": backend}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{backend}\n"), done.stderr
    with Image.open(io.BytesIO((tmp_path / "history.png").read_bytes())) as picture:
        assert picture.size == (990, 374)


def test_a_metric_has_a_panel_of_its_own_before_the_others():
    judged = [row | {"valid_auc": 0.5 + row["epoch"] / 100} for row in rows(4)]
    own, losses, _ = read_figure(figures.history(judged, metric=METRICS["auc"]))
    assert points_of(own, ORANGE) == near([(n, 0.5 + n / 100) for n in range(1, 5)])
    assert {"auc", "valid 0.5400"} <= {*own.texts}
    assert "loss (nats)" in losses.texts
    assert len(read_figure(figures.history(judged, metric=METRICS["log_loss"]))) == 2
    undefined = [row | {"valid_auc": None} for row in rows(2)]
    assert ">valid undefined<" in figures.history(undefined, metric=METRICS["auc"])


def test_a_study_by_a_loss_shows_the_lowest_so_far():
    history = figures.study_history([(0, 0.9, True), (1, 0.4, True), (2, 0.6, True)], METRICS["log_loss"])
    (axes,) = read_figure(history)
    assert "valid log_loss (nats)" in axes.texts
    assert min(y for _, y in points_of(axes, GREEN)) == pytest.approx(0.4, abs=0.02)
    assert points_of(axes, GREEN)[-1][1] == pytest.approx(0.4, abs=0.02)
