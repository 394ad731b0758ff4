"""Runs the commands and Python blocks of a page, top to bottom, and puts beneath each what it printed.

A page is executed when it is built and when it is tested, so that what it shows is what really happens. Blocks that
need the network, a browser or hours have a comment `<!-- not run: why -->` on the line before them. A comment
`<!-- shows FILE -->` stands for a picture that the blocks before it wrote.
"""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from click.testing import CliRunner

from snellen.cli.commands import main

BLOCK = re.compile(
    r"^(?P<before><!-- (?P<skipped>not run: [^\n]*?) -->\n)?```(?P<language>[^`\n]*)\n(?P<code>.*?)^```$", re.M | re.S
)
SHOWS = re.compile(r"^<!-- shows (?P<file>\S+) -->$", re.M)
COMMANDS = ("", "sh")  # languages of blocks that hold command lines


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    code: str
    skipped: str  # why it is not run, or ""
    end: int  # where it ends in the page


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page in Markdown, in order."""
    for match in BLOCK.finditer(text):
        yield Block(match["language"], match["code"], match["skipped"] or "", match.end())


def command_lines(code: str) -> Iterator[str]:
    """The lines of a block of commands, those continued by a backslash joined, comments taken off."""
    for line in code.replace("\\\n", " ").splitlines():
        if line := re.sub(r"(^|\s)#.*", "", line).strip():
            yield line


def execute(
    text: str, folder: Path, show: Callable[[Path], str] = str, *, shorter: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Run the blocks of a page in `folder` and return the page with what they printed.

    show: what to write in place of a picture that the page shows. shorter: command lines to run in place of others.
    Raises whatever a block raises, and RuntimeError for a command that fails.
    """
    names: dict = {"__name__": "__main__"}
    page, position = "", 0
    pieces = [(block.end, block) for block in blocks(text)] + [(match.end(), match) for match in SHOWS.finditer(text)]
    with contextlib.chdir(folder):
        for end, piece in sorted(pieces, key=lambda pair: pair[0]):
            if isinstance(piece, re.Match):
                page += text[position : piece.start()] + show(folder / piece["file"])
                position = end
                continue
            page += text[position:end]
            position = end
            printed = ""
            if piece.language == "python" and not piece.skipped:
                with contextlib.redirect_stdout(io.StringIO()) as stdout:
                    exec(compile(piece.code, "<page>", "exec"), names)
                printed = stdout.getvalue()
            elif piece.language in COMMANDS and not piece.skipped:
                printed = "".join(run(shorter.get(line, line)) for line in command_lines(piece.code))
            if printed.strip():
                page += f"\n\n```text\n{printed.rstrip()}\n```"
    return page + text[position:]


def run(line: str) -> str:
    """Run one command line and return what it prints: snellen's own in this process, others by the shell."""
    words = shlex.split(line)
    if words[0] == "snellen":
        done = CliRunner().invoke(main, words[1:], prog_name="snellen")
        code, printed, said = done.exit_code, done.stdout, done.stderr
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
    else:
        other = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        code, printed, said = other.returncode, other.stdout, other.stderr
    if code:
        raise RuntimeError(f"`{line}` ended with exit code {code}:\n{printed}{said}")
    return printed


if __name__ == "__main__":  # python docs/executed.py PAGE.md FOLDER
    print(execute(Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2])))
