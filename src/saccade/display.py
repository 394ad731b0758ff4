"""What a person sees while a command works, on stderr: one rewritten line on a terminal, plain lines elsewhere."""

import logging
import time
from typing import Any

from rich.console import Console
from rich.text import Text


class Display:
    """Shows messages, progress and epochs. Its methods `on_progress` and `on_epoch` are what the verbs take."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status = self.console.status("") if self.console.is_terminal else None
        self._stage, self._started, self._first, self._drawn = "", 0.0, 0, 0.0

    def __enter__(self) -> "Display":
        handler = _Handler(self)
        self._handler = handler
        logger = logging.getLogger("saccade")
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
        return self

    def __exit__(self, *exception) -> None:
        logging.getLogger("saccade").removeHandler(self._handler)
        self._clear()

    def on_progress(self, stage: str, done: int, total: int) -> None:
        """Images done of all, for the stage's rate and time left."""
        now = time.perf_counter()
        if stage != self._stage:
            # The rate counts from the first report on: what came before it was not this stage's work.
            self._stage, self._started, self._first, self._drawn = stage, now, done, 0.0
        if self._status is None or (now - self._drawn < 0.1 and done < total):
            return
        self._drawn = now
        line = f"{stage}  {done:,}/{total:,} images"
        if done > self._first and now > self._started:
            rate = (done - self._first) / (now - self._started)
            line += f"  {rate:,.0f} images/s  {duration((total - done) / rate)} left"
        self._status.update(Text(line))
        self._status.start()
        if done >= total:
            self._clear()

    def on_epoch(self, row: dict[str, Any]) -> None:
        """One line per epoch."""
        line = (
            f"  epoch {row['epoch']:>3}  train loss {row['train_loss']:.4f}  train {100 * row['train_accuracy']:6.2f}%"
        )
        if "valid_accuracy" in row:
            line += f"  valid {100 * row['valid_accuracy']:6.2f}%"
        line += f"  {row['images_per_second']:,.0f} images/s  {duration(row['seconds'])}"
        self.line(line)

    def line(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style=style))

    def _clear(self) -> None:
        self._stage = ""
        if self._status is not None:
            self._status.stop()


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


def duration(seconds: float) -> str:
    """For people: 8.1s, 2m 05s, 1h 40m."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m {whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h {whole % 3600 // 60:02}m"
