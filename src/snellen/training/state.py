"""State: everything about a training run that changes from step to step."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snellen.models.classifier import Classifier
from snellen.runs.run import Epoch, best_row
from snellen.scoring.metrics import METRICS, Metric
from snellen.training import averaging
from snellen.training.job import Job
from snellen.training.loader import Batches
from snellen.training.optim import Optimizer


class Clock:
    """Time spent in the unfinished epoch, in seconds, without interruptions."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, seconds: float = 0.0) -> None:
        """Stop the clock at this many seconds."""
        self._before = seconds
        self._started: float | None = None

    def start(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + (0.0 if self._started is None else time.perf_counter() - self._started)


@dataclass(eq=False)
class State:
    """The progress of a training run. A checkpoint holds all of this."""

    model: Classifier
    shown: Classifier  # validated and saved: the averaged weights if the recipe uses them, otherwise `model`
    optimizer: Optimizer
    sums: Tensor  # float (2,), on the device: in this epoch, the sum of the losses and the number of correct images
    metric: Metric = METRICS["accuracy"]  # that decides which epoch is best
    step: int = 0  # updates done, in all epochs
    rows: list[Epoch] = field(default_factory=list)  # one for each finished epoch
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def begun(cls, model: Classifier, job: Job, batches: Batches) -> "State":
        """Return the state before the first step."""
        device = job.runtime.device
        sums = torch.zeros(2, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        optimizer = Optimizer(model, job.recipe, batches.total_steps, batches.steps_per_epoch)
        return cls(model, averaging.begin(model, job.recipe), optimizer, sums, job.metric)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the best validation score, counted from 1; 0 if no epoch has been validated."""
        best = best_row(self.rows, self.metric)
        return best["epoch"] if best else 0

    def end_epoch(self, row: Epoch) -> None:
        self.rows.append(row)
        self.sums.zero_()
        self.clock.reset()
