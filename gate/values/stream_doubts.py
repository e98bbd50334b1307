"""What a field may mean for the order whose name is in no table. It is never guessed: in doubt it is an error.

All names are as `letters` has them: without case, hyphens, underscores, dots and spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from itertools import groupby
from typing import Final

from gate.values.stream_entry import YES, is_word, says_nothing
from gate.values.stream_words import (
    BETWEEN_WORDS,
    FIGURES_OR_OTHER,
    KEPT,
    LETTERS_OF,
    MOST_NAMES,
    ORDER_TERMS,
    REFUSED,
    TERMS,
    UNITLESS_SIZES,
    letters,
    names_an_order_type,
    order_type_letters,
)

_LOUD: Final = YES | {"on", "y", "t", "1.0"}
"""Yes, in words of flags that aren't known."""

_CLOSES: Final = "(reduce|reducing|reduction|close|closing|exit|exiting|flatten|unwind|cover|liquidate)"
_AROUND: Final = (
    "(is|to|be|it|only|order|ord|position|pos|trade|trigger|all|fully|full|flag|buy|sell|long|short|and|side|now"
    "|partial|final|entire|panic|force|emergency|should|must|flash|signal|(existing|current|open)(position|pos|trade))*"
)
_OF_A_CLOSE: Final = "(of|to|by|the|close|exit|reduce|sell|position|pos|size|qty|quantity|amount|partial|partially)*"
_FIAT: Final = "usd|usdt|usdc|base|quote|coin|asset|cash"

_SENSES: Final = {
    name: re.compile(pattern)
    for name, pattern in {
        # Whether the order closes, or a candle is closed? Only a name that consists of such words may say the first.
        "flag of an exit": f"{_AROUND}{_CLOSES}{_AROUND}|decreaseonly|onlydecrease|closeontrigger|goflat|squareoff|ro",
        "size of an exit": "(close|exit)(qty|quantity|size|amount|amt)|(close|reduce)(pct|percent|percentage)",
        "why closed": "(exit|close)(reason|tag)",
        "size": (
            f"((exit|close|closing|reduce|order|ord|num)*(qty|quantity|amount|amt|size|sz|notional|lots|contracts|units)"
            f"|({_FIAT})(qty|quantity|amount|amt|notional))({_FIAT}|in|of|to|close|exit|reduce)*"
            "|usd|usdt|usdc|(exit|close|closing|reduce)volume|reduce(by|to)"
            "|(scaleout|trim|keep|reduction)(pct|percent|percentage)"
        ),
        "share": f"{_OF_A_CLOSE}(pct|percent|percents|perc|percentage|fraction|ratio|share|portion){_OF_A_CLOSE}",
        "part": "(is)?(close|exit|reduce)?(half|quarter|third|partial|partially)(close|exit|position|size)?",
        "whole": "(is)?((full|fully|all)(close|exit|position)|(close|exit)(all|full|fully))",
        "how far": "(close|exit|reduce)(type|kind|mode)",
        "unit of a quantity": "(quantity|qty|amount|amt)(type|unit|units|ccy)",
        "unit": "(size|sz|tgt)(type|unit|units|ccy)|unit|marketunit|orderunit",
        "in quote": "(is|in)(quote|usd|usdt)|(is)?(quoteorder|notional)|sizeinusd",
        "type": (
            "(exit)?(order|ord|exec|execution)+(price)?(type|kind|style|mode|method|instruction|class|algo)"
            "|otype|typeoforder"
        ),
        # These also hold other things, such as why an exit is sent.
        "type or other": "(exit|open)?(order|exec|execution)",
        "type of an entry": "(entry|open|orig)(order|ord|exec|execution)*(type|kind|style|mode|method)",
        "duration": (
            "(order|ord|exec|execution|limit)*"
            "(tif|timeinforce|force|duration|validity|lifetime|instructions?|inst|o?flags?)(name|type|word|s)?"
        ),
        "limit": "(lim|ord|limitorder)(price|px)|limit(at|priceusd)|pricelimit|pxusd|executeprice",
        "trigger": "(trig|ordertrigger|aux|stoplimit)price|trigger(level|at)",
        "limit of an entry": "entrylimit(price|px)?",
        "trigger of an entry": "entrytrigger(price|px)?",
        "rests": "(is|use)limit|limitorder",
        "post only": "(is)?maker|postonlyorder|rejectpostonly",
        "hidden": "(is)?hidden",
        "no order": "(is)?(dryrun|test|cancel)|testonly|validate(only)?|simulated?",
        "order": "execute|(is)?approved|should(trade|execute)",
    }.items()
}

