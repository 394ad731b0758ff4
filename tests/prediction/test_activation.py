import numpy as np
import torch

from made import scenes, small_model
from snellen.charts.heat import tinted
from snellen.models.model_file import load_model
from snellen.prediction.activation import activation_maps
from snellen.prediction.probabilities import logits
from snellen.system.device import choose_runtime
from snellen.training.init import start_from

FLOAT32 = choose_runtime("float32", "cpu")


def test_the_mean_of_a_map_is_the_logit():
    model, pixels = load_model("imagenet-efficientnet-lite0"), scenes(2, 96)
    maps = activation_maps(model, pixels, FLOAT32)
    assert maps.shape == (2, 1000, 3, 3)
    np.testing.assert_allclose(maps.mean(axis=(2, 3)), logits(model, pixels, FLOAT32, views=1), atol=1e-4)


def test_with_features_of_several_levels_too():
    torch.manual_seed(0)
    model, pixels = small_model(("a", "b", "c"), (96, 96), "efficientnet_lite0_levels"), scenes(2, 96)
    start_from(model, load_model("imagenet-efficientnet-lite0"))
    maps = activation_maps(model, pixels, FLOAT32)
    assert maps.shape == (2, 3, 12, 12)
    np.testing.assert_allclose(maps.mean(axis=(2, 3)), logits(model, pixels, FLOAT32, views=1), atol=1e-4)


def test_a_map_is_highest_where_the_evidence_is():
    """A network whose only feature is redness."""
    model = small_model(("red", "blue"), name="resnet18")
    features = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    model.network = torch.nn.Sequential(features, torch.nn.Linear(2, 2))
    with torch.no_grad():
        model.network[0][0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1]])[:, :, None, None])
        model.network[1].weight.copy_(torch.eye(2))
    pixels = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    pixels[0, 3, 5], pixels[0, 12, 2] = (255, 0, 0), (0, 0, 255)
    red, blue = activation_maps(model, pixels, FLOAT32)[0]
    assert np.unravel_index(red.argmax(), red.shape) == (3, 5)
    assert np.unravel_index(blue.argmax(), blue.shape) == (12, 2)
    shown = tinted(pixels[0], red - blue)
    assert shown[3, 5, 0] > shown[3, 5, 2] + 50  # orange
    assert shown[12, 2].max() - shown[12, 2].min() <= 1  # grey


def test_other_networks_have_no_maps():
    model = small_model()
    assert activation_maps(model, scenes(1, 16), FLOAT32) is None
