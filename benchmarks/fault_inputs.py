"""What faults.py runs and compares: a tiny competition, the verbs on it, and files without what a clock wrote."""

import csv
import io
import json
import re
import time
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import py7zr
from PIL import Image
from safetensors import safe_open

import snellen

CLOCKS = ("seconds", "train_seconds", "images_per_second", "peak_memory_bytes")
SHOWN_CLOCKS = re.compile(
    r"(?<=<dt>)(trained in|in all|an epoch|training speed|most memory in use)</dt>\s*<dd>[^<]*"  # report.html
    r'|(?<=<td class="interval">)[^<]*'  # study.html: the time of a trial
)
# A small network: the files are what is tested here, and megabytes of weights would only make it slow.
SMALL = ["model=cifar_resnet8_v1", "peak_lr=0.05", "head_lr=0", "precision=float32"]
SMOKE = snellen.PRESETS["smoke"].with_settings(SMALL)
SPACE = ["peak_lr=0.01..0.1"]
LONGER = SMOKE.with_settings(["epochs=3", "ema=0.8", "batch_size=12"])


def make_inputs(base: Path) -> None:
    """A competition as Kaggle packs it, unpacked as well; prepared, and a model trained on it.

    Of its 60 pictures one cannot be read, in the middle of the train folder, so that those behind it move up.
    """
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(base / "raw.zip", "w") as packed:
        for split, num in (("train", 48), ("test", 12)):
            (base / "raw" / split).mkdir(parents=True)
            for id in range(num):
                pixels = rng.integers(0, 200, (16, 16, 3), dtype=np.uint8)
                pixels[:, :, id % 3] += 55
                Image.fromarray(pixels).save(base / "raw" / split / f"{id}.png")
            if split == "train":
                (base / "raw" / split / "20.png").write_bytes(b"no picture")
            with py7zr.SevenZipFile(base / f"{split}.7z", "w") as archive:
                archive.writeall(base / "raw" / split, split)
            packed.write(base / f"{split}.7z", f"{split}.7z")
        for name, num in (("trainLabels.csv", 48), ("sampleSubmission.csv", 12)):
            rows = [("id", "label"), *((id, ("red", "green", "blue")[id % 3]) for id in range(num))]
            with open(base / "raw" / name, "w", newline="") as file:
                csv.writer(file).writerows(rows)
            packed.write(base / "raw" / name, name)
    snellen.prepare(base / "raw", base / "data", skip_unreadable=True)
    snellen.train(base / "data", SMOKE, base / "run")


def verbs(base: Path) -> dict[str, Any]:
    """What is killed; each writes into the working folder."""
    return {
        "compete": partial(snellen.compete, base / "raw", "out", recipe=SMOKE, skip_unreadable=True),
        "prepare": partial(snellen.prepare, base / "raw.zip", "out", skip_unreadable=True),
        "train": partial(snellen.train, base / "data", LONGER, "out", checkpoint_seconds=0),
        "refit": partial(
            snellen.train,
            base / "data",
            SMOKE,
            "out",
            on="train+valid",
            calibrated_by=base / "run",
            checkpoint_seconds=0,
        ),
        "folds": partial(snellen.cross_validate, base / "data", SMOKE, "out", 2),
        "tune": partial(tune, base),
        "export": partial(snellen.export, base / "run", "out.onnx"),
    }


def tune(base: Path) -> None:
    """Run three trials. Wait first until the heartbeat of a killed worker is too old, so that its trial comes next."""
    if Path("out/study.db").exists():
        time.sleep(3.5)
    snellen.tune(base / "data", "out", trials=3, recipe=SMOKE, space=SPACE, heartbeat_seconds=1)


def stable(path: Path) -> Any:
    """The content of a file without what a clock wrote."""
    if path.name == "metrics.jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]
    if path.name in ("report.html", "study.html"):
        return SHOWN_CLOCKS.sub("", path.read_text())
    if path.name.startswith("study.db"):  # has times and retries: the trials in it are compared
        return None
    return path.read_bytes()


def contents(folder: Path) -> dict[str, Any]:
    """Every file below the folder, hidden ones too, by name."""
    found = {file.relative_to(folder).as_posix(): stable(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    if (folder / "out" / "study.db").exists():
        found["trials"] = trials(folder / "out")
    return found


def trials(study: Path) -> list[tuple[Any, ...]]:
    from snellen.training.trials import opened
    from snellen.training.tune import parse_space

    _, space = parse_space(SPACE, SMOKE)
    name = json.loads((study / "study.json").read_text())["name"]
    with opened(study, name, space, first={}, seed=0, storage=None, heartbeat_seconds=60) as found:
        return [(t.number, t.state, t.settings, t.score, t.curve) for t in found.all()]


def check_whole(folder: Path, wanted: dict[str, Any]) -> None:
    """After a kill: what has its final name must be whole, in its final state or an earlier one."""
    for file in (file for file in folder.rglob("*") if file.is_file()):
        name = file.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or file.suffix == ".lock":
            continue
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                assert [tensors.get_tensor(key) for key in tensors.keys()], name  # noqa: SIM118 (not a dict)
        elif file.name == "metrics.jsonl":
            rows = stable(file)
            assert rows == wanted[name][: len(rows)], name
        elif file.name == "history.png":
            Image.open(io.BytesIO(file.read_bytes())).load()
        elif file.name == "study.html":
            assert file.read_text().rstrip().endswith("</html>"), name
        elif file.name == "best.json":
            snellen.Recipe.open(file)
        elif not file.name.startswith("study.db"):
            assert stable(file) == wanted[name], name
