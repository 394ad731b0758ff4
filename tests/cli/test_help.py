"""Help at 80 columns: nothing is cut, every line fits, and every option says what it does."""

import click
import pytest
from click.testing import CliRunner

from snellen.cli.commands import main


def help_of(*words):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(main, [*words, "--help"])
    assert result.exit_code == 0
    return result.output


def test_the_list_of_commands_is_not_cut():
    text = help_of().partition("Commands:")[2]
    assert "..." not in text
    for name, command in main.commands.items():
        assert f"  {name} " in text
        assert command.help.partition("\n")[0].rstrip(".") in text


@pytest.mark.parametrize("name", main.commands)
def test_help_fits_80_columns(name):
    assert [line for line in help_of(name).splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", main.commands)
def test_every_option_is_explained(name):
    for option in main.commands[name].params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
            assert option.help.endswith("."), option.help
