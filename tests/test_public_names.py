import ast
import inspect
import subprocess
import sys
from pathlib import Path

import snellen

VERBS = ["compete", "prepare", "organize", "train", "cross_validate", "evaluate", "predict", "embed"]
VERBS += [
    "write_submission",
    "submit_pictures",
    "load_model",
    "submit",
    "pack",
    "download",
    "serve",
    "export",
    "import_gluon",
    "tune",
]
VERBS += ["report", "compare", "check"]
NOUNS = ["ImageSet", "Recipe", "PRESETS", "Run", "Predictions", "SnellenError"]


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_public_names_are_these():
    assert sorted(snellen.__all__) == sorted([*VERBS, *NOUNS, "__version__"])
    assert sorted(dir(snellen)) == sorted(snellen.__all__)


def test_verbs_are_functions_even_after_their_files_are_imported():
    code = "import importlib, snellen\n"
    code += "for home in {*snellen._HOMES.values()}: importlib.import_module(f'snellen.{home}')\n"
    code += f"print(*(callable(getattr(snellen, v)) for v in {VERBS}))"
    assert set(run_python(code).split()) == {"True"}


def test_type_checkers_are_told_the_same_names():
    stub = ast.parse((Path(snellen.__file__).parent / "__init__.pyi").read_text())
    declared = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == {name: f"snellen.{home}.{name}" for name, home in snellen._HOMES.items()}


def test_every_public_thing_is_documented():
    for name in [*VERBS, *NOUNS]:
        if name != "PRESETS":
            assert len(inspect.getdoc(getattr(snellen, name))) > 20, name


def test_importing_loads_neither_torch_nor_numpy():
    assert run_python("import sys, snellen; print('torch' in sys.modules, 'numpy' in sys.modules)") == "False False\n"


def test_help_loads_neither_torch_nor_numpy():
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom snellen.cli.commands import main\n"
        "for words in (['--help'], ['train', '--help'], ['compete', '--help']):\n"
        "    result = CliRunner().invoke(main, words)\n    assert result.exit_code == 0, result.output\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert run_python(code) == "False False\n"


def test_arguments_have_the_same_names_on_the_command_line():
    from snellen.cli.commands import main
    from snellen.images.prepare import PrepareOptions

    other_names = {"recipe_name": "recipe", "data": "images", "run": "model", "things": "model"}
    # what is printed, what is told of each epoch, how many processes the command starts
    # and the file of embed
    only_there = {"as_json", "top", "tensorboard", "devices", "features"}
    verbs = {"submission": "write_submission", "import-gluon": "import_gluon"}
    verbs |= {name: name for name in main.commands if name in snellen.__all__}
    assert len(verbs) > 8
    for command, verb in verbs.items():
        known = set(inspect.signature(getattr(snellen, verb)).parameters)
        if command == "compete":
            known |= {*PrepareOptions.__annotations__}
        if command == "train":  # with --folds it is cross_validate
            known |= set(inspect.signature(snellen.cross_validate).parameters)
        if command == "tune":
            known |= {"settings"}  # there they are ranges: space
        if command == "predict":  # with --sample it is submit_pictures
            known |= set(inspect.signature(snellen.submit_pictures).parameters)
        for parameter in main.commands[command].params:
            names = {parameter.name, other_names.get(parameter.name)}
            assert names & (known | only_there), f"{command}: {parameter.name}"
