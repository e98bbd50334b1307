"""Prints lines and tables: on a terminal with rich, else as plain text without loading rich."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from gate.cli.screens.rows import GAP, Row, Screen
from gate.cli.screens.wording import printable


class PlainScreen:
    """Plain text in columns. Each key stays whole and on one line, for grep and awk."""

    def say(self, text: str, style: str = "") -> None:
        """Prints a line. The style is only for terminals."""
        click.echo(printable(text))

    def words(self, text: str, style: str = "") -> None:
        """Prints them on one line, for grep and awk."""
        self.say(text, style)

    def table(self, headings: tuple[str, ...], rows: Iterable[Row]) -> None:
        """Prints a table as wide as its cells need."""
        lines = [headings, *(line for row in rows for line in _lines(row))]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (printable(cell).ljust(width) for cell, width in zip(line, widths, strict=True))
            click.echo(GAP.join(cells).rstrip())


def _lines(row: Row) -> list[tuple[str, ...]]:
    """A row as lines of cells. The further lines of a cell go below its first line."""
    cells = [cell.split("\n") for cell in row.cells]
    height = max(map(len, cells))
    return list(zip(*(cell + [""] * (height - len(cell)) for cell in cells), strict=True))


def is_terminal() -> bool:
    """Whether a person reads what is printed."""
    return sys.stdout is not None and sys.stdout.isatty()


def screen() -> Screen:
    """The terminal, or plain text where there is none."""
    if is_terminal():
        from gate.cli.screens.terminal import TerminalScreen

        return TerminalScreen()
    return PlainScreen()
