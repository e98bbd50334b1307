"""An intent: the order that a strategy asks for. Checked once, when it is made."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from gate.values.errors import InvalidIntent
from gate.values.fields import DecimalLike, TimeLike, plain, read_decimal, read_time_ms
from gate.values.order_terms import (
    CLOSING,
    OPENING,
    ORDER_TYPES,
    SIDES,
    TIMES_IN_FORCE,
    WORKING_TYPES,
    OrderType,
    PositionSide,
    Side,
    TimeInForce,
    WorkingType,
)

# The exchange has Chinese symbols. Only Han characters, which nobody mistakes for others and which have one form.
_SYMBOL: Final = re.compile(r"[A-Z0-9_\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]{2,30}")
LONGEST_ID: Final = 128
_MAX_LEVERAGE: Final = 125  # the highest that Binance USDⓈ-M has in any bracket
_CONDITIONAL: Final = ("STOP_MARKET", "TAKE_PROFIT_MARKET")


@dataclass(frozen=True, slots=True, init=False)
class Intent:
    """An order that a strategy asks for. One id gets one order at most.

    `notional` is in the quote asset, `quantity` in the base asset; one of them is given, or `close_position`.
    `timestamp_ms` is the time of the strategy's decision, in epoch milliseconds. `reduce_only` marks an exit. `aside`
    holds the other fields of a stream entry; the gate ignores them. `notes` tells what reading the entry has decided.

    `close_position` closes all there is, whatever that is when the order is sent. Side CLOSE says that only the
    exchange knows whether to buy or to sell; without a size it means `close_position`. Both are exits. Who sends the
    order looks the position up, as the executor does.

    Prices are in the quote asset. `price` is the limit of a LIMIT order, and required there. For the other types it is
    the price that the strategy expects: the exchange never sees it, but with a quantity it gives the margin to reserve.
    `time_in_force` is how long a LIMIT order waits: until cancelled (GTC, the default), not at all (IOC, FOK), or only
    as a maker (GTX). STOP_MARKET and TAKE_PROFIT_MARKET become market orders when a price reaches `trigger_price`.
    `working_type` names that price: the last traded one (CONTRACT_PRICE, the default) or MARK_PRICE. A field that an
    order's type doesn't use is None: `time_in_force`, `trigger_price`, `working_type`.
    """

    id: str
    symbol: str
    side: Side
    notional: Decimal | None
    quantity: Decimal | None
    price: Decimal | None
    leverage: int | None
    reduce_only: bool
    close_position: bool
    position_side: PositionSide | None
    order_type: OrderType
    time_in_force: TimeInForce | None
    trigger_price: Decimal | None
    working_type: WorkingType | None
    timestamp_ms: int
    fingerprint: str = field(repr=False)
    aside: Mapping[str, object] = field(repr=False, compare=False)
    notes: tuple[str, ...] = field(repr=False, compare=False)

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
        close_position: bool = False,
        position_side: str | None = None,
        order_type: str = "MARKET",
        time_in_force: str | None = None,
        trigger_price: DecimalLike | None = None,
        working_type: str | None = None,
        aside: Mapping[str, object] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Checks every field. Raises InvalidIntent, which names the field and the value.

        `timestamp`: an aware datetime, ISO 8601 text with a zone, or epoch milliseconds.
        """
        put = object.__setattr__
        put(self, "id", _read_id(id))
        put(self, "symbol", _read_symbol(symbol))
        put(self, "side", _one_of("side", side, SIDES))
        sized = notional is not None or quantity is not None
        if not isinstance(close_position, bool):
            raise InvalidIntent("close_position", close_position, "is not true or false")
        if not sized and not close_position and side != "CLOSE":
            raise InvalidIntent("notional", None, "is missing; give notional or quantity", missing=True)
        if notional is not None and quantity is not None:
            raise InvalidIntent("quantity", quantity, "is given beside notional; give one of them")
        if sized and close_position:
            name, size = ("quantity", quantity) if notional is None else ("notional", notional)
            raise InvalidIntent(name, size, "is given beside close_position, which closes all there is")
        put(self, "close_position", not sized)
        put(self, "notional", None if notional is None else read_decimal("notional", notional))
        put(self, "quantity", None if quantity is None else read_decimal("quantity", quantity))
        put(self, "price", None if price is None else read_decimal("price", price))
        if not isinstance(reduce_only, bool):
            raise InvalidIntent("reduce_only", reduce_only, "is not true or false")
        put(self, "reduce_only", reduce_only or side == "CLOSE" or not sized)
        # BOTH is the exchange's word for the only position of one-way mode. It means the same as no position side.
        put(
            self,
            "position_side",
            None
            if position_side in (None, "BOTH")
            else _one_of("position_side", position_side, ("LONG", "SHORT", "BOTH")),
        )
        if self.reduce_only and (self.side, self.position_side) in OPENING:
            # The exchange forbids reduceOnly in hedge mode, so this order would go out without the flag: an exit would
            # open a position.
            raise InvalidIntent("side", side, f"would open the {self.position_side} position, but reduce_only is set")
        put(self, "leverage", _leverage_of_an_exit(leverage) if self.is_exit else _read_leverage(leverage))
        put(self, "order_type", _one_of("order_type", order_type, ORDER_TYPES))
        if self.order_type == "LIMIT" and self.price is None:
            raise InvalidIntent("price", None, "is missing; a LIMIT order needs one, as its limit", missing=True)
        put(self, "time_in_force", _read_time_in_force(time_in_force, self.order_type))
        put(self, "trigger_price", _read_trigger_price(trigger_price, self.order_type))
        put(self, "working_type", _read_working_type(working_type, self.order_type))
        put(self, "timestamp_ms", read_time_ms("timestamp", timestamp, naive_is_utc=False))
        put(self, "aside", dict(aside or {}))
        put(self, "notes", tuple(notes))
        put(self, "fingerprint", _fingerprint(self))

    @property
    def is_exit(self) -> bool:
        """Whether the intent can only reduce a position. Guards that stop entries let it pass.

        True for `reduce_only`, and for a side that closes its hedge-mode position. (Hedge mode forbids the flag, so
        producers omit it. In one-way mode the exchange refuses an order with a position side.)
        """
        return self.reduce_only or (self.side, self.position_side) in CLOSING

    @property
    def wants_position(self) -> bool:
        """Whether only the exchange's position says what to send: its side, or how much there is to close.

        A conditional order with a side closes all there is when it fires; the exchange sees to that.
        """
        return self.side == "CLOSE" or (self.close_position and not self.is_conditional)

    @property
    def is_conditional(self) -> bool:
        """Whether the order waits at the exchange for its trigger price, and then becomes a market order."""
        return self.order_type in _CONDITIONAL

    @property
    def time(self) -> datetime:
        """The time of the strategy's decision, as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)

    @classmethod
    def read(cls, asked: Intent | Mapping[str, object]) -> Intent:
        """What a caller asks for: an intent as it is, a mapping as from_mapping reads it. Raises InvalidIntent."""
        if isinstance(asked, Intent):
            return asked
        if not isinstance(asked, Mapping):
            raise InvalidIntent("intent", asked, "is neither an Intent nor a mapping")
        return cls.from_mapping(asked)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, received_ms: int | None = None) -> Intent:
        """Reads an intent in any shape of gate.values.stream_shapes.

        `received_ms` replaces a missing time. Raises InvalidIntent, which names the field as the stream does, and holds
        the intent's id where one can be seen.
        """
        from gate.values.stream_shapes import intent_arguments  # loads json and the words of streams: only for streams

        try:
            return cls(**intent_arguments(mapping, received_ms=received_ms))
        except InvalidIntent as invalid:
            invalid.intent_id = seen_id(mapping) or invalid.intent_id
            raise


def _read_id(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidIntent("id", value, "is not text")
    if not value:
        raise InvalidIntent("id", value, "is empty")
    if len(value) > LONGEST_ID:
        raise InvalidIntent("id", value, f"has {len(value)} characters; {LONGEST_ID} are allowed")
    if " " in value or not value.isprintable():
        raise InvalidIntent("id", value, "has spaces or control characters")
    return value


def seen_id(mapping: Mapping[str, object]) -> str | None:
    """The id of what can't be read as an intent, in one line of no more than an id's length; None: there is none."""
    from gate.values.stream_envelope import visible_id

    seen = visible_id(mapping)
    return seen[:LONGEST_ID] if isinstance(seen, str) and seen.isprintable() else None


def _read_symbol(value: object) -> str:
    if not isinstance(value, str) or not _SYMBOL.fullmatch(value):
        written = value.upper() if isinstance(value, str) else ""
        remedy = f"; write {written}" if _SYMBOL.fullmatch(written) else ""
        raise InvalidIntent("symbol", value, f"is not a symbol: 2 to 30 of A-Z, 0-9, _ and Chinese characters{remedy}")
    return value


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        remedy = f"; write {value.upper()}" if isinstance(value, str) and value.upper() in allowed else ""
        raise InvalidIntent(name, value, f"is not one of {', '.join(allowed)}{remedy}")
    return value


def _read_leverage(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidIntent("leverage", value, "is not a whole number")
    if not 1 <= value <= _MAX_LEVERAGE:
        raise InvalidIntent("leverage", value, f"is not between 1 and {_MAX_LEVERAGE}")
    return value


def _leverage_of_an_exit(value: object) -> int | None:
    """Nothing about the leverage can deny an exit, which doesn't need one."""
    try:
        return _read_leverage(value)
    except InvalidIntent:
        return None


