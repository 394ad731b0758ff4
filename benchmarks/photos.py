"""What photographs cost and what they reach: `probe`, `photo`, the forward pass, preparing; fastai beside them.

    python benchmarks/photos.py trashnet.zip [--seeds 0 1 2] [--only probe photo forward prepare float32 two]
        [--set FIELD=VALUE] [--fastai PYTHON] [--scratch FOLDER]

SOURCE is a zip of class folders, with test pictures. Every split keeps 20% of each class for validation
(`--valid-share 0.2 --seed S`). Whole commands are timed, as a user would run them, with the program's start.

probe    `snellen compete SOURCE --recipe probe`: the whole command, with test pictures and report
photo    `snellen train --recipe photo`: accuracy after training on 80%, seconds on all labelled; --set changes it
forward  photographs classified in a second, at 224x224 pixels, one view
prepare  `snellen prepare SOURCE`
float32  `photo_light` with --set precision=float32, like `photo`; and the forward pass
two      `snellen compete --recipe probe` on 125 labelled pictures of each of two classes
fastai   with --fastai: photos_fastai.py in another environment, which has torch, torchvision, timm and fastai;
         the same split and weights, one frozen and two unfrozen epochs
"""

import argparse
import csv
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from snellen.images.imageset import ImageSet
from snellen.models.model_file import load_model
from snellen.prediction.probabilities import probabilities
from snellen.runs.run import Run
from snellen.system.device import choose_runtime

SIZE = "256"
PARTS = ("probe", "photo", "forward", "prepare", "float32", "two")


