from dataclasses import replace

import pytest
import torch
from test_probe import two_kinds

from made import make_images
from snellen.errors import RecipeError
from snellen.models.model_file import load_model
from snellen.runs.presets import PRESETS
from snellen.training.train import train

PHOTO = replace(PRESETS["photo"], epochs=2, batch_size=12, piece_size=6, small_size=24)


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "data", *two_kinds(48), ["train"] * 36 + ["valid"] * 12)


def test_photo_trains_all_but_what_is_frozen(images, tmp_path):
    run = train(images, PHOTO, tmp_path / "run")
    assert [row["epoch"] for row in run.metrics] == [1, 2]
    before, after = (load_model(name).network.state_dict() for name in ("imagenet-efficientnet-lite0", run))
    changed = {
        name for name in before if before[name].shape != after[name].shape or not before[name].equal(after[name])
    }
    assert {"features.3.expand.conv.weight", "features.17.conv.weight", "features.17.norm.bias"} <= changed
    for name in changed:
        assert name.startswith("output.") or int(name.split(".")[1]) > 2
        assert "running" not in name
        assert "depthwise.conv" not in name


def test_a_stopped_photo_training_ends_with_the_same_bytes(images, tmp_path):
    class Stop(Exception):
        pass

    def stop(row):
        raise Stop

    whole = train(images, PHOTO, tmp_path / "whole")
    with pytest.raises(Stop):
        train(images, PHOTO, tmp_path / "stopped", on_epoch=stop)
    again = train(images, PHOTO, tmp_path / "stopped")
    assert again.model.read_bytes() == whole.model.read_bytes()
    assert torch.equal(load_model(again).temperature, load_model(whole).temperature)


def test_only_efficientnet_lite_has_blocks_to_freeze(images, tmp_path):
    with pytest.raises(RecipeError, match="can be frozen"):
        train(images, replace(PRESETS["fast"], frozen_blocks=1), tmp_path / "run")
