"""Reads stream entries, in the shapes that producers use, into the arguments of `Intent`.

There are three envelopes: a JSON text in `payload` beside `event_type`, `timestamp` and `source`; a JSON text in
`data`; flat fields. Producers use different names for a field, and several names for a size (gate.values.stream_words).
Some times have no zone. A field that means a term of the order is understood, or an error that names it: what is put
aside can't change the order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from operator import itemgetter
from typing import Any, Final, TypedDict, TypeVar

from gate.values.errors import InvalidIntent, cut, shown
from gate.values.fields import plain, read_decimal, read_time_ms
from gate.values.order_terms import CLOSING, ORDER_TYPES, TIMES_IN_FORCE, WORKING_TYPES
from gate.values.stream_words import (
    FIGURES_OR_OTHER,
    FLAGS_OR_OTHER,
    LETTERS_OF,
    LIMIT_MAKER,
    MAY_SAY_EXIT,
    NESTS,
    ONLY_OF_EXITS,
    ORDER_TERMS,
    ORDER_TYPE_WORDS,
    REFUSED_TERMS,
    SAY_WHAT_FOR,
    TERMS_OF,
    UNITLESS_SIZES,
    Term,
    letters,
    names_an_order_type,
    one_slip_from,
    order_type_letters,
    says_exit,
    says_share,
)

_Value = TypeVar("_Value")

_UNITLESS: Final = frozenset(map(letters, UNITLESS_SIZES))
_OPENS: Final = frozenset({"isentry", "isopening"})
_LIKE_A_NUMBER: Final = re.compile(r"[^\w]*\d")
_TWICE: Final = "stands there twice; which one is meant?"
_LONGEST_PROBLEM: Final = 200
_PLAIN: Final = (str, float, Decimal)
"""Of these a text can be had, whatever they hold."""
_YES: Final = frozenset({"true", "1", "yes"})
_NO: Final = frozenset({"false", "0", "no"})
_NOTHING: Final = frozenset({"none", "null", "nan", "false", "no"})
_DIRECTIONS: Final = {"BUY": "BUY", "LONG": "BUY", "SELL": "SELL", "SHORT": "SELL"}
_CONDITIONAL: Final = ("STOP_MARKET", "TAKE_PROFIT_MARKET")
_MARKET_LASTS: Final = ("GTC", "IOC")
"""What the exchange itself writes beside an order that never waits in the book."""
_AGREEING: Final = Decimal("0.01")
"""Two sizes agree when they differ by no more than this share: one of them was rounded to the lot size."""

_NOT_JSON: Final = (ValueError, ArithmeticError, RecursionError)


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


class _Entry:
    """One entry's fields by the words for them, and what reading them has decided."""

    def __init__(self, fields: Mapping[Any, Any]) -> None:
        self.aside: dict[str, object] = {}
        self.notes: list[str] = []
        self._by_term: dict[str, list[tuple[int, str, Any]]] = {}
        for name, value in fields.items():
            terms = _means(name, value)
            if not terms:
                self.aside[name] = value
            elif not _blank(value):
                for term, place in terms:
                    self._by_term.setdefault(term, []).append((place, name, value))

    def said(self, term: str) -> list[tuple[str, Any]]:
        """The fields of a term that say something, in the order of its words."""
        found = self._by_term.get(term)
        if found is None:
            return []
        if len(found) > 1:
            found = sorted(found, key=itemgetter(0))
        return [(name, value) for _, name, value in found]

    def refused(self) -> Iterator[Term]:
        """The terms of orders that the gate doesn't place, as far as there are fields of them."""
        return (REFUSED_TERMS[term] for term in self._by_term if term in REFUSED_TERMS)

    def first(self, term: str) -> tuple[str, Any]:
        """The first of them; None where none is there."""
        said = self.said(term)
        return said[0] if said else (term, None)

    def drop_zeros(self, *terms: str) -> None:
        """Leaves out fields that say nothing, such as 0."""
        for term in terms:
            rows = [row for row in self._by_term.get(term, ()) if not _says_nothing(row[2])]
            if rows:
                self._by_term[term] = rows
            else:
                self._by_term.pop(term, None)

    def agreed(self, term: str, read: Callable[[str, object], _Value]) -> _Value | None:
        """The value of a term. Two fields with different values are an error."""
        said = self.said(term)
        if not said:
            return None
        first, first_raw = said[0]
        value = read(first, first_raw)
        for name, raw in said[1:]:
            if read(name, raw) != value:
                raise InvalidIntent(name, raw, f"contradicts {first} {shown(first_raw)}")
        return value


