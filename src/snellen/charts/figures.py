"""Draw figures as PNG files or SVG elements. matplotlib is imported only when a figure is drawn."""

import contextlib
import io
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snellen.scoring.metrics import METRICS, Metric
from snellen.system import files

Score = tuple[float, float, float]  # low, value, high
Curve = tuple[Sequence[float], Sequence[float]]
ACCURACY = METRICS["accuracy"]

# Colours by Okabe and Ito that colour-blind readers can distinguish.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
INK = "#010203"  # placeholder for the text colour of the page around a figure


def save_history(rows: list[dict[str, Any]], path: Path, metric: Metric = ACCURACY) -> None:
    """Draw loss, accuracy and the metric by epoch into a PNG file, from the rows of metrics.jsonl."""
    with files.replacing(path) as file:
        file.write(history_png(rows, metric=metric))


def history_png(rows: list[dict[str, Any]], num_epochs: int = 0, metric: Metric = ACCURACY) -> bytes:
    """Draw loss, accuracy and the metric by epoch, from the rows of metrics.jsonl, as PNG.

    num_epochs: the length of the axis.
    """
    with _figure(9 if metric.is_shown_anyway else 12, 3.4) as figure:
        _draw_history(figure, rows, num_epochs, metric)
        return _png(figure)


def history(rows: list[dict[str, Any]], num_epochs: int = 0, metric: Metric = ACCURACY) -> str:
    """Draw loss, accuracy and the metric by epoch as SVG; see `history_png`."""
    what = "loss and accuracy by epoch" if metric.is_shown_anyway else f"{metric.name}, loss and accuracy by epoch"
    return _svg("history", what, 9, 3.2, lambda figure: _draw_history(figure, rows, num_epochs, metric))


def learning_rate(epochs: Sequence[float], rates: Sequence[float]) -> str:
    """Draw the learning rate over the epochs as SVG."""

    def draw(figure) -> None:
        axes = figure.subplots()
        axes.plot(epochs, rates, color=BLUE)
        axes.set(xlabel="epoch", ylabel="learning rate", xlim=(0, max(epochs)), ylim=(0, None))
        axes.grid(alpha=0.3)

    return _svg("rate", "learning rate by epoch", 9, 2.2, draw)