_PART_WORDS: Final = frozenset({"partial", "partially", "half", "quarter", "third"})
_NO_REASON: Final = frozenset({"-", "--", "n/a", "na"})
_OFF: Final = frozenset({"false", "no", "0", "off"})
_UNITLESS: Final = frozenset(map(letters, UNITLESS_SIZES))
_IN_BASE: Final = frozenset(
    {"base", "baseccy", "basecoin", "baseasset", "basecurrency", "coin", "coins", "contract", "contracts"}
)
_IN_QUOTE: Final = frozenset(
    {"quote", "quoteccy", "quotecoin", "quoteasset", "quotecurrency", "notional", "cash", "dollaramount", "dollar"}
    | {"usd", "usdt", "usdc", "dollars"}
)
_OF_ANOTHER_UNIT: Final = re.compile(".*(percent|pct|equity|balance|risk|margin|ratio).*")
_LASTS: Final = {
    "fok": "FOK",
    "fillorkill": "FOK",
    "gtd": "GTD",
    "gtt": "GTD",
    "ioc": "IOC",
    "immediateorcancel": "IOC",
    **dict.fromkeys(("gtx", "postonly", "post", "po", "alo", "participatedonotinitiate"), "GTX"),
}
_HARD_TYPE: Final = ("limit", "market", "lmt", "mkt")
"""What is in every word for a type that says no more: `take_profit` on an exit may say why it is sent."""
_BESIDE_THE_TYPE: Final = re.compile("buy|sell|long|short|gtc|ioc")
_TYPE_SAID: Final = {
    "market": "MARKET",
    "mkt": "MARKET",
    "limit": "LIMIT",
    "lmt": "LIMIT",
    "limitmaker": "LIMIT",
    "stopmarket": "STOP_MARKET",
    "takeprofitmarket": "TAKE_PROFIT_MARKET",
}

_SPELLED: Final = {letters(word): word for term in (*TERMS, *REFUSED) for word in term.words}
_LONG_ENOUGH: Final = 6
_SIZES: Final = frozenset(word for term in ("quantity", "notional", "ai_size_usd") for word in LETTERS_OF[term])
_PRICES: Final = frozenset(word for term in ("price", "trigger_price") for word in LETTERS_OF[term])
_TYPES: Final = frozenset(LETTERS_OF["order_type"])
_NO_SLIPS: Final = frozenset({"topprice"})


_SLIPS: Final = {"slip of a type": _TYPES, "slip of a price": _PRICES, "slip of a size": _SIZES}


def senses(word: str) -> frozenset[str]:
    """What a name may be for."""
    return _senses(word) if len(word) <= KEPT else frozenset()


@lru_cache(MOST_NAMES)  # a stream's names are the same in every entry
def _senses(word: str) -> frozenset[str]:
    slips = (sense for sense, names in _SLIPS.items() if _one_slip_from(word, names) is not None)
    return frozenset((*(sense for sense, pattern in _SENSES.items() if pattern.fullmatch(word)), *slips))


def may_say_exit(word: str, value: object) -> bool:
    """Whether a field may say that the order closes: `only_reduce: true`, `exit_qty: 5`, `exit_reason: roi`."""
    found = senses(word)
    return (
        ("flag of an exit" in found and is_word(value, _LOUD))
        or ("size of an exit" in found and _has_a_figure(value) and not says_nothing(value))
        or ("why closed" in found and not says_nothing(value) and not is_word(value, _NO_REASON))
    )


def names_another_type(word: str, value: object, order_type: str, *, is_exit: bool) -> bool:
    """Whether a field such as `execution_type`, or one slip from `order_type`, asks for another type of order."""
    found = senses(word)
    surely = "type" in found or "slip of a type" in found
    if not (surely or "type or other" in found or ("type of an entry" in found and not is_exit)):
        return False
    for each in _words(value):
        said = order_type_letters(each)
        if not names_an_order_type(each) or (is_exit and not surely and not any(hard in said for hard in _HARD_TYPE)):
            continue
        if _TYPE_SAID.get(_BESIDE_THE_TYPE.sub("", said)) not in ("MARKET", order_type):
            return True
    return False


def waits_in_the_book(word: str, value: object, order_type: str, time_in_force: str | None) -> bool:
    """Whether a flag asks for an order that waits, or waits unseen, and this one doesn't: `is_limit`, `maker`."""
    found = senses(word)
    if "post only" in found:
        return time_in_force != "GTX" and (value is True or is_word(value, _LOUD - {"1", "1.0"}))
    return is_word(value, _LOUD) and ("hidden" in found or ("rests" in found and order_type != "LIMIT"))


def another_duration(word: str, value: object, order_type: str, time_in_force: str | None) -> bool:
    """Whether a field says under another name for how long the order waits, such as `validity: FOK`, and this one
    doesn't wait so. IOC changes nothing in an order that never waits."""
    if "duration" not in senses(word):
        return False
    said = {_LASTS.get(letters(each)) for each in _words(value)}
    return bool(said - {None, time_in_force, None if order_type == "LIMIT" else "IOC"})


