"""What a field may mean for the order whose name is in no table. It is never guessed: in doubt it is an error.

All names are as `letters` has them: without case, hyphens, underscores, dots and spaces.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import Final

from gate.values.stream_entry import YES, is_word, says_nothing
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
    "(is|to|be|it|only|order|ord|position|pos|trade|trigger|all|fully|full|flag|buy|sell|long|short|and|side"
    "|force|emergency|should|must|existing|current|open|market|flash|signal|now)*"
)
_CLOSES: Final = (
    "(reduce|reducing|reduction|decrease|decreasing|close|closing|exit|exiting|flatten|unwind|cover|liquidate)"
)
_MAY_CLOSE: Final = re.compile(f"{_AROUND}{_CLOSES}{_AROUND}|closeontrigger|goflat|squareoff|ro")
_LOUD: Final = YES | {"on", "y", "t", "1.0"}

_SHARE_OF: Final = "(of|to|close|exit|reduce|position|pos|size|qty|quantity|amount)*"
_SHARE: Final = re.compile(
    f"{_SHARE_OF}(pct|percent|percents|perc|percentage|fraction|ratio|share|portion){_SHARE_OF}"
    "|(scaleout|trim|keep|reduction)(pct|percent|percentage)"
)
_SHARE_OF_AN_EXIT: Final = re.compile("(?=.*((?<!dis)close|exit|reduce|partial)).*(pct|percent|fraction|portion|half)")
_PART: Final = re.compile("(is)?(close|exit|reduce)?(half|quarter|third|partial|partially)(close|exit|position|size)?")
_WHOLE: Final = re.compile("(is)?((full|fully|all)(close|exit|position)|(close|exit)(all|full|fully))")
_HOW_FAR: Final = re.compile("(close|exit|reduce)(type|kind|mode)")
_PART_WORDS: Final = frozenset({"partial", "partially", "half", "quarter", "third"})

_UNITLESS: Final = frozenset(map(letters, UNITLESS_SIZES))
_CURRENCY: Final = "usd|usdt|usdc|base|quote|coin|asset|cash"
_OF_SIZE: Final = f"({_CURRENCY}|order|ord|exit|close|closing|reduce|sell|buy|ai|num|stake|tp|sl)*"
_SIZE: Final = re.compile(
    f"{_OF_SIZE}(qty|quantity|amount|amt|size|sz|notional|lots|contracts|units|usd|usdt|usdc|funds)"
    f"({_CURRENCY}|value|in|of|to|close|exit|reduce)*"
    "|(exit|close|closing|reduce)volume|lot|reduce(by|to)|remaining(size|qty|quantity)?"
)
_SIZE_OF_AN_EXIT: Final = re.compile("(close|exit)(qty|quantity|size|amount|amt)")
_UNIT: Final = re.compile("(quantity|qty|size|sz|amount|amt|tgt)(type|unit|units|ccy)|unit|marketunit|orderunit")
_IN_BASE: Final = frozenset(
    {"base", "baseccy", "basecoin", "baseasset", "basecurrency", "coin", "coins", "asset", "contract", "contracts"}
    | {"quantity", "qty", "fixed", "fixedquantity", "unit", "units", "lot", "lots"}
)
_IN_QUOTE: Final = frozenset(
    {"quote", "quoteccy", "quotecoin", "quoteasset", "quotecurrency", "notional", "cash", "dollaramount", "dollar"}
    | {"usd", "usdt", "usdc", "dollars", "value"}
)
_SAYS_QUOTE: Final = frozenset({"isquote", "inquote", "inusd", "inusdt", "sizeinusd", "quoteorder", "isnotional"})

_TYPE_OF_ORDER: Final = re.compile(
    "(exit|open)?(order|ord|exec|execution)+(price)?(type|kind|style|mode|method|instruction|class|algo)?"
    "|otype|typeoforder|origtype"
)
_TYPE_OF_ENTRY: Final = re.compile("entry(order|ord|exec|execution)*(type|kind|style|mode|method)")
_HARD_TYPE: Final = ("limit", "market", "lmt", "mkt")
"""What is in every word for a type that says no more: `take_profit` on an exit may say why it is sent."""
_MAY_REST: Final = frozenset(
    {"islimit", "uselimit", "limitorder", "ismaker", "maker", "postonlyorder", "rejectpostonly", "hidden", "ishidden"}
)
_DURATION: Final = re.compile(
    "(order|ord|exec|execution|limit)*"
    "(tif|timeinforce|force|duration|validity|lifetime|instructions?|inst|o?flags?)(name|type|word|s)?"
)
_LASTS: Final = {
    "fok": "FOK",
    "fillorkill": "FOK",
    "gtd": "GTD",
    "ioc": "IOC",
    "immediateorcancel": "IOC",
    **dict.fromkeys(("gtx", "postonly", "post", "po", "alo", "participatedonotinitiate"), "GTX"),
}
_PRICES_OF_OTHERS: Final = frozenset(
    {"limprice", "limitat", "pricelimit", "limitorderprice", "limitpriceusd", "ordpx", "pxusd", "executeprice"}
    | {"entrylimit", "entrylimitprice", "trigprice", "ordertriggerprice", "triggerlevel", "triggerat", "auxprice"}
    | {"entrytrigger", "entrytriggerprice", "stoplimitprice"}
)
_NO_REAL_ORDER: Final = frozenset(
    {"dryrun", "isdryrun", "test", "istest", "testonly", "validate", "validateonly", "simulate", "simulated"}
)

_SPELLED: Final = {letters(word): word for term in (*TERMS, *REFUSED) for word in term.words}
_LONG_ENOUGH: Final = 6
_SIZES: Final = frozenset(word for term in ("quantity", "notional", "ai_size_usd") for word in LETTERS_OF[term])
_TYPES: Final = frozenset(LETTERS_OF["order_type"])


def only_of_exits(word: str) -> bool:
    """Whether a name means nothing but an exit, though it isn't known."""
    return any(each in word for each in _ONLY_OF_EXITS)


