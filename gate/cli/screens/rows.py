"""What is printed, before it is known where: rows of a table, and what takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

GAP = "   "


class Row(NamedTuple):
    """A row of a table, and its style. A cell may have several lines; what came from the store is made `printable`."""

    cells: tuple[str, ...]
    style: str = ""


class Screen(Protocol):
    """What a command prints on. Styles are rich's: `bold red`."""

    def say(self, text: str, style: str = "") -> None:
        """A line."""

    def table(self, headings: tuple[str, ...], rows: Iterable[Row]) -> None:
        """A table. Nothing in it is cut off."""
