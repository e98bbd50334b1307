"""The words in which an order states its terms, as the exchange spells them."""

from __future__ import annotations

from typing import Final, Literal, get_args

Side = Literal["BUY", "SELL"]
PositionSide = Literal["LONG", "SHORT"]
OrderType = Literal["MARKET", "LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET"]
TimeInForce = Literal["GTC", "IOC", "FOK", "GTX"]
WorkingType = Literal["CONTRACT_PRICE", "MARK_PRICE"]
ORDER_TYPES: Final[tuple[str, ...]] = get_args(OrderType)
TIMES_IN_FORCE: Final[tuple[str, ...]] = get_args(TimeInForce)
WORKING_TYPES: Final[tuple[str, ...]] = get_args(WorkingType)