def may_say_exit(word: str, value: object) -> bool:
    """Whether a flag may say that the order closes: `only_reduce`, `exit_position`, `closeOnTrigger`."""
    return _names_a_flag_of_exits(word) and is_word(value, _LOUD)


@lru_cache(MOST_NAMES)
def _names_a_flag_of_exits(word: str) -> bool:
    return len(word) <= KEPT and _MAY_CLOSE.fullmatch(word) is not None


def sizes_an_exit(word: str, value: object) -> bool:
    """Whether a field tells how much to close: an entry has none."""
    return len(word) <= KEPT and _SIZE_OF_AN_EXIT.fullmatch(word) is not None and _has_a_figure(value)


def names_another_type(word: str, value: object, order_type: str, *, is_exit: bool) -> bool:
    """Whether a field such as `execution_type`, or one slip from `order_type`, asks for another type of order."""
    if not isinstance(value, str) or not _may_name_a_type(word, is_exit) or not names_an_order_type(value):
        return False
    said = order_type_letters(value)
    if is_exit and not any(each in said for each in _HARD_TYPE):
        return False
    return ORDER_TYPE_WORDS.get(said) not in ("MARKET", order_type)


@lru_cache(MOST_NAMES)
def _may_name_a_type(word: str, is_exit: bool) -> bool:
    if len(word) > KEPT:
        return False
    if _TYPE_OF_ORDER.fullmatch(word) is not None or one_slip_from(word, _TYPES) is not None:
        return True
    return not is_exit and _TYPE_OF_ENTRY.fullmatch(word) is not None


def may_rest(word: str, value: object) -> bool:
    """Whether a flag may ask for an order that waits in the book: `is_limit`, `maker`."""
    said = value.strip().lower() if isinstance(value, str) else ""
    return word in _MAY_REST and (value is True or said in ("true", "yes"))


def duration_said(word: str, value: object) -> str | None:
    """The time in force that a field names under another name, such as `validity: FOK`."""
    if not isinstance(value, str) or not _names_a_duration(word):
        return None
    return _LASTS.get(letters(value)) if len(value) <= KEPT else None


@lru_cache(MOST_NAMES)
def _names_a_duration(word: str) -> bool:
    return len(word) <= KEPT and _DURATION.fullmatch(word) is not None


def prices_another_order(word: str, value: object) -> bool:
    """Whether a field gives a limit or trigger under a name that isn't known."""
    return word in _PRICES_OF_OTHERS and _has_a_figure(value)


def asks_for_no_order(word: str, value: object) -> bool:
    """Whether a flag says that nothing is to be placed: `dry_run`."""
    return word in _NO_REAL_ORDER and is_word(value, YES)


def may_size(word: str, value: object) -> bool:
    """Whether a field may give the size, in a unit that isn't known, or says that only a share is to be closed."""
    if word in _UNITLESS:
        return True
    if len(word) > KEPT:
        return False
    if _PART.fullmatch(word) is not None:
        return is_word(value, _LOUD) or (_is_led_by_a_figure(value) and not is_word(value, frozenset({"0"})))
    if _WHOLE.fullmatch(word) is not None:
        return is_word(value, frozenset({"false", "no", "0", "off"}))
    if _HOW_FAR.fullmatch(word) is not None:
        return isinstance(value, str) and letters(value) in _PART_WORDS
    if not _has_a_figure(value):
        return False
    return says_share(word) or ((_names_a_size(word) or slip_of_a_size(word)) and not says_nothing(value))


@lru_cache(MOST_NAMES)
def _names_a_size(word: str) -> bool:
    return _SIZE.fullmatch(word) is not None and word not in ("contractsize", "lotsize")


def says_share(word: str) -> bool:
    """Whether these letters name a share of the position: `pct`, `close_pct`, `reduce_by_percent`."""
    if len(word) > KEPT:
        return False
    return _SHARE.fullmatch(word) is not None or _SHARE_OF_AN_EXIT.search(word) is not None


def unit_said(word: str, value: object, symbol: str) -> str | None:
    """`base` or `quote` where a field says so of the size, `?` where it says another unit; None where it says none."""
    if word in _SAYS_QUOTE:
        return "quote" if is_word(value, YES) else None
    if not isinstance(value, str) or not value.strip() or not _names_a_unit(word):
        return None
    said = letters(value) if len(value) <= KEPT else ""
    if said in _IN_QUOTE:
        return "quote"
    return "base" if said in _IN_BASE or (said and symbol.lower().startswith(said)) else "?"


@lru_cache(MOST_NAMES)
def _names_a_unit(word: str) -> bool:
    return len(word) <= KEPT and _UNIT.fullmatch(word) is not None


def slip_of_a_size(word: str) -> bool:
    """Whether a name is one slip from a size's."""
    return one_slip_from(word, _SIZES) is not None


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


def _is_led_by_a_figure(value: object) -> bool:
    """Whether a value is a number, or a text that begins as one: not `Q4`."""
    return _has_a_figure(value) and not (isinstance(value, str) and value.strip()[:1].isalpha())


def _has_a_figure(value: object) -> bool:
    """Whether a value is a number, or holds a digit: `50%`, `0,5`, `["1"]`."""
    if isinstance(value, str):
        return any(each.isdecimal() for each in value[:KEPT])
    if isinstance(value, list | tuple):
        return any(_has_a_figure(each) for each in value[:KEPT])
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
