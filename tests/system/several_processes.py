"""What test_distributed.py runs in each of several processes: DATA OUT RECIPE..."""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from snellen.errors import RunError
from snellen.images.imageset import ImageSet
from snellen.models.batchnorm import share_statistics
from snellen.models.model_file import load_model
from snellen.prediction.evaluate import evaluate
from snellen.prediction.probabilities import probabilities
from snellen.runs.recipe import Recipe
from snellen.system import processes
from snellen.system.device import choose_runtime
from snellen.training.loader import Batches
from snellen.training.synchronize import sum_gradients
from snellen.training.train import train


def norm_errors() -> dict[str, float]:
    """The largest differences between a shared layer and BatchNorm2d of the whole batch, by what differs."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for affine in (True, False):
        whole = nn.BatchNorm2d(5, eps=1e-3, momentum=0.3, affine=affine)
        shared = nn.Sequential(nn.BatchNorm2d(5, eps=1e-3, momentum=0.3, affine=affine))
        share_statistics(shared)
        x = torch.randn(7, 5, 4, 3, generator=generator) * 3 + 10
        wanted = torch.randn(7, 5, 4, 3, generator=generator)
        start, stop = processes.part_of(7)
        first = x.clone().requires_grad_()
        mine = x[start:stop].contiguous(memory_format=torch.channels_last).requires_grad_()
        y, y_mine = whole(first), shared(mine)
        (y * wanted).sum().backward()
        (y_mine * wanted[start:stop]).sum().backward()
        if affine:
            sum_gradients(shared, Recipe())
        pairs = {"output": (y[start:stop], y_mine), "input gradient": (first.grad[start:stop], mine.grad)}
        pairs |= {
            name: (old, new)
            for (name, old), new in zip(whole.state_dict().items(), shared.state_dict().values(), strict=True)
        }
        for (name, old), new in zip(whole.named_parameters(), shared.parameters(), strict=True):
            pairs[f"gradient of {name}"] = (old.grad, new.grad)
        for name, (old, new) in pairs.items():
            found[f"{name}, affine={affine}"] = float((old - new).detach().abs().max() / (1 + old.detach().abs().max()))
    return found


def digest(optimizer: torch.optim.Optimizer) -> str:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return hashlib.sha256(b"".join(weight.detach().numpy().tobytes() for weight in weights)).hexdigest()


def main(data: str, out: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    images = ImageSet.open(data)
    told = {"epochs": 0, "steps": 0}

    def on_epoch(row):
        told["epochs"] += 1

    def on_progress(stage, done, total):
        told["steps"] += 1

    with processes.joined():
        rank = processes.rank()
        weights = {}
        for name in names:
            recipe = Recipe.open(out / f"{name}.json")
            batches = Batches(images.select("train"), recipe, torch.device("cpu"))
            for step, batch in enumerate(batches.epoch(0)):
                np.save(out / f"rows-{name}-{step}-{rank}.npy", batch.x.numpy())
            updates = []
            hook = register_optimizer_step_post_hook(lambda optimizer, *_, seen=updates: seen.append(digest(optimizer)))
            train(images, recipe, out / name, on_epoch=on_epoch, on_progress=on_progress)
            hook.remove()
            weights[name] = updates[-1]
        scores = evaluate(out / "sgd", images)
        guesses = probabilities(load_model(out / "sgd"), images.select("train"), choose_runtime("float32", "cpu"))
        np.save(out / f"guesses-{rank}.npy", guesses)
        try:
            Batches(images.select("train"), Recipe(batch_size=1), torch.device("cpu"))
            refusal = ""
        except RunError as problem:
            refusal = str(problem)
        facts = {"weights": weights, "scores": scores, "refusal": refusal, "norm_errors": norm_errors(), **told}
    (out / f"seen-{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
    sys.stdout.flush()
    os._exit(0)  # as `python -m snellen` does: gloo's threads now and then abort the end of an interpreter
