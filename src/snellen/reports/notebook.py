"""The training's curves in a notebook, drawn again in the same place after each epoch."""

import base64
import io
from pathlib import Path

from snellen.charts import figures
from snellen.errors import SnellenError
from snellen.runs.run import Epoch, Run

CURVES = (
    ("train_loss", "train loss", figures.BLUE, "-"),
    ("train_accuracy", "train accuracy", figures.ORANGE, "--"),
    ("valid_accuracy", "valid accuracy", figures.GREEN, "-."),
)


class LiveFigure:
    """An `on_epoch` for notebooks: train loss, train accuracy and valid accuracy by epoch in one figure.

        snellen.train(images, recipe, "run", on_epoch=LiveFigure("run"))

    run: the run's folder. With it the epoch axis has its full length from the start, and a run that goes on shows the
    epochs it did before; without it the figure begins with the first epoch it is told of.
    A second training (the refit of `compete`) gets a figure of its own below the first.
    Raises SnellenError where IPython is not installed.
    """

    def __init__(self, run: str | Path | None = None) -> None:
        try:
            import IPython.display  # noqa: F401
        except ImportError:
            raise SnellenError(
                "a live figure needs a notebook, and IPython is not installed.",
                where="LiveFigure",
                expected="Jupyter, Colab, Kaggle or another notebook",
                do='open one, or install it: pip install "snellen[notebook]"; outside, see history.png in the run',
            ) from None
        self.run = run
        self.rows: list[Epoch] = []
        self._shown = None  # IPython's handle on the output that is drawn over

    def __call__(self, row: Epoch) -> None:
        from IPython.display import display

        if self.rows and row["epoch"] <= self.rows[-1]["epoch"]:
            self.rows, self._shown = [], None
        epochs = 0
        if self.run is not None:
            run = Run.open(self.run)
            epochs = run.recipe.num_epochs
            if not self.rows and row in run.metrics:
                self.rows = run.metrics[: row["epoch"] - 1]
        self.rows.append(row)
        bundle = {"image/png": base64.b64encode(figure_png(self.rows, epochs)).decode(), "text/plain": describe(row)}
        shown_as = {"raw": True, "metadata": {"image/png": {"width": 600}}}  # twice as fine, for sharp screens
        if self._shown is None:
            self._shown = display(bundle, display_id=True, **shown_as)
        else:
            self._shown.update(bundle, **shown_as)


def figure_png(rows: list[Epoch], epochs: int = 0) -> bytes:
    """The figure of these rows of metrics.jsonl, 1200x760 pixels. epochs: length of the axis, where it is known."""
    from matplotlib.figure import Figure  # not pyplot: the notebook would show the figure a second time
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.8), dpi=200, layout="constrained")
    axes = figure.subplots()
    numbers = [row["epoch"] for row in rows]
    for column, name, colour, style in CURVES:
        if column in rows[-1]:
            values = [row[column] for row in rows]
            axes.plot(
                numbers, values, style, color=colour, label=name, marker="o" if len(rows) < 50 else "", markersize=3
            )
    right = max(epochs, numbers[-1])
    axes.set(xlabel="epoch", ylabel="loss (nats), accuracy (share)", xlim=(0.8, max(2, right) + 0.2))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(describe(rows[-1]), fontsize=7.5, loc="left")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def describe(row: Epoch) -> str:
    """The epoch in one line."""
    text = (
        f"epoch {row['epoch']}: train loss {row['train_loss']:.3f}, train accuracy {100 * row['train_accuracy']:.2f}%"
    )
    if "valid_accuracy" in row:
        text += f", valid accuracy {100 * row['valid_accuracy']:.2f}%"
    return f"{text}; {row['images_per_second']:,.0f} images/s"