def intent_arguments(mapping: Mapping[str, object], *, received_ms: int | None = None) -> IntentArguments:
    """The arguments of `Intent` from one stream entry, in any of its shapes. Raises InvalidIntent."""
    entry = _Entry(opened(mapping))
    _refuse_what_is_not_placed(entry)
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
    reduces = entry.agreed("reduce_only", _yes_or_no)
    closes_position = entry.agreed("close_position", _yes_or_no)
    if closes_position and reduces is False:
        raise InvalidIntent("close_position", True, "contradicts reduce_only False")
    side, closes, position_side = _direction(entry, reduces=bool(reduces), closes_position=bool(closes_position))
    if closes and reduces is False:
        raise InvalidIntent("reduce_only", False, "contradicts CLOSE, which only reduces")
    reduce_only = closes or bool(reduces)
    is_exit = reduce_only or (side, position_side) in CLOSING

    if not is_exit:
        _refuse_a_hidden_exit(entry)

    order_type = entry.agreed("order_type", _order_type)
    terms = _Terms(entry, order_type, is_exit=is_exit)
    if closes_position:
        entry.drop_zeros(
            "ai_size_usd", "notional", "quantity"
        )  # beside closePosition, the exchange takes no other size
    notional, quantity = _size(entry, terms, is_exit=is_exit)
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


def opened(mapping: Mapping[Any, object]) -> dict[Any, Any]:
    """A stream entry's fields out of their envelope, as texts. Raises InvalidIntent."""
    return _open_envelope(_as_texts(mapping))


def visible_id(mapping: Mapping[Any, object]) -> object:
    """What stands where an entry's id should; None where nothing does. Never raises."""
    said = {letters(name): value for name, value in mapping.items() if isinstance(name, str)}
    return next((value for word in LETTERS_OF["id"] if isinstance(value := said.get(word), str) and value), None)


def _means(name: object, value: object) -> tuple[tuple[str, int], ...]:
    """The terms that a field is for, each with the name's place there. Empty where it is used for something else."""
    if not isinstance(name, str):
        return ()
    word = letters(name)
    if word == "type" and not names_an_order_type(value):
        return ()
    if (word in FLAGS_OR_OTHER and not _is_flag(value)) or (word in FIGURES_OR_OTHER and not _is_figure(value)):
        return ()
    return TERMS_OF.get(word, ())


def _is_flag(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in (_YES | _NO) - {"1", "0"})


def _is(value: object, words: frozenset[str]) -> bool:
    if isinstance(value, Decimal) and not value.is_finite():
        return False  # a signalling NaN can't be compared
    if isinstance(value, int | float | Decimal):
        return value in (0, 1) and str(int(value)) in words
    return isinstance(value, str) and value.strip().lower() in words


def _is_figure(value: object) -> bool:
    """Whether a value is a number, or begins like one: `1,400`, `< 60000`."""
    if isinstance(value, str) and _LIKE_A_NUMBER.match(value):
        return True
    try:
        return not isinstance(value, bool) and isinstance(value, str | int | float | Decimal) and bool(Decimal(value))
    except (InvalidOperation, ValueError):
        return False


def _refuse_what_is_not_placed(entry: _Entry) -> None:
    for term in entry.refused():
        for name, value in entry.said(term.name):
            if not _says_nothing(value):
                raise InvalidIntent(name, value, f"asks for {term.says}, which the gate doesn't place")
    for name, value in entry.aside.items():
        if not isinstance(name, str) or _blank(value):
            continue
        word = letters(name)
        if word in NESTS and (inside := _terms_inside(value)):
            raise InvalidIntent(name, value, f"holds {', '.join(inside)}; put terms of the order beside symbol")


