"""The output of commands. Everything is printed here, so that no control character in a name reaches a terminal."""

import re

import click

from snellen.system import group

IS_FIRST = group.prints()

# Control characters except tab and line feed, marks that change the direction of writing, and lone surrogates.
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Return the text with each control character escaped, such as \\x1b; line breaks and tabs stay."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def echo(text: object, *, err: bool = False) -> None:
    """Print a line on stdout, or on stderr."""
    click.echo(plain(str(text)), err=err)


def hint(command: str) -> None:
    """Print the next command to type, on stderr."""
    if IS_FIRST:
        echo(f"next: {command}", err=True)
