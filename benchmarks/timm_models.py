"""Try models of timm, in an environment that has torch, torchvision, timm and snellen.

    python benchmarks/timm_models.py DATA [--models NAME ...]

DATA are prepared photographs with validation. Without access to timm's hub the weights come from files: those of
tf_efficientnet_lite0 are the packaged ones, so its `probe` must equal that of our own network; others are random. Each
model goes through `probe` and one epoch of training, and is evaluated, opened again and exported. Prints a table.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import timm
import torch

from snellen.images.imageset import ImageSet
from snellen.models.model_file import load_model
from snellen.prediction.evaluate import evaluate
from snellen.runs.presets import PRESETS
from snellen.serving.export import export
from snellen.training.train import train

OURS = "tf_efficientnet_lite0"
MODELS = (OURS, "resnet18", "mobilenetv3_small_100", "convnext_atto", "vit_tiny_patch16_224")


def weights_of(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    weights = timm.create_model(name, num_classes=0).state_dict()
    if name == OURS:
        packaged = load_model("imagenet-efficientnet-lite0").network[0].state_dict()
        weights = dict(zip(weights, packaged.values(), strict=True))
    torch.save(weights, folder / f"{name}.pth")
    return folder / f"{name}.pth"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    arguments = parser.parse_args()
    images = ImageSet.open(arguments.data)
    print("| model | recipe | valid accuracy | training, images/s | export differs by | labels that differ |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        own = train(images, replace(PRESETS["probe"], model="efficientnet_lite0"), folder / "own")
        print(f"| our own | probe | {own.metrics[-1]['valid_accuracy']:.4f} | | | |", flush=True)
        for name in arguments.models:
            start = str(weights_of(name, folder))
            for preset in ("probe", "photo"):
                recipe = replace(PRESETS[preset], model=f"timm:{name}", start=start, frozen_blocks=0, epochs=1)
                run = train(images, recipe, folder / f"{name}-{preset}")
                row = run.metrics[-1]
                assert evaluate(run, images)["accuracy"] == row["valid_accuracy"]
                made = export(run, folder / f"{name}-{preset}.pt2", to="torch", images=images)
                figures = f"{row['valid_accuracy']:.4f} | {row['images_per_second']:.0f} | {made.difference:.1e}"
                print(f"| {name} | {preset} | {figures} | {made.num_other_labels} |", flush=True)


if __name__ == "__main__":
    main()
