"""The order's terms in a stream entry: type, prices, duration. What asks for another order is an error. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

from gate.values.errors import InvalidIntent
from gate.values.fields import read_decimal
from gate.values.order_terms import ORDER_TYPES, TIMES_IN_FORCE, WORKING_TYPES
from gate.values.stream_doubts import (
    another_duration,
    asks_for_no_order,
    may_say_exit,
    names_another_type,
    one_slip_from,
    prices_another_order,
    senses,
    slip_of_a_price,
    waits_in_the_book,
)
from gate.values.stream_entry import (
    NO,
    YES,
    Entry,
    is_one,
    is_word,
    one_of,
    says_nothing,
    told,
    upper,
)
from gate.values.stream_envelope import NOT_JSON, blank, read_json
from gate.values.stream_words import (
    EITHER_PRICE,
    FLAGS_OR_OTHER,
    LIMIT_MAKER,
    NESTS,
    ONLY_OF_EXITS,
    ORDER_TERMS,
    ORDER_TYPE_WORDS,
    SAY_WHAT_FOR,
    SAY_WHERE_TO,
    SIDE_FLAGS,
    letters,
    order_type_letters,
    says_exit,
)

_OPENS: Final = frozenset({"isentry", "isopening"})
_FLAT: Final = frozenset({"flat"})
"""Of `position`: what the account had before the entry."""
_AGAINST: Final = {"BUY": ("SELL", "SHORT"), "SELL": ("BUY", "LONG")}
_CONDITIONAL: Final = ("STOP_MARKET", "TAKE_PROFIT_MARKET")
_SAYS_THE_SAME: Final = {"post_only": "gtx", "fill_or_kill": "fok"}
"""Beside that time in force, such a flag says nothing new."""
_MARKET_LASTS: Final = ("GTC", "IOC")
"""What the exchange itself writes beside an order that never waits in the book."""


class Terms:
    """Type, prices and duration of the order. What its type doesn't take is an error, unless it changes nothing."""

    def __init__(self, entry: Entry, said_type: str | None, *, is_exit: bool) -> None:
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
            self._leave_out(entry.said("trigger_price"), _CONDITIONAL)
            for name, value in entry.said("working_type"):
                entry.notes.append(f"{name} {told(value)} changes nothing in a {self.order_type} order")

    def _limit(self) -> Decimal:
        limit = self._entry.agreed("price", read_decimal)
        if limit is None:
            raise InvalidIntent("price", None, "is missing; a LIMIT order needs price or limit_price", missing=True)
        for name, value in self._entry.said("expected price"):
            if letters(name) not in EITHER_PRICE:
                self._entry.aside[name] = value
        return limit

    def _expected(self, is_exit: bool) -> Decimal | None:
        limits = [each for each in self._entry.said("price") if letters(each[0]) not in EITHER_PRICE]
        self._leave_out(limits, ("LIMIT",))
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
            if not says_nothing(value) and upper(value, name) not in _MARKET_LASTS:
                self._leave_out([(name, value)], ("LIMIT",))

    def _leave_out(self, fields: list[tuple[str, Any]], takers: tuple[str, ...]) -> None:
        """Refuses a term that the order's type doesn't take: its producer means another type."""
        for name, value in fields:
            if not says_nothing(value):
                raise InvalidIntent(
                    name,
                    value,
                    f"is for {' and '.join(takers)} orders; leave it out, or give order_type, which is "
                    f"{self.order_type} here",
                )


def refuse_what_is_not_placed(entry: Entry) -> None:
    """Raises InvalidIntent for a field that asks for an order which the gate doesn't place."""
    lasts = {letters(value) for _, value in entry.said("time_in_force") if isinstance(value, str)}
    types = (value for _, value in entry.said("order_type") if isinstance(value, str))
    if any(order_type_letters(each) == LIMIT_MAKER for each in types):
        lasts.add("gtx")
    for term in entry.refused():
        for name, value in entry.said(term.name):
            if not says_nothing(value) and lasts != {_SAYS_THE_SAME.get(term.name)}:
                raise InvalidIntent(name, value, f"asks for {term.says}, which the gate doesn't place")
    for word, name, value in entry.doubtful():
        if word in NESTS and not blank(value) and (inside := _terms_inside(value)):
            raise InvalidIntent(name, value, f"holds {', '.join(inside)}; put terms of the order beside symbol")


