"""Shell completion of recipes, settings, splits and sources. It does not import torch."""

from collections.abc import Callable, Iterable
from dataclasses import fields

import click
from click.shell_completion import CompletionItem

from snellen.images.choices import SPLITS
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe, show_value

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def words(*names: str, files: bool = False) -> Complete:
    """Offer these words and, with `files`, file names as well."""

    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        # Files first: bash drops whatever precedes them, and offers files if no word matches.
        return ([CompletionItem(typed, type="file")] if files else []) + starting(typed, names)

    return complete


def settings(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer `field=` with its meaning; once only one field matches, offer its values as well."""
    name, equals, value = typed.partition("=")
    matching = [f for f in fields(Recipe) if (f.name == name if equals else f.name.startswith(name))]
    found = [] if equals else [CompletionItem(f"{f.name}=", help=f.metadata["meaning"]) for f in matching]
    if len(matching) == 1:
        (field,) = matching
        found += starting(f"{field.name}={value}", [f"{field.name}={text}" for text in _values(field)])
    return found


def starting(typed: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(typed)]


def _values(field) -> list[str]:
    """Return all values of a setting if it has a fixed list; otherwise those that the named recipes use."""
    if type(field.default) is bool:
        return ["true", "false"]
    if field.metadata["choices"]:
        return [str(choice) for choice in field.metadata["choices"]]
    used = {show_value(getattr(recipe, field.name)): None for recipe in (Recipe(), *PRESETS.values())}
    return list(used)


recipes = words(*PRESETS, files=True)
splits = words(*SPLITS)
sources = words("demo", "demo-multi", "cifar10-tiny", "cifar10", files=True)
