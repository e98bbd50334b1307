"""What a field may mean for the order whose name is in no table. It is never guessed: in doubt it is an error.

All names are as `letters` has them.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from gate.values.stream_words import (
    FIGURES_OR_OTHER,
    KEPT,
    LETTERS_OF,
    MOST_NAMES,
    ORDER_TERMS,
    ORDER_TYPE_WORDS,
    REFUSED,
    TERMS,
    UNITLESS_SIZES,
    letters,
    names_an_order_type,
    order_type_letters,
)

_ONLY_OF_EXITS: Final = ("reduceonly", "closeposition")
"""No name that holds one of these means something else, such as `order.reduceOnly`."""

# Whether the order closes, or a candle is closed? Only a name that consists of such words may say the first.
_AROUND: Final = (
    "(is|to|be|it|only|order|ord|position|pos|trade|now|on|trigger|all|fully|full|flag|buy|sell|long|short|and|side)*"
)
_CLOSES: Final = "(reduce|reducing|decrease|decreasing|close|closing|exit|exiting|flatten|flat|unwind|cover|liquidate)"
_MAY_CLOSE: Final = re.compile(f"{_AROUND}{_CLOSES}{_AROUND}|ro")

_SHARE_OF: Final = "(of|to|close|exit|reduce|position|pos|size|qty|quantity|amount)*"
_SHARE: Final = re.compile(
    f"{_SHARE_OF}(pct|percent|percentage|fraction|ratio|share|portion|half|quarter|third|partial|partially){_SHARE_OF}"
)
_SHARE_OF_AN_EXIT: Final = re.compile(
    "(?=.*(close|exit|reduce|sell|partial)).*(pct|percent|fraction|ratio|share|portion|half)"
)

_UNITLESS: Final = frozenset(map(letters, UNITLESS_SIZES))
_CURRENCY: Final = "usd|usdt|usdc|base|quote|coin|asset"
_SIZE: Final = re.compile(
    f"({_CURRENCY}|order|ord|exit|close|reduce|sell|buy|position|pos|contract|trade|ai)*"
    f"(qty|quantity|amount|amt|size|sz|notional|lots|contracts|units|usd|usdt|usdc|half)({_CURRENCY}|in|of)*"
)

_TYPE_OF_ORDER: Final = re.compile(
    "(entry|order|ord|exec|execution)*(type|kind|style|mode|method|instruction|order|exec|execution|algo)"
)
_LASTS: Final = frozenset({"fok", "gtx", "gtd", "postonly", "fillorkill"})
_LASTS_SHORT: Final = frozenset({"ioc", "immediateorcancel"})

_SPELLED: Final = {letters(word): word for term in (*TERMS, *REFUSED) for word in term.words}
_LONG_ENOUGH: Final = 6
_SIZES: Final = frozenset(word for term in ("quantity", "notional", "ai_size_usd") for word in LETTERS_OF[term])
_PRICES: Final = frozenset(word for term in ("price", "trigger_price") for word in LETTERS_OF[term])
_TYPES: Final = frozenset(LETTERS_OF["order_type"])


def only_of_exits(word: str) -> bool:
    """Whether a name means nothing but an exit, though it isn't known."""
    return any(each in word for each in _ONLY_OF_EXITS)


@lru_cache(MOST_NAMES)
def may_say_exit(word: str) -> bool:
    """Whether a flag of this name may say that the order closes: `only_reduce`, `exit_position`, `closeOnTrigger`."""
    return len(word) <= KEPT and _MAY_CLOSE.fullmatch(word) is not None


def names_another_type(word: str, value: object) -> bool:
    """Whether a field such as `execution_type`, or one slip from `order_type`, asks for another order than MARKET."""
    return (
        isinstance(value, str)
        and _may_name_a_type(word)
        and names_an_order_type(value)
        and ORDER_TYPE_WORDS.get(order_type_letters(value)) != "MARKET"
    )


@lru_cache(MOST_NAMES)
def _may_name_a_type(word: str) -> bool:
    return len(word) <= KEPT and (_TYPE_OF_ORDER.fullmatch(word) is not None or one_slip_from(word, _TYPES) is not None)


def names_a_duration(value: object, order_type: str) -> bool:
    """Whether a field, by its value, says for how long a LIMIT order waits: `FOK`, whatever the field is called.
    IOC changes nothing in an order that never waits."""
    if not isinstance(value, str):
        return False
    said = letters(value) if len(value) <= KEPT else ""
    return said in _LASTS or (order_type == "LIMIT" and said in _LASTS_SHORT)


@lru_cache(MOST_NAMES)
def _names_a_size(word: str) -> bool:
    return len(word) <= KEPT and _SIZE.fullmatch(word) is not None


def may_size(word: str, value: object) -> bool:
    """Whether a field may give the size, in a unit that isn't known, or is a share of the position."""
    if word in _UNITLESS or says_share(word):
        return True
    return (_names_a_size(word) or slip_of_a_size(word)) and _is_figure(value)


def slip_of_a_size(word: str) -> bool:
    """Whether a name is one slip from a size's."""
    return one_slip_from(word, _SIZES) is not None


def slip_of_a_price(word: str) -> str | None:
    """The limit or trigger price from which a name differs by one slip."""
    return one_slip_from(word, _PRICES)


def one_slip_from(word: str, names: frozenset[str] = ORDER_TERMS) -> str | None:
    """A name of a term of the order from which these letters differ by one slip: a letter too many, too few, another
    one, or two in the wrong order. Short names are left out: too much is like them."""
    return _one_slip_from(word, names) if len(word) <= KEPT else None


@lru_cache(MOST_NAMES)
def _one_slip_from(word: str, names: frozenset[str]) -> str | None:
    for name in names:
        if len(name) >= _LONG_ENOUGH and name not in FIGURES_OR_OTHER and word != name and _one_slip(word, name):
            return _SPELLED[name]
    return None


def _one_slip(word: str, name: str) -> bool:
    if abs(len(word) - len(name)) > 1:
        return False
    start = next((at for at, (one, other) in enumerate(zip(word, name, strict=False)) if one != other), len(word))
    one, other = word[start:], name[start:]
    swapped = one[:2] == other[1::-1] and one[2:] == other[2:]
    return swapped or one[1:] == other or one == other[1:] or one[1:] == other[1:]


def says_share(word: str) -> bool:
    """Whether these letters name a share of the position: `pct`, `close_pct`, `reduce_by_percent`, `close_half`."""
    return _SHARE.fullmatch(word) is not None or _SHARE_OF_AN_EXIT.search(word) is not None


def _is_figure(value: object) -> bool:
    """Whether a value is a number, 0 too."""
    try:
        return not isinstance(value, bool) and isinstance(value, str | int | float | Decimal) and Decimal(value) >= 0
    except (InvalidOperation, ValueError):
        return False
