"""The house has rooms in an order: a room imports only from rooms before it, and files form no import cycle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import snellen

ROOT = Path(snellen.__file__).parent
# The files beside the rooms, then the rooms, in the order in which they may import; `weights` holds no code.
ROOMS = [
    "errors",
    "task",
    "system",
    "scoring",
    "charts",
    "sources",
    "images",
    "runs",
    "models",
    "prediction",
    "training",
    "reports",
    "serving",
    "competition",
    "cli",
    "__main__",
]


def imports_of(path):
    """The files of the package that a file imports, anywhere in it, as dotted names below the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            below = name.removeprefix("snellen.")
            if name.startswith("snellen.") and (ROOT / f"{below.replace('.', '/')}.py").exists():
                yield below


FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__init__.py"
}
IMPORTS = {name: set(imports_of(path)) for name, path in FILES.items()}


def test_every_file_is_in_a_room():
    assert {name.split(".")[0] for name in FILES} <= {*ROOMS}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*ROOMS, "weights"} - {"errors", "task", "__main__"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_from_its_own_room_and_those_before_it(name):
    room = ROOMS.index(name.split(".")[0])
    assert sorted(other for other in IMPORTS[name] if ROOMS.index(other.split(".")[0]) > room) == []


def test_files_form_no_import_cycle():
    assert sum(map(len, IMPORTS.values())) > 200
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as problem:
        pytest.fail(" -> ".join(problem.args[1]))


def test_relative_imports_hide_nothing_from_these_tests():
    for path in FILES.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level], path


def test_a_room_says_what_it_is_for_and_nothing_else():
    for path in ROOT.glob("*/__init__.py"):
        (line,) = ast.parse(path.read_text(encoding="utf-8")).body
        assert isinstance(line, ast.Expr), path
        assert len(ast.literal_eval(line.value)) > 20, path


def test_no_room_has_the_name_of_a_public_function():
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert not rooms & {*snellen.__all__}


def test_tests_lie_in_the_same_rooms():
    for path in Path(__file__).parent.glob("*/test_*.py"):
        assert path.parent.name in ROOMS, path


def test_only_the_command_line_prints():
    for name, path in FILES.items():
        if name.startswith("cli."):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"), (
                path
            )
