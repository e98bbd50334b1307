"""Lines and tables on a terminal. The only module here that knows rich."""

from __future__ import annotations

import os
from collections.abc import Iterable

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gate.cli.screen import Row
from gate.cli.wording import printable


class TerminalScreen:
    """In colour, unless NO_COLOR is set or the terminal has none."""

    def __init__(self) -> None:
        self._console = Console(
            color_system=None if os.environ.get("NO_COLOR") else "auto", highlight=False, markup=False, emoji=False
        )

    def say(self, text: str, style: str = "") -> None:
        """A line, wrapped by the terminal if it must be."""
        self._console.print(Text(printable(text), style), soft_wrap=True)

    def table(self, headings: tuple[str, ...], rows: Iterable[Row]) -> None:
        """A table. Its last column takes what is left and folds."""
        table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
        for number, heading in enumerate(headings, start=1):
            table.add_column(printable(heading), overflow="fold", no_wrap=number < len(headings))
        for row in rows:
            table.add_row(*(Text("\n".join(map(printable, cell.split("\n")))) for cell in row.cells), style=row.style)
        self._console.print(table)
