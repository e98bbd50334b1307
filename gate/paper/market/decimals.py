"""Converts Decimal figures from and to the exchange's strings. This package never uses a float for a figure."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

ZERO = Decimal(0)
ONE = Decimal(1)
_MOST_DECIMALS = 28
SATOSHI = Decimal("0.00000001")  # the exchange keeps and prints balances with eight decimals


def eight(value: Decimal) -> str:
    """A balance, margin or PnL as the exchange prints it: eight decimals, no exponent."""
    return format(value, ".8f")


def fixed(value: Decimal, places: int) -> str:
    """A price or quantity with the symbol's number of decimals."""
    return format(value, f".{places}f")


def plain(value: Decimal) -> str:
    """The shortest text of a figure without an exponent."""
    return format(value.normalize(), "f") if value else "0"


def to_satoshi(value: Decimal) -> Decimal:
    """Rounds to eight decimals, as wallets keep them."""
    return value.quantize(SATOSHI, ROUND_HALF_EVEN)


def decimals_of(value: Decimal) -> int:
    """How many decimals a figure needs; trailing zeros don't count."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether a figure lies on the grid of a tick or a step; a step of zero switches the rule off."""
    if value and value.adjusted() < -_MOST_DECIMALS:
        return not step  # so small that the context would make a zero of it
    try:
        return not step or not value % step
    except InvalidOperation:  # the number of steps has more digits than the context: no real price or quantity does
        return False
