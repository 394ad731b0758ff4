"""Write the epochs, the figure and the recipe of a run as TensorBoard files."""

from pathlib import Path
from typing import Any

from snellen.errors import SnellenError
from snellen.runs.run import Epoch, Run

FOLDER = "tensorboard"  # inside the run
NUM_FIGURES = 20  # at most per run; the last epoch always has one


class TensorBoard:
    """A writer of TensorBoard files in RUN/tensorboard. Pass it to `train` as `on_epoch`.

    View the files with `tensorboard --logdir RUN`. run: the folder of the run.
    Scalars by epoch: loss/train, accuracy/valid, auc/valid and so on, lr, images_per_second, seconds. The recipe is
    written as text, and under HParams for comparing runs. A resumed run is rewritten from its first epoch, so that no
    epoch is missing or duplicated.
    Raises SnellenError if the extra is not installed.
    """

    def __init__(self, run: str | Path) -> None:
        try:
            import tensorboard  # noqa: F401  # the tensorboard package, not this file; the writer comes with torch
        except ImportError:
            raise SnellenError(
                "TensorBoard is not installed.",
                where="--tensorboard",
                do='install it: pip install "snellen[tensorboard]"',
            ) from None
        self.folder = Path(run)
        self._writer: Any = None  # created in the first epoch: before that, the folder may not be a run yet

    def __call__(self, row: Epoch) -> None:
        run = Run.open(self.folder)
        rows = [row]
        if self._writer is None:
            self._writer = self._start(run)
            rows = [*run.metrics[: row["epoch"] - 1], row]
        for epoch in rows:
            for name, value in epoch.items():
                if name not in ("epoch", "step") and value is not None:  # None: the metric is undefined
                    self._writer.add_scalar(tag(name), value, epoch["epoch"])
        history, epochs = self.folder / "history.png", run.recipe.num_epochs
        if history.exists() and (row["epoch"] == epochs or row["epoch"] % max(1, epochs // NUM_FIGURES) == 0):
            self._writer.add_image("history", _pixels(history), row["epoch"], dataformats="HWC")
        self._writer.flush()

    def _start(self, run: Run):
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        # purge_step: TensorBoard drops earlier entries of this training run from epoch 1 onwards.
        writer: Any = SummaryWriter(self.folder / FOLDER, purge_step=1)
        writer.add_text("recipe", "\n".join(f"    {line}" for line in str(run.recipe).splitlines()))
        settings = {k: str(v) if isinstance(v, list) else v for k, v in run.recipe.to_dict().items()}
        score = tag(run.metric.column if run.about["on"] == "train" else "train_accuracy")
        for summary in hparams(settings, {score: 0.0}):  # the value is unused: the column shows the scalar
            writer.file_writer.add_summary(summary)
        return writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def tag(column: str) -> str:
    """Return TensorBoard's name for a column of metrics.jsonl, grouped by quantity: loss/train, auc/valid."""
    split, _, quantity = column.replace("@", "_at_").partition("_")  # TensorBoard does not accept an @
    is_score = split == "valid" or column in ("train_loss", "train_accuracy")
    return f"{quantity}/{split}" if is_score else column


def _pixels(path: Path):
    """Return the pixels of a PNG file, uint8 (H, W, 3)."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
