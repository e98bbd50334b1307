"""The shapes in which streams carry intents, read into the arguments of `Intent`.

Three envelopes occur: a JSON text in `payload` beside `event_type`, `timestamp` and `source`; a JSON text in `data`;
flat fields. Names differ between producers, times come with and without a zone, and sizes under several names.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypedDict

import msgspec

from gate.errors import InvalidIntent
from gate.fields import read_decimal, read_time_ms

_IDS: Final = ("id", "intent_id", "trace_id")
_TIMES: Final = ("timestamp", "time", "ts")
_REDUCE_ONLY: Final = ("reduce_only", "reduceOnly")
_POSITION_SIDE: Final = ("position_side", "positionSide")
# In the order of precedence. Both kinds of size are read, so that an unreadable one is an error wherever it stands.
_NOTIONALS: Final = ("ai_size_usd", "position_size_usd", "notional")
_LEVERAGES: Final = ("ai_leverage", "leverage")
_PRICES: Final = ("price", "entry_price")
_YES: Final = frozenset({"true", "1", "yes"})
_NO: Final = frozenset({"false", "0", "no"})
_DIRECTIONS: Final = {"BUY": "BUY", "LONG": "BUY", "SELL": "SELL", "SHORT": "SELL"}
_KNOWN: Final = frozenset(
    {"symbol", "side", "action", "quantity", *_IDS, *_TIMES, *_REDUCE_ONLY, *_POSITION_SIDE}
    | {*_NOTIONALS, *_LEVERAGES, *_PRICES}
)

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
    aside: dict[str, object]


def intent_arguments(mapping: Mapping[str, object], *, received_ms: int | None = None) -> IntentArguments:
    """The arguments of `Intent` from one stream entry, in any of its shapes. Raises InvalidIntent."""
    fields = _open_envelope({_text(key): _text(value) for key, value in mapping.items()})
    symbol = fields.get("symbol")
    if not isinstance(symbol, str):
        raise InvalidIntent("symbol", symbol, "is missing" if symbol is None else "is not text")
    time_name, raw_time = _first(fields, _TIMES)
    if raw_time is None:
        if received_ms is None:
            raise InvalidIntent("timestamp", fields.get("timestamp"), "is missing; its age can't be told without it")
        timestamp_ms = received_ms
    else:
        timestamp_ms = read_time_ms(time_name, raw_time, naive_is_utc=True)
    side, closes, position_side = _direction(fields)
    reduce_only = _reduce_only(fields)
    if reduce_only and not closes:
        _refuse_position_as_side(fields)
    if closes and reduce_only is False:
        raise InvalidIntent("reduce_only", False, "contradicts CLOSE, which only reduces")
    notional, quantity = _size(fields)
    price = _figure(fields, _PRICES) if quantity is not None else None
    return IntentArguments(
        id=_id(fields, symbol, raw_time),
        symbol=symbol,
        side=side,
        timestamp=timestamp_ms,
        notional=notional,
        quantity=quantity,
        price=price,
        leverage=_leverage(fields),
        reduce_only=closes or bool(reduce_only),
        position_side=position_side,
        aside={name: value for name, value in fields.items() if name not in _KNOWN},
    )


def _text(value: Any) -> Any:
    """Redis clients give bytes unless told otherwise."""
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


def _id(fields: Mapping[str, Any], symbol: str, raw_time: object) -> str:
    name, value = _first(fields, _IDS)
    if value is not None:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise InvalidIntent(name, value, "is not text")
        return value
    if raw_time is None:
        raise InvalidIntent("id", None, "is missing, and without a timestamp none can be made")
    return f"{symbol}_{str(raw_time).strip()}".replace(" ", "T")


def _direction(fields: Mapping[str, Any]) -> tuple[str, bool, str | None]:
    """Order side, whether it closes, and the position's side. CLOSE says nothing of the direction by itself."""
    said = {name: _word(name, fields[name]) for name in ("action", "side") if not _blank(fields.get(name))}
    name, raw = _first(fields, _POSITION_SIDE)
    position = None if raw is None else _word(name, raw)
    if position not in (None, "LONG", "SHORT", "BOTH"):
        raise InvalidIntent(name, raw, "is not one of LONG, SHORT, BOTH")
    if not said:
        raise InvalidIntent("side", None, "is missing; give side or action")
    closes = "CLOSE" in said.values()
    sides = set()
    for field, word in said.items():
        if word == "CLOSE":
            continue
        if word not in _DIRECTIONS:
            raise InvalidIntent(field, fields[field], "is not one of BUY, SELL, LONG, SHORT, CLOSE")
        # Beside CLOSE, LONG and SHORT name the position that is closed; BUY and SELL are the order's side as ever.
        sides.add(_closing(word) if closes and word in ("LONG", "SHORT") else _DIRECTIONS[word])
    if closes and not sides and position in ("LONG", "SHORT"):
        sides.add(_closing(position))
    if not sides:
        raise InvalidIntent("side", fields.get("side"), "is missing; CLOSE needs side, or position_side LONG or SHORT")
    if len(sides) > 1:
        raise InvalidIntent("action", fields.get("action"), f"contradicts side {fields.get('side')!r}")
    return sides.pop(), closes, position


def _refuse_position_as_side(fields: Mapping[str, Any]) -> None:
    """With reduce_only, LONG may mean the position to be reduced or the direction of the order. Nobody can tell."""
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


def _reduce_only(fields: Mapping[str, Any]) -> bool | None:
    answers = {}
    for name in _REDUCE_ONLY:
        value = fields.get(name)
        if _blank(value):
            continue
        text = str(value).strip().lower()
        if text not in _YES | _NO:
            raise InvalidIntent(name, value, "is not true or false")
        answers[name] = text in _YES
    if len(set(answers.values())) > 1:
        raise InvalidIntent("reduceOnly", fields["reduceOnly"], f"contradicts reduce_only {fields['reduce_only']!r}")
    return next(iter(answers.values()), None)


def _size(fields: Mapping[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    """Notional or quantity. `ai_size_usd` goes before all; a quantity, being exact, before the other notionals."""
    notionals = {name: read_decimal(name, fields[name]) for name in _NOTIONALS if not _blank(fields.get(name))}
    quantity = None if _blank(fields.get("quantity")) else read_decimal("quantity", fields["quantity"])
    if "ai_size_usd" in notionals:
        return notionals["ai_size_usd"], None
    if quantity is not None:
        return None, quantity
    return next(iter(notionals.values()), None), None


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
