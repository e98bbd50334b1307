"""The words in which an order states its terms, as the exchange spells them."""

from __future__ import annotations

from typing import Final, Literal, get_args

Side = Literal["BUY", "SELL", "CLOSE"]
"""CLOSE: the side that closes the position; only the exchange knows which."""
PositionSide = Literal["LONG", "SHORT"]
OrderType = Literal["MARKET", "LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET"]
TimeInForce = Literal["GTC", "IOC", "FOK", "GTX"]
WorkingType = Literal["CONTRACT_PRICE", "MARK_PRICE"]
ORDER_TYPES: Final[tuple[str, ...]] = get_args(OrderType)
TIMES_IN_FORCE: Final[tuple[str, ...]] = get_args(TimeInForce)
WORKING_TYPES: Final[tuple[str, ...]] = get_args(WorkingType)
SIDES: Final[tuple[str, ...]] = get_args(Side)
OPENING: Final = frozenset({("BUY", "LONG"), ("SELL", "SHORT")})
"""Side and position side of the orders that make a position larger, in hedge mode."""
CLOSING: Final = frozenset({("SELL", "LONG"), ("BUY", "SHORT")})
"""The same of those that make it smaller."""