def _terms_inside(value: object) -> list[str]:
    """The terms of an order in an object, or in the JSON text of one."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            value = read_json(value)
        except InvalidIntent:
            raise
        except NOT_JSON:
            return []
    if isinstance(value, list | tuple):
        return [term for each in value if isinstance(each, Mapping) for term in _terms_inside(each)]
    if not isinstance(value, Mapping):
        return []
    return [each for each in value if isinstance(each, str) and letters(each) in ORDER_TERMS]


def refuse_a_hidden_exit(entry: Entry, side: str) -> None:
    """Nothing that is understood says exit. Whatever else may say it is an error: the order would open a position."""
    for word, name, value in entry.doubtful():
        if word in SAY_WHAT_FOR and says_exit(value) and not (word == "position" and is_word(value, _FLAT)):
            problem = "says exit, and nothing else does"
        elif word in FLAGS_OR_OTHER and is_one(value):
            problem = "may be a flag or a figure"
        elif may_say_exit(word, value) or (word in _OPENS and is_word(value, NO)):
            problem = "may say that the order closes"
        elif _contradicts(side, word, value):
            raise InvalidIntent(name, value, f"contradicts the order's side, {side}")
        elif any(each in word for each in ONLY_OF_EXITS) and not says_nothing(value):
            problem = "isn't a name that is known"
        elif (meant := one_slip_from(word)) and not says_nothing(value):
            raise InvalidIntent(name, value, f"is one slip from {meant}; write that, or give the field another name")
        else:
            continue
        raise InvalidIntent(name, value, f"{problem}; give reduce_only or action CLOSE for an exit")


def _contradicts(side: str, word: str, value: object) -> bool:
    """Whether a field says the other side than the order has."""
    if word in SAY_WHERE_TO:
        return isinstance(value, str) and value.strip().upper() in _AGAINST[side]
    flag = SIDE_FLAGS.get(word)
    return flag is not None and is_word(value, NO if flag == side else YES)


def refuse_unknown_terms(entry: Entry, terms: Terms, *, is_exit: bool) -> None:
    """Raises InvalidIntent for a field under an unknown name that asks for another order. Of an exit, too: what went at
    market can't be taken back. What an exit doesn't need is no such field."""
    order_type, lasts = terms.order_type, terms.time_in_force
    for word, name, value in entry.doubtful():
        if not senses(word):
            continue
        if names_another_type(word, value, order_type, is_exit=is_exit):
            raise InvalidIntent(name, value, f"names another type than {order_type}; write it in order_type")
        if another_duration(word, value, order_type, lasts):
            raise InvalidIntent(name, value, "is how long a LIMIT order waits; write it in time_in_force")
        if waits_in_the_book(word, value, order_type, lasts) or prices_another_order(
            word, value, order_type, is_exit=is_exit
        ):
            raise InvalidIntent(name, value, "is of another order; say which with order_type and what belongs to it")
        if meant := slip_of_a_price(word, value):
            raise InvalidIntent(name, value, f"is one slip from {meant}; write that, or give the field another name")
        if asks_for_no_order(word, value):
            raise InvalidIntent(name, value, "says that no order is to be placed; leave the intent out, or the field")


_TIME_IN_FORCE: Final = one_of(TIMES_IN_FORCE)


_WORKING_TYPE: Final = one_of(WORKING_TYPES)


def read_order_type(name: str, value: object) -> str:
    """One of ORDER_TYPES, from any spelling of it. Raises InvalidIntent."""
    word = ORDER_TYPE_WORDS.get(order_type_letters(upper(value, name)))
    if word is None:
        raise InvalidIntent(name, value, f"is not one of {', '.join(ORDER_TYPES)}")
    return word