def prices_another_order(word: str, value: object, order_type: str, *, is_exit: bool) -> bool:
    """Whether a field gives, under a name that isn't known, a limit or a trigger that the order hasn't."""
    found = senses(word)
    limits = "limit" in found or ("limit of an entry" in found and not is_exit)
    triggers = "trigger" in found or ("trigger of an entry" in found and not is_exit)
    if not ((limits and order_type != "LIMIT") or (triggers and order_type in ("MARKET", "LIMIT"))):
        return False
    return _has_a_figure(value) and not says_nothing(value)


def asks_for_no_order(word: str, value: object) -> bool:
    """Whether a flag says that nothing is to be placed: `dry_run: true`, `approved: false`."""
    found = senses(word)
    return ("no order" in found and is_word(value, _LOUD)) or (
        "order" in found and (value is False or is_word(value, _OFF - {"0"}))
    )


def may_size(word: str, value: object) -> bool:
    """Whether a field may give the size, in a unit that isn't known, or says that only a share is to be closed."""
    if word in _UNITLESS:
        return True
    found = senses(word)
    if "part" in found:
        figure = word.startswith(("close", "exit", "reduce")) and _has_a_figure(value) and not says_nothing(value)
        return is_word(value, _LOUD) or _is_a_part(value) or figure
    if "whole" in found:
        return is_word(value, _OFF)
    if "how far" in found:
        return any(letters(each) in _PART_WORDS for each in _words(value))
    if not _has_a_figure(value):
        return False
    return "share" in found or (("size" in found or "slip of a size" in found) and not says_nothing(value))


def unit_said(word: str, value: object, symbol: str) -> str | None:
    """`base` or `quote` where a field says so of the size, `?` where it says a share; None where it says no unit."""
    found = senses(word)
    if "in quote" in found:
        return "quote" if is_word(value, _LOUD) else None
    of_quantity = "unit of a quantity" in found
    if not (of_quantity or "unit" in found) or not isinstance(value, str) or len(value) > KEPT:
        return None
    said = letters(value)
    if said in _IN_QUOTE:
        return "quote"
    if said in _IN_BASE or (said and symbol.lower() in {f"{said}{quote}" for quote in ("usdt", "usdc", "usd")}):
        return "base"
    return "?" if of_quantity and _OF_ANOTHER_UNIT.fullmatch(said) else None


def slip_of_a_price(word: str, value: object) -> str | None:
    """The limit or trigger price from which a name differs by one slip, where it gives a price. One of several, with a
    number or an s behind it, is none: `stop_price2`."""
    if word in _NO_SLIPS or word[-1:].isdecimal() or word.endswith("s") or isinstance(value, list | tuple):
        return None
    priced = "slip of a price" in senses(word) and _has_a_figure(value) and not says_nothing(value)
    return one_slip_from(word, _PRICES) if priced else None


def one_slip_from(word: str, names: frozenset[str] = ORDER_TERMS) -> str | None:
    """A name of a term of the order from which these letters differ by one slip: a letter too many, too few, another
    one, or two in the wrong order. Short names are left out: too much is like them."""
    return _one_slip_from(word, names) if len(word) <= KEPT else None


@lru_cache(MOST_NAMES)
def _one_slip_from(word: str, names: frozenset[str]) -> str | None:
    for length in (len(word) - 1, len(word), len(word) + 1):
        for name in _by_length(names).get(length, ()):
            if word != name and _one_slip(word, name):
                return _SPELLED[name]
    return None


@lru_cache
def _by_length(names: frozenset[str]) -> Mapping[int, tuple[str, ...]]:
    long_enough = sorted(name for name in names if len(name) >= _LONG_ENOUGH and name not in FIGURES_OR_OTHER)
    return {length: tuple(some) for length, some in groupby(sorted(long_enough, key=len), key=len)}


def _one_slip(word: str, name: str) -> bool:
    start = next((at for at, (one, other) in enumerate(zip(word, name, strict=False)) if one != other), len(word))
    one, other = word[start:], name[start:]
    swapped = one[:2] == other[1::-1] and one[2:] == other[2:]
    return swapped or one[1:] == other or one == other[1:] or one[1:] == other[1:]


def _words(value: object) -> Iterator[str]:
    """The words of a value, or of a list of them."""
    for each in value if isinstance(value, list | tuple) else (value,):
        if isinstance(each, str) and len(each) <= 4 * KEPT:
            yield from BETWEEN_WORDS.split(each)


def _is_a_part(value: object) -> bool:
    """Whether a value is a share: `0.5`, `50%`; not `Q4`, nor 4."""
    if isinstance(value, str):
        return value.strip().endswith("%") or value.strip().startswith(("0.", ".", "0,"))
    return isinstance(value, float | Decimal) and 0 < value < 1


def _has_a_figure(value: object) -> bool:
    """Whether a value is a number, or holds a digit: `50%`, `0,5`, `["1"]`."""
    if isinstance(value, list | tuple):
        return any(not isinstance(each, list | tuple) and _has_a_figure(each) for each in value)
    if isinstance(value, str):
        return any(each.isdecimal() for each in value[:KEPT])
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
