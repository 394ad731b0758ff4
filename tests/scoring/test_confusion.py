"""Figures by class, by pair of classes and by confidence agree with counting by hand."""

import numpy as np
import pytest

from snellen.scoring.confusion import bins, class_rows, confusion_table, worst_pairs
from snellen.scoring.scores import calibration_error


def test_class_figures_agree_with_counting_by_hand():
    draw = np.random.default_rng(3)
    labels, guesses = draw.integers(0, 4, (2, 200))
    guesses[guesses == 3] = 2  # class 3 is never guessed
    names = ("a", "b", "c", "d")
    table = confusion_table(labels, guesses, 4)
    for k, row in enumerate(class_rows(table, names)):
        own = labels == k
        assert (row.images, row.right) == (own.sum(), (own & (guesses == k)).sum())
        assert row.taken == (guesses == k).sum()
        assert row.precision == (None if k == 3 else (labels[guesses == k] == k).mean())
        worst = max((n for n in range(4) if n != k), key=lambda n: (own & (guesses == n)).sum())
        assert row.mistaken_for == f"{names[worst]} ({(own & (guesses == worst)).sum()})"
    counts = [pair.count for pair in worst_pairs(table, names)]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == (labels != guesses).sum()
    assert len(class_rows(confusion_table(labels[labels < 3], guesses[labels < 3], 4), names)) == 3


def test_reliability_bins_give_the_calibration_error():
    draw = np.random.default_rng(4)
    guesses = draw.dirichlet(np.ones(5), 500).astype(np.float32)
    labels = draw.integers(0, 5, 500)
    confidence = guesses.max(axis=1)
    counts, accuracy = bins(confidence, guesses.argmax(axis=1) == labels)
    place = np.minimum((confidence * len(counts)).astype(int), len(counts) - 1)
    stated = np.array([confidence[place == n].mean() if (place == n).any() else 0 for n in range(len(counts))])
    error = (counts * np.abs(accuracy - stated)).sum() / 500
    assert error == pytest.approx(calibration_error(guesses, labels), abs=1e-6)
