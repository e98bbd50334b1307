"""Lines and tables on a terminal. Only this module uses rich."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from textwrap import wrap
from typing import Final, NoReturn

from rich.box import SIMPLE
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gate.cli.screens.rows import Row, Screen
from gate.cli.screens.wording import printable

_NARROW: Final = 24
"""The least width of the last column, in characters."""
_GAP: Final = 2
_PAIR: Final = 2


class PipeAwareConsole(Console):
    """A console that leaves a broken pipe to program.py; rich would end with exit code 1."""

    def on_broken_pipe(self) -> None:
        problem = sys.exception()
        raise problem if problem is not None else BrokenPipeError


def _console() -> PipeAwareConsole:
    return PipeAwareConsole(
        color_system=None if os.environ.get("NO_COLOR") else "auto", highlight=False, markup=False, emoji=False
    )


@contextmanager
def painting() -> Iterator[Callable[[Callable[[Screen], None]], None]]:
    """Paints one picture over the other, on the terminal's other screen. The first screen comes back at the end, also
    where the process is told to end. What is longer than the terminal is cut off there, and that is said."""
    console = _console()

    def paint(draw: Callable[[Screen], None]) -> None:
        with console.capture() as taken:
            draw(TerminalScreen(console))
        # Each line is cleared behind its text, and the rest below: to clear everything first would flicker.
        lines = "\n".join(f"{line}\x1b[K" for line in _fitting(taken.get().splitlines(), console))
        _write(console, f"\x1b[H{lines}\x1b[J")

    before = {each: signal.signal(each, _end) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        _write(console, "\x1b[?1049h\x1b[?25l")
        yield paint
    finally:
        _write(console, "\x1b[?1049l\x1b[?25h")
        for each, handler in before.items():
            signal.signal(each, handler)


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _write(console: Console, text: str) -> None:
    console.file.write(text)
    console.file.flush()


def _fitting(lines: list[str], console: Console) -> list[str]:
    """As many lines as the terminal shows, of which a long one takes several rows."""
    rows = [max(1, -(-Text.from_ansi(line).cell_len // console.width)) for line in lines]
    if sum(rows) <= console.height:
        return lines
    kept = 0
    while sum(rows[: kept + 1]) <= console.height - 1:
        kept += 1
    return [*lines[:kept], f"and {len(lines) - kept} more lines"[: console.width]]


class TerminalScreen:
    """Prints in colour, unless NO_COLOR is set or the terminal has no colours."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _console()

    def say(self, text: str, style: str = "") -> None:
        """Prints a line. The terminal wraps it."""
        self._console.print(Text(printable(text), style), soft_wrap=True)

    def words(self, text: str, style: str = "") -> None:
        """Prints them in as many lines as they need; the further ones stand further in."""
        width = max(self._console.width, _NARROW)
        for line in _wrapped(printable(text), width, "", "    "):
            self.say(line, style)

    def table(self, headings: tuple[str, ...], rows: Iterable[Row]) -> None:
        """Prints a table. Its last column folds into the remaining width, or gets lines of its own if that is small, or
        would break a key."""
        rows = list(rows)
        # Lines of their own say no longer which column is which; of a pair, the heading is content too.
        titles = [Row(headings, "" if len(headings) == _PAIR else "dim")]
        columns = list(zip(headings, *(row.cells for row in rows), strict=True))
        beside = sum(max(map(cell_len, column)) + _GAP for column in columns[:-1])
        longest = max(
            (cell_len(word) for cell in columns[-1] for word in printable(cell.replace("\n", " ")).split()), default=0
        )
        if beside + max(_NARROW, longest) > self._console.width:
            self._stacked([*titles, *rows])
            return
        table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
        for number, heading in enumerate(headings, start=1):
            table.add_column(printable(heading), overflow="fold", no_wrap=number < len(headings))
        for row in rows:
            table.add_row(*(Text("\n".join(map(printable, cell.split("\n")))) for cell in row.cells), style=row.style)
        self._console.print(table)

    def _stacked(self, rows: list[Row]) -> None:
        for row in rows:
            *cells, last = ([printable(line) for line in cell.split("\n")] for cell in row.cells)
            width = max(self._console.width, _NARROW)
            parts = _wrapped("  ".join(cell[0] for cell in cells if cell[0]), width, "", "    ")
            parts += [part for line in last for part in _wrapped(line, width, "  ", "    ")]
            for part in parts:
                self._console.print(Text(part, row.style), soft_wrap=True)


def _wrapped(text: str, width: int, first: str, further: str) -> list[str]:
    """Lines that break between words only: a key that is longer than a line stays whole, to be copied."""
    return wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
