"""Values that not even hypothesis can print, by names that it can."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def lists(depth: int) -> list[Any]:
    """Lists in lists."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


MONSTERS: dict[str, Any] = {
    "<992 lists>": lists(992),
    "<100,000 lists>": lists(100_000),
    "<5,001 digits>": 10**5000,
    "<text of 5,000 digits>": "9" * 5000,
    "<huge exponent>": "1E999999999",
    "<huge figure>": Decimal("1E999999999"),
    "<tiny exponent>": "1E-999999999",
    "<tiny figure>": Decimal("1E-999999999"),
    "<signalling NaN>": Decimal("sNaN"),
    "<surrogates>": "\ud800\udfff",
    "<two lines>": "a\nTERMINAL STATE: FILLED",
    "<100 KB>": "x" * 100_000,
}


def unmasked(value: Any) -> Any:
    """The value, with the monsters in place of their names."""
    if isinstance(value, str):
        return MONSTERS.get(value, value)
    if isinstance(value, dict):
        return {unmasked(name) if isinstance(name, str) else name: unmasked(each) for name, each in value.items()}
    return [unmasked(each) for each in value] if isinstance(value, list) else value
