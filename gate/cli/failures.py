"""How a failure that can be foreseen ends the program: one line on standard error, an exit code, no traceback."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Final, NoReturn

import click

from gate.cli.wording import one_line
from gate.masking import masked

BAD_INPUT: Final = 2
NO_ANSWER: Final = 3
UNFORESEEN: Final = 70
UNWRITTEN: Final = 74
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141


class NoAnswer(click.ClickException):
    """The store gave no usable answer. With --json, `answer` says so on standard output instead of a line."""

    exit_code = NO_ANSWER

    def __init__(self, message: str, answer: Mapping[str, object] | None) -> None:
        super().__init__(message)
        self.answer: Final = answer


def end(problem: click.ClickException) -> NoReturn:
    """Says what a command couldn't do, and exits."""
    if isinstance(problem, click.exceptions.NoArgsIsHelpError):
        problem.show()
    elif isinstance(problem, NoAnswer) and problem.answer is not None:
        click.echo(json.dumps(problem.answer))
    elif isinstance(problem, click.UsageError) and problem.ctx is not None:
        path = problem.ctx.command_path
        complain(f"{problem.format_message()} (see {path} --help)", path)
    else:
        complain(problem.format_message())
    sys.exit(problem.exit_code)


def complain(text: str, speaker: str = "gate") -> None:
    """One line on standard error, without the credentials of any URL in it."""
    click.echo(f"{speaker}: {masked(one_line(text))}", err=True)


def confess(error: Exception) -> NoReturn:
    """Ends on an exception that nobody has foreseen: one line, and an exit code that no command means by an answer."""
    if os.environ.get("GATE_DEBUG"):
        click.echo(masked(traceback.format_exc()), err=True)
    said = one_line(str(error))
    complain(f"internal error {type(error).__name__}{said and ': '}{said} (GATE_DEBUG=1 shows where)")
    sys.exit(UNFORESEEN)


def drop_output() -> None:
    """Lets go of what couldn't be written: Python would try once more at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
