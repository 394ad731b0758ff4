"""Make stdout and stderr accept any text."""

import io
import os
import sys


def make_writable() -> None:
    """Make stdout and stderr accept any text, even names that are not UTF-8 and characters missing in their encoding.

    A closed stream becomes /dev/null. Otherwise the next file opened would get its descriptor, and output meant for
    the stream would end up in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 (stays open)
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
