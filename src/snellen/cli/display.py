"""What a person sees while a command works, on stderr: a live view on a terminal, plain lines in a file or CI."""

import logging
import math
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from snellen.charts.braille import Curve, draw_curves
from snellen.errors import RunError
from snellen.runs.run import Epoch, Run

REDRAWS = 5  # a second: enough for a clock of seconds, and about 1% of a core
EPOCH = re.compile(r"epoch (\d+)/(\d+)")  # the stage that `train` reports

# (heading, width, a column of metrics.jsonl): the widest of these tables that the terminal has room for.
WIDE = (
    ("epoch", 5, "epoch"),
    ("train loss", 10, "train_loss"),
    ("valid loss", 10, "valid_loss"),
    ("train accuracy", 14, "train_accuracy"),
    ("valid accuracy", 14, "valid_accuracy"),
    ("images/s", 8, "images_per_second"),
    ("time", 6, "seconds"),
)
NARROW = (
    ("epoch", 5, "epoch"),
    ("loss", 6, "train_loss"),
    ("train", 7, "train_accuracy"),
    ("valid", 7, "valid_accuracy"),
    ("time", 6, "seconds"),
)
LEAST = (NARROW[0], NARROW[2], NARROW[3])
TRAIN, VALID = "dodger_blue1", "dark_orange"  # seen on black and on white; told apart by dashes too
CURVE_HEIGHT = 6  # lines


