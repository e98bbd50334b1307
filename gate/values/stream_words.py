"""The names of fields in streams, and what each means for an order. docs/stream-fields.md shows this table.

Case, hyphens, underscores, dots and spaces in a name don't matter: `stop-price`, `stopPrice` and `STOP_PRICE` are one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

MOST_NAMES: Final = 4_096
KEPT: Final = 64
"""No longer name is kept from one entry to the next. None of them is a name of a term."""
_SEPARATORS: Final = str.maketrans("", "", "-_. \t")


def letters(name: str) -> str:
    """A name or word without what doesn't matter in it."""
    return _letters(name) if len(name) <= KEPT else name.translate(_SEPARATORS).lower()


@lru_cache(MOST_NAMES)  # a stream's names are the same in every entry
def _letters(name: str) -> str:
    return name.translate(_SEPARATORS).lower()


class Term(NamedTuple):
    """What fields say of an intent, and the names of those fields."""

    name: str
    words: tuple[str, ...]
    says: str


TERMS: Final = (
    Term("symbol", ("symbol",), "the exchange's symbol"),
    Term("id", ("id", "intent_id", "trace_id"), "the intent's id; the first that is there counts"),
    Term("timestamp", ("timestamp", "time", "ts"), "the time of the decision; the first that is there counts"),
    Term("side", ("action", "side", "order_side"), "BUY, SELL, LONG, SHORT or CLOSE"),
    Term("position_side", ("position_side", "pos_side"), "LONG, SHORT or BOTH"),
    Term("order_type", ("order_type", "ord_type", "order_kind", "type"), "the type of the order; without it MARKET"),
    Term("quantity", ("quantity", "qty", "orig_qty", "order_qty"), "the size in the base asset"),
    Term(
        "notional",
        ("position_size_usd", "notional", "notional_usd", "quote_quantity", "quote_order_qty"),
        "the size in the quote asset",
    ),
    Term("ai_size_usd", ("ai_size_usd",), "the size in the quote asset; goes before every other notional"),
    Term("leverage", ("leverage", "lever", "lev", "lever_rate"), "the leverage"),
    Term("ai_leverage", ("ai_leverage",), "the leverage; goes before `leverage`"),
    Term(
        "price",
        ("limit_price", "price", "order_price", "limit_px", "lmt_price", "lmt_px", "px", "limit"),
        "the limit of a LIMIT order",
    ),
    Term("expected price", ("price", "px", "entry_price"), "the price that is expected, for every other type"),
    Term(
        "trigger_price",
        ("trigger_price", "stop_price", "stop_px", "trigger_px", "stop_trigger", "stop_trigger_price", "trigger"),
        "the price at which a conditional order fires",
    ),
    Term("working_type", ("working_type", "trigger_price_type"), "the price that triggers"),
    Term("time_in_force", ("time_in_force", "tif", "order_tif", "force"), "for how long a LIMIT order waits"),
    Term(
        "reduce_only",
        ("reduce_only", "is_reduce_only", "close_only", "exit_only", "is_exit", "exit", "reduce"),
        "whether it is an exit",
    ),
    Term(
        "close_position",
        ("close_position", "is_close_position", "close_all", "close"),
        "whether it closes the position; without a size, all of it",
    ),
)
"""What is understood."""

REFUSED: Final = (
    Term(
        "callback_rate",
        (
            "callback_rate",
            "price_rate",
            "trailing_percent",
            "trail_percent",
            "trailing_delta",
            "trailing_amount",
            "callback_ratio",
        ),
        "a trailing stop",
    ),
    Term("activation_price", ("activation_price", "activate_price"), "a trailing stop"),
    Term("price_match", ("price_match",), "a price that the exchange picks"),
    Term("price_protect", ("price_protect",), "the exchange's price protection"),
    Term("good_till_date", ("good_till_date", "gtd"), "an order that ends by itself"),
    Term("iceberg_qty", ("iceberg_qty", "iceberg", "is_iceberg"), "an iceberg order"),
    Term(
        "post_only",
        ("post_only", "is_post_only", "maker_only", "is_maker_only", "gtx"),
        "a post-only order: write order_type LIMIT, time_in_force GTX",
    ),
    Term("fill_or_kill", ("fok", "fill_or_kill"), "a fill-or-kill order: write order_type LIMIT, time_in_force FOK"),
    Term("self_trade_prevention_mode", ("self_trade_prevention_mode", "stp_mode"), "self-trade prevention"),
)
"""Terms of an order that the gate doesn't place: an error that names the field, unless its value says nothing."""

UNITLESS_SIZES: Final = (
    *("size", "amount", "contracts", "lots", "units", "order_size", "position_size"),
    *("size_usd", "amount_usd", "usd_amount", "usd_size", "order_size_usd", "quote_amount"),
    *("sz", "close_quantity", "close_qty", "close_size", "close_amount"),
)
"""Base asset, quote asset, margin, a share? An error where an entry gives its size by no other name."""

FLAGS_OR_OTHER: Final = frozenset({"close", "exit", "reduce"})
"""Streams use these for other things too, a closing price for one. They are read when they hold true or false. 1 may be
either: an error, unless the entry is an exit anyway."""

