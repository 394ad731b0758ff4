import importlib
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from made import make_images, noise, small_model
from snellen.errors import RecipeError
from snellen.models import classifier
from snellen.models.classifier import MODELS, Classifier, build_model, build_network
from snellen.models.whitened_cnn import WHITENING_EPS, ResidualGroup, Whitening, whitened_cnn, whitened_resnet
from snellen.runs.recipe import Recipe
from snellen.training.optim import Optimizer


def smooth(num, size=16, seed=0):
    """float (num, 3, size, size): neighbours and colours alike, as in photographs; mean 0."""
    rough = torch.from_numpy(np.random.default_rng(seed).normal(size=(num, 3, size + 4, size + 4))).float()
    grey = F.avg_pool2d(rough.mean(dim=1, keepdim=True), 5, stride=1) * 5
    return grey + 0.2 * F.avg_pool2d(rough, 5, stride=1) + 0.03 * rough[:, :, 2:-2, 2:-2]


def patches_of(x):
    """numpy (N * places, C * 2 * 2): every 2x2 patch, cut out one place at a time."""
    x = x.double().numpy()
    height, width = x.shape[2:]
    cut = [x[:, :, r : r + 2, c : c + 2].reshape(len(x), -1) for r in range(height - 1) for c in range(width - 1)]
    return np.concatenate(cut)


@pytest.fixture(scope="module")
def fitted():
    x = smooth(60)
    whitening = Whitening()
    whitening.fit(x)
    return x, whitening


def test_filters_are_numpys_eigenvectors_over_the_root_of_their_variance(fitted):
    x, whitening = fitted
    patches = patches_of(x)
    variances, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = whitening.weight.detach().double().numpy().reshape(24, 12)
    for n, (variance, vector) in enumerate(zip(variances[::-1], vectors.T[::-1], strict=True)):
        expected = vector / np.sqrt(variance + WHITENING_EPS)
        np.testing.assert_allclose(
            filters[n] * np.sign(filters[n] @ expected), expected, atol=1e-4 * np.abs(expected).max()
        )


def test_filters_come_in_pairs_of_plus_and_minus(fitted):
    _, whitening = fitted
    assert torch.equal(whitening.weight[:12], -whitening.weight[12:])
    assert torch.equal(whitening.bias, torch.zeros(24))


def test_outputs_are_uncorrelated_with_a_spread_of_one_where_there_is_more_than_noise(fitted):
    x, whitening = fitted
    patches = patches_of(x)
    variances = np.linalg.eigvalsh(patches.T @ patches / len(patches))[::-1]
    out = whitening(x).detach().double()[:, :12].permute(0, 2, 3, 1).reshape(-1, 12).numpy()
    found = out.T @ out / len(out)
    np.testing.assert_allclose(found, np.diag(variances / (variances + WHITENING_EPS)), atol=2e-3)


def test_directions_that_are_all_noise_are_not_blown_up():
    whitening = Whitening()
    whitening.fit(torch.zeros(2, 3, 16, 16))
    assert whitening.weight.abs().max() <= 1 / WHITENING_EPS**0.5 + 1e-3
    whitening.fit(torch.ones(1, 3, 16, 16))
    assert whitening.weight.isfinite().all()


def test_whitening_filters_never_train_and_their_bias_does():
    model = small_model()
    assert not model.network.features[0].weight.requires_grad
    F.cross_entropy(model(torch.rand(4, 3, 16, 16)), torch.arange(4) % 3).backward()
    assert model.network.features[0].weight.grad is None
    assert model.network.features[0].bias.grad.abs().sum() > 0


def test_the_number_of_parameters_is_that_of_the_paper_and_the_docstring():
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 256 * 256 + 256 * 256 + 256 * 256)
    norm_biases = 2 * (64 + 256 + 256)
    expected = convolutions + norm_biases + 24 + 256 * 10
    model = small_model(classes=tuple("abcdefghij"))
    assert model.num_parameters == expected == 1_971_352
    assert round(expected / 1e6, 2) == 1.97  # as arXiv:2404.00498 has it
    docstring = importlib.import_module("snellen.models.whitened_cnn").__doc__
    assert re.search(r"([\d,]+) trainable parameters", docstring)[1] == f"{expected:,}"
    wide = small_model(classes=tuple("abcdefghij"), name="whitened_resnet")
    assert f"last two), {wide.num_parameters:,}." in docstring


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (24, 24), (32, 32), (48, 64)])
@pytest.mark.parametrize(("build", "num_classes"), [(whitened_cnn, 2), (whitened_cnn, 100), (whitened_resnet, 10)])
def test_any_size_from_16_gives_one_logit_for_each_class(size, build, num_classes):
    network = build(num_classes).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 3, *size)).shape == (2, num_classes)