def reliability(counts: np.ndarray, accuracy: np.ndarray) -> str:
    """Draw accuracy by confidence, and below it the number of images, as SVG.

    counts, accuracy: one value per bin of confidence; the bins divide 0 to 1 equally and may be empty.
    """
    num = len(counts)
    edges = np.linspace(0, 100, num + 1)

    def draw(figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        some = counts > 0
        middle = (edges[:-1] + edges[1:]) / 2
        upper.bar(middle[some], 100 * accuracy[some], width=90 / num, color=BLUE, label="correct")
        upper.plot([0, 100], [0, 100], "--", color=ORANGE, label="as predicted")
        upper.set(ylabel="correct (%)", xlim=(0, 100), ylim=(0, 100))
        upper.legend(loc="upper left")
        lower.bar(middle, counts, width=90 / num, color=GREEN)
        lower.set(xlabel="predicted probability (%)", ylabel="images")
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
            axes.set_axisbelow(True)

    return _svg("reliability", "share of correct images by predicted probability", 5.5, 4.4, draw)


def study_history(points: Sequence[tuple[int, float, bool]], metric: Metric = ACCURACY) -> str:
    """Draw the validation score of each trial of a study, and the best so far, as SVG.

    points: (number of the trial, score, whether it is complete).
    """
    best_so_far = np.maximum.accumulate if metric.greater_is_better else np.minimum.accumulate

    def draw(figure) -> None:
        axes = figure.subplots()
        whole = [(number, metric.scale * score) for number, score, is_whole in points if is_whole]
        cut = [(number, metric.scale * score) for number, score, is_whole in points if not is_whole]
        if whole:
            x, y = zip(*whole, strict=True)
            axes.plot(x, y, "o", color=BLUE, markersize=4, label="complete")
            axes.step(x, best_so_far(y), where="post", color=GREEN, label="best so far")
        if cut:
            axes.plot(*zip(*cut, strict=True), "x", color=ORANGE, markersize=5, label="stopped early")
        axes.set(xlabel="trial", ylabel=f"valid {metric.title}")
        _whole_numbers(axes)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right" if metric.greater_is_better else "upper right")

    return _svg("study", f"{metric.name} of each trial, and the best so far", 9, 3.2, draw)


def study_curves(curves: Sequence[tuple[dict[int, float], bool]], metric: Metric = ACCURACY) -> str:
    """Draw the validation scores of trials during training as SVG.

    curves: for each trial, a mapping from percent of training done to score, and whether the trial is complete.
    """

    def draw(figure) -> None:
        axes = figure.subplots()
        for curve, is_whole in curves:
            colour, style, mark = (BLUE, "-", "o") if is_whole else (ORANGE, "--", "x")
            values = [metric.scale * score for score in curve.values()]
            axes.plot(list(curve), values, style, color=colour, alpha=0.6, linewidth=1, marker=mark, markersize=3)
        axes.set(xlabel="training done (%)", ylabel=f"valid {metric.title}", xlim=(0, 102))
        axes.grid(alpha=0.3)

    what = f"{metric.name} of each trial during training; dashed if it was stopped early"
    return _svg("curves", what, 9, 3.2, draw)


def importances(shares: dict[str, float]) -> str:
    """Draw the importance of each setting of a study, from 0 to 1, as SVG."""

    def draw(figure) -> None:
        axes = figure.subplots()
        axes.barh(list(shares), list(shares.values()), color=BLUE)
        axes.invert_yaxis()
        axes.set(xlabel="importance", xlim=(0, 1))
        axes.grid(alpha=0.3, axis="x")
        axes.set_axisbelow(True)

    return _svg("importances", "importance of each setting", 7, 0.8 + 0.28 * len(shares), draw)


def comparison(
    names: Sequence[str], scores: Sequence[Score], curves: Sequence[Curve], metric: Metric = ACCURACY
) -> str:
    """Draw runs side by side as SVG: scores with intervals, and validation scores by time.

    scores: (low, score, high) of each run; curves: (minutes of training, validation scores) by epoch of each run.
    """
    what = f"{metric.name} of each run with its interval, and {metric.name} by minutes of training"
    height = _comparison_height(len(names))
    return _svg("comparison", what, 9, height, lambda figure: _draw_comparison(figure, names, scores, curves, metric))


def comparison_png(
    names: Sequence[str], scores: Sequence[Score], curves: Sequence[Curve], mark: str, metric: Metric = ACCURACY
) -> bytes:
    """Draw `comparison` as a PNG, with the mark of the command in its metadata."""
    with _figure(9, _comparison_height(len(names))) as figure:
        _draw_comparison(figure, names, scores, curves, metric)
        return _png(figure, mark)


def _comparison_height(num: int) -> float:
    return max(3.0, 1.2 + 0.3 * num)


def _draw_comparison(
    figure, names: Sequence[str], scores: Sequence[Score], curves: Sequence[Curve], metric: Metric
) -> None:
    colours = [BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9"]
    marks = "osD^vP"
    dots, lines = figure.subplots(1, 2, width_ratios=[3, 4])
    for place, (name, (low, score, high), (x, y)) in enumerate(zip(names, scores, curves, strict=True)):
        colour, mark = colours[place % len(colours)], marks[place // len(colours) % len(marks)]
        reach = [[metric.scale * (score - low)], [metric.scale * (high - score)]]
        dots.errorbar(metric.scale * score, place, xerr=reach, fmt=mark, color=colour, capsize=4)
        lines.plot(x, [metric.scale * value for value in y], color=colour, marker=mark, markersize=3, label=name)
    dots.set(xlabel=f"{metric.title}, 95% interval", yticks=range(len(names)), yticklabels=names)
    dots.set_ylim(len(names) - 0.5, -0.5)
    lines.set(xlabel="minutes of training", ylabel=f"valid {metric.title}")
    if len(names) <= 10:
        lines.legend()
    for axes in (dots, lines):
        axes.grid(alpha=0.3)


def _draw_history(figure, rows: list[dict[str, Any]], num_epochs: int, metric: Metric) -> None:
    epochs = [row["epoch"] for row in rows]
    panels = [("loss", "loss (nats)", 1.0, ""), ("accuracy", ACCURACY.title, ACCURACY.scale, "%")]
    if not metric.is_shown_anyway and metric.column in rows[-1]:
        panels = [(metric.name, metric.title, metric.scale, metric.unit), *panels]
    for axes, (name, title, scale, unit) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for split, colour, style in (("train", BLUE, "--"), ("valid", ORANGE, "-")):
            column = f"{split}_{name}"
            if column in rows[-1]:
                values = [math.nan if row[column] is None else scale * row[column] for row in rows]
                digits = 2 if unit == "%" or name == "loss" else 4
                last = "undefined" if math.isnan(values[-1]) else f"{values[-1]:.{digits}f}{unit}"
                label = f"{split} {last}"
                axes.plot(epochs, values, style, color=colour, label=label, marker="o", markersize=3)
        axes.set(xlabel="epoch", ylabel=title, xlim=(min(epochs) - 0.5, max(*epochs, num_epochs) + 0.5))
        _whole_numbers(axes)
        axes.grid(alpha=0.3)
        axes.legend()


def _whole_numbers(axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


@contextlib.contextmanager
def _figure(width: float, height: float, **settings: Any) -> Iterator[Any]:
    """Yield an empty figure of this size in inches; matplotlib's `settings` apply inside the block.

    The figure has its own canvas, so neither pyplot nor a window is needed.
    """
    with _without_backend():
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    # Draw names literally, dollar signs included, and do not warn about characters missing in the font.
    with matplotlib.rc_context({"text.parse_math": False} | settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


@contextlib.contextmanager
def _without_backend() -> Iterator[None]:
    """Unset MPLBACKEND: if it names a backend that is not installed, importing matplotlib fails."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def _png(figure, mark: str | None = None) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": mark} if mark else {})
    return file.getvalue()


def _svg(name: str, what: str, width: float, height: float, draw: Callable[[Any], None]) -> str:
    """Draw a figure as an <svg> element in the text colour of its page. The same figure always gives the same bytes.

    name: prefix of its ids, unique on the page; what: description for screen readers.
    """
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    settings: dict[str, Any] = dict.fromkeys(inked, INK)
    # Keep text as text, so that it can be searched, selected and read aloud.
    settings |= {"svg.fonttype": "none", "svg.hashsalt": "snellen", "legend.frameon": False, "grid.color": INK}
    settings |= {"axes.spines.top": False, "axes.spines.right": False, "grid.linewidth": 0.4}
    with _figure(width, height, **settings) as figure:
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    head, _, body = file.getvalue().partition("<svg")[2].partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    assert box, "matplotlib did not write the size of the figure"
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r" font-family: [^;\"]*;?", "", body)  # the page's own font
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body).replace(INK, "currentColor")
    body = body.replace(BLUE.lower(), f"var(--accent, {BLUE})")  # pages use a lighter blue in dark mode
    shape = f'{box[0]} style="max-width: {96 * width:.0f}px"'
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} {shape} role="img" aria-label="{what}">{body}'