SAY_WHAT_FOR: Final = frozenset(
    {"type", "intent", "intenttype", "signaltype", "kind", "purpose", "effect", "positioneffect", "positionaction"}
    | {"orderaction", "openclose", "offset", "execinst", "executioninstructions", "flags", "orderflags", "tradetype"}
    | {"tradeside", "signal", "direction", "dir", "decision", "operation", "command", "eventtype", "actiontype"}
    | {"signalaction", "tradeaction", "orderactiontype", "orderpurpose", "orderintent", "positionintent", "position"}
    | {"marketposition", "positionfill", "autosize", "strategyaction", "recommendation", "role", "orderrole", "leg"}
    | {"entryexit", "entryorexit", "tradephase"}
)
"""Fields that may say what an order is for: `exit` or `close` there is an error in an entry."""

SIDE_FLAGS: Final = {"isbuy": "BUY", "islong": "BUY", "issell": "SELL", "isshort": "SELL"}
"""Flags that name a side: in an entry, the other one is an error."""

SAY_WHERE_TO: Final = frozenset(
    {"direction", "dir", "tradedirection", "orderdirection", "positiondirection", "tradeside", "position", "signal"}
    | {"holdside", "posdirection", "positiontype", "ordside", "strategyside", "marketposition"}
)
"""Fields that may say the order's side: in an entry, the other side there is an error."""

EITHER_PRICE: Final = frozenset({"price", "px"})
"""The limit of a LIMIT order, and the price that is expected for every other type."""

LASTS_OR_OTHER: Final = frozenset({"force"})
"""Streams use these for other things too. They are read when they hold a time in force."""

FIGURES_OR_OTHER: Final = frozenset({"limit", "trigger"})
"""Streams use these for other things too, such as the name of a rule. They are read when they hold a number."""

NESTS: Final = frozenset(
    {"limit", "trigger", "stop", "params", "order", "orderparams", "extraparams", "extra", "payload", "data"}
    | {"orderdetails", "orderrequest", "orderinfo", "orderconfiguration", "exchangeparams", "ccxtparams"}
)
"""Fields that may hold an object with terms of the order inside. It isn't read: terms in it are an error."""

ONLY_OF_EXITS: Final = ("reduceonly", "closeposition")
"""No name that holds one of these means something else, such as `order.reduceOnly`."""

LETTERS_OF: Final = {term.name: tuple(map(letters, term.words)) for term in (*TERMS, *REFUSED)}
"""The names of each term's fields, as `letters` has them."""

TERMS_OF: Final = {
    word: tuple((name, words.index(word)) for name, words in LETTERS_OF.items() if word in words)
    for word in {word for words in LETTERS_OF.values() for word in words}
}
"""For each of these names: the terms that it is for, and its place among the names of that term."""
ORDER_TERMS: Final = frozenset(
    TERMS_OF.keys() - {word for name in ("symbol", "id", "timestamp") for word in LETTERS_OF[name]}
)
REFUSED_TERMS: Final = {term.name: term for term in REFUSED}

ORDER_TYPE_WORDS: Final = {
    "market": "MARKET",
    "limit": "LIMIT",
    "stopmarket": "STOP_MARKET",
    "takeprofitmarket": "TAKE_PROFIT_MARKET",
    "limitmaker": "LIMIT",
}
LIMIT_MAKER: Final = "limitmaker"
"""The spot market's word for a limit order that is placed only if it can wait: here LIMIT with GTX."""
_TYPE: Final = re.compile(
    "(buy|sell|long|short)?(market|limit|mkt|lmt|stop|loss|take|profit|sl|tp|tsl|trailing|trail|maker|post|only|oco"
    "|iceberg|twap|vwap|conditional|iftouched|gtc|ioc|fok|gtx)+(buy|sell|long|short)?"
)
BETWEEN_WORDS: Final = re.compile("[,;|+]")
_EXIT: Final = re.compile(
    "(burst|reduce|offset|full|partial|force|long|short|sell|buy|to|position|action)*"
    "(exit|close|reduce|flatten|flat|closing|exiting|unwind|liquidate|cover)"
    "(buy|sell|long|short|position|trade|only|all|full|fill|signal|today|yesterday)*|stc|squareoff"
)


def order_type_letters(word: str) -> str:
    """A word for an order's type, without what doesn't matter in it: `Stop-Market order` is `stopmarket`."""
    return letters(word.strip()).removesuffix("order")


def names_an_order_type(value: object) -> bool:
    """Whether a value can only mean an order's type, known or not. A field `type` often holds something else."""
    return isinstance(value, str) and _TYPE.fullmatch(order_type_letters(value)) is not None


def says_exit(value: object) -> bool:
    """Whether a value means an exit: a word such as `close_long`, or several of which one does."""
    words = value if isinstance(value, list | tuple) else (value,)
    return any(
        isinstance(each, str)
        and any(_EXIT.fullmatch(order_type_letters(word)) is not None for word in BETWEEN_WORDS.split(each))
        for each in words
    )
