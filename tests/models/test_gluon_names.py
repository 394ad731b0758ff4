from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from snellen.errors import DataError
from snellen.models.cifar_resnet import cifar_resnet
from snellen.models.cifar_resnext import cifar_resnext
from snellen.models.cifar_wide_resnet import cifar_wide_resnet
from snellen.models.gluon import read_params, write_params
from snellen.models.gluon_names import gluon_names, load_into, num_classes, to_gluon
from snellen.models.resnet18 import resnet18, resnet18_bn_shortcut, resnet18_mxnet

DATA = Path(__file__).parent / "data" / "gluon"
NETWORKS = {
    "resnet18": lambda: resnet18(3),
    "resnet18_mxnet": lambda: resnet18_mxnet(3),
    "resnet18_bn_shortcut": lambda: resnet18_bn_shortcut(3),
    "cifar_resnet8_v1": lambda: cifar_resnet(1, 8, 3),
    "cifar_resnet8_v2": lambda: cifar_resnet(2, 8, 3),
    "cifar_wideresnet10_2": lambda: cifar_wide_resnet(10, 2, 3),
    "cifar_resnext11_2x8d": lambda: cifar_resnext(11, 2, 8, 3),
}


@pytest.fixture(params=[1, 2])
def real(request):
    """A file that GluonCV wrote, its model's name, and the network."""
    name = f"cifar_resnet20_v{request.param}"
    return DATA / f"{name}.params", name, cifar_resnet(request.param, 20, 10).eval()


def logits(network):
    with torch.no_grad():
        return network(torch.from_numpy(np.load(DATA / "inputs.npy"))).numpy()


def test_logits_are_those_of_mxnet(real):
    path, name, network = real
    params = read_params(path)
    assert num_classes(params) == 10
    load_into(network, params, name)
    expected = np.load(DATA / f"{name}.logits.npy")
    assert np.abs(logits(network) - expected).max() < 1e-4 * np.ptp(expected)


def test_a_network_is_written_as_the_very_bytes_that_mxnet_wrote(real, tmp_path):
    path, name, network = real
    load_into(network, read_params(path), name)
    written = write_params(tmp_path / "again.params", to_gluon(network, name))
    assert written.read_bytes() == path.read_bytes()


def numbered(params, stages, last="output"):
    """The names of `save_params`, told from the arrays alone: their order is that of construction."""
    counts, numbers, renamed = {}, {}, {}
    for name, value in params.items():
        layer, word = name.rsplit(".", 1)
        stage = layer.split(".")[1] if layer.startswith("features.") else ""
        scope = f"stage{stages[stage]}_" if stage in stages else ""
        kind = "dense" if layer == last else "conv" if f"{layer}.weight" in params else "batchnorm"
        if layer not in numbers:
            numbers[layer] = counts.get((scope, kind), 0)
            counts[scope, kind] = numbers[layer] + 1
        renamed[f"{scope}{kind}{numbers[layer]}_{word}"] = value
    return renamed


