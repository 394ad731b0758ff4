"""What is handed out holds what belongs and nothing else, and works in an empty environment.

    python benchmarks/supply.py

Builds the sdist, the wheel from the unpacked sdist, holds both lists of files to the rules below, installs the wheel
into a new environment by constraints.txt, and there does the whole job on drawn images and classifies one of them with
the packaged model. Takes a minute or two, and hatchling.
"""

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
IN_WHEEL = {
    ".py",
    ".pyi",
    "py.typed",
    ".html",
    ".css",
    ".js",
    ".svg",
    ".json",
    ".safetensors",
    ".txt",
}  # under snellen/
IN_SDIST = {"src", "tests", "benchmarks", "docs"}
IN_SDIST |= {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt", "pyproject.toml"}
ADDED = {"PKG-INFO", ".gitignore"}  # by the build
MOST_BYTES = 25 * 10**6  # of the wheel: the code, and 21 MB of weights


def run(*words: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run([*map(str, words)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} ended with exit code {done.returncode}:\n{done.stderr}")
    return done.stdout


def build(folder: Path, kind: str, out: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out, folder=folder)
    (path,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


def wrong_in_wheel(names: list[str]) -> list[str]:
    """Files that do not belong into the wheel."""
    paths = [PurePosixPath(name) for name in names]
    return [
        str(path)
        for path in paths
        if not path.parts[0].endswith(".dist-info")
        and not (
            path.parts[0] == "snellen" and {path.suffix, path.name} & IN_WHEEL and not path.name.startswith("test")
        )
    ]


def wrong_in_sdist(names: list[str], tracked: list[str]) -> list[str]:
    """Files that do not belong into the sdist, and files of the repository that are missing from it."""
    wanted = {name for name in tracked if name.split("/")[0] in IN_SDIST}
    return sorted((set(names) - ADDED) ^ wanted)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sdist = build(ROOT, "sdist", folder)
        with tarfile.open(sdist) as file:
            names = [member.name.partition("/")[2] for member in file.getmembers() if member.isfile()]
            # Python 3.11.4 and later can refuse what leads out of the folder; the archive is our own.
            file.extractall(folder / "unpacked", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        wrong = wrong_in_sdist(names, run("git", "ls-files", folder=ROOT).splitlines())
        print(f"{sdist.name}: {len(names)} files, {sdist.stat().st_size:,} bytes")
        (unpacked,) = (folder / "unpacked").iterdir()
        wheel = build(unpacked, "wheel", folder)
        with zipfile.ZipFile(wheel) as file:
            names = file.namelist()
        wrong += wrong_in_wheel(names)
        print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size:,} bytes")
        modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
        wrong += sorted(modules - set(names))
        if wrong or wheel.stat().st_size > MOST_BYTES:
            raise SystemExit(f"does not belong, is missing or is too large: {wrong or wheel.name}")
        venv.create(folder / "empty", with_pip=True)
        programs = folder / "empty" / ("Scripts" if sys.platform == "win32" else "bin")
        run(programs / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
        run(programs / "python", "-m", "pip", "check")
        out = folder / "out"
        run(programs / "snellen", "compete", "demo", "--out", out, "--recipe", "smoke", folder=folder)
        print(f"submission.csv: {len((out / 'submission.csv').read_text().splitlines()):,} lines")
        picture = ROOT / "docs" / "demo.png"
        print(run(programs / "snellen", "predict", "cifar10-resnet20", picture, folder=folder).strip())


if __name__ == "__main__":
    main()