def test_convolutions_begin_by_passing_their_input_on():
    network = whitened_cnn(10)
    for name, module in network.named_modules():
        if name.startswith(("features.2", "features.3", "features.4")) and isinstance(module, torch.nn.Conv2d):
            num = module.in_channels
            x = torch.randn(1, num, 6, 6)
            assert torch.equal(module(x)[:, :num], x), name
            assert module.bias is None
            rest = module.weight[num:]
            assert not len(rest) or rest.std() > 0, name


def test_the_network_is_the_one_described_written_out(fitted):
    torch.manual_seed(0)
    network = whitened_cnn(10)
    network.features[0].fit(smooth(20))
    x = smooth(8, size=32, seed=1)
    y = F.gelu(F.conv2d(x, network.features[0].weight, network.features[0].bias))
    for group in network.features[2:5]:
        for conv, pool in ((group.conv1, True), (group.conv2, False)):
            y = F.conv2d(y, conv.weight, padding=1)
            y = F.max_pool2d(y, 2) if pool else y
            mean, var = y.mean(dim=(0, 2, 3), keepdim=True), y.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
            y = F.gelu((y - mean) / torch.sqrt(var + 1e-2))
    assert y.shape[2:] == (3, 3), "at 32 pixels the last pooling is the paper's 3x3"
    expected = F.max_pool2d(y, 3).flatten(1) @ network.output.weight.T / 256
    torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-4)
    assert network.output.weight.std().item() == pytest.approx(1)
    assert network.output.bias is None


def test_a_residual_group_adds_what_its_last_two_convolutions_learn():
    group = ResidualGroup(24, 32)
    x = torch.randn(4, 24, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        group.conv3.weight.zero_()
        halved = F.gelu(group.norm1(F.max_pool2d(group.conv1(x), 2)))
        torch.testing.assert_close(group(x), F.gelu(halved), atol=1e-5, rtol=1e-4)
        group.conv3.weight.normal_()
        halved = F.gelu(group.norm1(F.max_pool2d(group.conv1(x), 2)))
        added = group.norm3(group.conv3(F.gelu(group.norm2(group.conv2(halved)))))
        torch.testing.assert_close(group(x), F.gelu(halved + added), atol=1e-5, rtol=1e-4)


def test_norms_have_a_bias_that_trains_a_scale_that_does_not_and_take_four_tenths_of_a_batch():
    norm = whitened_cnn(10).features[2].norm1
    assert (norm.eps, norm.momentum) == (1e-2, 0.4)
    assert not norm.weight.requires_grad
    assert norm.bias.requires_grad
    norm(torch.full((2, 64, 4, 4), 3.0))
    torch.testing.assert_close(norm.running_mean, torch.full((64,), 1.2))


@pytest.mark.parametrize("name", MODELS)
def test_every_registered_model_takes_images_of_16_pixels(name):
    with torch.device("meta"):
        network = build_network(name, 7)
        assert network(torch.empty(2, 3, 16, 16)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "do"),
    [
        ("whitened_cn", "whitened_cnn"),
        ("resnet-18", "resnet18"),
        ("cifar_resnet20", "cifar_resnet20_v"),
        ("zzz", "spelling"),
    ],
)
def test_an_unknown_model_is_put_right(name, do):
    with pytest.raises(RecipeError) as caught:
        build_network(name, 10)
    assert f'"{name}"' in caught.value.what
    assert do in caught.value.do


@pytest.mark.parametrize(
    "name",
    [
        "cifar_resnet21_v1",
        "cifar_resnet20_v3",
        "cifar_resnet2_v1",
        "cifar_resnet999998_v1",
        "cifar_wideresnet11_2",
        "cifar_resnext30_4x4d",
    ],
)
def test_an_impossible_depth_or_version_is_refused_before_anything_is_built(name):
    with pytest.raises(RecipeError) as caught:
        build_network(name, 10)
    assert name in str(caught.value)
    assert caught.value.do


def test_a_family_is_built_at_any_other_depth():
    assert build_network("cifar_resnet8_v2", 3)(torch.rand(2, 3, 16, 16)).shape == (2, 3)


