from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from made import scenes
from snellen.models.classifier import as_input
from snellen.models.efficientnet_lite import ConvNorm, efficientnet_lite0, efficientnet_lite0_levels
from snellen.models.model_file import load_model

NAME = "imagenet-efficientnet-lite0"
# Logits of the package efficientnet-lite-pytorch 0.1.0 with the packaged, rounded weights, for `scenes(2, size)`.
LOGITS = Path(__file__).parent / "data/efficientnet_lite/logits.npz"
SIZES = (224, 97, 64)  # the padding of the strided layers depends on whether a size is odd


def inputs(size):
    return as_input(scenes(2, size), torch.device("cpu"))


@pytest.fixture(scope="module")
def model():
    return load_model(NAME)


@pytest.mark.parametrize("size", SIZES)
def test_logits_are_those_of_the_published_implementation(model, size):
    with torch.no_grad():
        found = model(inputs(size)).numpy()
    np.testing.assert_allclose(found, np.load(LOGITS)[str(size)], atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_reference_logits_are_what_the_published_implementation_computes(model, size):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    published = package.EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
    names = list(published.state_dict())
    published.load_state_dict(dict(zip(names, model.network.state_dict().values(), strict=True)))
    with torch.no_grad():
        found = published((inputs(size) - 127 / 255) / (128 / 255)).numpy()
    np.testing.assert_allclose(found, np.load(LOGITS)[str(size)], atol=1e-4)


def test_it_has_the_parameters_that_its_file_states():
    network = efficientnet_lite0(1000)
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    assert sum(p.numel() for p in network[0].parameters()) == 3_371_008


def test_with_levels_the_last_features_are_the_same_and_the_others_are_means_of_wide_layers(model):
    levels, x = efficientnet_lite0_levels(3).eval(), inputs(64)
    levels[0].load_state_dict(model.network[0].state_dict())
    with torch.no_grad():
        found, last = levels[0](x), model.network[0](x)
        before = torch.nn.Sequential(*list(levels[0])[:8])(x)
        wide = levels[0][8].depthwise(levels[0][8].expand(before)).mean((2, 3))
    assert torch.equal(found[:, :1280], last)
    assert torch.equal(found[:, 1280 + 240 : 1280 + 240 + 480], wide)
    assert found.shape[1] == levels[1].in_features == 1280 + 240 + 480 + 672 + 1152


def test_convolutions_but_the_last_of_a_block_are_followed_by_relu6():
    layers = [m for m in efficientnet_lite0(3).modules() if isinstance(m, ConvNorm)]
    assert len(layers) == 1 + 2 + 15 * 3 + 1  # the first block does not expand
    assert sum(layer.is_linear for layer in layers) == 16
    x = torch.full((1, 3, 8, 8), 100.0)
    assert layers[0].eval()(x).max() <= 6


def test_the_packaged_model_names_the_thousand_classes_of_imagenet(model):
    assert len(set(model.classes)) == 1000
    assert (model.classes[0], model.classes[-1]) == ("tench", "toilet tissue")
    assert {"crane (bird)", "crane (machine)", "tank suit", "maillot", "tabby"} <= set(model.classes)
    assert model.size == (224, 224)
    assert all(value.dtype == torch.float32 for value in model.parameters())
    assert isinstance(model.network[1], nn.Linear)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("is_frozen", [True, False])
def test_depthwise_gradients_are_those_of_torch(kernel, stride, size, is_frozen):
    torch.manual_seed(0)
    layer = ConvNorm(6, 6, kernel, stride=stride, groups=6).double()
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2)
    layer.train(not is_frozen)
    x = torch.randn(2, 6, size, size, dtype=torch.float64, requires_grad=True)
    inputs = (x, *layer.parameters())
    found = torch.autograd.grad(layer(x).square().sum(), inputs)
    with torch.no_grad():
        plain = layer(x)
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    padded = nn.functional.pad(x, (missing // 2, missing - missing // 2) * 2)
    y = nn.functional.conv2d(padded, layer.conv.weight, None, stride, groups=6)
    y = nn.functional.relu6(layer.norm(y))
    torch.testing.assert_close(plain, y)
    for value, expected in zip(found, torch.autograd.grad(y.square().sum(), inputs), strict=True):
        torch.testing.assert_close(value, expected)
