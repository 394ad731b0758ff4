import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snellen.errors import RecipeError
from snellen.models.cifar_resnet import BlockV1, BlockV2, cifar_resnet
from snellen.models.cifar_resnext import Bottleneck, cifar_resnext
from snellen.models.cifar_wide_resnet import WideBlock, cifar_wide_resnet
from snellen.models.resnet18 import Residual, resnet18, resnet18_bn_shortcut, resnet18_mxnet

PUBLISHED = {
    "resnet18": (lambda: resnet18(10), 11_176_970),
    "resnet18_mxnet": (lambda: resnet18_mxnet(10), 11_176_970),
    "resnet18_bn_shortcut": (lambda: resnet18_bn_shortcut(10), 11_173_962),
    "cifar_resnet20_v1": (lambda: cifar_resnet(1, 20, 10), 272_474),
    "cifar_resnet56_v1": (lambda: cifar_resnet(1, 56, 10), 855_770),
    "cifar_resnet110_v1": (lambda: cifar_resnet(1, 110, 10), 1_730_714),
    "cifar_resnet20_v2": (lambda: cifar_resnet(2, 20, 10), 272_282),
    "cifar_resnet56_v2": (lambda: cifar_resnet(2, 56, 10), 855_578),
    "cifar_resnet110_v2": (lambda: cifar_resnet(2, 110, 10), 1_730_522),
    "cifar_wideresnet16_10": (lambda: cifar_wide_resnet(16, 10, 10), 17_116_666),
    "cifar_wideresnet28_10": (lambda: cifar_wide_resnet(28, 10, 10), 36_479_226),
    "cifar_wideresnet40_8": (lambda: cifar_wide_resnet(40, 8, 10), 35_748_346),
    "cifar_resnext29_16x64d": (lambda: cifar_resnext(29, 16, 64, 10), 68_155_210),
    "cifar_resnext29_32x4d": (lambda: cifar_resnext(29, 32, 4, 10), 4_775_754),
}
SMALL = {  # every builder and every kind of block, in seconds
    "resnet18": lambda: resnet18(7),
    "resnet18_mxnet": lambda: resnet18_mxnet(7),
    "resnet18_bn_shortcut": lambda: resnet18_bn_shortcut(7),
    "cifar_resnet14_v1": lambda: cifar_resnet(1, 14, 7),
    "cifar_resnet14_v2": lambda: cifar_resnet(2, 14, 7),
    "cifar_wideresnet10_2": lambda: cifar_wide_resnet(10, 2, 7, dropout=0.3),
    "cifar_wideresnet16_1": lambda: cifar_wide_resnet(16, 1, 7),  # its first stage keeps the stem's 16 channels
    "cifar_resnext11_2x8d": lambda: cifar_resnext(11, 2, 8, 7),
    "cifar_resnext20_4x4d": lambda: cifar_resnext(20, 4, 4, 7),
}


@pytest.fixture(params=SMALL)
def network(request):
    torch.manual_seed(0)
    return SMALL[request.param]()


def settle(network):
    """Give batch norm the statistics of some images, so that eval mode means something."""
    network.train()
    with torch.no_grad():
        for _ in range(10):
            network(torch.randn(4, 3, 16, 16))
    return network.eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    build, count = PUBLISHED[name]
    with torch.device("meta"):
        network = build()
        assert sum(p.numel() for p in network.parameters()) == count
        assert network(torch.empty(1, 3, 16, 16)).shape == (1, 10)


