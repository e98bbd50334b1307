"""Reads stream entries, in the shapes that producers use, into the arguments of `Intent`.

There are three envelopes: a JSON text in `payload` beside `event_type`, `timestamp` and `source`; a JSON text in
`data`; flat fields. Producers use different names for a field, and several names for a size. Some times have no zone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypedDict, TypeVar

import msgspec

from gate.values.errors import InvalidIntent
from gate.values.fields import read_decimal, read_time_ms
from gate.values.order_terms import ORDER_TYPES, TIMES_IN_FORCE, WORKING_TYPES

_Value = TypeVar("_Value")

ID_NAMES: Final = ("id", "intent_id", "trace_id")
_TIMES: Final = ("timestamp", "time", "ts")
_REDUCE_ONLY: Final = ("reduce_only", "reduceOnly")
_POSITION_SIDE: Final = ("position_side", "positionSide")
# In the order of precedence. Notional and quantity are both read, so that an unreadable size is always an error.
_NOTIONALS: Final = ("ai_size_usd", "position_size_usd", "notional")
_LEVERAGES: Final = ("ai_leverage", "leverage")
_PRICES: Final = ("price", "entry_price")
_ORDER_TYPE: Final = ("order_type", "orderType")
# Streams use `type` for other things too. It is read when it holds one of these order types; else it goes to `aside`.
_EXCHANGE_TYPES: Final = frozenset({*ORDER_TYPES, "STOP", "TAKE_PROFIT", "TRAILING_STOP_MARKET"})
# Without `entry_price`, which is a price that the producer observed.
_LIMIT_PRICE: Final = ("limit_price", "limitPrice", "price")
_TIME_IN_FORCE: Final = ("time_in_force", "timeInForce")
# Without `stop_loss` and `take_profit`: many entries carry them as the strategy's plan for the position.
_TRIGGER_PRICE: Final = ("trigger_price", "triggerPrice", "stop_price", "stopPrice")
_WORKING_TYPE: Final = ("working_type", "workingType")
# The exchange's flag for a conditional order that closes the whole position. Here it marks an exit of the given size.
_CLOSE_POSITION: Final = ("close_position", "closePosition")
_YES: Final = frozenset({"true", "1", "yes"})
_NO: Final = frozenset({"false", "0", "no"})
_DIRECTIONS: Final = {"BUY": "BUY", "LONG": "BUY", "SELL": "SELL", "SHORT": "SELL"}
_KNOWN: Final = frozenset(
    {"symbol", "side", "action", "quantity", *ID_NAMES, *_TIMES, *_REDUCE_ONLY, *_POSITION_SIDE}
    | {*_NOTIONALS, *_LEVERAGES, *_ORDER_TYPE}
)
# The further fields to read, by order type. A field that only another type uses goes to `aside`: some producers give a
# stop price with a market entry as information.
_CONDITIONAL_TERMS: Final = frozenset({*_PRICES, *_TRIGGER_PRICE, *_WORKING_TYPE, *_CLOSE_POSITION})
_TERMS: Final[Mapping[str, frozenset[str]]] = {
    "MARKET": frozenset(_PRICES),
    "LIMIT": frozenset({*_LIMIT_PRICE, *_TIME_IN_FORCE}),
    "STOP_MARKET": _CONDITIONAL_TERMS,
    "TAKE_PROFIT_MARKET": _CONDITIONAL_TERMS,
}

_json: Final = msgspec.json.Decoder(float_hook=Decimal)


class IntentArguments(TypedDict):
    """What `Intent` takes."""

    id: str
    symbol: str
    side: str
    timestamp: int
    notional: Decimal | None
    quantity: Decimal | None
    price: Decimal | None
    leverage: int | None
    reduce_only: bool
    position_side: str | None
    order_type: str
    time_in_force: str | None
    trigger_price: Decimal | None
    working_type: str | None
    aside: dict[str, object]


def intent_arguments(mapping: Mapping[str, object], *, received_ms: int | None = None) -> IntentArguments:
    """The arguments of `Intent` from one stream entry, in any of its shapes. Raises InvalidIntent."""
    fields = _open_envelope({_text(key): _text(value) for key, value in mapping.items()})
    symbol = fields.get("symbol")
    if not isinstance(symbol, str):
        raise InvalidIntent("symbol", symbol, "is missing" if symbol is None else "is not text", missing=symbol is None)
    time_name, raw_time = _first(fields, _TIMES)
    if raw_time is None:
        if received_ms is None:
            raise InvalidIntent(
                "timestamp", fields.get("timestamp"), "is missing; without it the intent's age is unknown", missing=True
            )
        timestamp_ms = received_ms
    else:
        timestamp_ms = read_time_ms(time_name, raw_time, naive_is_utc=True)
    side, closes, position_side = _direction(fields)
    type_names = _type_names(fields)
    order_type = _choice(fields, type_names, ORDER_TYPES) or "MARKET"
    terms = {name: value for name, value in fields.items() if name in _TERMS[order_type]}
    reduce_only = _agreed(fields, _REDUCE_ONLY, _yes_or_no)
    if _agreed(terms, _CLOSE_POSITION, _yes_or_no):
        if reduce_only is False:
            raise InvalidIntent("close_position", True, "contradicts reduce_only False")
        reduce_only = True
    if reduce_only and not closes:
        _refuse_position_as_side(fields)
    if closes and reduce_only is False:
        raise InvalidIntent("reduce_only", False, "contradicts CLOSE, which only reduces")
    notional, quantity = _size(fields)
    return IntentArguments(
        id=_id(fields, symbol, raw_time),
        symbol=symbol,
        side=side,
        timestamp=timestamp_ms,
        notional=notional,
        quantity=quantity,
        price=_price(terms, order_type, by_quantity=quantity is not None),
        leverage=_leverage(fields),
        reduce_only=closes or bool(reduce_only),
        position_side=position_side,
        order_type=order_type,
        time_in_force=_choice(terms, _TIME_IN_FORCE, TIMES_IN_FORCE),
        trigger_price=_agreed(terms, _TRIGGER_PRICE, read_decimal),
        working_type=_choice(terms, _WORKING_TYPE, WORKING_TYPES),
        aside={
            name: value
            for name, value in fields.items()
            if name not in _KNOWN and name not in terms and name not in type_names
        },
    )


def _text(value: Any) -> Any:
    """The text of a value. Redis clients give bytes by default."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidIntent("entry", value, "is not UTF-8 text") from None


