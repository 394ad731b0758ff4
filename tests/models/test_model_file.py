import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from made import small_model
from snellen.errors import RunError
from snellen.models.model_file import load_model, read_header, save_model
from snellen.runs.presets import PRESETS
from snellen.system.contents import PACKAGED, packaged_models
from snellen.system.tensor_files import KEY, open_tensors, write_tensors

ABOUT = {"recipe": PRESETS["fast"].to_dict(), "fingerprint": "ab" * 32, "scores": {"valid_accuracy": 0.5}}


def model_of(name="cifar_resnet8_v1", seed=0):
    torch.manual_seed(seed)
    model = small_model(("cat", "dög, 'wild'", "owl"), name=name)
    model.mean.copy_(torch.rand(3, 1, 1))
    model.temperature.fill_(1.7)
    model.directions.fill_(0.1)
    model.train()(torch.rand(4, 3, 16, 16))  # batch norm's statistics are worth keeping too
    return model.eval()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small model and the bytes of its file."""
    model = model_of()
    return model, save_model(tmp_path_factory.mktemp("file") / "model.safetensors", model, **ABOUT).read_bytes()


def header_end(content):
    return 8 + int.from_bytes(content[:8], "little")


def refused(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert caught.value.do
    assert len(str(caught.value)) < 1000
    return caught.value


def rewritten(model, change):
    """The file of `model` with its header changed by a function."""
    header = {"format": 1, "model": model.name, "classes": list(model.classes), "size": [16, 16], **ABOUT}
    header = change(header) or header
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    return save(state, {KEY: json.dumps(header)})


@pytest.mark.parametrize("name", ["whitened_cnn", "cifar_resnet8_v1", "cifar_resnet8_v2", "cifar_wideresnet10_1"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_model_comes_back_with_equal_logits_and_all_it_needs(tmp_path, name, layout):
    model = model_of(name).to(memory_format=layout)
    again = load_model(save_model(tmp_path / "m.safetensors", model, **ABOUT))
    x = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.to(memory_format=layout)(x), model(x))
    assert (again.name, again.classes, again.size) == (name, model.classes, (16, 16))
    assert again.temperature == model.temperature
    assert again.about["recipe"] == ABOUT["recipe"]
    assert again.about["scores"] == {"valid_accuracy": 0.5}
    for (key, value), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(value, other), key
        assert value.dtype == other.dtype, key


def test_a_loaded_model_is_ready_for_use(whole, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(whole[1])
    model = load_model(tmp_path / "m.safetensors")
    assert not model.training
    assert model.num_parameters == whole[0].num_parameters > 0
    assert all(value.device.type == "cpu" for value in model.state_dict().values())
    with torch.no_grad():  # its tensors are its own, not the file's
        next(model.parameters()).zero_()
    (tmp_path / "m.safetensors").unlink()
    assert model(torch.rand(1, 3, 16, 16)).isfinite().all()


def test_a_run_folder_stands_for_the_model_in_it(whole, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(whole[1])
    for path in (tmp_path, str(tmp_path), tmp_path / "model.safetensors"):
        assert load_model(path).about["fingerprint"] == "ab" * 32


def test_equal_models_give_equal_bytes(whole, tmp_path):
    _, content = whole
    for layout in (torch.contiguous_format, torch.channels_last):
        again = model_of().to(memory_format=layout)
        assert save_model(tmp_path / "again.safetensors", again, **ABOUT).read_bytes() == content
    assert save_model(tmp_path / "other.safetensors", model_of(seed=1), **ABOUT).read_bytes() != content


def test_saving_what_was_loaded_gives_the_same_bytes(whole, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(whole[1])
    model = load_model(tmp_path / "m.safetensors")
    about = {name: model.about[name] for name in ABOUT}
    assert save_model(tmp_path / "again.safetensors", model, **about).read_bytes() == whole[1]


def test_the_file_is_plain_safetensors_that_a_few_lines_can_read(whole):
    model, content = whole
    header = json.loads(content[8 : header_end(content)])
    facts = json.loads(header.pop("__metadata__")[KEY])
    assert facts["classes"] == list(model.classes)
    assert (facts["format"], facts["model"], facts["size"]) == (1, "cifar_resnet8_v1", [16, 16])
    state = model.state_dict()
    assert header.keys() == state.keys()
    for name, entry in header.items():
        first, stop = entry["data_offsets"]
        raw = content[header_end(content) :][first:stop]
        assert entry["shape"] == list(state[name].shape)
        if entry["dtype"] == "F32":
            assert raw == state[name].contiguous().numpy().tobytes()


def test_values_that_json_does_not_know_are_not_written(tmp_path):
    for about in ({"scores": float("nan")}, {"when": object()}):
        with pytest.raises((ValueError, TypeError)):
            save_model(tmp_path / "m.safetensors", model_of(), **about)
    assert list(tmp_path.iterdir()) == []


def test_a_file_cut_off_anywhere_is_refused(whole, tmp_path):
    _, content = whole
    end = header_end(content)
    stops = {
        *range(12),
        *range(12, end, 397),
        end - 1,
        end,
        end + 1,
        *range(end, len(content), 40_009),
        len(content) - 1,
    }
    for stop in sorted(stops):
        refused(tmp_path, content[:stop])
    refused(tmp_path, content + b"\0")


def test_changed_bytes_are_refused_or_change_nothing(whole, tmp_path):
    original, content = whole
    rng = np.random.default_rng(0)
    end = header_end(content)
    path = tmp_path / "m.safetensors"
    refusals = 0
    for attempt in range(250):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            # In the header mostly, and mostly such characters as still make JSON.
            position = rng.integers(end) if attempt % 10 else rng.integers(len(content))
            changed[position] = rng.choice([rng.integers(256), *b'0123456789[]{},":FIBU'])
        path.write_bytes(changed)
        try:
            model = load_model(path)
        except RunError:
            refusals += 1
            continue
        assert (model.name, model.classes, model.size) == (original.name, original.classes, original.size)
        assert model.about["recipe"] == ABOUT["recipe"]
        for (name, value), other in zip(original.state_dict().items(), model.state_dict().values(), strict=True):
            assert torch.equal(value, other), name
    assert refusals > 200


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_anywhere_is_noticed(whole, tmp_path, bit):
    _, content = whole
    end = header_end(content)
    for position in (content.index(b"ab" * 32), content.index(b"owl"), end, end + 1, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        refused(tmp_path, changed)


def test_a_file_that_another_program_wrote_needs_no_checksum(whole, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(rewritten(whole[0], lambda header: None))
    assert torch.equal(load_model(tmp_path / "m.safetensors").mean, whole[0].mean)


@pytest.mark.parametrize("change", ["replaced", "truncated", "removed"])
def test_what_becomes_of_the_file_later_does_not_reach_a_loaded_model(whole, tmp_path, change):
    path = tmp_path / "m.safetensors"
    path.write_bytes(whole[1])
    model = load_model(path)
    if change == "replaced":
        path.write_bytes(b"\xff" * len(whole[1]))  # in place: the same file
    elif change == "truncated":
        os.truncate(path, 100)
    else:
        path.unlink()
    for (name, value), other in zip(whole[0].state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["network.output.bias", "temperature", "familiar"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value, name):
    model = model_of()
    model.state_dict()[name].reshape(-1)[-1] = value
    content = save_model(tmp_path / "new.safetensors", model).read_bytes()
    assert f"the model's {name} contains values that are infinite or not a number" in refused(tmp_path, content).what


@pytest.mark.parametrize("size", [[1025, 16], [16, 10_000], [2048, 2048]])
def test_a_model_of_huge_images_is_refused(whole, tmp_path, size):
    problem = refused(tmp_path, rewritten(whole[0], lambda header: header | {"size": size}))
    assert problem.what.endswith(f"images of {size[1]:,}x{size[0]:,} pixels.")
    assert problem.expected == "at most 1,024 pixels per side"


@pytest.mark.parametrize("name", ["\x1b[2Jcat", "a\nb", "\x9b31m", "cat\0"])
def test_class_names_that_would_steer_a_terminal_are_refused(whole, tmp_path, name):
    problem = refused(tmp_path, rewritten(whole[0], lambda header: header | {"classes": ["a", "b", name]}))
    assert "1 class names contain control characters" in problem.what
    assert str(problem).replace("\n", "").isprintable()


def pickled():
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, file)
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", "b")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\0" * 8,
        b"\xff" * 8,
        b"\xff" * 64,
        b"no model",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 99,
        b"{}" * 50,
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        pickled(),
        zipped(),
        save({"a": torch.zeros(3)}),
        save({"a": torch.zeros(3)}, {"snellen": "{"}),
        save({"a": torch.zeros(3)}, {"snellen": "[" * 9999}),
        save({}, {"snellen": "{}"}),
    ],
)
def test_foreign_files_are_refused(tmp_path, content):
    refused(tmp_path, content)


def test_a_pickle_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"weight": Trap()}, tmp_path / "m.safetensors")
    with pytest.raises(RunError):
        load_model(tmp_path / "m.safetensors")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("key", ["format", "model", "classes", "size"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        3.5,
        -1,
        "x",
        [],
        {},
        [None],
        True,
        10**30,
        "cifar_resnet8_v1",
        [16, 16],
        [16, 0],
        [16, 99_999],
        [16],
        ["cat", "dog"],
        "ab",
        [[]],
    ],
)
def test_a_header_with_another_value_is_refused(whole, tmp_path, key, value):
    model, _ = whole

    def change(header):
        header[key] = value

    unchanged = (key, value) in (("model", "cifar_resnet8_v1"), ("size", [16, 16]), ("format", True))
    if not unchanged:
        refused(tmp_path, rewritten(model, change))


@pytest.mark.parametrize("key", ["format", "model", "classes", "size"])
def test_a_header_that_lacks_something_is_refused_by_its_name(whole, tmp_path, key):
    def change(header):
        del header[key]

    assert f"'{key}'" in refused(tmp_path, rewritten(whole[0], change)).what


@pytest.mark.parametrize("header", [[], 3, None, "x", {"format": 1}])
def test_a_header_that_is_no_header_is_refused(whole, tmp_path, header):
    refused(tmp_path, save({"a": torch.zeros(3)}, {KEY: json.dumps(header)}))


@pytest.mark.parametrize(
    "recipe", [None, [], 3, "x", {"precision": "float23"}, {"precision": None}, {"views": 3}, {"views": "2"}]
)
def test_a_recipe_that_prediction_could_not_follow_is_refused(whole, tmp_path, recipe):
    refused(tmp_path, rewritten(whole[0], lambda header: header | {"recipe": recipe}))


def test_a_model_without_a_recipe_is_a_model_all_the_same(whole, tmp_path):
    def change(header):
        del header["recipe"]

    (tmp_path / "m.safetensors").write_bytes(rewritten(whole[0], change))
    assert load_model(tmp_path / "m.safetensors").about["model"] == "cifar_resnet8_v1"


def test_a_later_format_says_to_update(whole, tmp_path):
    problem = refused(tmp_path, rewritten(whole[0], lambda header: header | {"format": 2}))
    assert "format 2" in problem.what
    assert problem.do == "update snellen"


def test_a_model_of_an_unknown_name_says_which(whole, tmp_path):
    assert '"resnet9"' in refused(tmp_path, rewritten(whole[0], lambda header: header | {"model": "resnet9"})).what


@pytest.mark.parametrize("dtype", [torch.int32, torch.float64, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("name", ["mean", "network.features.0.weight", "weights"])
def test_weights_of_another_type_name_or_shape_are_refused(whole, tmp_path, dtype, name):
    model, _ = whole
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    name = name if name in state else next(key for key in state if key.endswith("weight"))
    facts = {KEY: json.dumps({"format": 1, "model": model.name, "classes": list(model.classes), "size": [16, 16]})}
    refused(tmp_path, save(state | {name: state[name].to(dtype)}, facts))
    refused(tmp_path, save(state | {name: state[name][..., :1].repeat(1, 2, *[1] * 2)[:, :1].contiguous()}, facts))
    refused(tmp_path, save(state | {"another": torch.zeros(1)}, facts))
    refused(tmp_path, save({key: value for key, value in state.items() if key != name}, facts))


def test_a_header_that_claims_a_million_classes_takes_no_memory_for_them(whole, tmp_path):
    content = rewritten(whole[0], lambda header: header | {"classes": ["c"] * 1_000_000})
    problem = refused(tmp_path, content)
    assert "damaged" in problem.what


@pytest.mark.parametrize("name", ["nothing", "no/such/folder", ".", ""])
def test_a_model_that_is_not_there_is_refused_by_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError) as caught:
        load_model(name)
    assert f'"{name}"' in caught.value.what
    assert "model.safetensors" in caught.value.expected


def test_every_packaged_model_loads_by_its_name():
    for name in packaged_models():
        assert len(load_model(name).classes) >= 2
        assert "sha256" not in read_header(PACKAGED / f"{name}.safetensors")
        assert b'\\"sha256\\"' in (PACKAGED / f"{name}.safetensors").read_bytes()


def test_weights_in_half_precision_are_read_as_float32(tmp_path):
    path = save_model(tmp_path / "m.safetensors", model_of(), **ABOUT)
    with open_tensors(path) as file:
        state = file.read()
        halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
        write_tensors(path, halved, file.header)
    for name, value in load_model(path).state_dict().items():
        assert torch.equal(value, halved[name].float() if value.is_floating_point() else value), name
        assert value.dtype == state[name].dtype


def test_what_was_not_fitted_takes_no_room(tmp_path):
    """A model for 1,000 classes would store 2.6 MB of zeros."""
    model = model_of()
    model.directions.zero_()
    path = save_model(tmp_path / "m.safetensors", model, **ABOUT)
    with open_tensors(path) as file:
        assert not {"feature_mean", "directions", "familiar"} & file.shapes.keys()
    again = load_model(path)
    assert not again.directions.any()
    again.directions.fill_(0.5)
    with open_tensors(save_model(path, again, **ABOUT)) as file:
        assert {"feature_mean", "directions", "familiar"} <= file.shapes.keys()
    assert torch.equal(load_model(path).directions, again.directions)


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path):
    """The advice for a damaged run, to remove the folder and train again, would destroy a good one."""
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(RunError, match="the model file cannot be read: Is a directory") as caught:
        load_model(tmp_path)
    assert "permissions" in caught.value.do


def test_a_path_that_is_not_utf_8_is_no_problem(tmp_path):
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/run\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    model = small_model()
    assert load_model(save_model(folder / "model.safetensors", model)).classes == model.classes
    (folder / "model.safetensors").write_bytes(b"words" * 100)
    with pytest.raises(RunError, match="the model file is damaged") as caught:
        load_model(folder)
    assert "udcff" in ascii(caught.value.where)
