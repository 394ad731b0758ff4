import numpy as np
import pytest
import torch
from click.testing import CliRunner

from made import make_images, noise, small_model
from snellen.cli.commands import main
from snellen.errors import DataError
from snellen.models.classifier import as_input
from snellen.models.model_file import load_model, save_model
from snellen.prediction.embed import embed


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "data", noise(12), ["x", "y"] * 3 + [""] * 6, ["train"] * 6 + ["test"] * 6)


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model.safetensors", small_model(), recipe={"precision": "float32"})


def test_embeddings_are_the_inputs_of_the_last_layer_by_id(images, model, tmp_path):
    """Also for images with other classes than the model's."""
    words = ["predict", str(model), str(images.folder), "--features", str(tmp_path / "f.npy"), "--device", "cpu"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    rows, chosen = np.load(tmp_path / "f.npy"), images.select("test")
    assert rows["id"].tolist() == chosen.ids.tolist()
    with torch.no_grad():
        expected = load_model(model).features(as_input(chosen.pixels(), torch.device("cpu")))
    np.testing.assert_allclose(rows["features"], expected, atol=1e-5)
    assert CliRunner().invoke(main, words).exit_code == 0  # its own file may be written again


def test_no_other_file_is_overwritten(images, model, tmp_path):
    np.save(tmp_path / "mine.npy", np.zeros(3))
    with pytest.raises(DataError, match="does not hold embeddings"):
        embed(model, images, tmp_path / "mine.npy")
    with pytest.raises(DataError, match="unknown extension"):
        embed(model, images, tmp_path / "features.csv")


def test_pictures_must_be_prepared_first(model, tmp_path):
    (tmp_path / "pictures").mkdir()
    words = ["predict", str(model), str(tmp_path / "pictures"), "--features", str(tmp_path / "f.npy")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "takes one model and prepared images" in result.output
