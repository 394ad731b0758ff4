"""`--init`: the network's weights are copied, and only a head for other classes starts from random weights."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from made import small_model
from snellen.errors import RunError
from snellen.models.classifier import Classifier
from snellen.training.init import start_from


class Shift(nn.Module):
    """Adds a constant to each of the last features, as a norm layer's bias does."""

    def __init__(self, num):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(num))

    def forward(self, x):
        return torch.cat([x[:, : -len(self.bias)], x[:, -len(self.bias) :] + self.bias], dim=1)


def without_bias(classes, num_shifted=12, name="mine"):
    features = nn.Sequential(nn.Flatten(), nn.Linear(12, 12), Shift(num_shifted))
    network = nn.Sequential(OrderedDict(features=features, output=nn.Linear(12, len(classes), bias=False)))
    return Classifier(name, network, classes, (2, 2))


def copied(model, init):
    """The names of the weights that both have in common."""
    pairs = zip(model.network.named_parameters(), init.network.named_parameters(), strict=True)
    return {name for (name, mine), (_, other) in pairs if torch.equal(mine, other)}


def test_all_is_copied_if_the_classes_are_as_many():
    init, model = small_model(("cat", "dog", "owl")), small_model(("car", "bus", "van"))
    init.mean.fill_(0.25)
    start_from(model, init)
    assert copied(model, init) == dict(model.network.named_parameters()).keys()
    assert torch.equal(model.mean, init.mean)


@pytest.mark.parametrize("build", [small_model, without_bias])
def test_a_head_for_other_classes_starts_fresh_and_nothing_else_does(build):
    init, model = build(("cat", "dog", "owl")), build(("cat", "dog"))
    head = {name: value.clone() for name, value in model.network.output.named_parameters()}
    start_from(model, init)
    names = {name for name, _ in model.network.named_parameters() if not name.startswith("output.")}
    for name in names:
        assert torch.equal(model.network.get_parameter(name), init.network.get_parameter(name)), name
    for name, value in head.items():
        assert torch.equal(model.network.output.get_parameter(name), value), name


def test_a_bias_below_a_head_without_one_is_no_part_of_it():
    init, model = without_bias(("cat", "dog", "owl"), num_shifted=3), without_bias(("cat", "dog"))
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    with pytest.raises(RunError, match="the weights of mine do not fit mine"):
        start_from(model, init)
    assert all(torch.equal(value, before[name]) for name, value in model.network.named_parameters())


def test_another_network_is_refused_by_name():
    with pytest.raises(RunError, match="the weights of mine do not fit yours"):
        start_from(without_bias(("cat", "dog"), name="yours"), without_bias(("cat", "dog")))
