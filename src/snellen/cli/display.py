"""Progress and messages on stderr: a live view on a terminal, plain lines in a file or in CI."""

import logging
import math
import os
import re
import sys
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from snellen.charts.sparkline import sparkline
from snellen.cli.output import plain
from snellen.errors import RunError
from snellen.runs.run import Epoch, Run, best_row, metric_in, valid_value
from snellen.system.units import minutes, percent, size

EPOCH = re.compile(r"epoch (\d+)/(\d+)")  # the stage that `train` reports
MOST_ROWS = 8  # in the table of epochs
TRAIN, VALID = "dodger_blue1", "dark_orange"  # legible on black and on white


def columns_for(row: Epoch, width: int) -> list[tuple[str, str]]:
    """Return (heading, column of metrics.jsonl) of the table of epochs, as many as fit a terminal of this width."""
    metric = metric_in(row)
    own = [] if metric.is_shown_anyway else [(f"valid {metric.name}", metric.column, 0)]
    # The metric takes the place of the losses on a terminal of the usual width.
    shift = 25 if own else 0
    columns = (  # heading, column, narrowest terminal that shows it
        ("epoch", "epoch", 0),
        *own,
        ("train loss", "train_loss", 60 + shift),
        ("valid loss", "valid_loss", 60 + shift),
        ("train accuracy", "train_accuracy", 60 if own else 0),
        ("valid accuracy", "valid_accuracy", 45 if own else 0),
        ("images/s", "images_per_second", 70 if own else 50),
        ("time", "seconds", 40),
    )
    return [(heading, key) for heading, key, narrowest in columns if key in row and narrowest <= width]


