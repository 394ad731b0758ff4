"""Train EfficientNet-Lite0 with fastai, as photos.py --fastai asks. It runs in an environment with fastai and timm.

    PYTHON photos_fastai.py ROWS.csv WEIGHTS.pt SEED

ROWS.csv: path, label, 1 for validation. WEIGHTS.pt: the tensors of the network without its last layer, in timm's order.
Prints a JSON object with accuracy and seconds. What fastai's guide does: a random crop of 460 to 224 pixels, its usual
augmentation, fine_tune(2), so one epoch with the body frozen and two without.
"""

import json
import sys
import time

import pandas
import torch
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, set_seed, vision_learner


def main() -> None:
    rows, weights, seed = sys.argv[1:]
    began = time.perf_counter()
    set_seed(int(seed), reproducible=True)
    table = pandas.read_csv(rows, header=None, names=["path", "label", "valid"])
    table["valid"] = table["valid"] == 1
    loaders = ImageDataLoaders.from_df(
        table,
        path="/",
        fn_col="path",
        label_col="label",
        valid_col="valid",
        item_tfms=Resize(460),
        batch_tfms=aug_transforms(size=224),
        bs=32,
        num_workers=0,
    )
    learner = vision_learner(loaders, "tf_efficientnet_lite0", pretrained=False, metrics=accuracy)
    body = learner.model[0].model
    body.load_state_dict(dict(zip(body.state_dict(), torch.load(weights), strict=True)))
    learner.fine_tune(2)
    print(json.dumps({"accuracy": float(learner.validate()[1]), "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
