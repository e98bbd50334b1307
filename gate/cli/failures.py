"""How an expected failure ends the program: one line on standard error, an exit code, no traceback."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import click

from gate.cli.screens.wording import one_line
from gate.store.masking import masked, masked_lines

BAD_INPUT: Final = 2
NO_ANSWER: Final = 3
UNFORESEEN: Final = 70
UNWRITTEN: Final = 74
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141


class NoAnswer(click.ClickException):
    """The store gave no usable answer. With --json, `answer` goes to standard output instead of a line."""

    exit_code = NO_ANSWER

    def __init__(self, message: str, answer: Mapping[str, object] | None) -> None:
        super().__init__(message)
        self.answer: Final = answer


_SHOWN_AS_HELP: Final = tuple(
    getattr(click.exceptions, name) for name in ("NoArgsIsHelpError",) if hasattr(click.exceptions, name)
)
"""What click 8.2 and later raise where 8.1 prints the help and leaves by itself."""


def end(problem: click.ClickException, as_json: bool, arguments: Sequence[str]) -> NoReturn:
    """Prints what a command couldn't do, and exits. `arguments`: those of the command line."""
    if isinstance(problem, _SHOWN_AS_HELP):
        problem.show()
    elif isinstance(problem, NoAnswer) and problem.answer is not None:
        click.echo(json.dumps(problem.answer))
    elif isinstance(problem, click.UsageError):
        said = _withheld(_usage(problem), arguments)
        if as_json:
            refuse(_field(problem), None, said)
        path = "gate" if problem.ctx is None else problem.ctx.command_path
        complain(f"{said} (see {path} --help)", path)
    else:
        said = _withheld(problem.format_message(), arguments)
        if as_json and problem.exit_code == BAD_INPUT:
            refuse("usage", None, said)
        complain(said)
    sys.exit(problem.exit_code)


def _usage(problem: click.UsageError) -> str:
    """The message of a usage error. For a known option in the wrong place, it names the right place."""
    if not isinstance(problem, click.NoSuchOption) or problem.ctx is None:
        return problem.format_message()
    option, ctx = problem.option_name, problem.ctx
    ours = {each for parameter in ctx.find_root().command.params for each in parameter.opts}
    if ctx.parent is not None and option in ours:
        return f"No such option {option!r}. It goes before the command: gate {option} ... {ctx.info_name}."
    if option == "--json" and isinstance(ctx.command, click.Group):
        return f"No such option {option!r}. It goes behind the command: {ctx.command_path} COMMAND --json."
    return problem.format_message()


def _withheld(said: str, arguments: Sequence[str]) -> str:
    """The message without the arguments that may be a store's URL, in the wrong place or without its scheme."""
    for each in arguments:
        name, equals, value = each.partition("=")
        kept = name + equals if equals and name.startswith("--") and "@" not in name else ""
        withheld = value if kept else each
        if "@" in withheld:
            for quoted in (withheld, repr(withheld)[1:-1]):
                said = said.replace(quoted, "***")
    return said


def _field(problem: click.UsageError) -> str:
    if isinstance(problem, click.NoSuchOption):
        return problem.option_name
    parameter = problem.param if isinstance(problem, click.BadParameter) else None
    return "usage" if parameter is None else str(parameter.name)


def refuse(field: str, value: object, problem: str) -> None:
    """Prints an error about input as JSON, for a machine. A line on standard error says the same to a person."""
    if isinstance(value, str):
        value = masked(value)
    elif value is not None and not isinstance(value, int):
        value = masked(str(value))[:200]
    click.echo(json.dumps({"error": {"field": field, "value": value, "problem": masked(one_line(problem))}}))


def complain(text: str, speaker: str = "gate") -> None:
    """Prints one line on standard error, and masks the credentials of URLs in it."""
    click.echo(f"{speaker}: {masked(one_line(text))}", err=True)


def confess(error: Exception) -> NoReturn:
    """Ends the program after an unexpected exception: with one line, and an exit code that is no command's answer."""
    if os.environ.get("GATE_DEBUG"):
        click.echo(masked_lines(traceback.format_exc()), err=True)
    said = one_line(str(error))
    complain(f"internal error {type(error).__name__}{said and ': '}{said} (GATE_DEBUG=1 shows where)")
    sys.exit(UNFORESEEN)


def drop_output() -> None:
    """Drops output that couldn't be written. Otherwise Python would write it again at exit, and print an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
