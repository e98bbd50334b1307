"""Rows of a table, and the interface of the screens that print them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

GAP = "   "


class Row(NamedTuple):
    """A row of a table, and its style. A cell may have several lines; texts from the store are made `printable`."""

    cells: tuple[str, ...]
    style: str = ""


class Screen(Protocol):
    """A place to print on. Styles are rich's: `bold red`."""

    def say(self, text: str, style: str = "") -> None:
        """A line."""

    def words(self, text: str, style: str = "") -> None:
        """A line of words, which a narrow terminal breaks between them."""

    def table(self, headings: tuple[str, ...], rows: Iterable[Row]) -> None:
        """Prints a table, and cuts nothing off."""
