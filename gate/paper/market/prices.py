"""Prices: one quote per symbol, set by hand or moved by a seeded walk. Pure; the exchange owns the current quotes."""

from __future__ import annotations

import random
from decimal import Decimal

import msgspec
from msgspec import Struct

from gate.paper.market.decimals import ZERO
from gate.paper.market.symbols import Symbol
from gate.paper.market.terms import Side

_WALK_SPAN = Decimal("0.0005")  # the largest step of the walk, as a share of the price
_WALK_RANGE = (Decimal("0.5"), Decimal(2))  # of the opening price: the walk turns back there


class Quote(Struct, frozen=True):
    """One symbol's prices, and the quantity on offer at the best bid and ask (None: no limit).

    `mark_stands`: the mark was set by itself and doesn't follow the last price.
    """

    bid: Decimal
    ask: Decimal
    last: Decimal
    mark: Decimal
    bid_depth: Decimal | None = None
    ask_depth: Decimal | None = None
    mark_stands: bool = False

    def best_for(self, taker: Side) -> Decimal:
        """The price that a taking order meets: the ask for a buyer, the bid for a seller."""
        return self.ask if taker is Side.BUY else self.bid

    def offered_to(self, taker: Side) -> Decimal | None:
        return self.ask_depth if taker is Side.BUY else self.bid_depth

    def walked_to(self, symbol: Symbol, last: Decimal) -> Quote:
        """The quote around another last price. The quantity on offer stays, and a mark that was set by itself too."""
        mark = self.mark if self.mark_stands else last
        return msgspec.structs.replace(self, bid=last, ask=last + symbol.tick, last=last, mark=mark)

    def after_taking(self, taker: Side, quantity: Decimal) -> Quote:
        """The quote after a taker has taken a quantity."""
        left = self.offered_to(taker)
        if left is None:
            return self
        remaining = max(ZERO, left - quantity)
        if taker is Side.BUY:
            return msgspec.structs.replace(self, ask_depth=remaining)
        return msgspec.structs.replace(self, bid_depth=remaining)


def quote_at(symbol: Symbol, last: Decimal, mark: Decimal | None = None, depth: Decimal | None = None) -> Quote:
    """A quote around a last price: bid at the last price, ask one tick above, mark at the last price unless given."""
    stands = mark is not None
    return Quote(last, last + symbol.tick, last, mark if mark is not None else last, depth, depth, stands)


class Walk:
    """A random walk on the tick grid. One generator per symbol: its path depends on the seed and its name alone."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generators: dict[str, random.Random] = {}

    def next_price(self, symbol: Symbol, price: Decimal, opened_at: Decimal) -> Decimal:
        """The next last price. It stays between half and twice the opening price; from outside it moves back there."""
        generator = self._generators.setdefault(symbol.name, random.Random(f"{self._seed}:{symbol.name}"))
        span = max(1, int(price * _WALK_SPAN / symbol.tick))
        step = generator.randint(-span, span) * symbol.tick
        low, high = (opened_at * edge for edge in _WALK_RANGE)
        if price + step > high:
            return price - abs(step)
        if price + step < low:
            return price + abs(step)
        return price + step
