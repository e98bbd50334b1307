"""Reads stream entries, in the shapes that producers use, into the arguments of `Intent`.

There are three envelopes: a JSON text in `payload` beside `event_type`, `timestamp` and `source`; a JSON text in
`data`; flat fields. Producers use different names for a field, and several names for a size (gate.values.stream_words).
Some times have no zone. A field that means a term of the order is understood, or an error that names it: what is put
aside can't change the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Final, TypedDict

from gate.values.errors import InvalidIntent, shown
from gate.values.fields import plain, read_decimal, read_time_ms
from gate.values.order_terms import CLOSING
from gate.values.stream_doubts import may_size, unit_said
from gate.values.stream_entry import Entry, digits, one_of, says_nothing, told, upper, yes_or_no
from gate.values.stream_envelope import blank, made_id, opened
from gate.values.stream_terms import (
    Terms,
    read_order_type,
    refuse_a_hidden_exit,
    refuse_unknown_terms,
    refuse_what_is_not_placed,
)

_DIRECTIONS: Final = {"BUY": "BUY", "LONG": "BUY", "SELL": "SELL", "SHORT": "SELL"}
_OF_A_QUANTITY: Final = ("quantity", "qty", "amount", "amt")
_AGREEING: Final = Decimal("0.01")
"""Two sizes agree when they differ by no more than this share: one of them was rounded to the lot size."""
_POSITION_SIDE: Final = one_of(("LONG", "SHORT", "BOTH"))


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
    close_position: bool
    position_side: str | None
    order_type: str
    time_in_force: str | None
    trigger_price: Decimal | None
    working_type: str | None
    aside: dict[str, object]
    notes: tuple[str, ...]


def intent_arguments(mapping: Mapping[str, object], *, received_ms: int | None = None) -> IntentArguments:
    """The arguments of `Intent` from one stream entry, in any of its shapes. Raises InvalidIntent."""
    entry = Entry(opened(mapping))
    refuse_what_is_not_placed(entry)
    name, symbol = entry.first("symbol")
    if not isinstance(symbol, str):
        raise InvalidIntent(name, symbol, "is missing" if symbol is None else "is not text", missing=symbol is None)
    for other, beside in entry.said("symbol")[1:]:  # the same letters in another case
        if beside != symbol:
            raise InvalidIntent(other, beside, f"contradicts {name} {shown(symbol)}")
    time_name, raw_time = entry.first("timestamp")
    if raw_time is None:
        if received_ms is None:
            raise InvalidIntent("timestamp", None, "is missing; without it the intent's age is unknown", missing=True)
        timestamp_ms = received_ms
    else:
        timestamp_ms = read_time_ms(time_name, raw_time, naive_is_utc=True)
    reduces = entry.agreed("reduce_only", yes_or_no)
    closes_position = entry.agreed("close_position", yes_or_no)
    if closes_position and reduces is False:
        raise InvalidIntent("close_position", True, "contradicts reduce_only False")
    side, closes, position_side = _direction(entry, reduces=bool(reduces), closes_position=bool(closes_position))
    if closes and reduces is False:
        raise InvalidIntent("reduce_only", False, "contradicts CLOSE, which only reduces")
    reduce_only = closes or bool(reduces)
    is_exit = reduce_only or (side, position_side) in CLOSING

    if not is_exit:
        refuse_a_hidden_exit(entry, side)

    order_type = entry.agreed("order_type", read_order_type)
    terms = Terms(entry, order_type, is_exit=is_exit)
    refuse_unknown_terms(entry, terms, is_exit=is_exit)
    if closes_position:
        entry.drop_zeros(
            "ai_size_usd", "notional", "quantity"
        )  # beside closePosition, the exchange takes no other size
    notional, quantity = _size(entry, terms, is_exit=is_exit, whole=bool(closes_position))
    _check_unit(entry, symbol, "base" if quantity is not None else "quote" if notional is not None else None)
    sized = notional is not None or quantity is not None
    return IntentArguments(
        id=_id(entry, symbol, raw_time),
        symbol=symbol,
        side=side,
        timestamp=timestamp_ms,
        notional=notional,
        quantity=quantity,
        price=terms.price if terms.order_type == "LIMIT" or quantity is not None else None,
        leverage=_leverage(entry, is_exit=is_exit),
        reduce_only=reduce_only,
        close_position=closes and not sized,
        position_side=position_side,
        order_type=terms.order_type,
        time_in_force=terms.time_in_force,
        trigger_price=terms.trigger_price,
        working_type=terms.working_type,
        aside=entry.aside,
        notes=tuple(entry.notes),
    )


def _id(entry: Entry, symbol: str, raw_time: object) -> str:
    name, value = entry.first("id")
    if value is not None:
        if isinstance(value, int) and not isinstance(value, bool):
            return digits(name, value)
        if not isinstance(value, str):
            raise InvalidIntent(name, value, "is not text")
        return value
    if raw_time is None:
        raise InvalidIntent("id", None, "is missing, and without a timestamp none can be made", missing=True)
    time = digits("timestamp", raw_time) if isinstance(raw_time, int) else str(raw_time)
    return made_id(symbol, time)


def _direction(entry: Entry, *, reduces: bool, closes_position: bool) -> tuple[str, bool, str | None]:
    """The order's side, whether it closes, and the position's side.

    CLOSE alone gives no direction. Without any, the side is CLOSE: the exchange knows which position is open.
    """
    said = [(name, raw, upper(raw, name)) for name, raw in entry.said("side")]
    position = entry.agreed("position_side", _POSITION_SIDE)
    closes = any(word == "CLOSE" for _, _, word in said)
    if not said and not closes_position:
        raise InvalidIntent("side", None, "is missing; give side or action", missing=True)
    sides: dict[str, tuple[str, object]] = {}
    for name, raw, word in said:
        if word == "CLOSE":
            continue
        if word not in _DIRECTIONS:
            raise InvalidIntent(name, raw, "is not one of BUY, SELL, LONG, SHORT, CLOSE")
        if (reduces or closes_position) and not closes and word in ("LONG", "SHORT"):
            raise InvalidIntent(name, raw, "is ambiguous beside reduce_only; give BUY or SELL, or action CLOSE")
        # With CLOSE, LONG and SHORT name the position to close. BUY and SELL still name the order's side.
        side = _closing(word) if closes and word in ("LONG", "SHORT") else _DIRECTIONS[word]
        sides.setdefault(side, (name, raw))
    if len(sides) > 1:
        (name, raw), (other, other_raw) = sides.values()
        raise InvalidIntent(name, raw, f"contradicts {other} {shown(other_raw)}")
    if sides:
        return next(iter(sides)), closes or closes_position, position
    return (_closing(position) if position in ("LONG", "SHORT") else "CLOSE"), True, position


def _closing(position: str) -> str:
    return "SELL" if position == "LONG" else "BUY"


def _size(entry: Entry, terms: Terms, *, is_exit: bool, whole: bool) -> tuple[Decimal | None, Decimal | None]:
    """Notional or quantity. `ai_size_usd` goes before other notionals; a quantity before those, since it is exact.

    `ai_size_usd` and a quantity must agree. An exit goes by its quantity then, since it must not be denied. `whole`:
    beside close_position, where a size of 0 is none.
    """
    ai = entry.agreed("ai_size_usd", read_decimal)
    notional = entry.agreed("notional", read_decimal)
    quantity = entry.agreed("quantity", read_decimal)
    sized, _ = entry.first("quantity")
    said, _ = entry.first("notional")
    asked, _ = entry.first("ai_size_usd")
    if ai is not None and quantity is not None:
        if is_exit:
            entry.notes.append(f"{sized} {plain(quantity)} goes before {asked} {plain(ai)}: an exit closes by quantity")
            return None, quantity
        _insist_on_agreement(sized, quantity, asked, ai, terms.trigger_price or terms.price)
        entry.notes.append(f"{asked} {plain(ai)} goes before {sized} {plain(quantity)}")
        return ai, None
    if ai is not None:
        if notional is not None and notional != ai:
            entry.notes.append(f"{asked} {plain(ai)} goes before {said} {plain(notional)}")
        return ai, None
    if quantity is not None:
        if notional is not None:
            entry.notes.append(f"{sized} {plain(quantity)} goes before {said} {plain(notional)}")
        return None, quantity
    if notional is None:
        for word, name, value in entry.doubtful():
            if may_size(word, value) and not blank(value) and not (whole and says_nothing(value)):
                raise InvalidIntent(name, value, "has no unit that is known; give quantity or notional")
    return notional, None


def _check_unit(entry: Entry, symbol: str, unit: str | None) -> None:
    """Raises InvalidIntent where a field names another unit for the size than the size's own name does."""
    for word, name, value in entry.doubtful() if unit is not None else ():
        said = unit_said(word, value, symbol)
        if said is None or said == unit:
            continue
        if said == "?" or unit == "base" or not word.startswith(_OF_A_QUANTITY):
            raise InvalidIntent(
                name, value, "names another unit for the size; give quantity (base) or notional (quote)"
            )