@pytest.mark.parametrize("before", ["", "cifarresnetv10_", "arg:cifarresnetv10_"])
def test_numbered_names_give_the_same_network(real, before, tmp_path):
    path, name, network = real
    params = numbered(read_params(path), {"2": 1, "3": 2, "4": 3})
    assert {"conv0_weight", "stage1_conv0_weight", "stage2_conv2_weight", "dense0_bias"} < set(params)
    written = write_params(tmp_path / "old.params", {before + key: value for key, value in params.items()})
    if before.startswith("arg:"):  # exported networks mark the statistics of batch norm with "aux:"
        written.write_bytes(written.read_bytes().replace(b"arg:", b"aux:", len(params) // 2))
    params = read_params(written)
    assert num_classes(params) == 10
    load_into(network, params, name)
    assert np.abs(logits(network) - np.load(DATA / f"{name}.logits.npy")).max() < 1e-5


def test_the_order_in_the_file_does_not_matter(real):
    path, name, network = real
    load_into(network, dict(reversed(read_params(path).items())), name)
    assert np.abs(logits(network) - np.load(DATA / f"{name}.logits.npy")).max() < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_written_network_loads_into_a_fresh_one_with_the_same_bits(name, tmp_path):
    network, fresh = NETWORKS[name](), NETWORKS[name]()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1)
    params = read_params(write_params(tmp_path / "net.params", to_gluon(network, name)))
    assert num_classes(params) == 3
    load_into(fresh, params, name)
    back = fresh.state_dict()
    assert all(torch.equal(value, back[key]) for key, value in network.state_dict().items())


def test_the_books_network_has_the_books_names():
    names = list(to_gluon(resnet18(10), "resnet18"))
    assert names[:4] == ["0.weight", "0.bias", "1.gamma", "1.beta"]
    assert names[-2:] == ["8.weight", "8.bias"]
    assert {"3.0.conv1.weight", "4.0.conv3.bias", "6.1.bn2.running_var"} < set(names)
    assert "3.0.conv3.weight" not in names


def test_numbered_names_of_the_books_network_are_read():
    network, fresh = resnet18(3), resnet18(3)
    params = numbered(to_gluon(network, "resnet18"), stages={}, last="8")
    assert {"conv19_weight", "batchnorm16_running_var", "dense0_bias"} < set(params)  # counted through all stages
    load_into(fresh, params, "resnet18")
    back = fresh.state_dict()
    assert all(torch.equal(value, back[key]) for key, value in network.state_dict().items())


def test_float16_and_float64_files_become_float32(real):
    path, name, network = real
    for dtype, tolerance in [("f2", 1e-2), ("f8", 1e-5)]:
        load_into(network, {key: value.astype(dtype) for key, value in read_params(path).items()}, name)
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        expected = np.load(DATA / f"{name}.logits.npy")
        assert np.abs(logits(network) - expected).max() < tolerance * np.ptp(expected)


def test_a_bfloat16_network_is_written_as_float32_with_equal_values():
    network = cifar_resnet(2, 8, 3).bfloat16()
    arrays = to_gluon(network, "cifar_resnet8_v2")
    assert {value.dtype for value in arrays.values()} == {np.dtype("f4")}
    assert np.array_equal(arrays["features.1.weight"], network.features[1].weight.detach().float().numpy())


def test_changing_what_was_written_leaves_the_network_alone():
    network = cifar_resnet(2, 8, 3)
    arrays = to_gluon(network, "cifar_resnet8_v2")
    arrays["output.weight"][:] = 0
    assert network.output.weight.abs().sum() > 0


def test_the_stem_without_scale_and_shift_is_as_in_mxnet():
    name, network = "cifar_resnet20_v2", cifar_resnet(2, 20, 10).eval()
    params = read_params(DATA / f"{name}.params")
    params["features.0.gamma"] = np.full(3, 5, np.float32)  # MXNet takes it as 1
    load_into(network, params, name)
    assert np.abs(logits(network) - np.load(DATA / f"{name}.logits.npy")).max() < 1e-5
    written = to_gluon(network, name)
    assert written["features.0.gamma"].tolist() == [1, 1, 1]
    assert written["features.0.beta"].tolist() == [0, 0, 0]
    del params["features.0.gamma"], params["features.0.beta"]
    load_into(network, params, name)
    params["features.0.beta"] = np.array([0, 0.5, 0], np.float32)  # MXNet would add it
    with pytest.raises(DataError, match=r"features.0.beta is not 0, although its layer has no shift"):
        load_into(network, params, name)


def test_parameters_of_another_model_change_nothing_and_are_counted():
    params = read_params(DATA / "cifar_resnet20_v2.params")
    network = cifar_resnet(1, 20, 10)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(DataError) as caught:
        load_into(network, params, "cifar_resnet20_v1", where="v2.params")
    message = str(caught.value)
    assert "not those of cifar_resnet20_v1" in message
    assert "v2.params" in message
    assert "name the model" in message
    assert 'arrays are missing ("features.0.weight"' in message
    assert 'do not belong ("features.0.gamma"' in message
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output.weight": np.ones((3, 64), "f4")}, r"output.weight has the shape \(3, 64\), not \(10, 64\)"),
        ({"output.bias": np.ones(10, "i4")}, "output.bias holds int32, not floating-point"),
        ({"features.0.gamma": np.ones(3, "i4")}, "features.0.gamma holds int32"),
        ({"features.9.weight": np.ones(3, "f4")}, '1 do not belong .*"features.9.weight"'),
        ({"conv0_weight": np.ones(3, "f4")}, '1 do not belong .*"conv0_weight"'),
    ],
)
def test_an_array_that_does_not_fit_is_named(change, message):
    params = read_params(DATA / "cifar_resnet20_v2.params") | change
    with pytest.raises(DataError, match=message):
        load_into(cifar_resnet(2, 20, 10), params, "cifar_resnet20_v2")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"8.weight": np.ones((7, 512))}, 7),
        ({"output.weight": np.ones((7, 64)), "features.8.weight": np.ones(3)}, 7),
        ({"net0_dense0_weight": np.ones((7, 64))}, 7),
        ({}, "its names are "),
        ({"head.weight": np.ones((7, 64))}, 'its names are "head.weight"'),
        ({"output.weight": np.ones(7)}, r"output.weight has the shape \(7,\)"),
        ({"output.weight": np.ones((200_000, 1), bool)}, r"shape \(200000, 1\)"),
        ({"output.weight": np.ones((7, 64)), "8.weight": np.ones((7, 64))}, "its names are"),
    ],
)
def test_the_number_of_classes_is_that_of_the_last_layer(params, expected):
    if isinstance(expected, int):
        assert num_classes(params) == expected
    else:
        with pytest.raises(DataError, match=expected):
            num_classes(params, where="x.params")


def test_a_layer_that_gluon_lacks_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.PReLU(), nn.BatchNorm2d(4))
    with pytest.raises(DataError, match=r'odd cannot be written as a Gluon file: no layer of Gluon holds "1.weight"'):
        to_gluon(network, "odd")
    assert gluon_names(network, "odd")["2.gamma"] == "2.weight"
