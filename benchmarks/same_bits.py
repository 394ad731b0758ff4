"""Record what trainings compute, so that a change which is meant to alter nothing can show that it did not.

    python benchmarks/same_bits.py IMAGES --out before.json          # IMAGES: prepared images; 1,000 real ones, say
    python benchmarks/same_bits.py IMAGES --against before.json      # after the change: prints every difference

Runs the package's command line in processes of its own, one thread each: `fast` on the drawn demo (5 epochs, refit,
submission), resnet20 and d2l (2 epochs) on IMAGES, three folds of `smoke`, a training stopped after its second epoch
and resumed, and one in two processes in float64. Recorded are metrics.jsonl without times, a SHA-256 of the names and
values of every weight (headers left out), predictions and submissions. Exit code 1 if anything differs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.numpy import load_file

TIMES = ("train_seconds", "images_per_second", "seconds", "peak_memory_bytes")


def command(package: str, *arguments: str) -> None:
    """Run the package's command line; its output is shown only if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", package, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{package} {' '.join(arguments)}\n{done.stdout}{done.stderr}")


def stopped(package: str, images: str, out: str) -> None:
    """Train three epochs of resnet20 and end the process in the middle of the second one."""
    code = f"""
import os, {package} as package
recipe = package.PRESETS["smoke"].with_settings(["model=cifar_resnet20_v1", "epochs=3", "peak_lr=0.1", "head_lr=0.1"])
seen = []
def stop(stage, done, total):
    seen.append(stage)
    if sum("epoch 2" in stage for stage in seen) == 9:
        os._exit(7)
package.train({images!r}, recipe, {out!r}, checkpoint_seconds=0, on_progress=stop)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode != 7:
        sys.exit(f"the training was not stopped: exit code {done.returncode}\n{done.stderr}")


def digests(folder: Path) -> dict[str, str]:
    """The digest of every result below a folder, by its path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == "metrics.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            text = json.dumps([{key: value for key, value in row.items() if key not in TIMES} for row in rows])
            found[name] = hashlib.sha256(text.encode()).hexdigest()
        elif path.suffix == ".safetensors":
            digest = hashlib.sha256()
            for key, value in sorted(load_file(path).items()):
                digest.update(f"{key} {value.dtype} {value.shape}".encode() + value.tobytes())
            found[name] = digest.hexdigest()
        elif path.suffix == ".csv" and path.name != "sample_submission.csv":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images")
    parser.add_argument("--package", default="snellen", help="the package's name")
    parser.add_argument("--out", help="write the record to this file")
    parser.add_argument("--against", help="compare with this record")
    options = parser.parse_args()
    run, images = options.package, str(Path(options.images).resolve())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def at(name: str) -> str:
            return str(folder / name)

        command(run, "compete", "demo", "--out", at("demo"), "--recipe", "fast", "--set", "epochs=5")
        for recipe in ("resnet20", "d2l"):
            command(run, "train", images, "--recipe", recipe, "--set", "epochs=2", "--out", at(recipe))
            command(run, "predict", at(recipe), images, "--split", "valid", "--out", at(f"{recipe}.csv"))
        command(run, "train", images, "--recipe", "smoke", "--folds", "3", "--out", at("folds"))
        stopped(run, images, at("resumed"))
        smoke = ["--recipe", "smoke", "--set", "model=cifar_resnet20_v1", "--set", "epochs=3"]
        smoke += ["--set", "peak_lr=0.1", "--set", "head_lr=0.1"]
        command(run, "train", images, *smoke, "--out", at("resumed"))
        two = ["--set", "precision=float64", "--devices", "2", "--device", "cpu"]
        command(run, "train", images, "--recipe", "smoke", *two, "--out", at("two"))
        record = digests(folder)
    if options.out:
        Path(options.out).write_text(json.dumps(record, indent=1) + "\n")
    print(len(record), "results,", hashlib.sha256(json.dumps(record).encode()).hexdigest())
    if options.against:
        before = json.loads(Path(options.against).read_text())
        changed = sorted(name for name in record.keys() | before.keys() if record.get(name) != before.get(name))
        print("\n".join(changed) or "nothing differs")
        sys.exit(bool(changed))


if __name__ == "__main__":
    main()
