"""A Gluon file becomes a model of this package, through the command line, and goes back to the same bytes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from snellen.cli.commands import main
from snellen.errors import DataError, RecipeError
from snellen.models.import_gluon import MEAN, STD, import_gluon
from snellen.models.model_file import load_model
from snellen.serving.export import export

GLUON = Path(__file__).parent / "data" / "gluon"


def run(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.mark.parametrize("name", ["cifar_resnet20_v1", "cifar_resnet20_v2"])
def test_imported_file_gives_mxnets_logits_and_goes_back_to_the_same_bytes(name, tmp_path):
    file, model_file, back = GLUON / f"{name}.params", tmp_path / "model.safetensors", tmp_path / "back.params"
    assert run("import-gluon", file, "--model", name, "--out", model_file).exit_code == 0
    model = load_model(model_file)
    normalised = torch.from_numpy(np.load(GLUON / "inputs.npy"))
    x = normalised * model.std + model.mean  # the Classifier normalises again
    with torch.no_grad():
        found = model(x).numpy()
    wanted = np.load(GLUON / f"{name}.logits.npy")
    assert np.abs(found - wanted).max() < 1e-4 * (wanted.max() - wanted.min())
    assert model.classes[0] == "airplane"
    assert model.mean.flatten().tolist() == pytest.approx(MEAN)
    assert model.std.flatten().tolist() == pytest.approx(STD)
    assert run("export", model_file, "--to", "gluon", "--out", back).exit_code == 0
    assert back.read_bytes() == file.read_bytes()


def test_other_classes_can_be_named(tmp_path):
    names = [f"c{i}" for i in range(10)]
    file = GLUON / "cifar_resnet20_v2.params"
    import_gluon(file, tmp_path / "m.safetensors", model="cifar_resnet20_v2", classes=names)
    assert load_model(tmp_path / "m.safetensors").classes == tuple(names)
    with pytest.raises(DataError, match="3 different classes are named, but the file's last layer has 10"):
        import_gluon(file, tmp_path / "n.safetensors", model="cifar_resnet20_v2", classes=("a", "b", "c"))
    assert not (tmp_path / "n.safetensors").exists()


def test_wrong_architecture_or_damaged_file_is_named_and_writes_nothing(tmp_path):
    file, out = GLUON / "cifar_resnet20_v2.params", tmp_path / "m.safetensors"
    done = run("import-gluon", file, "--model", "cifar_resnet20_v1", "--out", out)
    assert done.exit_code == 1
    assert "not those of cifar_resnet20_v1" in done.stderr
    with pytest.raises(RecipeError, match="unknown model"):
        import_gluon(file, out, model="resnet9000")
    cut = tmp_path / "cut.params"
    cut.write_bytes(file.read_bytes()[:5000])
    assert run("import-gluon", cut, "--model", "cifar_resnet20_v2", "--out", out).exit_code == 1
    assert not out.exists()


def test_imported_weights_can_be_trained_on(tmp_path, world):
    from snellen.images.prepare import prepare
    from snellen.runs.recipe import Recipe
    from snellen.training.train import train

    model = import_gluon(GLUON / "cifar_resnet20_v2.params", tmp_path / "m.safetensors", model="cifar_resnet20_v2")
    images = prepare(world.folder, tmp_path / "data", size=16)
    recipe = Recipe(model="cifar_resnet20_v2", epochs=1, batch_size=16, peak_lr=0.0)
    trained = train(images, recipe, tmp_path / "run", init=model)  # three classes here: a fresh last layer
    a, b = load_model(model), load_model(trained.folder)
    for name, weight in b.network[0].named_parameters():
        assert (weight == a.network[0].get_parameter(name)).all(), name
    exported = export(trained.folder, to="gluon")
    assert exported.path == trained.folder / "model.params"
