"""The loss is cross-entropy, written out by hand; right is what has the highest logit."""

import pytest
import torch

from snellen.training.loss import cross_entropy, num_right

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0], [1.0, 4.0, -2.0], [0.0, 1.0, 0.0]])
LABELS = torch.tensor([0, 2, 0, 1])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_cross_entropy_of_labels_and_of_shares(smoothing):
    shares = torch.nn.functional.one_hot(LABELS, 3).double()
    target = (1 - smoothing) * shares + smoothing / 3
    expected = -(target * LOGITS.double().log_softmax(dim=1)).sum(dim=1).mean()
    for given in (LABELS, shares, shares.float()):
        torch.testing.assert_close(cross_entropy(LOGITS.double(), given, smoothing), expected)
    mixed = 0.7 * shares + 0.3 * shares.flip(0)
    target = (1 - smoothing) * mixed + smoothing / 3
    expected = -(target * LOGITS.double().log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(cross_entropy(LOGITS.double(), mixed.float(), smoothing), expected, atol=1e-7, rtol=0)


def test_shares_take_the_precision_of_the_logits():
    shares = torch.nn.functional.one_hot(LABELS, 3).float()
    assert cross_entropy(LOGITS.double(), shares).dtype == torch.float64


def test_the_right_ones_are_counted():
    assert num_right(LOGITS, LABELS) == 3
    shares = 0.6 * torch.nn.functional.one_hot(LABELS, 3) + 0.4 * torch.nn.functional.one_hot(1 - LABELS % 2, 3)
    assert num_right(LOGITS, shares) == 3
