"""`gate watch`: the account's status, live."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

import click
from msgspec import structs

from gate.cli.commands.status import status_json
from gate.cli.failures import INTERRUPTED, NO_ANSWER
from gate.cli.screens.wording import moment, one_line
from gate.cli.session import configured, finite, json_option, open_gate, reason_at, reason_of, say_json, store_of
from gate.config import Config, Flags
from gate.store.masking import masked
from gate.values.errors import StoreFailure

if TYPE_CHECKING:
    from gate.client.gates import Gate
    from gate.values.reports import Status

Show = Callable[["Status | StoreFailure"], None]

_STOPPED: Final = 1


@click.command()
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.1, 3_600),
    callback=finite,
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds between two looks.",
)
@json_option
@click.pass_obj
def watch(flags: Flags, every_s: float, as_json: bool) -> NoReturn:
    """What is on for the account, live: gate status again and again, until Ctrl-C.

    \b
      gate watch
      gate watch --every 5 >> account.log
      gate watch --json | jq -r .entries_pass

    A terminal shows the whole status. A file or a pipe gets a line where its first line changes; with --json, the
    status of each look. A store that doesn't answer is shown as that, and asked again.

    The exit code is that of gate status at the last look: 0 entries pass, 1 they are stopped, 3 no answer; and 130
    before the first one.
    """
    config = configured(flags, needs_policy=False)
    code = INTERRUPTED
    # Ctrl-C is how it ends, also while a picture begins.
    with suppress(KeyboardInterrupt), open_gate(config, as_json) as gate, _shown(config, as_json) as show:
        while True:
            code = _look(gate, show)
            _wait(every_s)
    raise click.exceptions.Exit(code)


def _wait(for_s: float) -> None:
    time.sleep(for_s)


def _look(gate: Gate, show: Show) -> int:
    """The exit code that `gate status` would have had."""
    try:
        found = gate.status()
    except StoreFailure as failure:
        show(failure)
        return NO_ANSWER
    show(found)
    return 0 if found.entries_pass else _STOPPED


@contextmanager
def _shown(config: Config, as_json: bool) -> Iterator[Show]:
    """What is done with each look."""
    if as_json:
        yield lambda found: say_json(_as_json(found, config))
        return
    from gate.cli.screens.screen import is_terminal

    lines = _Lines(config)
    if not is_terminal() or os.environ.get("TERM") == "dumb":
        yield lines.show
        return
    from gate.cli.screens.status_screen import show_status
    from gate.cli.screens.terminal import painting

    try:
        with painting() as paint:

            def show(found: Status | StoreFailure) -> None:
                lines.latest = _headline(found, config)
                if isinstance(found, StoreFailure):
                    paint(lambda to: to.words(_headline(found, config), "bold red"))
                else:
                    paint(lambda to: show_status(found, store_of(config), to))

            yield show
    finally:
        click.echo(lines.latest)  # the picture is gone with the terminal's other screen


class _Lines:
    """A line for each change."""

    def __init__(self, config: Config) -> None:
        self._config: Final = config
        self._says = ""
        self.latest = ""

    def show(self, found: Status | StoreFailure) -> None:
        """Prints the headline where it says something new. How long a halt has lasted is nothing new."""
        says = _headline(found if isinstance(found, StoreFailure) else structs.replace(found, now_ms=0), self._config)
        if says == self._says:
            return
        self._says, self.latest = says, _headline(found, self._config)
        now_ms = time.time_ns() // 1_000_000 if isinstance(found, StoreFailure) else found.now_ms
        click.echo(f"{moment(now_ms)} {self._config.prefix}: {self.latest}")


def _headline(found: Status | StoreFailure, config: Config) -> str:
    if isinstance(found, StoreFailure):
        return one_line(f"NO ANSWER: {reason_at(found, config)}: {masked(str(found))}")
    from gate.cli.screens.status_screen import headline

    return one_line(headline(found)[0])


def _as_json(found: Status | StoreFailure, config: Config) -> dict[str, object]:
    if isinstance(found, StoreFailure):
        answer = {"reason": reason_of(found).value, "detail": masked(one_line(str(found)))}
        return {"prefix": config.prefix, "store": store_of(config), "entries_pass": None, **answer}
    return status_json(found, store_of(config))
