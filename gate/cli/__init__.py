"""The command line. Each command asks the gate and prints its answer."""

from __future__ import annotations

import gc
import sys

from gate.values.versions import insist_on


def main() -> None:
    """The program `gate`."""
    # Imports make no garbage, but collecting takes a tenth of the start-up time. program.py switches it on again.
    gc.disable()
    try:
        insist_on("click")
        from gate.cli.program import program

        program(prog_name="gate")
    except KeyboardInterrupt:
        sys.exit(130)