def _terms_inside(value: object) -> list[str]:
    """The terms of an order in an object, or in the JSON text of one."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = read_json(value)
        except InvalidIntent:
            raise
        except _NOT_JSON:
            return []
    if not isinstance(value, Mapping):
        return []
    return [each for each in value if isinstance(each, str) and letters(each) in ORDER_TERMS]


def _is_one(value: object) -> bool:
    return value == 1 if isinstance(value, int) else isinstance(value, _PLAIN) and str(value).strip() == "1"


def _refuse_a_hidden_exit(entry: _Entry) -> None:
    """Nothing that is understood says exit. Whatever else may say it is an error: the order would open a position."""
    for name, value in entry.aside.items():
        word = letters(name) if isinstance(name, str) else ""
        if word in SAY_WHAT_FOR and says_exit(value):
            problem = "says exit, and nothing else does"
        elif (word in MAY_SAY_EXIT and _is(value, _YES)) or (word in _OPENS and _is(value, _NO)):
            problem = "may say that the order closes"
        elif word in FLAGS_OR_OTHER and _is_one(value):
            problem = "may be a flag or a figure"
        elif not _says_nothing(value) and any(each in word for each in ONLY_OF_EXITS):
            problem = "isn't a name that is known"
        elif (meant := one_slip_from(word)) and not _says_nothing(value):
            raise InvalidIntent(name, value, f"is one slip from {meant}; write that, or give the field another name")
        else:
            continue
        raise InvalidIntent(name, value, f"{problem}; give reduce_only or action CLOSE for an exit")


class _Terms:
    """Type, prices and duration of the order. What its type doesn't take is an error, unless it changes nothing."""

    def __init__(self, entry: _Entry, said_type: str | None, *, is_exit: bool) -> None:
        self._entry: Final = entry
        self.order_type: Final = said_type or "MARKET"
        limit, conditional = self.order_type == "LIMIT", self.order_type in _CONDITIONAL
        self.price: Final = self._limit() if limit else self._expected(is_exit)
        self.time_in_force: str | None = None
        if limit:
            self.time_in_force = self._duration()
        else:
            self._check_duration(said_type)
        self.trigger_price: Decimal | None = None
        self.working_type: str | None = None
        if conditional:
            self.trigger_price = entry.agreed("trigger_price", read_decimal)
            self.working_type = entry.agreed("working_type", _WORKING_TYPE)
        else:
            self._leave_out("trigger_price", entry.said("trigger_price"), _CONDITIONAL)
            for name, value in entry.said("working_type"):
                entry.notes.append(f"{name} {_told(value)} changes nothing in a {self.order_type} order")

    def _limit(self) -> Decimal:
        limit = self._entry.agreed("price", read_decimal)
        if limit is None:
            raise InvalidIntent("price", None, "is missing; a LIMIT order needs price or limit_price", missing=True)
        for name, value in self._entry.said("expected price"):
            if letters(name) != "price":
                self._entry.aside[name] = value
        return limit

    def _expected(self, is_exit: bool) -> Decimal | None:
        limits = [each for each in self._entry.said("price") if letters(each[0]) != "price"]
        self._leave_out("price", limits, ("LIMIT",))
        name, value = self._entry.first("expected price")
        if value is None or not self._entry.said("quantity"):
            return None  # nothing is sized or valued by it
        if not is_exit:
            return read_decimal(name, value)
        with suppress(InvalidIntent):  # an exit needs no margin, so it doesn't need this either
            return read_decimal(name, value)
        return None

    def _duration(self) -> str | None:
        post_only = any(
            order_type_letters(value) == LIMIT_MAKER
            for _, value in self._entry.said("order_type")
            if isinstance(value, str)
        )
        said = self._entry.agreed("time_in_force", _TIME_IN_FORCE)
        if post_only and said not in (None, "GTX"):
            name, value = self._entry.first("time_in_force")
            raise InvalidIntent(name, value, "contradicts LIMIT_MAKER, which is LIMIT with GTX")
        return "GTX" if post_only else said

    def _check_duration(self, said_type: str | None) -> None:
        guessed = said_type is None and bool(self._entry.said("price"))
        for name, value in self._entry.said("time_in_force"):
            if guessed:
                raise InvalidIntent(name, value, "beside a price means a LIMIT order; say which with order_type")
            if not _says_nothing(value) and _upper(value, name) not in _MARKET_LASTS:
                self._leave_out("time_in_force", [(name, value)], ("LIMIT",))

    def _leave_out(self, term: str, fields: list[tuple[str, Any]], takers: tuple[str, ...]) -> None:
        """Refuses a term that the order's type doesn't take: its producer means another type."""
        for name, value in fields:
            if not _says_nothing(value):
                raise InvalidIntent(
                    name,
                    value,
                    f"is for {' and '.join(takers)} orders; leave it out, or give order_type, which is "
                    f"{self.order_type} here",
                )


