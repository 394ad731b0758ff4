"""Draw the curves of a training run in a notebook, and redraw them in place after each epoch."""

import base64
from pathlib import Path

from snellen.charts import figures
from snellen.errors import SnellenError
from snellen.runs.run import Epoch, Run, metric_in
from snellen.system.units import percent


class LiveFigure:
    """A figure of loss, accuracy and the metric by epoch in a notebook. Pass it to a verb as `on_epoch`.

        snellen.train(images, recipe, "run", on_epoch=LiveFigure("run"))

    run: the run's folder. If it is given, the epoch axis has its full length from the start, and a resumed run shows
    its earlier epochs as well. A second training run (the refit of `compete`) gets its own figure below the first.
    Raises SnellenError if IPython is not installed.
    """

    def __init__(self, run: str | Path | None = None) -> None:
        try:
            import IPython.display  # noqa: F401
        except ImportError:
            raise SnellenError(
                "a live figure needs a notebook, but IPython is not installed.",
                where="LiveFigure",
                expected="Jupyter, Colab, Kaggle or another notebook",
                do='install it: pip install "snellen[notebook]"; outside a notebook, open history.png in the run',
            ) from None
        self.run = run
        self.rows: list[Epoch] = []
        self._shown = None  # IPython's handle for redrawing the output

    def __call__(self, row: Epoch) -> None:
        from IPython.display import display

        if self.rows and row["epoch"] <= self.rows[-1]["epoch"]:
            self.rows, self._shown = [], None
        num_epochs = 0
        if self.run is not None:
            run = Run.open(self.run)
            num_epochs = run.recipe.num_epochs
            if not self.rows and row in run.metrics:
                self.rows = run.metrics[: row["epoch"] - 1]
        self.rows.append(row)
        picture = base64.b64encode(figures.history_png(self.rows, num_epochs, metric_in(row))).decode()
        bundle = {"image/png": picture, "text/plain": describe(row)}
        if self._shown is None:
            self._shown = display(bundle, raw=True, display_id=True)
        else:
            self._shown.update(bundle, raw=True)


def describe(row: Epoch) -> str:
    """Describe an epoch in one line."""
    text = f"epoch {row['epoch']}: train loss {row['train_loss']:.3f}, accuracy {percent(row['train_accuracy'])}"
    if "valid_accuracy" in row:
        text += f"; valid loss {row['valid_loss']:.3f}, accuracy {percent(row['valid_accuracy'])}"
        metric = metric_in(row)
        text += "" if metric.is_shown_anyway else f", {metric.name} {metric.show(row[metric.column])}"
    return f"{text}; {row['images_per_second']:,.0f} images/s"