def _open_envelope(entry: dict[str, Any]) -> dict[str, Any]:
    for name in ("payload", "data"):
        content = entry.get(name)
        if content is None or "symbol" in entry:
            continue
        if isinstance(content, str):
            try:
                content = _json.decode(content)
            except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
                raise InvalidIntent(name, content, f"is not JSON ({error})") from None
        if not isinstance(content, dict):
            raise InvalidIntent(name, content, "is not a JSON object")
        around = {key: value for key, value in entry.items() if key != name}
        return {**around, **{key: value for key, value in content.items() if not _blank(value) or key not in around}}
    return entry


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    for name in names:
        if not _blank(fields.get(name)):
            return name, fields[name]
    return names[0], None


def _agreed(fields: Mapping[str, Any], names: tuple[str, ...], read: Callable[[str, object], _Value]) -> _Value | None:
    """The value of a field that has several names. Two names with different values are an error."""
    said = [(name, read(name, fields[name])) for name in names if not _blank(fields.get(name))]
    if not said:
        return None
    first, value = said[0]
    for name, other in said[1:]:
        if other != value:
            raise InvalidIntent(name, fields[name], f"contradicts {first} {fields[first]!r}")
    return value


def _type_names(fields: Mapping[str, Any]) -> tuple[str, ...]:
    said = fields.get("type")
    names_one = isinstance(said, str) and said.strip().upper() in _EXCHANGE_TYPES
    return (*_ORDER_TYPE, "type") if names_one else _ORDER_TYPE


def _choice(fields: Mapping[str, Any], names: tuple[str, ...], allowed: tuple[str, ...]) -> str | None:
    def read(name: str, value: object) -> str:
        word = _word(name, value)
        if word not in allowed:
            raise InvalidIntent(name, value, f"is not one of {', '.join(allowed)}")
        return word

    return _agreed(fields, names, read)


def _id(fields: Mapping[str, Any], symbol: str, raw_time: object) -> str:
    name, value = _first(fields, ID_NAMES)
    if value is not None:
        if isinstance(value, int) and not isinstance(value, bool):
            return _digits(name, value)
        if not isinstance(value, str):
            raise InvalidIntent(name, value, "is not text")
        return value
    if raw_time is None:
        raise InvalidIntent("id", None, "is missing, and without a timestamp none can be made", missing=True)
    time = _digits("timestamp", raw_time) if isinstance(raw_time, int) else str(raw_time)
    return f"{symbol}_{time.strip()}".replace(" ", "T")