def test_every_parameter_has_a_gradient_under_autocast_and_channels_last(network):
    network = network.train().to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 16, 16).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    F.cross_entropy(logits.float(), torch.arange(4)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A bias before batch norm is taken out again with the mean: its gradient is rounding at the most.
        if not name.endswith(("conv1.bias", "conv2.bias", "features.0.bias")):
            assert parameter.grad.abs().sum() > 0, name


def test_any_size_from_16_and_a_batch_of_one_give_logits(network):
    network.eval()
    with torch.no_grad():
        for height, width in [(16, 16), (17, 17), (28, 28), (33, 33), (16, 40)]:
            assert network(torch.randn(1, 3, height, width)).shape == (1, 7)


def test_an_image_has_the_same_logits_alone_and_in_a_batch(network):
    settle(network)
    images = torch.randn(3, 3, 17, 17)
    with torch.no_grad():
        together, alone = network(images), torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-4 * float(together.max() - together.min()))


def test_bfloat16_stays_close_to_float32(network):
    settle(network)
    images = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        exact = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(images).float()
    assert float((rounded - exact).abs().max()) < 0.05 * float(exact.max() - exact.min())


def test_saved_weights_give_equal_logits_in_a_fresh_network(network, request):
    settle(network)
    fresh = SMALL[request.node.callspec.params["network"]]().eval()
    fresh.load_state_dict(copy.deepcopy(network.state_dict()))
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(images), fresh(images))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cifar_resnet(2, 21, 10), ["21 layers", "cifar_resnet21_v2", "6n+2: 8, 14, 20", "write 20"]),
        (lambda: cifar_resnet(1, 2, 10), ["2 layers", "write 8"]),
        (lambda: cifar_resnet(1, -4, 10), ["-4 layers", "write 8"]),
        (lambda: cifar_resnet(1, 6 * 10**9 + 2, 10), ["6000000002 layers", "up to 1202", "write 1202"]),
        (lambda: cifar_resnet(3, 20, 10), ["version 3", "1 or 2"]),
        (lambda: cifar_wide_resnet(27, 10, 10), ["27 layers", "cifar_wideresnet27_10", "6n+4", "write 28"]),
        (lambda: cifar_wide_resnet(28, 0, 10), ["0 times as wide", "1 or more"]),
        (
            lambda: cifar_resnext(30, 16, 64, 10),
            ["30 layers", "cifar_resnext30_16x64d", "9n+2: 11, 20, 29", "write 29"],
        ),
        (lambda: cifar_resnext(29, 0, 64, 10), ["0 groups of 64 channels"]),
        (lambda: cifar_resnext(29, 16, 0, 10), ["16 groups of 0 channels"]),
    ],
)
def test_an_impossible_shape_is_refused(build, message):
    with pytest.raises(RecipeError) as caught:
        build()
    assert all(part in str(caught.value) for part in message), caught.value


@pytest.mark.parametrize(
    "name", ["resnet18_mxnet", "cifar_resnet14_v1", "cifar_wideresnet10_2", "cifar_resnext11_2x8d"]
)
def test_xavier_fills_its_range_and_leaves_biases_at_zero(name):
    torch.manual_seed(0)
    for module in SMALL[name]().modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            area = module.weight[0, 0].numel()
            limit = (6 / ((module.weight.shape[0] + module.weight.shape[1]) * area)) ** 0.5
            assert 0.8 * limit < module.weight.abs().max() <= limit
            assert module.bias is None or not module.bias.any()


def test_the_pytorch_tab_begins_with_biases_and_the_mxnet_tab_without():
    assert resnet18(10).features[0].bias.abs().sum() > 0
    assert not resnet18_mxnet(10).features[0].bias.any()


def test_dropout_works_in_training_only():
    torch.manual_seed(0)
    network = settle(cifar_wide_resnet(10, 1, 7, dropout=0.5))
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))
        assert not torch.equal(network.train()(images), network(images))