def test_dropout_is_refused_where_there_is_none():
    with pytest.raises(RecipeError, match="has no dropout"):
        build_network("whitened_cnn", 10, dropout=0.3)
    network = build_network("cifar_wideresnet10_1", 3, dropout=0.3)
    assert any(isinstance(m, torch.nn.Dropout) and m.p == 0.3 for m in network.modules())


def test_a_classifier_normalises_so_that_nobody_else_has_to():
    model = small_model().eval()
    model.mean.copy_(torch.tensor([0.1, 0.2, 0.3])[:, None, None])
    model.std.copy_(torch.tensor([0.5, 0.6, 0.7])[:, None, None])
    x = torch.rand(2, 3, 16, 16)
    by_hand = torch.stack([(x[:, c] - (c + 1) / 10) / ((c + 5) / 10) for c in range(3)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model.network(by_hand))
    assert {"mean", "std", "temperature"} <= model.state_dict().keys(), "saved with the weights"


def test_a_classifier_counts_what_trains():
    model = small_model()
    assert model.num_parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert model.num_parameters < sum(p.numel() for p in model.parameters())


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    pixels = (smooth(30).permute(0, 2, 3, 1) * 60 + 120).clamp(0, 255).byte().numpy()
    names = [["cat", "dog", "owl"][n % 3] for n in range(30)]
    return make_images(tmp_path_factory.mktemp("models"), pixels, names, ["train"] * 24 + ["valid"] * 6)


RECIPE = Recipe(model="whitened_cnn")


def test_a_model_takes_over_normalisation_classes_and_size_of_its_images(images):
    model = build_model(RECIPE, images.select("train"))
    train = images.select("train").pixels().reshape(-1, 3) / 255
    np.testing.assert_allclose(model.mean.flatten(), train.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(model.std.flatten(), train.std(axis=0), atol=1e-6)
    assert model.mean.shape == model.std.shape == (3, 1, 1)
    assert (model.classes, model.size, model.name) == (("cat", "dog", "owl"), (16, 16), "whitened_cnn")
    assert model.temperature == 1


def test_the_whitening_is_fitted_to_the_normalised_training_images(images):
    train = images.select("train")
    model = build_model(RECIPE, train)
    x = (torch.from_numpy(train.pixels()).permute(0, 3, 1, 2).float() / 255 - model.mean) / model.std
    by_hand = Whitening()
    by_hand.fit(x)
    torch.testing.assert_close(model.network.features[0].weight, by_hand.weight, atol=1e-4, rtol=1e-4)


def test_weights_are_a_function_of_the_seed_alone(images):
    def state(seed, noise_before):
        torch.manual_seed(noise_before)
        torch.rand(noise_before)
        model = build_model(Recipe(model="whitened_cnn", seed=seed), images)
        return torch.cat([value.flatten().double() for value in model.state_dict().values()])

    assert torch.equal(state(0, 1), state(0, 2))
    assert not torch.equal(state(0, 1), state(1, 1))


def test_a_channel_that_never_changes_gives_numbers_all_the_same(tmp_path):
    pixels = noise(6)
    pixels[..., 1] = 0
    pixels[..., 2] = 255
    made = make_images(tmp_path, pixels, ["cat", "dog"] * 3, ["train"] * 6)
    model = build_model(RECIPE, made)
    assert model(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255).isfinite().all()
    assert model(torch.rand(2, 3, 16, 16)).isfinite().all()


def test_a_few_updates_lower_the_loss_of_every_kind_of_model(images):
    train = images.select("train")
    x = torch.from_numpy(train.pixels()).permute(0, 3, 1, 2).float() / 255
    x[torch.arange(24), torch.from_numpy(train.labels)] = 1  # a colour for each class
    y = torch.from_numpy(train.labels)
    for name, lr in (("whitened_cnn", 100.0), ("cifar_resnet8_v1", 0.05), ("cifar_resnet8_v2", 0.05)):
        recipe = Recipe(model=name, peak_lr=lr)
        model = build_model(recipe, train)
        assert isinstance(model, Classifier)
        optimizer = Optimizer(model, recipe, 8, 8)
        losses = []
        for step in range(8):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step(step)
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.7 * losses[0], (name, losses)


def test_the_registry_is_written_out_by_hand():
    assert {"whitened_cnn", "resnet18", "cifar_resnet20_v2"} <= MODELS.keys()
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in MODELS)
    assert classifier.MODELS is MODELS
