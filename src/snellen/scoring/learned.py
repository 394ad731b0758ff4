"""Warnings if a model has learned nothing, based on its validation scores.

The baseline is the log-loss of the class shares: of always predicting the share of each class in the training images.
A model that has learned something does better on unseen images.
"""

from dataclasses import dataclass

import numpy as np

from snellen.scoring import several_labels as several
from snellen.scoring.formulas import log_loss
from snellen.scoring.intervals import bootstrap_mean
from snellen.scoring.scores import are_right
from snellen.system.units import percent

SHUFFLES = (199, 9999)  # fewest and most shuffles of the labels
ALL_SHUFFLED = 10**7  # labels, in all shuffles together
CHANCE = 0.025  # an order is clear if shuffled labels reach it no more often than this
GOOD_TRAINING, COLLAPSED = 0.3, 0.05  # see `collapse_warning`


def class_shares(counts: np.ndarray, num_images: int | None = None) -> np.ndarray:
    """Return the share of each class, float64 (K,), from image counts; an absent class counts as half an image.

    num_images: if images have several labels, their number; a class of all images also lacks half an image.
    """
    counts = np.maximum(counts.astype(np.float64), 0.5)
    return counts / counts.sum() if num_images is None else np.minimum(counts, num_images - 0.5) / num_images


@dataclass(frozen=True)
class Learned:
    """A comparison of a model's validation predictions with the class shares."""

    log_loss: float  # in nats, of the model's probabilities
    shares_log_loss: float  # in nats, of the class shares
    gain: float  # nats that the best mixture of model and class shares saves over the class shares alone; 0 or more
    low: float  # of its 95% interval
    high: float
    chance: float  # share of label shuffles whose AUC is at least that of the labels
    images: int
    have_one_label: bool = False  # all of the images have the same label

    @property
    def is_clear(self) -> bool:
        """Whether the model beats the class shares by more than chance."""
        return not self.have_one_label and (self.low > 0 or self.chance <= CHANCE)

    @property
    def warning(self) -> str:
        """The warning to display; "" if the model has clearly learned something."""
        if self.is_clear:
            return ""
        if self.have_one_label:
            return (
                f"all {self.images:,} validation images have the same label, so no score shows whether the model can "
                "tell the classes apart. A larger --valid-share, or --folds 5 with train and compete, would"
            )
        figures = (
            f"validation log-loss is {self.log_loss:.4f} nats on {self.images:,} images; always predicting the "
            f"share of each class gives {self.shares_log_loss:.4f}"
        )
        if self.gain > 0.1 * self.shares_log_loss:
            return f"too few validation images to show that the model learned anything: {figures}."
        return f"the model has not learned to tell the classes apart: {figures}."


def judge(probabilities: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> Learned:
    """Compare probabilities (N, K) of validation images with labels (N,) with the class shares (K,).

    The model is mixed with the shares, w p + (1 - w) s, with the weight w of the lowest log-loss, so overconfidence
    does not hide what the model has learned. It is clear that it has learned something if the bootstrap interval of the
    gain lies above 0, or if shuffled labels hardly ever reach the labels' AUC (a permutation test). The test matters
    for rare classes: of two rare images in 100, both recognised, one bootstrap sample in seven contains neither. The
    AUC depends only on the order of the images, so a single overconfident mistake does not outweigh the rest.
    """
    num = len(labels)
    ratios = own_ratios(probabilities, labels, shares)
    weight = _best_weight(ratios)
    own = np.log1p(weight * (ratios - 1)).reshape(num, -1).sum(axis=1)  # nats that each image saves
    gain = float(own.mean())
    low, high = bootstrap_mean(own)
    chance = 0.0 if low > 0 else _chance_of_order(probabilities, labels)
    loss = several.log_loss(labels, probabilities) if labels.ndim == 2 else log_loss(labels, probabilities)
    have_one_label = num > 1 and len(shares) > 1 and len(np.unique(labels, axis=0)) == 1
    return Learned(loss, shares_log_loss(labels, shares), gain, low, high, chance, num, have_one_label)


def own_ratios(probabilities: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the probability of the truth relative to its share, float64 (N,), or (N, K) if images have several labels.

    Labels are int (N,), or bool (N, K): then each class of each image is one truth.
    """
    if labels.ndim == 1:
        return probabilities[np.arange(len(labels)), labels].astype(np.float64) / shares[labels]
    chances = probabilities.astype(np.float64)
    return np.where(labels, chances / shares, (1 - chances) / (1 - shares))


def shares_log_loss(labels: np.ndarray, shares: np.ndarray) -> float:
    """Return the log-loss, in nats per image, of always predicting the class shares."""
    if labels.ndim == 2:
        return float(-np.where(labels, np.log(shares), np.log(1 - shares)).sum(axis=1).mean())
    return float(-np.log(shares[labels]).mean())


def _chance_of_order(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of label shuffles with at least the same AUC, the mean of each class against the others.

    With r the rank of an image among the N by the probability of class k, a class with n images adds
    r / (n (N - n)) for each of them; all else in the AUC is the same for every shuffle.
    labels: int (N,), or bool (N, K), which are shuffled image by image.
    """
    num, num_classes = probabilities.shape
    has_several = labels.ndim == 2
    counts = labels.sum(axis=0) if has_several else np.bincount(labels, minlength=num_classes)
    ranks = np.stack([_ranks(column) for column in probabilities.T], axis=1)
    worth = ranks / np.maximum(counts * (num - counts), 1)  # (N, K), for each label that an image could have
    rows, draw = np.arange(num), np.random.default_rng(0)

    def total(labels: np.ndarray) -> float:
        return float(worth[labels].sum() if has_several else worth[rows, labels].sum())

    own = total(labels) * (1 - 1e-9)  # sums differ with their order
    num_shuffles = min(max(ALL_SHUFFLED // labels.size, SHUFFLES[0]), SHUFFLES[1])
    reached = sum(total(draw.permutation(labels)) >= own for _ in range(num_shuffles))
    return (1 + reached) / (1 + num_shuffles)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value from 1, float64 (N,); equal values share the mean of their ranks."""
    ordered = np.sort(values)
    return (ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right") + 1) / 2


def _best_weight(ratios: np.ndarray) -> float:
    """Return w in [0, 0.999] with the greatest mean ln(1 + w (r - 1)); the mean is concave in w. ratios: float."""
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
    # With several labels, the guess is that each class is present if most images have it.
    frequent = float(np.maximum(shares, 1 - shares).prod() if labels.ndim == 2 else shares.max())
    if not train_accuracy >= frequent + GOOD_TRAINING * (1 - frequent):
        return ""
    own = own_ratios(probabilities, labels, shares)
    gain = float(np.log1p(_best_weight(own) * (own - 1)).reshape(len(labels), -1).sum(axis=1).mean())
    if gain >= COLLAPSED * shares_log_loss(labels, shares):
        return ""
    decided = probabilities >= 0.5 if labels.ndim == 2 else probabilities.argmax(axis=1)
    accuracy = float(are_right(labels, decided).mean())
    return (
        f"validation accuracy is at chance level although training is not: {percent(accuracy)} in validation, "
        f"{percent(train_accuracy)} in training. What the model learned does not carry over to other images"
    )