class Display:
    """A view of messages, progress and epochs. Pass its methods `on_progress` and `on_epoch` to the verbs.

    runs: the folders that the command trains in. A resumed run shows its earlier epochs as well.
    """

    def __init__(self, *runs: str | Path) -> None:
        # The stream decides: given FORCE_COLOR, rich would draw into a log file. The cursor cannot move up in a
        # notebook's "!command", and CI keeps every redraw as a line.
        plain = {"CI", "JPY_PARENT_PID"} & os.environ.keys() or os.environ.get("TERM") in ("dumb", "unknown")
        self.live = sys.stderr.isatty() and not plain
        self.console = Console(stderr=True, highlight=False, force_terminal=self.live)
        self.runs = runs
        self.rows: list[Epoch] = []
        self._stage, self._epoch, self._epochs = "", 0, 0  # _epochs is 0 unless a model is being trained
        self._view: Live | None = None
        self._bars = Progress()  # one for the stage and, during training, one for all epochs
        self._before = 0  # images in the earlier epochs

    def __enter__(self) -> "Display":
        self._handler = _Handler(self)
        logger = logging.getLogger("snellen")
        logger.setLevel(logging.INFO)
        logger.addHandler(self._handler)
        logger.propagate = False
        return self

    def __exit__(self, *exception) -> None:
        logging.getLogger("snellen").removeHandler(self._handler)
        self._end()

    def on_progress(self, stage: str, done: int, total: int) -> None:
        """Update the progress of a stage, in images, or in bytes for a download. The view redraws itself."""
        if stage != self._stage:
            self._begin(stage, done, total)
        if self._view:
            stage_bar, *training_bar = self._bars.task_ids
            self._bars.update(stage_bar, completed=done, total=total or None)
            for bar in training_bar:
                self._bars.update(bar, completed=self._before + done)
        if done >= total > 0 and not self._epoch:
            self._end()

    def on_epoch(self, row: Epoch) -> None:
        """Add a row to the table, or print a line."""
        self.rows.append(row)
        if not self._view:
            self.line(self._epoch_line(row))
        if row["epoch"] == self._epochs:
            self._end()

    def line(self, text: str, style: str = "") -> None:
        self.console.print(Text(plain(text), style=style), soft_wrap=True)

    def _begin(self, stage: str, done: int, total: int) -> None:
        found = EPOCH.fullmatch(stage)
        epoch, epochs = (int(found[1]), int(found[2])) if found else (0, 0)
        if not (self._epoch and epoch == self._epoch + 1 and epochs == self._epochs):
            self._end()
            self.rows = self._earlier_rows(epoch - 1)
        self._stage, self._epoch, self._epochs = stage, epoch, epochs
        if not self.live:
            return
        if self._view:
            bar = self._bars.tasks[0]
            self._before += int(bar.total or 0)
            self._bars.reset(bar.id, description=stage, completed=done, total=total)  # the last epoch may be shorter
            return
        self._bars = _bars(self.console)
        show, unit = (size, "") if stage == "download" else ("{:,.0f}".format, " images")
        # The bar starts at what is already done, so that the rate covers only the work of this command.
        self._before = max(0, epoch - 1) * total
        self._bars.add_task(stage, total=total or None, completed=done, show=show, unit=unit)
        if epochs > 1:
            self._bars.add_task("all epochs", total=epochs * total, completed=self._before + done, show=None)
        # A new view for each stage: a restarted one would overwrite the lines above it.
        self._view = Live(
            console=self.console,
            get_renderable=self._drawn,
            refresh_per_second=5,
            transient=True,
            redirect_stdout=False,  # results may go into a file
        )
        self._view.start()

    def _end(self) -> None:
        """Remove the live view, and leave the table of epochs."""
        if self._view:
            self._view.stop()
            self._view = None
            if self._epoch and self.rows:
                self.console.print(self._epoch_table())
        self._stage, self._epoch = "", 0

    def _earlier_rows(self, num: int) -> list[Epoch]:
        """Return the first `num` epochs of the unfinished run among `self.runs`."""
        for folder in self.runs if num > 0 else ():
            try:
                run = Run.open(folder)
                if not run.finished and len(run.metrics) >= num:
                    return run.metrics[:num]
            except RunError:
                continue
        return []

    def _epoch_line(self, row: Epoch) -> str:
        total = f"/{self._epochs}" if self._epochs else ""
        line = f"  epoch {row['epoch']:>3}{total}  train loss {row['train_loss']:.4f}"
        line += f"  train {_cell('train_accuracy', row):>7}"
        if "valid_accuracy" in row:
            line += f"  valid {_cell('valid_accuracy', row):>7}"
            metric = metric_in(row)
            line += "" if metric.is_shown_anyway else f"  {metric.name} {metric.show(row[metric.column])}"
        line += f"  {_cell('images_per_second', row)} images/s  {minutes(row['seconds'])}"
        if row["epoch"] < self._epochs:
            line += f"  {minutes((self._epochs - row['epoch']) * row['seconds'])} left"
        return line

    # The view calls these in its own thread; they only read the rows.

    def _drawn(self) -> RenderableType:
        return Group(self._epoch_table(), self._bars) if self._epoch and self.rows else self._bars

    def _epoch_table(self) -> RenderableType:
        """Draw a table of the last epochs, the best one in bold, and the accuracy curves of all epochs."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
        columns = columns_for(self.rows[-1], self.console.width)
        for heading, _ in columns:
            table.add_column(heading, justify="right")
        best = best_row(self.rows, metric_in(self.rows[-1]))
        num_rows = self.console.height - 8 - (not metric_in(self.rows[-1]).is_shown_anyway)
        for row in self.rows[-max(1, min(MOST_ROWS, num_rows)) :]:
            style = "bold" if row is best else ""
            table.add_row(*(_cell(key, row) for _, key in columns), style=style)
        return Group(table, *self._curves())

    def _curves(self) -> list[Text]:
        """Draw the metric, and the train and valid accuracies on the same scale, by epoch, one line each."""
        if len(self.rows) < 2 or self.console.options.ascii_only:
            return []
        metric = metric_in(self.rows[-1])
        own = [] if metric.is_shown_anyway else [valid_value(row, metric) for row in self.rows]
        accuracies = [
            (split, colour, [row[f"{split}_accuracy"] for row in self.rows])
            for split, colour in (("train", TRAIN), ("valid", VALID))
            if f"{split}_accuracy" in self.rows[-1]
        ]
        label = max(len("train accuracy"), len(f"valid {metric.name}")) if own else len("train accuracy")
        drawn = [self._curve(f"valid {metric.name}", VALID, own, own, label)] if any(map(math.isfinite, own)) else []
        values = [value for _, _, curve in accuracies for value in curve]
        return drawn + [
            self._curve(f"{split} accuracy", colour, curve, values, label) for split, colour, curve in accuracies
        ]

    def _curve(self, name: str, colour: str, curve: list[float], scale: list[float], label: int) -> Text:
        """Draw one curve; scale: all values that share its scale; label: the width of the names."""
        known = [value for value in scale if math.isfinite(value)]
        curve = [value if math.isfinite(value) else min(known) for value in curve]
        line = sparkline(curve, min(known), max(known), self.console.width - label - 1)
        return Text(f"{name:{label}} {line}", colour, no_wrap=True)


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        show = task.fields["show"]
        text = (show(task.completed) + (f" of {show(task.total)}" if task.total else "")) if show else ""
        return Text(text, justify="right", no_wrap=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        show = task.fields["show"]
        text = f"{show(task.speed)}{task.fields['unit']}/s" if show and task.speed else ""
        return Text(text, justify="right", no_wrap=True)


def _bars(console: Console) -> Progress:
    """Make the progress bars of a stage, with fewer columns on a narrow terminal."""
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(bar_width=None)]
    columns += [_Amount()] if console.width >= 50 else []
    columns += [_Rate()] if console.width >= 70 else []
    columns += [TimeRemainingColumn(), TextColumn("left")]
    # Average over five minutes: steps may be slow, and the time left should include the scoring between epochs.
    return Progress(*columns, console=console, expand=True, speed_estimate_period=300)


class _Handler(logging.Handler):
    """A log handler that shows the messages of the verbs and marks warnings."""

    def __init__(self, display: Display):
        super().__init__()
        self.display = display

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.display.line(f"warning: {record.getMessage()}", style="yellow")
        else:
            self.display.line(record.getMessage())


def _cell(name: str, row: Epoch) -> str:
    value = row[name]
    metric = metric_in(row)
    if name == metric.column and not metric.is_shown_anyway:
        return metric.show(value)
    if name.endswith("accuracy"):
        return percent(value)
    if name.endswith("loss"):
        return f"{value:.4f}" if value < 10 else f"{value:.4g}"
    return {"seconds": minutes, "images_per_second": "{:,.0f}".format}.get(name, str)(value)


def fold_folders(out: Path, folds: int) -> list[Path]:
    """Return the folders of the runs of all folds."""
    from snellen.runs.cross_validation import fold_folder

    return [fold_folder(out, number) for number in range(1, folds + 1)]
