import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from made import some
from snellen.training.class_weights import class_weights, image_weights


def test_weights_worked_out_by_hand():
    counts = np.array([900, 100])
    assert class_weights(counts, 0) == pytest.approx([1, 1])
    assert class_weights(counts, 1) == pytest.approx([1000 / 1800, 1000 / 200])
    assert class_weights(counts, 0.5) == pytest.approx(np.array([1, 3]) * 1000 / 1200)


@some
@given(counts=st.lists(st.integers(0, 5000), min_size=2, max_size=9).filter(any), power=st.floats(0, 1))
def test_the_mean_over_the_training_images_is_one_and_rare_classes_weigh_more(counts, power):
    counts = np.array(counts)
    weights = class_weights(counts, power)
    assert weights @ counts / counts.sum() == pytest.approx(1)
    assert (weights[counts == 0] == 0).all()
    order = np.argsort(counts[counts > 0])
    assert (np.diff(weights[counts > 0][order]) <= 1e-9).all()


def test_a_mixed_image_has_the_mixture_of_its_classes_weights():
    weights = torch.tensor([1.0, 3.0])
    assert image_weights(torch.tensor([0, 1, 1]), weights).tolist() == [1, 3, 3]
    assert image_weights(torch.tensor([[0.25, 0.75]]), weights).tolist() == [2.5]