def _text(value: Any) -> Any:
    """The text of a value. Redis clients give bytes by default."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidIntent("entry", value, "is not UTF-8 text") from None


def _as_texts(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    entry: dict[Any, Any] = {}
    for key, value in mapping.items():
        name = _text(key)
        if name in entry:  # as text and as bytes
            raise InvalidIntent(str(name), _text(value), _TWICE)
        entry[name] = _text(value)
    return entry


def read_json(text: str, constant: Callable[[str], object] | None = None) -> Any:
    """A JSON text. Raises InvalidIntent for a field that stands twice in one object: nobody can tell which is meant.
    Raises ValueError, ArithmeticError, RecursionError for what can't be read. `constant` reads NaN and Infinity, which
    are no JSON."""
    return json.loads(text, parse_float=Decimal, parse_constant=constant or _refuse_constant, object_pairs_hook=_object)


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        seen = set[str]()
        for name, value in fields:
            if name in seen:
                raise InvalidIntent(name, value, _TWICE)
            seen.add(name)
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no figure")


def _open_envelope(entry: dict[Any, Any]) -> dict[Any, Any]:
    for name in ("payload", "data"):
        content = entry.get(name)
        if content is None or any(_plain(each) == "symbol" for each in entry):
            continue
        if isinstance(content, str):
            try:
                content = read_json(content)
            except InvalidIntent:
                raise
            except _NOT_JSON as error:
                raise InvalidIntent(name, content, f"is not JSON ({cut(str(error), _LONGEST_PROBLEM)})") from None
        if not isinstance(content, dict):
            raise InvalidIntent(name, content, "is not a JSON object")
        inside = {_plain(key) for key, value in content.items() if not _blank(value)}
        around = {key: value for key, value in entry.items() if key != name and _plain(key) not in inside}
        return {**content, **around}  # of the same field, a blank one inside gives way to the one outside
    return entry


def _plain(name: object) -> object:
    return letters(name) if isinstance(name, str) else name


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _says_nothing(value: object) -> bool:
    """Whether a value is a way of writing that there is none: blank, zero, false, NONE."""
    if _blank(value) or value is False:
        return True
    if isinstance(value, str) and value.strip().lower() in _NOTHING:
        return True
    if isinstance(value, float) and value != value:
        return True
    try:
        return not isinstance(value, bool) and isinstance(value, str | int | float | Decimal) and Decimal(value) == 0
    except (InvalidOperation, ValueError):
        return False


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, object], str]:
    by_letters = {letters(word): word for word in allowed}

    def read(name: str, value: object) -> str:
        word = by_letters.get(letters(_upper(value, name)))
        if word is None:
            raise InvalidIntent(name, value, f"is not one of {', '.join(allowed)}")
        return word

    return read


_POSITION_SIDE: Final = _one_of(("LONG", "SHORT", "BOTH"))
_TIME_IN_FORCE: Final = _one_of(TIMES_IN_FORCE)
_WORKING_TYPE: Final = _one_of(WORKING_TYPES)


def _order_type(name: str, value: object) -> str:
    word = ORDER_TYPE_WORDS.get(order_type_letters(_upper(value, name)))
    if word is None:
        raise InvalidIntent(name, value, f"is not one of {', '.join(ORDER_TYPES)}")
    return word


def _id(entry: _Entry, symbol: str, raw_time: object) -> str:
    name, value = entry.first("id")
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


def _direction(entry: _Entry, *, reduces: bool, closes_position: bool) -> tuple[str, bool, str | None]:
    """The order's side, whether it closes, and the position's side.

    CLOSE alone gives no direction. Without any, the side is CLOSE: the exchange knows which position is open.
    """
    said = [(name, raw, _upper(raw, name)) for name, raw in entry.said("side")]
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


def _upper(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidIntent(name, value, "is not text")
    return value.strip().upper()


def _yes_or_no(name: str, value: object) -> bool:
    text = _digits(name, value) if isinstance(value, int) else str(value) if isinstance(value, _PLAIN) else ""
    text = text.strip().lower()
    if text not in _YES | _NO:
        raise InvalidIntent(name, value, "is not true or false")
    return text in _YES


def _size(entry: _Entry, terms: _Terms, *, is_exit: bool) -> tuple[Decimal | None, Decimal | None]:
    """Notional or quantity. `ai_size_usd` goes before other notionals; a quantity before those, since it is exact.

    `ai_size_usd` and a quantity must agree. An exit goes by its quantity then, since it must not be denied.
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
        for name, value in entry.aside.items():
            word = letters(name) if isinstance(name, str) else ""
            if (word in _UNITLESS or says_share(word)) and not _blank(value):
                raise InvalidIntent(name, value, "has no unit that is known; give quantity or notional")
    return notional, None


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


def _told(value: object) -> str:
    """A value as a note tells it, without the quotes of an error."""
    said = shown(value)
    return " ".join(str(value)[:200].split())[:40] or said if isinstance(value, _PLAIN) else said


def _leverage(entry: _Entry, *, is_exit: bool) -> int | None:
    """An entry's leverage, rounded down. An exit needs none: what can't be read there is put aside."""
    (name, value), (other, beside) = entry.first("ai_leverage"), entry.first("leverage")
    if value is None:
        name, value = other, beside
    elif beside is not None and shown(beside) != shown(value):
        entry.notes.append(f"{name} {_told(value)} goes before {other} {_told(beside)}")
    if value is None:
        for name, value in () if is_exit else entry.aside.items():
            if isinstance(name, str) and "leverage" in letters(name) and not _says_nothing(value):
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
