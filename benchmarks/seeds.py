"""The way of the book's chapter, as the reference of the benchmarks: the same steps written anew with Pillow and torch.

What the chapter does through torchvision (which cannot be imported beside a CPU build of torch from PyPI) is done here
with the Pillow calls that torchvision makes for PIL images. Nothing of this is used by the package.
"""

import math
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from snellen.models.resnet18 import resnet18

MEAN = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
STD = torch.tensor([0.2023, 0.1994, 0.2010])[:, None, None]


def reorganise(source: Path, labels: dict[str, str], out: Path, valid_share: float = 0.1) -> None:
    """Copy every file into train_valid_test/, the labelled ones twice."""
    smallest = min(list(labels.values()).count(name) for name in set(labels.values()))
    num_valid = max(1, math.floor(smallest * valid_share))
    taken: dict[str, int] = {}
    for file in (source / "train").iterdir():
        label = labels[file.name.split(".")[0]]
        split = "valid" if taken.get(label, 0) < num_valid else "train"
        taken[label] = taken.get(label, 0) + 1
        for folder in ("train_valid", split):
            target = out / folder / label
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    target = out / "test" / "unknown"
    target.mkdir(parents=True, exist_ok=True)
    for file in (source / "test").iterdir():
        shutil.copy(file, target)


class Files(torch.utils.data.Dataset):
    """One picture file at a time, decoded and changed each time it is asked for."""

    def __init__(self, files: list[Path], labels: list[int], *, augment: bool):
        self.files, self.labels, self.augment = files, labels, augment

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        with open(self.files[index], "rb") as file:
            image = Image.open(file).convert("RGB")
        if self.augment:
            image = image.resize((40, 40), Image.Resampling.BILINEAR)
            side = round(math.sqrt(random.uniform(0.64, 1.0) * 1600))
            left, top = random.randint(0, 40 - side), random.randint(0, 40 - side)
            image = image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BILINEAR)
            if random.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return (x - MEAN) / STD, self.labels[index]


def steps(network: nn.Module, files: list[Path], labels: list[int], batch_size: int) -> Iterator[None]:
    """The chapter's loop without an end: summed loss, SGD, float32, one batch after another; yields after each."""
    loader = torch.utils.data.DataLoader(Files(files, labels, augment=True), batch_size, shuffle=True, drop_last=True)
    trainer = torch.optim.SGD(network.parameters(), lr=2e-4, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.StepLR(trainer, 4, 0.9)
    loss = nn.CrossEntropyLoss(reduction="none")
    while True:
        for x, y in loader:
            network.train()
            trainer.zero_grad()
            output = network(x)
            value = loss(output, y)
            value.sum().backward()
            trainer.step()
            value.sum().item(), (output.argmax(dim=1) == y).sum().item()
            yield
        schedule.step()


def train_rate(files: list[Path], labels: list[int], batch_size: int, num_batches: int) -> float:
    """Images per second of the chapter's loop, loading included."""
    batches = steps(resnet18(10), files, labels, batch_size)
    next(batches)  # warms up
    started = time.perf_counter()
    for _ in range(num_batches):
        next(batches)
    return num_batches * batch_size / (time.perf_counter() - started)


def predict_rate(files: list[Path], batch_size: int, num_batches: int) -> float:
    """Images per second of the chapter's last loop: as it stands, without eval() and no_grad()."""
    loader = torch.utils.data.DataLoader(Files(files, [0] * len(files), augment=False), batch_size)
    network = resnet18(10)
    started, done, guesses = 0.0, -1, []
    for x, _ in loader:
        guesses.extend(network(x).argmax(dim=1).type(torch.int32).numpy())
        done += 1
        if done == 0:
            started = time.perf_counter()
        if done == num_batches:
            break
    return num_batches * batch_size / (time.perf_counter() - started)
