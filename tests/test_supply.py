"""The rules for what is handed out; continuous integration builds, installs and tries it (benchmarks/supply.py)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import supply

WHEEL = ["snellen/cli.py", "snellen/web/app.js", "snellen/weights/net.safetensors", "snellen-0.1.0.dist-info/METADATA"]


def test_data_and_tests_do_not_belong_into_the_wheel():
    assert supply.wrong_in_wheel(WHEEL) == []
    wrong = ["snellen/images.npy", "snellen/test_cli.py", "tests/test_cli.py", "snellen/demo.zip", "setup.py"]
    assert supply.wrong_in_wheel([*WHEEL, *wrong]) == wrong


def test_the_sdist_holds_what_the_repository_tracks():
    tracked = ["src/snellen/cli.py", "README.md", ".ci/run"]
    assert supply.wrong_in_sdist(["src/snellen/cli.py", "README.md", "PKG-INFO"], tracked) == []
    assert supply.wrong_in_sdist(["src/snellen/cli.py", "notes.txt"], tracked) == ["README.md", "notes.txt"]


def test_all_files_of_the_package_belong_into_the_wheel():
    source = supply.ROOT / "src"
    files = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert supply.wrong_in_wheel([path.relative_to(source).as_posix() for path in files]) == []
