"""The command line. Each command asks the gate and prints its answer."""

from __future__ import annotations

import gc
import io
import os
import sys

from gate.values.versions import insist_on


def main() -> None:
    """The program `gate`."""
    # Imports make no garbage, but collecting takes a tenth of the start-up time. program.py switches it on again.
    gc.disable()
    _speak_to_any_terminal()
    try:
        insist_on("click")
        from gate.cli.program import program

        program(prog_name="gate")
    except KeyboardInterrupt:
        sys.exit(130)


def _speak_to_any_terminal() -> None:
    """What the terminal's encoding doesn't have is written as an escape, such as \\u2192, and read if it is UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.argv[1:] = [
        os.fsencode(word).decode("utf-8", "surrogateescape") if _is_undecoded(word) else word for word in sys.argv[1:]
    ]


def _is_undecoded(word: str) -> bool:
    """Whether Python had no characters for some bytes of a word of the command line, as in a locale of ASCII."""
    return any("\udc80" <= each <= "\udcff" for each in word)