def _insist_on_agreement(sized: str, quantity: Decimal, asked: str, ai: Decimal, price: Decimal | None) -> None:
    if price is None:
        problem = f"stands beside {asked} {plain(ai)}, and no price says whether they agree"
        raise InvalidIntent(sized, plain(quantity), problem)
    comes_to = quantity * price
    if abs(comes_to - ai) > ai * _AGREEING:
        raise InvalidIntent(
            sized,
            plain(quantity),
            f"doesn't agree with {asked} {plain(ai)}: at {plain(price)} it comes to {plain(comes_to)}",
        )


def _leverage(entry: Entry, *, is_exit: bool) -> int | None:
    """An entry's leverage, rounded down. An exit needs none: what can't be read there is put aside."""
    (name, value), (other, beside) = entry.first("ai_leverage"), entry.first("leverage")
    if value is None:
        name, value = other, beside
    elif beside is not None and shown(beside) != shown(value):
        entry.notes.append(f"{name} {told(value)} goes before {other} {told(beside)}")
    if value is None:
        for word, name, value in () if is_exit else entry.doubtful():
            if "leverage" in word and not says_nothing(value):
                raise InvalidIntent(name, value, "is no name of the order's leverage; give leverage")
        return None
    try:
        figure = read_decimal(name, value)
        whole = int(figure.to_integral_value(ROUND_FLOOR))
        if whole < 1:
            raise InvalidIntent(name, value, "is below 1")
        if whole != figure:
            if is_exit:
                raise InvalidIntent(name, value, "is not a whole number")
            entry.notes.append(f"{name} {plain(figure)} is rounded down to {whole}")
    except InvalidIntent:
        if not is_exit:
            raise
        entry.aside[name] = value
        return None
    return whole
