"""The formulas of common competition metrics: labels and predictions in, one number out.

Shapes: labels int (N,), from 0 to K - 1; decided int (N,), the labels decided on; probabilities float (N, K), rows that
sum to 1; weights (N,), how many times each image counts, by default once.

A metric is undefined (nan) if it cannot be computed from the images, for example the AUC of a single class.
scikit-learn is the reference: the tests compare every metric with it.
"""

import math
from collections.abc import Iterator

import numpy as np

from snellen.scoring.intervals import Interval, Z

LEAST_PROBABILITY = 1e-12  # log_loss raises smaller ones to it, so that one image costs 28 nats at most


def accuracy(labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the share of images whose decided label is their label."""
    return float(np.average(labels == decided, weights=weights))


def balanced_accuracy(labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean recall of the classes that have images.

    Source: Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010; for several classes as
    in scikit-learn's balanced_accuracy_score, without adjustment for chance.
    """
    hits, totals, _ = _class_sums(labels, decided, weights)
    return float((hits[totals > 0] / totals[totals > 0]).mean())


def f1_macro(labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean F1 of the classes that are the label or the answer of an image.

    F1 = 2 hits / (images with this label + images with this answer), the harmonic mean of precision and recall.
    Source: scikit-learn's f1_score with average="macro".
    """
    hits, totals, taken = _class_sums(labels, decided, weights)
    occurs = totals + taken > 0
    return float((2 * hits[occurs] / (totals + taken)[occurs]).mean())


def f1_micro(labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return 2 hits / (labels + answers) over all classes: with one label per image this is the accuracy."""
    return accuracy(labels, decided, weights)


def qwk(labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the quadratic weighted kappa of ordered classes: 1 is perfect, 0 as good as chance.

    1 - sum(w O) / sum(w E), with O the number of images with label i and answer j, E the number expected if they were
    independent, and w = (i - j)^2. The sums are moments: sum(w O) = sum of (y - d)^2, sum(w E) = the same over all
    pairs / N.
    Undefined if all labels and answers are one class. Source: Cohen, "Weighted kappa", Psychol. Bull. 70 (1968).
    """
    y, d = labels.astype(np.float64), decided.astype(np.float64)
    w = np.ones(len(y)) if weights is None else weights.astype(np.float64)
    num, squares = w.sum(), w @ (y * y + d * d)
    expected = squares - 2 * (w @ y) * (w @ d) / num
    return 1 - float((squares - 2 * (w @ (y * d))) / expected) if expected > 0 else math.nan


def mcc(labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return Matthews' correlation of labels and answers: 1 is perfect, 0 is chance or the same answer for all images.

    For several classes (c N - sum t p) / sqrt((N^2 - sum p^2) (N^2 - sum t^2)) with c images right, t images with each
    label and p with each answer. Source: Gorodkin, "Comparing two K-category assignments", Comput. Biol. Chem. 28
    (2004), as in scikit-learn's matthews_corrcoef.
    """
    hits, totals, taken = _class_sums(labels, decided, weights)
    num = totals.sum()
    spread = (num**2 - taken @ taken) * (num**2 - totals @ totals)
    return float((hits.sum() * num - totals @ taken) / math.sqrt(spread)) if spread > 0 else 0.0


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return float64 (N,): -ln(probability of the label) of each image, in nats."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(own, LEAST_PROBABILITY))


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean of -ln(probability of the label), in nats."""
    return float(log_losses(labels, probabilities).mean())


def precisions_at_5(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return float64 (N,): 1 / the rank of the label among the classes, best first, or 0 below the fifth.

    Equally probable classes are in class order, as in the submission's five labels.
    """
    own = probabilities[np.arange(len(labels)), labels][:, None]
    is_before = (probabilities > own) | ((probabilities == own) & (np.arange(probabilities.shape[1]) < labels[:, None]))
    rank = 1 + is_before.sum(axis=1)
    return np.where(rank <= 5, 1 / rank, 0.0)


def map_at_5(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean average precision of the five most probable classes: with one label, the mean of 1 / its rank.

    Source: the evaluation page of Kaggle's humpback whale competition. With at most five classes it is scikit-learn's
    label_ranking_average_precision_score.
    """
    return float(precisions_at_5(labels, probabilities).mean())


def auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the area under the ROC curve; for more than two classes the mean of each class against the others.

    The area is the chance that an image of the class gets a higher probability for it than another image; ties count
    half. Classes with no images or all images are left out. labels: int (N,), or bool (N, K) if images have several;
    then it is the mean of all classes. Source: Hanley & McNeil, Radiology 143 (1982);
    Hand & Till, Machine Learning 45 (2001), section 2, for one against the others.
    """
    areas = [_placements(column, index)[0] for column, index in _sides(labels, probabilities)]
    return float(np.mean(areas)) if areas else math.nan


def auc_effects(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return float64 (N,): the effect of each image on `auc`, which is their mean; nan if it is undefined.

    An image's effect is the area plus its placement's distance from the area, divided by the share of its side and
    averaged over the classes. A placement is the share of the other side's images that an image of the class beats, or
    that beat one of another class; ties count half.
    Source: DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988); Sun & Xu, IEEE Signal Process. Lett. 21 (2014).
    """
    num, areas, moves = len(labels), [], np.zeros(len(labels))
    for column, index in _sides(labels, probabilities):
        area, of_members, of_others = _placements(column, index)
        share = len(index) / num
        step = (of_others - area) / (1 - share)
        step[index] = (of_members - area) / share
        areas.append(area)
        moves += step
    if not areas:
        return np.full(num, math.nan)
    return np.mean(areas) + moves / len(areas)


def auc_interval(effects: np.ndarray) -> Interval:
    """Return the 95% interval of `auc` from `auc_effects`: DeLong's variance, on the scale of ln(area / (1 - area))."""
    mean, num = float(effects.mean()), len(effects)
    if math.isnan(mean):
        return math.nan, math.nan
    std = math.sqrt(np.sum((effects - mean) ** 2) / (num * (num - 1)))
    if not 0 < mean < 1:
        return mean, mean
    half, centre = Z * std / (mean * (1 - mean)), math.log(mean / (1 - mean))
    return 1 / (1 + math.exp(min(half - centre, 700))), 1 / (1 + math.exp(max(-half - centre, -700)))


def _sides(labels: np.ndarray, probabilities: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (column of probabilities (N,), positions of the class's images) for each class that divides the images.

    labels: int (N,); of two classes only the second is used, because the first mirrors it. Or bool (N, K).
    """
    num, num_classes = probabilities.shape
    columns = np.ascontiguousarray(probabilities.T)
    if labels.ndim == 2:
        for k in range(num_classes):
            index = np.flatnonzero(labels[:, k])
            if 0 < len(index) < num:
                yield columns[k], index
        return
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(num_classes + 1))
    for k in range(num_classes) if num_classes > 2 else [num_classes - 1]:
        index = order[ends[k] : ends[k + 1]]
        if 0 < len(index) < num:
            yield columns[k], index


def _placements(column: np.ndarray, index: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the area, and the placements of the images at `index` (M,) and of all images (N,) as others.

    Only the M images of the class are sorted: with many classes they are few, and this is done for each class.
    """
    num, num_members = len(column), len(index)
    ordered = np.sort(column[index])
    # For each image, the number of the class's images below it, and of those below or equal to it.
    below = ordered.searchsorted(column, "left")
    if (ordered[1:] > ordered[:-1]).all():  # faster: at most one of the class's images equals it
        upto = below + (ordered[np.minimum(below, num_members - 1)] == column)
    else:
        upto = ordered.searchsorted(column, "right")
    of_others = 1 - (below + upto) / (2 * num_members)

    def others_up_to(numbers: np.ndarray) -> np.ndarray:
        """Return how many of the other images have at most 0, 1, ... of the class's images below them."""
        everyone, members = (np.bincount(n, minlength=num_members + 1) for n in (numbers, numbers[index]))
        return np.cumsum(everyone - members)

    # An image is below the member with `place` members below it if at most `place` members are below or equal to the
    # image; it is below or equal to that member if at most `place` members are below the image.
    place = below[index]
    of_members = (others_up_to(upto)[place] + others_up_to(below)[place]) / (2 * (num - num_members))
    return float(of_members.mean()), of_members, of_others


def _class_sums(
    labels: np.ndarray, decided: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of correct images, images with this label and images with this answer, by class."""
    num_classes = int(max(labels.max(), decided.max())) + 1
    right = labels == decided
    if weights is None:
        weights = np.ones(len(labels))
    weights = weights.astype(np.float64)
    return (
        np.bincount(labels[right], weights=weights[right], minlength=num_classes),
        np.bincount(labels, weights=weights, minlength=num_classes),
        np.bincount(decided, weights=weights, minlength=num_classes),
    )