def _digits(name: str, value: int) -> str:
    try:
        return str(value)
    except ValueError:  # Python prints no more than some 4,300 of them
        raise InvalidIntent(name, value, "has too many digits") from None


def _direction(fields: Mapping[str, Any]) -> tuple[str, bool, str | None]:
    """The order's side, whether it closes, and the position's side. CLOSE alone gives no direction."""
    said = {name: _word(name, fields[name]) for name in ("action", "side") if not _blank(fields.get(name))}
    name, raw = _first(fields, _POSITION_SIDE)
    position = None if raw is None else _word(name, raw)
    if position not in (None, "LONG", "SHORT", "BOTH"):
        raise InvalidIntent(name, raw, "is not one of LONG, SHORT, BOTH")
    if not said:
        raise InvalidIntent("side", None, "is missing; give side or action", missing=True)
    closes = "CLOSE" in said.values()
    sides = set()
    for field, word in said.items():
        if word == "CLOSE":
            continue
        if word not in _DIRECTIONS:
            raise InvalidIntent(field, fields[field], "is not one of BUY, SELL, LONG, SHORT, CLOSE")
        # With CLOSE, LONG and SHORT name the position to close. BUY and SELL still name the order's side.
        sides.add(_closing(word) if closes and word in ("LONG", "SHORT") else _DIRECTIONS[word])
    if closes and not sides and position in ("LONG", "SHORT"):
        sides.add(_closing(position))
    if not sides:
        raise InvalidIntent(
            "side", fields.get("side"), "is missing; CLOSE needs side, or position_side LONG or SHORT", missing=True
        )
    if len(sides) > 1:
        raise InvalidIntent("action", fields.get("action"), f"contradicts side {fields.get('side')!r}")
    return sides.pop(), closes, position


def _refuse_position_as_side(fields: Mapping[str, Any]) -> None:
    """Refuses LONG or SHORT as a side with reduce_only: it may mean the position to reduce or the order's direction."""
    for name in ("action", "side"):
        if not _blank(fields.get(name)) and _word(name, fields[name]) in ("LONG", "SHORT"):
            raise InvalidIntent(
                name, fields[name], "is ambiguous beside reduce_only; give BUY or SELL, or action CLOSE"
            )


def _closing(position: str) -> str:
    return "SELL" if position == "LONG" else "BUY"


def _word(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidIntent(name, value, "is not text")
    return value.strip().upper()


def _yes_or_no(name: str, value: object) -> bool:
    text = (_digits(name, value) if isinstance(value, int) else str(value)).strip().lower()
    if text not in _YES | _NO:
        raise InvalidIntent(name, value, "is not true or false")
    return text in _YES


def _size(fields: Mapping[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    """Notional or quantity. `ai_size_usd` wins over all; a quantity wins over the other notionals, as it is exact."""
    notionals = {name: read_decimal(name, fields[name]) for name in _NOTIONALS if not _blank(fields.get(name))}
    quantity = None if _blank(fields.get("quantity")) else read_decimal("quantity", fields["quantity"])
    if "ai_size_usd" in notionals:
        return notionals["ai_size_usd"], None
    if quantity is not None:
        return None, quantity
    return next(iter(notionals.values()), None), None


def _price(terms: Mapping[str, Any], order_type: str, *, by_quantity: bool) -> Decimal | None:
    """The limit of a LIMIT order, else the expected price. With a notional no expected price is read."""
    if order_type != "LIMIT":
        return _figure(terms, _PRICES) if by_quantity else None
    limit = _agreed(terms, _LIMIT_PRICE, read_decimal)
    if limit is None:
        raise InvalidIntent("price", None, "is missing; a LIMIT order needs price or limit_price", missing=True)
    return limit


def _figure(fields: Mapping[str, Any], names: tuple[str, ...]) -> Decimal | None:
    name, value = _first(fields, names)
    return None if value is None else read_decimal(name, value)


def _leverage(fields: Mapping[str, Any]) -> int | None:
    name, value = _first(fields, _LEVERAGES)
    if value is None:
        return None
    figure = read_decimal(name, value)
    if figure != figure.to_integral_value():
        raise InvalidIntent(name, value, "is not a whole number")
    return int(figure)