def _read_time_in_force(value: object, order_type: OrderType) -> str | None:
    if order_type != "LIMIT":
        _leave_out("time_in_force", value, order_type, ("LIMIT",))
        return None
    return _one_of("time_in_force", "GTC" if value is None else value, TIMES_IN_FORCE)


def _read_trigger_price(value: object, order_type: OrderType) -> Decimal | None:
    if order_type not in _CONDITIONAL:
        _leave_out("trigger_price", value, order_type, _CONDITIONAL)
        return None
    if value is None:
        raise InvalidIntent("trigger_price", None, f"is missing; a {order_type} order needs one", missing=True)
    return read_decimal("trigger_price", value)


def _read_working_type(value: object, order_type: OrderType) -> str | None:
    if order_type not in _CONDITIONAL:
        _leave_out("working_type", value, order_type, _CONDITIONAL)
        return None
    return _one_of("working_type", "CONTRACT_PRICE" if value is None else value, WORKING_TYPES)


def _leave_out(name: str, value: object, order_type: OrderType, takers: tuple[str, ...]) -> None:
    """Refuses a term that the order's type doesn't use: its giver expects another type of order."""
    if value is not None:
        raise InvalidIntent(
            name, value, f"is for {' and '.join(takers)} orders; leave it out, or change order_type {order_type}"
        )


def _fingerprint(intent: Intent) -> str:
    if intent.close_position:
        size = "close_position"
    elif intent.quantity is not None:
        size = f"quantity={plain(intent.quantity)}"
    else:
        size = f"notional={plain(intent.notional or Decimal())}"
    canonical = (
        f"{intent.symbol} {intent.side} {size} reduce_only={intent.reduce_only} "
        f"position_side={intent.position_side} leverage={intent.leverage}{_terms(intent)}"
    )
    return urlsafe_b64encode(hashlib.blake2b(canonical.encode(), digest_size=9).digest()).decode()


def _terms(intent: Intent) -> str:
    """The order type's part of a fingerprint. Empty for MARKET, as in records older than the other order types."""
    if intent.order_type == "LIMIT":
        return f" LIMIT price={plain(intent.price or Decimal())} time_in_force={intent.time_in_force}"
    if intent.is_conditional:
        trigger = plain(intent.trigger_price or Decimal())
        return f" {intent.order_type} trigger_price={trigger} working_type={intent.working_type}"
    return ""
