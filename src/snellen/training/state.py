"""State: everything about one training that changes with its steps."""

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
    """Seconds spent in the unfinished epoch, interruptions left out."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, seconds: float = 0.0) -> None:
        """Stop at this many seconds."""
        self._before = seconds
        self._started: float | None = None

    def start(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + (0.0 if self._started is None else time.perf_counter() - self._started)


@dataclass(eq=False)
class State:
    """How far a training has come. A checkpoint holds all of it."""

    model: Classifier
    shown: Classifier  # what is validated and saved: the average of weights that the recipe sets, otherwise `model`
    optimizer: Optimizer
    sums: Tensor  # float (2,) of this epoch: the sum of the images' losses, and the number of right ones; on the device
    metric: Metric = METRICS["accuracy"]  # what the best epoch is best at
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
        """The first epoch, counted from 1, with the best validation score; 0 before there is one."""
        best = best_row(self.rows, self.metric)
        return best["epoch"] if best else 0

    def end_epoch(self, row: Epoch) -> None:
        self.rows.append(row)
        self.sums.zero_()
        self.clock.reset()
