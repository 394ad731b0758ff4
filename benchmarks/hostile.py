"""Damage every kind of file that is read, at random, and see that the reader answers or refuses; nothing else.

    python benchmarks/hostile.py --tries 2000 --seed 1 [--readers picture,zip] [--json FILE]

A try takes a whole file of that kind, changes it (bits, bytes, numbers of 2, 4 and 8 bytes, parts cut out, repeated,
moved or taken from another file, the end cut off), and reads it. Allowed ends: a result, a SnellenError, an unreadable
picture. Counted as failures, with the file kept: any other exception, more than 20 seconds, a file opened for writing
outside the scratch folder, a program started, a connection made, a class looked up by pickle. The address space is
limited to what the process had at the start and LIMIT more, so that memory beyond it is a MemoryError, which is a
failure too unless the reader names it. The same with a coverage-guided fuzzer: fuzz.py.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import snellen
from fault_inputs import SMOKE, SPACE, make_inputs
from snellen.errors import SnellenError
from snellen.models.classifier import build_model
from snellen.models.gluon import read_params
from snellen.models.model_file import load_model
from snellen.prediction.predictions import Predictions
from snellen.runs.cross_validation import CrossValidation
from snellen.runs.run import Run
from snellen.sources import archives, decode, tables
from snellen.sources.decode import UnreadablePicture
from snellen.system.device import choose_runtime
from snellen.training.checkpoint import restore_checkpoint
from snellen.training.job import Job
from snellen.training.loader import Batches
from snellen.training.search_space import Range
from snellen.training.state import State
from snellen.training.trials import opened

LIMIT = 2 * 2**30  # bytes; a picture of 100 million pixels, the most that is decoded, takes 300 MB as RGB alone
SECONDS = 20  # of one try
FORBIDDEN = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class"}
NUMBERS = [0, 1, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def readers(base: Path) -> dict[str, tuple[dict[str, bytes], Callable[[Path], Any]]]:
    """By name: whole files, and what reads one (a path with the ending of the whole file)."""
    run, data = base / "run", base / "data"
    images = snellen.ImageSet.open(data)
    with contextlib.suppress(SnellenError):
        snellen.train(images, SMOKE.with_settings(["epochs=2"]), base / "stopped", on_epoch=_stop)
    snellen.cross_validate(images, SMOKE, base / "folds", 2)
    snellen.tune(images, base / "study", trials=2, recipe=SMOKE, space=SPACE)
    guesses = snellen.predict(run, images, out=base / "predictions.csv")
    snellen.write_submission(guesses, images, base / "submission.csv")
    snellen.export(run, base / "model.params", to="gluon")
    job = Job(SMOKE, images.select("train"), None, choose_runtime(device="cpu"))
    state = State.begun(build_model(SMOKE, images), job, Batches(job.train_images, SMOKE, job.runtime.device))

    def inside(folder: Path, name: str, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        """Read a copy of a folder in which one file is replaced."""

        def reader(path: Path) -> Any:
            copy = path.parent / folder.name
            if not copy.exists():
                shutil.copytree(folder, copy)
            shutil.copyfile(path, copy / name)
            return read(copy)

        return reader

    def prepare(path: Path) -> Any:
        shutil.rmtree(path.parent / "out", ignore_errors=True)
        return snellen.prepare(path, path.parent / "out", skip_unreadable=True)

    name = json.loads((base / "study" / "study.json").read_text())["name"]

    def study(copy: Path) -> Any:
        space = {"peak_lr": Range(0.01, 0.1)}
        with opened(copy, name, space, first={}, seed=0, storage=None, heartbeat_seconds=60) as trials:
            return trials.all()

    def file(path: Path) -> dict[str, bytes]:
        return {path.suffix: path.read_bytes()}

    return {
        "picture": (pictures(), lambda path: decode.decode(path.read_bytes(), 16)),
        "zip": (file(base / "raw.zip"), read_all),
        "7z": (file(base / "train.7z"), read_all),
        "tar": (tars(base / "raw" / "train"), read_all),
        "source": (file(base / "raw.zip"), prepare),
        "csv": (file(base / "raw" / "trainLabels.csv"), lambda path: tables.read_table("x.csv", path.read_bytes())),
        "predictions": (file(base / "predictions.csv"), Predictions.open),
        "recipe": (file(run / "recipe.json"), snellen.Recipe.open),
        "run": (file(run / "about.json"), inside(run, "about.json", lambda copy: str(Run.open(copy)))),
        "metrics": (file(run / "metrics.jsonl"), inside(run, "metrics.jsonl", lambda copy: str(Run.open(copy)))),
        "about": (file(data / "about.json"), inside(data, "about.json", lambda copy: str(snellen.ImageSet.open(copy)))),
        "rows": (file(data / "rows.csv"), inside(data, "rows.csv", lambda copy: str(snellen.ImageSet.open(copy)))),
        "images": (file(data / "images.npy"), inside(data, "images.npy", lambda c: snellen.ImageSet.open(c).pixels())),
        "model": (file(run / "model.safetensors"), load_model),
        "checkpoint": (
            file(base / "stopped" / "checkpoint.safetensors"),
            lambda path: restore_checkpoint(path, state),
        ),
        "gluon": (file(base / "model.params"), read_params),
        "folds": (file(base / "folds" / "folds.json"), inside(base / "folds", "folds.json", CrossValidation.open)),
        "study": (file(base / "study" / "study.db"), inside(base / "study", "study.db", study)),
    }


def _stop(row: dict[str, Any]) -> None:
    raise SnellenError("enough")


def pictures() -> dict[str, bytes]:
    """Small files of all formats that are read, and of the odd kinds of them."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (19, 23, 3), dtype=np.uint8))
    kinds = {"PNG": rgb, "JPEG": rgb, "BMP": rgb, "GIF": rgb, "WEBP": rgb, "TIFF": rgb, "PPM": rgb, "TGA": rgb}
    found = {}
    for kind, image in (kinds | {"JPEG2000": rgb, "AVIF": rgb}).items():
        buffer = io.BytesIO()
        image.save(buffer, kind)
        found[f".{kind.lower()}"] = buffer.getvalue()
    odd = {"i16.png": rgb.convert("I;16"), "la.png": rgb.convert("LA"), "p.png": rgb.convert("P")}
    odd |= {"cmyk.jpeg": rgb.convert("CMYK"), "f.tiff": rgb.convert("F"), "one.png": rgb.crop((0, 0, 1, 1))}
    for name, image in odd.items():
        buffer = io.BytesIO()
        image.save(buffer, name.rpartition(".")[2])
        found["." + name] = buffer.getvalue()
    for kind in ("GIF", "PNG", "WEBP"):
        buffer = io.BytesIO()
        rgb.save(buffer, kind, save_all=True, append_images=[rgb.rotate(90), rgb.rotate(180)])
        found[f".moving.{kind.lower()}"] = buffer.getvalue()
    return found


