"""Shell completion: what is offered, in the real shell too, and that it loads neither torch nor numpy."""

import os
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

import snellen
from snellen.cli.commands import main
from snellen.runs.recipe import Recipe, parse_setting


def offered(*words, typed=""):
    completer = ShellComplete(main, {}, "snellen", "_SNELLEN_COMPLETE")
    return {item.value: item for item in completer.get_completions([*words], typed)}


def test_commands_are_offered():
    assert offered(typed="pre").keys() == {"prepare", "predict"}


@pytest.mark.parametrize("words", [["compete", "demo"], ["train", "data"], ["tune", "data"]])
def test_recipes_are_offered(words):
    assert {"fast", "record"} <= offered(*words, "--recipe").keys()
    assert {name for name in offered(*words, "--recipe", typed="d2") if name != "d2"} == {
        name for name in snellen.PRESETS if name.startswith("d2")
    }


def test_files_are_offered_beside_recipes_and_sources():
    for words, typed in ([("train", "data", "--recipe"), "my"], [("compete",), "cif"], [("predict",), "ru"]):
        assert offered(*words, typed=typed)[typed].type == "file"
    assert {"cifar10", "cifar10-tiny"} <= offered("compete", typed="cif").keys()


def test_settings_are_offered_with_their_meaning():
    found = offered("train", "data", "--set")
    assert found.keys() == {f"{name}=" for name in snellen.Recipe.__dataclass_fields__}
    assert found["epochs="].help.startswith("passes over the training images")
    assert offered("train", "data", "--set", typed="lr_").keys() == {
        f"{name}=" for name in snellen.Recipe.__dataclass_fields__ if name.startswith("lr_")
    }


def test_a_clear_setting_is_offered_with_values_that_can_be_used():
    assert {"nesterov=true", "nesterov=false"} <= offered("train", "data", "--set", typed="nest").keys()
    optimizers = Recipe.__dataclass_fields__["optimizer"].metadata["choices"]
    assert offered("train", "data", "--set", typed="optimizer=").keys() == {f"optimizer={name}" for name in optimizers}
    assert offered("train", "data", "--set", typed="optimizer=m").keys() == {"optimizer=muon"}
    assert "model=resnet18" in offered("train", "data", "--set", typed="model=")
    assert offered("train", "data", "--set", typed="nothing=") == {}
    for name in snellen.Recipe.__dataclass_fields__:
        for text in offered("train", "data", "--set", typed=f"{name}="):
            parse_setting(*text.split("=", 1))


def test_splits_are_offered():
    for words in (["evaluate", "run", "data"], ["predict", "run", "data"], ["report", "run"], ["compare", "run"]):
        assert offered(*words, "--split").keys() == {"train", "valid", "test"}


def complete(shell, *words):
    """What a shell's script gets for a line whose last word is being typed, from a process of its own."""
    code = "import sys\nfrom snellen.cli.commands import main\nmain(prog_name='snellen', standalone_mode=False)"
    environment = os.environ | {"_SNELLEN_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(words)}
    environment |= {"COMP_CWORD": str(len(words) - 1) if shell != "fish" else words[-1]}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_answered(shell):
    assert "record" in complete(shell, "snellen", "train", "data", "--recipe", "rec")


def test_completing_loads_neither_torch_nor_numpy():
    code = (
        "import sys\nfrom click.shell_completion import ShellComplete\nfrom snellen.cli.commands import main\n"
        "completer = ShellComplete(main, {}, 'snellen', '_SNELLEN_COMPLETE')\n"
        "for words in (['train', '--recipe'], ['train', '--set'], ['evaluate', '--split'], ['compete']):\n"
        "    assert completer.get_completions(words, '')\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_takes_the_script(tmp_path):
    program = f"#!{sys.executable}\nfrom snellen.cli.commands import main\n\nmain(prog_name='snellen')\n"
    (tmp_path / "snellen").write_text(program)
    (tmp_path / "snellen").chmod(0o755)
    line = (
        'eval "$(_SNELLEN_COMPLETE=bash_source snellen)"; COMP_WORDS=(snellen train data --recipe rec); COMP_CWORD=4; '
        '_snellen_completion snellen rec --recipe; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, timeout=60)
    assert "record" in done.stdout.split(), done.stderr
