"""The parts of the reference that are written from the code when the pages are built."""

import dataclasses
import inspect
import re

import click

from snellen.cli.commands import main
from snellen.models.classifier import MODELS, build_network
from snellen.runs.presets import DEFAULT, PRESETS
from snellen.runs.recipe import Recipe, show_value


def commands() -> str:
    """One section of Markdown for each command: what it does, its example, its arguments and options."""
    return "\n".join(_command(name, main.commands[name]) for name in main.list_commands(click.Context(main)))


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"snellen {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## {name}", "", "```sh", f"snellen {name} {usage}", "```", ""]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):  # click's mark for lines that stay as they are: the examples
            paragraph = "```sh\n" + re.sub(r"^(Examples?:)?\s+", "", paragraph[2:], flags=re.M) + "\n```"
        lines += [paragraph, ""]
    rows = []
    for option in command.params:
        if isinstance(option, click.Option) and (record := option.get_help_record(context)):
            rows.append("| `{}` | {} |".format(*(text.replace("|", "\\|") for text in record)))
    if rows:
        lines += ["| option | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def recipes() -> str:
    """Tables of the named recipes, of every setting and of the models."""
    lines = ["## The named recipes", "", "| name | model | epochs | batch |", "|---|---|---|---|"]
    for name, recipe in PRESETS.items():
        default = ", the default" if name == DEFAULT else ""
        lines.append(f"| `{name}`{default} | `{recipe.model}` | {recipe.epochs} | {recipe.batch_size} |")
    lines += ["", "## The settings", "", "| setting | default | meaning |", "|---|---|---|"]
    for setting in dataclasses.fields(Recipe):
        default = show_value(setting.default)
        meaning = setting.metadata["meaning"]
        if choices := setting.metadata["choices"]:
            meaning += f" ({', '.join(map(str, choices))})"
        lines.append(f"| `{setting.name}` | {f'`{default}`' if default else 'none'} | {meaning} |")
    lines += ["", "## The models", "", "| name | parameters for ten classes |", "|---|---|"]
    lines += [f"| `{name}` | {_num_parameters(name):,} |" for name in MODELS]
    return "\n".join([*lines, ""])


def _num_parameters(name: str) -> int:
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in build_network(name, 10).parameters() if p.requires_grad)


def as_rst(lines: list[str], parameters: list[str]) -> list[str]:
    """A docstring of this package as reStructuredText: each described argument a list item, each Raises a paragraph."""
    written: list[str] = []
    inside_item = False
    for line in lines:
        names = re.match(r"([a-z_]+(?:, [a-z_]+)*): ", line)
        if names and set(names[1].split(", ")) <= set(parameters):
            written += ["", f"* **{names[1]}**: {line[names.end() :]}"]
            inside_item = True
        elif re.match(r"(Raises|Source) |Source: ", line):
            written += ["", line]
            inside_item = False
        else:
            inside_item = inside_item and bool(line)
            written.append(f"  {line.strip()}" if inside_item else line)
    return written
