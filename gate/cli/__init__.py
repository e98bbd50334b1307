"""The command line. Commands are thin: they ask the gate, and hand its answer to a rendering."""

from __future__ import annotations

import gc
import sys

from gate.values.versions import insist_on


def main() -> None:
    """The program `gate`."""
    # Loading makes no garbage, and looking for it takes a tenth of the start-up. program.py ends this.
    gc.disable()
    try:
        insist_on("click")
        from gate.cli.program import program

        program(prog_name="gate")
    except KeyboardInterrupt:
        sys.exit(130)