def timed(*words: object) -> float:
    """Run a command and return its seconds."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "snellen", *map(str, words)], check=True, capture_output=True)
    return time.perf_counter() - began


def spread(values: list[float], form: str) -> str:
    values = sorted(values)
    text = form.format(statistics.median(values))
    return text if len(values) == 1 else f"{text} ({form.format(values[0])} to {form.format(values[-1])})"


def row(what: str, *figures: str) -> None:
    print(f"| {what} | {' | '.join(figures)} |", flush=True)


def accuracies(values: list[float]) -> str:
    values = [100 * value for value in values]
    return f"{statistics.mean(values):.2f}% ({', '.join(f'{value:.2f}' for value in values)})"


def probe(source: Path, seeds: list[int], scratch: Path) -> None:
    seconds, scores = [], []
    for seed in seeds:
        out = scratch / f"probe-{seed}"
        seconds.append(timed("compete", source, "--out", out, "--recipe", "probe", *split(seed)))
        scores.append(json.loads((out / "evaluation.json").read_text())["accuracy"])
        shutil.rmtree(out)
    row("probe, whole compete", accuracies(scores), spread(seconds, "{:.1f} s"))


def photo(source: Path, seeds: list[int], scratch: Path, what: str, *options: str) -> None:
    scores, seconds = [], 0.0
    for seed in seeds:
        data = prepared(source, seed, scratch)
        out = scratch / f"{hashlib.sha256(what.encode()).hexdigest()[:8]}-{seed}"
        timed("train", data, "--out", out, *options)
        scores.append(Run.open(out).metrics[-1]["valid_accuracy"])
        if seed == seeds[0]:
            shutil.rmtree(data / "features", ignore_errors=True)
            seconds = timed("train", data, "--out", out.with_suffix(".all"), "--on", "train+valid", *options)
    row(what, accuracies(scores), f"{seconds:.0f} s on all labelled pictures")


def forward(precision: str, rounds: int = 5) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 224, 224, 3), dtype=np.uint8)
    model, runtime = load_model("imagenet-efficientnet-lite0"), choose_runtime(precision)
    rates = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        probabilities(model, pixels, runtime, views=1)
        rates.append(len(pixels) / (time.perf_counter() - began))
    return spread(rates[1:], "{:.0f} images/s")  # the first round warms up


def two(source: Path, scratch: Path) -> None:
    """The first 125 labelled pictures of the first two classes."""
    data = ImageSet.open(prepared(source, 0, scratch))
    chosen, raw = data.select("train", "valid"), unpacked(source, scratch)
    for label in (0, 1):
        folder = scratch / "two" / data.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        for path in chosen.paths[chosen.labels == label][:125]:
            shutil.copy(raw / path, folder)
    seconds = [
        timed("compete", scratch / "two", "--out", scratch / f"two-{n}", "--recipe", "probe", *split(n))
        for n in (0, 1, 2)
    ]
    scores = [json.loads((scratch / f"two-{n}" / "evaluation.json").read_text())["accuracy"] for n in (0, 1, 2)]
    row("probe on 250 photographs of two classes, whole compete", accuracies(scores), spread(seconds, "{:.1f} s"))


def split(seed: int) -> list[str]:
    return ["--valid-share", "0.2", "--seed", str(seed), "--size", SIZE]


def prepared(source: Path, seed: int, scratch: Path) -> Path:
    data = scratch / f"data-{seed}"
    if not data.exists():
        timed("prepare", source, "--out", data, *split(seed))
    return data


def unpacked(source: Path, scratch: Path) -> Path:
    raw = scratch / "raw"
    if not raw.exists():
        shutil.unpack_archive(source, raw)
    return raw


def fastai(python: str, source: Path, seeds: list[int], scratch: Path) -> None:
    """Train in another environment on the same splits; the weights are handed over as a list, in timm's order."""
    weights = load_model("imagenet-efficientnet-lite0").network[0].state_dict()
    torch.save(list(weights.values()), scratch / "weights.pt")
    raw, scores, seconds = unpacked(source, scratch), [], []
    for seed in seeds:
        images = ImageSet.open(prepared(source, seed, scratch)).select("train", "valid")
        with open(scratch / f"{seed}.csv", "w", newline="") as file:
            rows = zip(images.paths, images.labels, images.splits == "valid", strict=True)
            csv.writer(file).writerows((raw / path, images.classes[label], int(v)) for path, label, v in rows)
        script = Path(__file__).with_name("photos_fastai.py")
        words = [python, script, scratch / f"{seed}.csv", scratch / "weights.pt", seed]
        done = subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
        scores.append(result["accuracy"])
        seconds.append(result["seconds"])
    row("fastai on 80%, 1 frozen and 2 unfrozen epochs", accuracies(scores), spread(seconds, "{:.0f} s"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="FIELD=VALUE")
    parser.add_argument("--fastai", metavar="PYTHON")
    parser.add_argument(
        "--scratch", type=Path, help="where prepared pictures and runs go (default: a temporary folder)"
    )
    arguments = parser.parse_args()
    source, seeds = arguments.source, arguments.seeds
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        scratch.mkdir(exist_ok=True)
        print(f"{choose_runtime().why}\n| what | accuracy | time |\n|---|---|---|", flush=True)
        if "prepare" in arguments.only:
            seconds = [timed("prepare", source, "--out", scratch / f"prepared-{n}", "--size", SIZE) for n in range(3)]
            row("prepare", "", spread(seconds, "{:.1f} s"))
        if "forward" in arguments.only:
            row("forward pass at 224 pixels", "", forward("auto"))
        if "probe" in arguments.only:
            probe(source, seeds, scratch)
        if "two" in arguments.only:
            two(source, scratch)
        if "photo" in arguments.only:
            changes = [word for setting in arguments.settings for word in ("--set", setting)]
            photo(source, seeds, scratch, " ".join(["photo,", *arguments.settings]), "--recipe", "photo", *changes)
        if "float32" in arguments.only:
            row("forward pass at 224 pixels, float32", "", forward("float32"))
            options = ("--recipe", "photo_light", "--set", "precision=float32")
            photo(source, seeds, scratch, "photo_light in float32, one training", *options)
        if arguments.fastai:
            fastai(arguments.fastai, source, seeds, scratch)


if __name__ == "__main__":
    main()
