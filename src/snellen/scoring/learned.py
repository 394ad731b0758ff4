"""Warnings if a model has learned nothing, based on its validation scores.

The baseline is the log-loss of the class shares: of always predicting the share of each class in the training images.
A model that has learned something does better on unseen images.
"""

from dataclasses import dataclass

import numpy as np

from snellen.scoring.formulas import log_loss
from snellen.scoring.intervals import bootstrap_mean
from snellen.system.units import percent

NUM_SHUFFLES = 999
CHANCE = 0.002  # a gain is clear if shuffled labels reach it no more often than this
GOOD_TRAINING, COLLAPSED = 0.3, 0.05  # see `collapse_warning`


def class_shares(counts: np.ndarray) -> np.ndarray:
    """Return the share of each class, float64 (K,), from image counts; an absent class counts as half an image."""
    counts = np.maximum(counts.astype(np.float64), 0.5)
    return counts / counts.sum()


@dataclass(frozen=True)
class Learned:
    """A comparison of a model's validation predictions with the class shares."""

    log_loss: float  # in nats, of the model's probabilities
    shares_log_loss: float  # in nats, of the class shares
    gain: float  # nats that the best mixture of model and class shares saves over the class shares alone; 0 or more
    low: float  # of its 95% interval
    high: float
    chance: float  # share of label shuffles with at least this gain
    images: int

    @property
    def is_clear(self) -> bool:
        """Whether the model beats the class shares by more than chance."""
        return self.low > 0 or self.chance <= CHANCE

    @property
    def warning(self) -> str:
        """The warning to display; "" if the model has clearly learned something."""
        if self.is_clear:
            return ""
        figures = (
            f"validation log-loss is {self.log_loss:.4f} nats on {self.images:,} images; always answering with the "
            f"share of each class gives {self.shares_log_loss:.4f}"
        )
        if self.gain > 0.1 * self.shares_log_loss:
            return f"too few validation images to show that the model learned anything: {figures}."
        return f"the model has not learned to tell the classes apart: {figures}."


def judge(probabilities: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> Learned:
    """Compare probabilities (N, K) of validation images with labels (N,) with the class shares (K,).

    The model is mixed with the shares, w p + (1 - w) s, with the weight w of the lowest log-loss, so overconfidence
    does not hide what the model has learned. The gain is clear if its bootstrap interval lies above 0, or if shuffled
    labels hardly ever reach it (a permutation test). The test matters for rare classes: with two rare images in 100,
    both recognised, the gain is clear, yet one bootstrap sample in seven contains neither.
    """
    num = len(labels)
    ratios = probabilities.astype(np.float64) / shares
    weight = _best_weight(ratios[np.arange(num), labels])
    saved = np.log1p(weight * (ratios - 1))  # (N, K) nats, for each label that an image could have
    own = saved[np.arange(num), labels]
    gain = float(own.mean())
    low, high = bootstrap_mean(own)
    chance = 0.0 if low > 0 else _chance_of(gain, saved, labels)
    return Learned(log_loss(labels, probabilities), shares_log_loss(labels, shares), gain, low, high, chance, num)


def shares_log_loss(labels: np.ndarray, shares: np.ndarray) -> float:
    """Return the log-loss, in nats, of always predicting the class shares."""
    return float(-np.log(shares[labels]).mean())


def _chance_of(gain: float, saved: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of label shuffles with at least the same gain. saved: float (N, K)."""
    draw, rows = np.random.default_rng(0), np.arange(len(labels))
    shuffled = np.array([saved[rows, draw.permutation(labels)].mean() for _ in range(NUM_SHUFFLES)])
    return (1 + int((shuffled >= gain - 1e-9).sum())) / (1 + NUM_SHUFFLES)  # 1e-9: sums differ with their order


def _best_weight(ratios: np.ndarray) -> float:
    """Return w in [0, 0.999] with the greatest mean ln(1 + w (r - 1)); the mean is concave in w. ratios: float (N,)."""
    low, high = 0.0, 0.999
    for _ in range(30):
        middle = (low + high) / 2
        if ((ratios - 1) / (1 + middle * (ratios - 1))).mean() > 0:
            low = middle
        else:
            high = middle
    return low


def collapse_warning(probabilities: np.ndarray, labels: np.ndarray, shares: np.ndarray, train_accuracy: float) -> str:
    """Return a warning if an epoch's validation is at chance level although training is good; "" otherwise.

    Good: the training accuracy closes at least 30% of the gap between always predicting the most frequent class and
    100%. At chance: the gain of `judge` is below 5% of the shares' log-loss.
    """
    frequent = float(shares.max())
    if not train_accuracy >= frequent + GOOD_TRAINING * (1 - frequent):
        return ""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64) / shares[labels]
    gain = float(np.log1p(_best_weight(own) * (own - 1)).mean())
    if gain >= COLLAPSED * shares_log_loss(labels, shares):
        return ""
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return (
        f"validation is at chance although training is not: accuracy {percent(accuracy)} in validation, "
        f"{percent(train_accuracy)} in training. What the model learned does not carry over to other images"
    )
