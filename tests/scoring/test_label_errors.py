"""Suspected labels are those of the paper's rule, the likeliest first."""

import numpy as np

from snellen.scoring.label_errors import label_errors


def slow_label_errors(guesses, labels):
    """The rule as the paper writes it, one image after another."""
    limits = {k: np.mean([guesses[i, k] for i in range(len(labels)) if labels[i] == k]) for k in {*labels.tolist()}}
    found = {}
    for i, label in enumerate(labels.tolist()):
        able = [k for k, limit in limits.items() if guesses[i, k] >= limit]
        if able and (best := max(able, key=lambda k: guesses[i, k])) != label:
            found[i] = best
    return found


def test_label_errors_agree_with_the_slow_rule():
    draw = np.random.default_rng(6)
    guesses = draw.dirichlet(np.full(6, 0.3), 300)
    labels = draw.integers(0, 5, 300)  # the sixth class labels nothing
    suspects = label_errors(guesses, labels)
    assert dict(zip(suspects.index.tolist(), suspects.suggested.tolist(), strict=True)) == slow_label_errors(
        guesses, labels
    )
    own = guesses[suspects.index, labels[suspects.index]]
    others = guesses[suspects.index].copy()
    others[np.arange(len(suspects)), labels[suspects.index]] = -1
    assert (np.diff(own - others.max(axis=1)) >= 0).all(), "the likeliest first"


def test_planted_label_errors_come_first():
    draw = np.random.default_rng(7)
    truth = draw.integers(0, 4, 400)
    guesses = np.full((400, 4), 0.05, dtype=np.float32)
    guesses[np.arange(400), truth] = draw.uniform(0.7, 0.85, 400)
    planted = [3, 50, 200, 399]
    guesses[planted, truth[planted]] = 0.9
    labels = truth.copy()
    labels[planted] = (labels[planted] + 1) % 4
    suspects = label_errors(guesses, labels)
    assert {*suspects.index.tolist()} == {*planted}
    assert (suspects.suggested == truth[suspects.index]).all()