def test_the_dialects_shortcuts_take_what_their_papers_and_files_say():
    """A block whose branch ends in 0 gives what comes by the shortcut."""
    x = torch.randn(2, 16, 16, 16)
    for block, expected in [
        (BlockV1(16, 32, 2).eval(), lambda block: F.relu(block.downsample(x))),
        (BlockV1(16, 16, 1).eval(), lambda block: F.relu(x)),
        (Bottleneck(16, 8, 16, 1, 4, projects=True).eval(), lambda block: F.relu(block.downsample(x))),
        (Bottleneck(16, 8, 16, 1, 4, projects=False).eval(), lambda block: F.relu(x)),
        (BlockV2(16, 32, 2).eval(), lambda block: block.downsample(x)),
        (WideBlock(16, 32, 2, 0.0).eval(), lambda block: block.downsample(F.relu(block.bn1(x)))),
        (WideBlock(16, 16, 1, 0.0).eval(), lambda block: x),
        (Residual(16, 32, 2, bias=True, norm_shortcut=False).eval(), lambda block: F.relu(block.conv3(x))),
        (Residual(16, 32, 2, bias=False, norm_shortcut=True).eval(), lambda block: F.relu(block.bn3(block.conv3(x)))),
    ]:
        with torch.no_grad():
            for module in block.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.uniform_(-1, 1)
            branch_end = {Residual: "bn2", BlockV1: "body.4", Bottleneck: "body.7"}.get(type(block), "conv2")
            block.get_submodule(branch_end).weight.zero_()
            assert torch.allclose(block(x), expected(block), atol=1e-6), block


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", "Conv2d BatchNorm2d ReLU Sequential Sequential Sequential Sequential"),
        ("cifar_resnet14_v1", "Conv2d BatchNorm2d Sequential Sequential Sequential"),
        ("cifar_resnet14_v2", "BatchNorm2d Conv2d Sequential Sequential Sequential BatchNorm2d ReLU"),
        ("cifar_wideresnet10_2", "BatchNorm2d Conv2d BatchNorm2d Sequential Sequential Sequential BatchNorm2d ReLU"),
        ("cifar_resnext11_2x8d", "Conv2d BatchNorm2d ReLU Sequential Sequential Sequential"),
    ],
)
def test_what_stands_before_and_after_the_stages_is_the_dialects_own(name, layers):
    features = SMALL[name]().features
    assert " ".join(type(layer).__name__ for layer in features) == f"{layers} AdaptiveAvgPool2d Flatten"
    if layers.startswith("BatchNorm2d"):
        assert features[0].weight is None
        assert features[0].bias is None


def book_network():
    """The PyTorch network of the book's chapter, from its description, with its names."""

    class Block(nn.Module):
        def __init__(self, inside, channels, stride, projects):
            super().__init__()
            self.conv1 = nn.Conv2d(inside, channels, 3, stride, 1)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
            self.conv3 = nn.Conv2d(inside, channels, 1, stride) if projects else None
            self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(y + (x if self.conv3 is None else self.conv3(x)))

    net = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.ReLU())
    for i, channels in enumerate([64, 128, 256, 512], start=1):
        inside = max(64, channels // 2)
        first = Block(inside, channels, 1 if i == 1 else 2, projects=i > 1)
        net.add_module(f"resnet_block{i}", nn.Sequential(first, Block(channels, channels, 1, projects=False)))
    net.add_module("global_avg_pool", nn.AdaptiveAvgPool2d((1, 1)))
    net.add_module("fc", nn.Sequential(nn.Flatten(), nn.Linear(512, 10)))
    return net


def our_name(key: str) -> str:
    """Of a name in the book's network: "resnet_block2.0.conv3.weight" is features.4.0.conv3.weight."""
    key = re.sub(r"^(?=[01]\.)", "features.", key)
    key = re.sub(r"^resnet_block([1-4])(?=\.)", lambda stage: f"features.{int(stage[1]) + 2}", key)
    return re.sub(r"^fc\.1(?=\.)", "output", key)


def test_weights_of_the_books_pytorch_network_give_its_logits():
    torch.manual_seed(0)
    theirs, ours = settle(book_network()), resnet18(10).eval()
    ours.load_state_dict({our_name(key): value for key, value in theirs.state_dict().items()})
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-5)
