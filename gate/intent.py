"""An intent: what a strategy asks for. A value, checked once, on the way in."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal

from gate.errors import InvalidIntent
from gate.fields import DecimalLike, TimeLike, plain, read_decimal, read_time_ms

Side = Literal["BUY", "SELL"]
PositionSide = Literal["LONG", "SHORT"]

_SYMBOL: Final = re.compile(r"[A-Z0-9_]{2,30}", re.ASCII)
_MAX_ID: Final = 128
_OPENS: Final = frozenset({("BUY", "LONG"), ("SELL", "SHORT")})
_CLOSES: Final = frozenset({("SELL", "LONG"), ("BUY", "SHORT")})
_MAX_LEVERAGE: Final = 125  # the highest that Binance USDⓈ-M has in any bracket


@dataclass(frozen=True, slots=True, init=False)
class Intent:
    """What a strategy asks for: one order, at most, for its id.

    `notional` is in the quote asset, `quantity` in the base asset; exactly one of them is given. `price` is the price
    that the strategy expects, in the quote asset: with a quantity it tells how much margin to reserve. `timestamp_ms`
    is when the strategy decided, in epoch milliseconds. `reduce_only` marks an exit. `aside` holds what a stream
    carried beyond that; the gate doesn't look at it.
    """

    id: str
    symbol: str
    side: Side
    notional: Decimal | None
    quantity: Decimal | None
    price: Decimal | None
    leverage: int | None
    reduce_only: bool
    position_side: PositionSide | None
    timestamp_ms: int
    fingerprint: str = field(repr=False)
    aside: Mapping[str, object] = field(repr=False, compare=False)

    def __init__(
        self,
        *,
        id: str,
        symbol: str,
        side: str,
        timestamp: TimeLike,
        notional: DecimalLike | None = None,
        quantity: DecimalLike | None = None,
        price: DecimalLike | None = None,
        leverage: int | None = None,
        reduce_only: bool = False,
        position_side: str | None = None,
        aside: Mapping[str, object] | None = None,
    ) -> None:
        """Checks everything. Raises InvalidIntent, which names the field and the value.

        `timestamp`: an aware datetime, ISO 8601 text with a zone, or epoch milliseconds.
        """
        put = object.__setattr__
        put(self, "id", _read_id(id))
        put(self, "symbol", _read_symbol(symbol))
        put(self, "side", _one_of("side", side, ("BUY", "SELL")))
        if notional is None and quantity is None:
            raise InvalidIntent("notional", None, "is missing; give notional or quantity")
        if notional is not None and quantity is not None:
            raise InvalidIntent("quantity", quantity, "is given beside notional; give one of them")
        put(self, "notional", None if notional is None else read_decimal("notional", notional))
        put(self, "quantity", None if quantity is None else read_decimal("quantity", quantity))
        put(self, "price", None if price is None else read_decimal("price", price))
        put(self, "leverage", _read_leverage(leverage))
        if not isinstance(reduce_only, bool):
            raise InvalidIntent("reduce_only", reduce_only, "is not true or false")
        put(self, "reduce_only", reduce_only)
        # BOTH is what the exchange calls the only position of one-way mode: the same as saying nothing.
        put(
            self,
            "position_side",
            None
            if position_side in (None, "BOTH")
            else _one_of("position_side", position_side, ("LONG", "SHORT", "BOTH")),
        )
        if self.reduce_only and (self.side, self.position_side) in _OPENS:
            # In hedge mode it would be sent without reduceOnly, which the exchange forbids there: an exit that opens.
            raise InvalidIntent("side", side, f"would open the {self.position_side} position, but reduce_only is set")
        put(self, "timestamp_ms", read_time_ms("timestamp", timestamp, naive_is_utc=False))
        put(self, "aside", dict(aside or {}))
        put(self, "fingerprint", _fingerprint(self))

    @property
    def is_exit(self) -> bool:
        """Whether guards that exist to stop entries leave it alone.

        Besides reduce-only: an order against its hedge-mode position, which can only reduce it. (Hedge mode forbids
        the flag, so producers omit it; in one-way mode the exchange refuses an order with a position side.)
        """
        return self.reduce_only or (self.side, self.position_side) in _CLOSES

    @property
    def time(self) -> datetime:
        """When the strategy decided, aware, in UTC."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, received_ms: int | None = None) -> Intent:
        """Reads the shapes that streams carry: see gate.stream_shapes.

        `received_ms` stands in for a missing time. Raises InvalidIntent, which names the field as the stream has it.
        """
        from gate.stream_shapes import intent_arguments  # it builds on this module's errors and fields only

        return cls(**intent_arguments(mapping, received_ms=received_ms))


def _read_id(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidIntent("id", value, "is not text")
    if not value:
        raise InvalidIntent("id", value, "is empty")
    if len(value) > _MAX_ID:
        raise InvalidIntent("id", value, f"has {len(value)} characters; {_MAX_ID} are allowed")
    if " " in value or not value.isprintable():
        raise InvalidIntent("id", value, "has spaces or control characters")
    return value


def _read_symbol(value: object) -> str:
    if not isinstance(value, str) or not _SYMBOL.fullmatch(value):
        raise InvalidIntent("symbol", value, "is not a symbol: 2 to 30 of A-Z, 0-9 and _")
    return value


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise InvalidIntent(name, value, f"is not one of {', '.join(allowed)}")
    return value


def _read_leverage(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidIntent("leverage", value, "is not a whole number")
    if not 1 <= value <= _MAX_LEVERAGE:
        raise InvalidIntent("leverage", value, f"is not between 1 and {_MAX_LEVERAGE}")
    return value


def _fingerprint(intent: Intent) -> str:
    size = (
        f"quantity={plain(intent.quantity)}"
        if intent.quantity is not None
        else f"notional={plain(intent.notional or Decimal())}"
    )
    canonical = (
        f"{intent.symbol} {intent.side} {size} reduce_only={intent.reduce_only} "
        f"position_side={intent.position_side} leverage={intent.leverage}"
    )
    return urlsafe_b64encode(hashlib.blake2b(canonical.encode(), digest_size=9).digest()).decode()
