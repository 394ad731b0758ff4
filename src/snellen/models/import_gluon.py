"""Gluon .params file -> snellen model file."""

from collections.abc import Sequence
from pathlib import Path

import torch

from snellen.errors import DataError, RunError
from snellen.models.classifier import Classifier, build_network
from snellen.models.gluon import read_params
from snellen.models.gluon_names import load_into, num_classes
from snellen.models.model_file import read_header, save_model
from snellen.system.targets import check_file

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# The normalisation of GluonCV's scripts and the book. Std is the mean of the images' stds, not that of all pixels.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def import_gluon(file: str | Path, out: str | Path, *, model: str, classes: Sequence[str] = (), size: int = 32) -> Path:
    """Read `file` as the weights of `model`, and write a model.safetensors to `out`.

    The format holds neither classes nor preprocessing. By default the classes are those of CIFAR-10 for a network with
    ten, and numbers for other networks. Normalisation is that of GluonCV's scripts. size: in pixels.
    Raises DataError if the file is damaged or does not fit, RecipeError for an unknown model.
    """
    check_file(out, "a model that `snellen import-gluon` wrote", _is_imported)
    params = read_params(file)
    count = num_classes(params, where=str(file))
    names = tuple(classes) or (CIFAR10 if count == len(CIFAR10) else tuple(str(label) for label in range(count)))
    if len(names) != count or len(set(names)) != count:
        raise DataError(
            f"{len(set(names))} different classes are named, but the file's last layer has {count}.",
            where=str(file),
            expected=f"{count} names, each once, in the order of training",
            do="name them all: --classes airplane,automobile,...",
        )
    network = build_network(model, count)
    load_into(network, params, model, where=str(file))
    classifier = Classifier(model, network, names, (size, size))
    classifier.mean.copy_(torch.tensor(MEAN)[:, None, None])
    classifier.std.copy_(torch.tensor(STD)[:, None, None])
    return save_model(out, classifier, imported_from=Path(file).name)


def _is_imported(path: Path) -> bool:
    try:
        return "imported_from" in read_header(path)
    except RunError:
        return False