def tars(folder: Path) -> dict[str, bytes]:
    found = {}
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:
            archive.add(folder, "train")
        found[".tar" + mode[1:].replace(":", ".")] = buffer.getvalue()
    return found


def read_all(path: Path) -> int:
    container = archives.open_container(path)
    return sum(len(contents) for _, contents in container.read(container.sizes) if isinstance(contents, bytes))


def damaged(whole: bytes, other: bytes, rng: random.Random) -> bytes:
    data = bytearray(whole)
    # Half of the changes near the start, where headers are.
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        size = len(data)
        at = rng.randrange(max(1, min(size, 200) if rng.random() < 0.5 else size))
        length = rng.choice((1, 2, 4, 8, 30, max(1, size // 4)))
        how = rng.randrange(8)
        if how == 0 and data:
            data[min(at, size - 1)] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at : at + length] = rng.randbytes(min(length, 64))
        elif how == 2:
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) & (256**width - 1)
            data[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
        elif how == 3:
            del data[at : at + length]
        elif how == 4:
            data[at:at] = data[at : at + length]
        elif how == 5:
            data[at : at + length] = other[at : at + length]
        elif how == 6:
            data[at:at] = rng.choice(
                (b"\0", b'"', b",", b"\n", b"{}", b"[", b"-1", b"1e999", b"NaN", b"\xff\xfe", b"../")
            )
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


class Attempt:
    """Reads files of one kind and says what came out."""

    def __init__(self, name: str, reader: Callable[[Path], Any], scratch: Path):
        self.name, self.reader, self.scratch, self.watching, self.broken = name, reader, scratch, False, ""
        sys.addaudithook(self.see)
        signal.signal(signal.SIGALRM, self.too_long)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event in FORBIDDEN:
            self.broken = event
        elif event == "open" and isinstance(arguments[0], str | bytes) and isinstance(arguments[2], int):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not path.startswith((str(self.scratch), os.devnull)):
                self.broken = f"{path} opened for writing"

    def too_long(self, *_: Any) -> None:
        raise AssertionError(f"more than {SECONDS} seconds")

    def read(self, data: bytes, suffix: str) -> str:
        """ "read" or "refused". Raises whatever else came out."""
        path = self.scratch / f"file{suffix}"
        path.write_bytes(data)
        self.watching = True
        signal.alarm(SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.reader(path)
            return "read"
        except (SnellenError, UnreadablePicture):
            return "refused"
        finally:
            signal.alarm(0)
            self.watching = False
            assert not self.broken, self.broken


def campaign(
    name: str, wholes: dict[str, bytes], reader: Callable[[Path], Any], base: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Runs in a process of its own, so that its peak memory is its own too."""
    scratch = base / "scratch" / name
    scratch.mkdir(parents=True)
    attempt, rng, ends = Attempt(name, reader, scratch), random.Random(f"{options.seed} {name}"), Counter[str]()
    for suffix, whole in wholes.items():
        assert attempt.read(whole, suffix) == "read", f"a whole {name}{suffix} is not read"
    tempfile.tempdir = str(scratch)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + LIMIT, now + LIMIT))
    before, deadline = peak(), time.monotonic() + options.seconds
    while ends.total() < options.tries and time.monotonic() < deadline:
        suffix, whole = rng.choice(list(wholes.items()))
        data = damaged(whole, rng.choice(list(wholes.values())), rng)
        try:
            ends[attempt.read(data, suffix)] += 1
        except BaseException:
            kept = Path(tempfile.gettempdir()).parent.parent / f"failed-{name}{suffix}"
            kept.write_bytes(data)
            print(f"{name}: failed on {kept}", flush=True)
            raise
    return {"reader": name, "seed": options.seed, **ends, "failed": 0, "memory_mb": round((peak() - before) / 2**20)}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_child(work: Callable[[], Any]) -> None:
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=500, help="of each reader")
    parser.add_argument("--readers", help="by default all")
    parser.add_argument("--seconds", type=float, default=3600, help="at most, for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="append the totals to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = Path(tempfile.mkdtemp(prefix="snellen-hostile-")).resolve()
    make_inputs(base)
    found = readers(base)

    def one(name: str) -> None:
        total = campaign(name, *found[name], base, options)
        print(json.dumps(total), flush=True)
        if options.json:
            with open(options.json, "a") as file:
                file.write(json.dumps(total) + "\n")

    for name in options.readers.split(",") if options.readers else found:
        in_child(lambda name=name: one(name))
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