class Display:
    """Shows messages, progress and epochs. Its methods `on_progress` and `on_epoch` are what the verbs take.

    runs: the folders that the command trains in. A training that goes on shows the epochs it did before.
    """

    def __init__(self, *runs: str | Path) -> None:
        # Asked of the stream, not of rich: FORCE_COLOR would make a live view of a log file. A notebook's "!command"
        # has a terminal that cannot move up, and CI keeps every redraw as a line.
        plain = {"CI", "JPY_PARENT_PID"} & os.environ.keys() or os.environ.get("TERM") in ("dumb", "unknown")
        self.live = sys.stderr.isatty() and not plain
        self.console = Console(stderr=True, highlight=False, force_terminal=self.live)
        self.runs = runs
        self.rows: list[Epoch] = []
        self._epoch, self._epochs = 0, 0  # now, and of the training in all; 0 outside a training
        self._stage, self._done, self._total = "", 0, 0
        self._first = self._started = self._reported = 0.0
        self._view = self._new_view()

    def _new_view(self) -> Live:
        """One for each stage: a view that is started again takes the lines above it for its own, and removes them."""
        return Live(
            console=self.console,
            get_renderable=self._drawn,
            refresh_per_second=REDRAWS,
            transient=True,
            redirect_stdout=False,  # results may go into a file while this is a terminal
        )

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
        """Images (bytes of a download) done of all; only numbers are kept here, drawing has its own pace."""
        now = time.perf_counter()
        if stage != self._stage:
            self._begin(stage)
            # The rate counts from the first report on: what came before it was not this stage's work.
            self._first, self._started = done, now
        self._done, self._total, self._reported = done, total, now
        if done >= total > 0 and not self._epoch:
            self._end()

    def on_epoch(self, row: Epoch) -> None:
        """A row of the table, or a line."""
        self.rows.append(row)
        if not self._view.is_started:
            self.line(self._epoch_line(row))
        if row["epoch"] == self._epochs:
            self._end()

    def line(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style=style), soft_wrap=True)

    def _begin(self, stage: str) -> None:
        found = EPOCH.fullmatch(stage)
        epoch, epochs = (int(found[1]), int(found[2])) if found else (0, 0)
        if not (self._epoch and epoch == self._epoch + 1 and epochs == self._epochs):
            self._end()
            self.rows = self._earlier_rows(epoch - 1)
        self._stage, self._epoch, self._epochs = stage, epoch, epochs
        if self.live and not self._view.is_started:
            self._view = self._new_view()
            self._view.start()

    def _end(self) -> None:
        """Take the live view away; of a training its table and curve stay."""
        if self._view.is_started:
            self._view.stop()
            if self._epoch and self.rows:
                self.console.print(Group(*self._epoch_table()))
        self._stage, self._epoch = "", 0

    def _earlier_rows(self, num: int) -> list[Epoch]:
        """What the interrupted run among `self.runs` wrote of its first `num` epochs."""
        for folder in self.runs if num > 0 else ():
            try:
                run = Run.open(folder)
                if not run.finished and len(run.metrics) >= num:
                    return run.metrics[:num]
            except RunError:
                continue
        return []

    def _rate(self) -> float:
        """Images a second in this stage; 0 where it is not known yet."""
        if self._done > self._first and self._reported > self._started:
            return (self._done - self._first) / (self._reported - self._started)
        return self.rows[-1]["images_per_second"] if self.rows else 0.0

    def _left(self) -> tuple[float, float]:
        """Seconds that this stage, and the whole training, still take at this rate."""
        rate = self._rate()
        stage = max(0.0, (self._total - self._done) / rate - (time.perf_counter() - self._reported))
        scoring = self.rows[-1]["seconds"] - self.rows[-1]["train_seconds"] if self.rows else 0.0
        epochs_left = self._epochs - self._epoch
        return stage, stage + scoring + epochs_left * (self._total / rate + scoring)

    def _epoch_line(self, row: Epoch) -> str:
        total = f"/{self._epochs}" if self._epochs else ""
        line = f"  epoch {row['epoch']:>3}{total}  train loss {row['train_loss']:.4f}"
        line += f"  train {_cell('train_accuracy', row):>7}"
        if "valid_accuracy" in row:
            line += f"  valid {_cell('valid_accuracy', row):>7}"
        line += f"  {_cell('images_per_second', row)} images/s  {duration(row['seconds'])}"
        if row["epoch"] < self._epochs:
            line += f"  {duration((self._epochs - row['epoch']) * row['seconds'])} left"
        return line

    # What the live view draws, in a thread of its own: it reads the numbers above and changes none.

    def _drawn(self) -> RenderableType:
        if self._epoch:
            return Group(*self._epoch_table(), *self._epoch_progress())
        return self._stage_progress()

    def _stage_progress(self) -> Text:
        unit, scale = ("MB", 10**6) if self._stage == "download" else ("images", 1)
        parts = [self._stage, f"{self._done / scale:,.0f}"]
        if self._total:
            parts[-1] += f"/{self._total / scale:,.0f}"
        parts[-1] += f" {unit}"
        if rate := self._rate():
            parts.append(f"{rate / scale:,.0f} {unit}/s")
            if self._total:
                parts.append(f"{_countdown(self._left()[0])} left")
        return Text(_fitting(parts, self.console.width), no_wrap=True, overflow="ellipsis")

    def _epoch_progress(self) -> list[Text]:
        share = self._done / max(1, self._total)
        width = self.console.width - len(self._stage) - 8
        filled = round(share * width)
        full, empty = ("#", "-") if self._is_ascii else ("━", "─")
        bar = Text.assemble(f"{self._stage} ", (full * filled, "green"), (empty * (width - filled), "bright_black"))
        bar.append(f"{math.floor(100 * share):5}%")
        if self._done >= self._total:
            parts = ["scoring and saving"]
        elif rate := self._rate():
            epoch, run = self._left()
            parts = [f"{rate:,.0f} images/s", f"{_countdown(epoch)} left, {_countdown(run)} in all"]
            if self.console.width > 60:
                parts = [f"{self._done:,}/{self._total:,} images", *parts]
        else:
            parts = [f"{self._done:,}/{self._total:,} images"]
        return [bar, Text(_fitting(parts, self.console.width), no_wrap=True, overflow="ellipsis")]

    def _epoch_table(self) -> list[Text]:
        """The last epochs, as many as there is room for, with the best one in bold, and the curve of all."""
        if not self.rows:
            return []
        curve = self._curve()
        rows = self.rows[-max(1, min(8, self.console.height - len(curve) - 4)) :]
        known = [[column for column in table if column[2] in rows[-1]] for table in (WIDE, NARROW, LEAST)]
        columns = next((table for table in known if _width(table) <= self.console.width), known[-1])
        lines = [Text("  ".join(f"{heading:>{width}}" for heading, width, _ in columns), "bright_black", no_wrap=True)]
        best = max(self.rows, key=lambda row: row.get("valid_accuracy", 0.0))
        for row in rows:
            style = "bold" if row is best and "valid_accuracy" in row else ""
            cells = (f"{_cell(name, row):>{width}}" for _, width, name in columns)
            lines.append(Text("  ".join(cells), style, no_wrap=True))
        return lines + curve

    def _curve(self) -> list[Text]:
        """Accuracy by epoch, or nothing where there is no room or no line to draw yet."""
        width = min(self.console.width, 100)
        if len(self.rows) < 2 or width < 30 or self.console.height < CURVE_HEIGHT + 10 or self._is_ascii:
            return []
        curves = [
            Curve(name, colour, name == "train", [(row["epoch"], row[f"{name}_accuracy"]) for row in self.rows])
            for name, colour in (("train", TRAIN), ("valid", VALID))
            if f"{name}_accuracy" in self.rows[-1]
        ]
        return draw_curves(curves, "accuracy", right=max(2, self._epochs), width=width, height=CURVE_HEIGHT)

    @property
    def _is_ascii(self) -> bool:
        return not self.console.encoding.lower().startswith("utf")


class _Handler(logging.Handler):
    """Messages of the verbs, warnings marked as such."""

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
    if name.endswith("accuracy"):
        return f"{100 * value:.2f}%"
    if name.endswith("loss"):
        return f"{value:.4f}" if value < 10 else f"{value:.4g}"
    return {"seconds": duration, "images_per_second": "{:,.0f}".format}.get(name, str)(value)


def _width(columns: Sequence[tuple[str, int, str]]) -> int:
    return sum(width for _, width, _ in columns) + 2 * (len(columns) - 1)


def _fitting(parts: Sequence[str], width: int) -> str:
    """The parts in a line; where it is too narrow the second ones go first: what is worked on and the time stay."""
    parts = list(parts)
    while len("  ".join(parts)) > width and len(parts) > 2:
        del parts[1]
    return "  ".join(parts)


def _countdown(seconds: float) -> str:
    return duration(seconds) if seconds >= 10 else f"{seconds:.0f}s"


def duration(seconds: float) -> str:
    """For people: 8.1s, 2m 05s, 1h 40m."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m {whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h {whole % 3600 // 60:02}m"
