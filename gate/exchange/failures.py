"""One table of what each failure of a request means for its order. A failure that isn't in the table means unknown.

The codes and their meaning come from the exchange's documentation, and from runs against python-binance 1.0.37 and its
transports. This module imports neither: it knows exceptions by name, so importing it costs nothing.

The table holds for a client that neither repeats a request nor follows a redirect by itself (`allow_redirects=False`).
Otherwise the repeated request may fail to connect after the first has reached the exchange.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from datetime import UTC
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from gate.values.errors import shown

OVERLOADED: Final = "-1008"
"""The exchange sheds load: orders first, exits last, and counts none of what it refuses so."""


class Consequence(StrEnum):
    """The effect of a refusal beyond its order."""

    NONE = "none"
    MARGIN = "margin rejection: counts as a failure, rests the symbol"
    REST_SYMBOL = "rest the symbol"
    REST_ACCOUNT = "rest the account"
    STOP = "keys don't work, no trading, or a ban: safe mode, and rest the account as long as the exchange says"


class Failure(Struct, frozen=True):
    """What a failed request says about its order. The rows of the tables below have no code and no detail."""

    may_exist: bool
    """Whether the order may exist in spite of the failure. False means that it certainly doesn't."""
    code: str = ""
    """The exchange's code, or the name of the transport's failure."""
    detail: str = ""
    retryable: bool = False
    """A later delivery of the same intent may be placed."""
    consequence: Consequence = Consequence.NONE
    rest_ms: int | None = None
    """The length of the rest: the exchange's (Retry-After, else the end of a ban in its text), else the table's. None
    leaves it to the policy."""
    advice: str = ""
    """What the exchange's text doesn't say and a person should know."""

    @property
    def told(self) -> str:
        """The exchange's text, with the advice."""
        return "; ".join(filter(None, (self.detail, self.advice)))

    @property
    def stops_asking(self) -> bool:
        """Whether to send no more requests for now. The exchange bans a caller for longer if it goes on."""
        return self.consequence in (Consequence.REST_ACCOUNT, Consequence.STOP) and self.code != OVERLOADED

    @property
    def silence_ms(self) -> int | None:
        """How long to ask nothing that can wait; None where the failure isn't about questions: too many orders, say."""
        if not self.stops_asking or (self.rest_ms is None and self.consequence is not Consequence.STOP):
            return None
        return self.rest_ms or 60_000


class ExchangeFailure(Exception):
    """A request failed; `failure` says what that means for the order. The text holds no URL, key or signature."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(f"{failure.code}: {failure.detail}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.failure,)


class OrderNotFound(Exception):
    """The exchange has no order of that client order id yet. It may still accept a request that is on its way."""


DOUBT: Final = Failure(may_exist=True)
"""The order may exist. Don't send it again; look it up by its client order id."""
REFUSED: Final = Failure(may_exist=False)
"""The order doesn't exist, and a later delivery won't be placed either."""
AGAIN: Final = replace(REFUSED, retryable=True)
"""The order doesn't exist; a later delivery may be placed."""
# The exchange counts its request weights by the minute.
_TOO_FAST: Final = replace(AGAIN, consequence=Consequence.REST_ACCOUNT, rest_ms=60_000)
# A caller that goes on during a ban is banned for longer.
_BANNED: Final = replace(AGAIN, consequence=Consequence.STOP, rest_ms=60_000)
# It takes exits then, so they are tried again at once; entries make it no better.
_OVERLOADED: Final = replace(AGAIN, consequence=Consequence.REST_ACCOUNT, rest_ms=5_000)
_STOPPED: Final = replace(REFUSED, consequence=Consequence.STOP)
_KEYS: Final = replace(
    _STOPPED,
    advice="the API key is wrong here: check key and secret, its rights, its list of IPs, and whether it is of this "
    "exchange (demo trading has keys of its own)",
)
# No order of the account is taken: it is inactive, locked, or being liquidated.
_ACCOUNT_STOPPED: Final = replace(_KEYS, advice="the exchange takes no orders of this account")
_MARGIN: Final = replace(AGAIN, consequence=Consequence.MARGIN)
_REST_ACCOUNT: Final = replace(AGAIN, consequence=Consequence.REST_ACCOUNT)
_REST_SYMBOL: Final = replace(AGAIN, consequence=Consequence.REST_SYMBOL)
_REST_SHORTLY: Final = replace(_REST_SYMBOL, rest_ms=30_000)
_EXITS_ONLY: Final = "the exchange takes exits only"
_SYMBOL_EXITS_ONLY: Final = replace(_REST_SYMBOL, advice=_EXITS_ONLY)
_ACCOUNT_EXITS_ONLY: Final = replace(_REST_ACCOUNT, advice=_EXITS_ONLY)
_FILTERS: Final = replace(REFUSED)
_SYMBOL_OFF: Final = replace(REFUSED, consequence=Consequence.REST_SYMBOL)
_WOULD_TRIGGER: Final = replace(
    REFUSED, advice="the price is beyond the trigger already: the stop doesn't stand, and protects no position"
)
_STANDS_ALREADY: Final = replace(
    REFUSED,
    advice="a stop or take-profit that closes this position rests already, and protects it; cancel that one first if "
    "this one is to take its place",
)
_NO_SUCH_LEVERAGE: Final = replace(REFUSED, advice="symbol or account don't have this leverage: name a lower one")
_COVERED: Final = replace(REFUSED, advice="no position is left to reduce, or reduce-only orders that rest cover it")
UNLISTED: Final = replace(
    REFUSED, consequence=Consequence.REST_SYMBOL, advice="the gate's table doesn't know this refusal: the symbol rests"
)
"""A refusal that no row tells of. It must not pass without a consequence."""

CODES: Final[dict[int, Failure]] = {
    # the exchange itself can't tell
    -1000: DOUBT,
    -1006: DOUBT,
    -1007: DOUBT,
    # the exchange is disconnected or overloaded, and didn't pass the request on
    -1001: AGAIN,
    -1008: _OVERLOADED,
    # too many requests, too many orders
    -1003: _TOO_FAST,
    -1015: _REST_ACCOUNT,
    # the local clock is off, and a new signature with the exchange's time was refused too
    -1021: _REST_ACCOUNT,
    -5028: _REST_ACCOUNT,
    # keys, signature, rights
    -1002: _KEYS,
    -1022: _KEYS,
    -2014: _KEYS,
    -2015: _KEYS,
    -4192: _STOPPED,
    # the account may not trade
    -2017: _ACCOUNT_STOPPED,
    -2023: _ACCOUNT_STOPPED,
    -4088: _ACCOUNT_STOPPED,
    -4109: _ACCOUNT_STOPPED,
    # only orders that reduce are taken: of the account, of the symbol
    -4087: _ACCOUNT_EXITS_ONLY,
    -4189: _ACCOUNT_EXITS_ONLY,
    -4105: _SYMBOL_EXITS_ONLY,
    -4106: _SYMBOL_EXITS_ONLY,
    -4107: _SYMBOL_EXITS_ONLY,
    -4400: _SYMBOL_EXITS_ONLY,
    -4401: _SYMBOL_EXITS_ONLY,
    # the margin doesn't cover the order
    -2018: _MARGIN,
    -2019: _MARGIN,
    # more than the leverage allows
    -2027: _REST_SYMBOL,
    -2028: _REST_SYMBOL,
    # the leverage can't be set: not valid here, not allowed to this account, or not with this position
    -4028: _NO_SUCH_LEVERAGE,
    -4161: REFUSED,
    -4202: _NO_SUCH_LEVERAGE,
    -4203: _NO_SUCH_LEVERAGE,
    -4205: _NO_SUCH_LEVERAGE,
    -4206: _NO_SUCH_LEVERAGE,
    -4208: _NO_SUCH_LEVERAGE,
    -4209: _NO_SUCH_LEVERAGE,
    -4403: REFUSED,
    # too many open orders, too many open stop orders
    -2025: _REST_SYMBOL,
    -4045: _REST_SYMBOL,
    # the price is too far from the mark price, or the book has no orders to match: both end soon
    -4016: _REST_SHORTLY,
    -4024: _REST_SHORTLY,
    -4131: _REST_SHORTLY,
    -1112: _REST_SHORTLY,
    -2020: _REST_SHORTLY,
    -4002: _REST_SHORTLY,
    -4013: _REST_SHORTLY,
    -4183: _REST_SHORTLY,
    -4184: _REST_SHORTLY,
    -4210: _REST_SHORTLY,
    -4211: _REST_SHORTLY,
    -5041: _REST_SHORTLY,
    # against the symbol's filters
    -1013: _FILTERS,
    -1111: _FILTERS,
    -4003: _FILTERS,
    -4004: _FILTERS,
    -4005: _FILTERS,
    -4014: _FILTERS,
    -4023: _FILTERS,
    -4164: _FILTERS,
    # the symbol isn't traded
    -1121: _SYMBOL_OFF,
    -4140: _SYMBOL_OFF,
    -4141: _SYMBOL_OFF,
    -4402: _SYMBOL_OFF,
    # reduce-only without a position to reduce; the margin isn't the reason
    -2022: _COVERED,
    -4118: _COVERED,
    # a second order of a kind that closes the whole position
    -4130: _STANDS_ALREADY,
    # a stop whose trigger the price has passed
    -2021: _WOULD_TRIGGER,
    -4142: _WOULD_TRIGGER,
    # the order was made for the other position mode; the mode is read again
    -1106: AGAIN,
    -4061: AGAIN,
    -4067: AGAIN,
    -4068: AGAIN,
    -4531: AGAIN,
    # a conditional order at the wrong endpoint, the caller's fault
    -4120: REFUSED,
    # FOK or GTX couldn't be filled as asked
    -5021: REFUSED,
    -5022: REFUSED,
    # the client order id is in use, perhaps by this intent's own order: only a look-up tells
    -4116: DOUBT,
    # no such order yet; the exchange may still accept a request that is on its way
    -2013: DOUBT,
}

# Statuses with their own meaning. Any other 4xx is a refusal, without a row UNLISTED; any other status is doubt.
STATUSES: Final[dict[int, Failure]] = {
    408: DOUBT,
    429: _TOO_FAST,
    418: _BANNED,
    403: _BANNED,  # the exchange's firewall
    451: _BANNED,  # the exchange doesn't serve the place that the request comes from
}

# The beginnings of the exchange's own 503 messages, which have no code. A 503 with another text may be a proxy's.
TEXTS_OF_503: Final[dict[str, Failure]] = {
    "Unknown error": DOUBT,
    "Service Unavailable": AGAIN,
    "Internal error; unable to process": AGAIN,
}

# Codes that hold under any status: the exchange didn't pass the request on.
_NOT_PASSED_ON: Final = (-1001, -1008)

# Exceptions without an answer, by the package and name of their class or of a base class. After these, the request
# never left; after any other exception, it may have arrived.
NEVER_LEFT: Final[dict[str, Failure]] = {
    "aiohttp.ClientConnectorError": AGAIN,
    "aiohttp.ConnectionTimeoutError": AGAIN,
    "requests.ConnectTimeout": AGAIN,
    "urllib3.NewConnectionError": AGAIN,  # also for a host name that can't be resolved
}

# Compared by identity: other rows may be equal to these without meaning the filters.
OFF_THE_FILTERS: Final = frozenset(str(code) for code, row in CODES.items() if row is _FILTERS)
"""Codes of a size or a price that the symbol's filters don't allow."""
FILTER_CODES: Final = OFF_THE_FILTERS | {str(code) for code, row in CODES.items() if row is _SYMBOL_OFF}
"""Codes that show that the symbol's filters or its state have changed. The filters must be read again."""

NO_SUCH_LEVERAGE: Final = frozenset(str(code) for code, row in CODES.items() if row is _NO_SUCH_LEVERAGE)
"""Codes that no later try changes: the entry names another leverage, or none."""
COVERED: Final = frozenset(str(code) for code, row in CODES.items() if row is _COVERED)
"""Codes of an exit that has nothing left to reduce."""

NO_SUCH_ORDER: Final = frozenset({"-2013", "-1121"})
"""Codes of a look-up that say: not yet. Of a symbol that doesn't exist there is no order either."""

_TRANSPORTS: Final = frozenset({"binance", "requests", "urllib3", "aiohttp"})
_BANNED_UNTIL: Final = re.compile(r"banned until (\d{13})\b", re.ASCII)  # epoch ms
_LARGEST_CODE: Final = 99_999
_LONGEST_CODE: Final = 12
_LONGEST_BAN_S: Final = Decimal(3 * 24 * 3600)  # the exchange bans for three days at most
_LONGEST_DETAIL: Final = 120
_LONGEST_TEXT: Final = 10_000
_LIBRARYS_OWN: Final = "Invalid JSON error message from Binance"  # python-binance appends the response object's repr
_LONGEST_WORD: Final = 40  # keys and signatures are longer, client order ids and symbols aren't


def failure_of(error: BaseException, *, now_ms: int | None = None) -> Failure:
    """What an exception means for the order: one of python-binance, sync or async, or of its transports.

    `now_ms`: the exchange's clock where it is known, else the machine's counts; a ban is told by the time of its end.
    Only `error` itself counts: an exception in its chain may come from another request.
    """
    if isinstance(error, ExchangeFailure):
        return error.failure
    if "binance.BinanceAPIException" in _names(error):
        return failure_of_answer(
            _whole(getattr(error, "status_code", 0)),
            getattr(error, "code", None),
            getattr(error, "message", None) or "",
            retry_after_s(getattr(error, "response", None), now_ms=now_ms),
            now_ms=now_ms,
        )
    return failure_of_transport(error)


def is_of_a_request(error: BaseException) -> bool:
    """Whether an exception comes from python-binance or its transports, and so says something about a request."""
    packages = {name.partition(".")[0] for name in _names(error)}
    return isinstance(error, ExchangeFailure) or not packages.isdisjoint(_TRANSPORTS)


def posted(error: BaseException, client_order_id: str) -> bool | None:
    """Whether the request that failed was the one that sends this order; None where no request is to be seen.

    An answer doesn't name its request, so the calls that the exception has passed are read: the order's request is a
    POST that carries the client order id. A look-up of the order carries it too, but is no POST.
    """
    seen: bool | None = None
    # As a whole word: the stop of a bracket may be named after its entry.
    named = re.compile(rf"(?<![\w-]){re.escape(client_order_id)}(?![\w-])", re.ASCII)
    trace = error.__traceback__
    while trace is not None:
        known = trace.tb_frame.f_locals
        package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
        trace = trace.tb_next
        if package not in _TRANSPORTS:
            continue
        seen = False
        sent = (known.get("data"), known.get("params"), known.get("body"))
        with suppress(Exception):  # a service's own value whose text can't be had shows nothing
            if str(known.get("method")).upper() == "POST" and named.search(str(sent)):
                return True
    return seen


def failure_of_answer(
    status: int, code: int | None, message: str, retry_after_s: int | None, *, now_ms: int | None = None
) -> Failure:
    """What an error answer means, by HTTP status, the exchange's code (None or 0 without one), text and Retry-After."""
    # Of any shape and length, from a body that need not be the exchange's.
    code, message = _whole(code), (message if isinstance(message, str) else shown(message))[:_LONGEST_TEXT]
    row = _row_of(status, code, message)
    # The header first: it mostly needs no clock. But this interface doesn't promise it; the text of a ban has its end.
    said_ms = (retry_after_s or 0) * 1000 or (_ban_left_ms(message, now_ms) if row == _BANNED else 0)
    return replace(
        row,
        code=str(code) if code else f"HTTP_{status}",
        detail=_line(message),
        rest_ms=said_ms or row.rest_ms,
    )


def _ban_left_ms(message: str, now_ms: int | None) -> int:
    """How long a ban lasts that the text tells of, three days at most; 0 if it tells none that is still on."""
    until = _BANNED_UNTIL.search(message)
    if until is None:
        return 0
    left_ms = int(until[1]) - _now_ms(now_ms)
    return max(0, min(left_ms, int(_LONGEST_BAN_S) * 1000))


def failure_of_transport(error: BaseException) -> Failure:
    """What an exception without an answer means. Its text is left out: it may hold a signed URL."""
    names = _names(error)
    if "requests.ConnectionError" in names:
        names |= _names(_reason(error))
    word = type(error).__name__[:64]
    row = next((row for name, row in NEVER_LEFT.items() if name in names), DOUBT)
    detail = "no answer that says what became of the request" if row.may_exist else "the exchange was not reached"
    return replace(row, code=word, detail=detail)


def retry_after_s(response: object, *, now_ms: int | None = None) -> int | None:
    """The Retry-After header of a response in seconds, rounded up, at most three days. It may be a date, too.

    None for a missing or unreadable header. Raises nothing.
    """
    headers = getattr(response, "headers", None)
    with suppress(LookupError, TypeError, ArithmeticError, ValueError):
        said = str(headers["Retry-After"])  # type: ignore[index]  # None has no items, and says so
        try:
            seconds = Decimal(said)
        except InvalidOperation:
            seconds = _seconds_until(said, now_ms)
        if seconds.is_finite() and seconds >= 0:
            return int(min(seconds, _LONGEST_BAN_S).to_integral_value(ROUND_CEILING))
    return None


def _seconds_until(date: str, now_ms: int | None) -> Decimal:
    """How long it is until a date of a header, which is in GMT; 0 where it is over. Raises ValueError."""
    from email.utils import parsedate_to_datetime  # seldom needed, and slow to load

    moment = parsedate_to_datetime(date)
    at_s = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return max(Decimal(0), at_s - Decimal(_now_ms(now_ms)) / 1000)


def _now_ms(now_ms: int | None) -> int:
    return time.time_ns() // 1_000_000 if now_ms is None else now_ms


def _row_of(status: int, code: int, message: str) -> Failure:
    by_code, by_status = CODES.get(code), STATUSES.get(status)
    by_text = None
    if status == 503:
        by_text = next((row for text, row in TEXTS_OF_503.items() if message.startswith(text)), None)
    if DOUBT in (by_code, by_status, by_text):
        return DOUBT  # if they disagree, doubt wins
    if by_code and code in _NOT_PASSED_ON:
        return by_code
    if not 400 <= status < 500:
        return by_text or DOUBT  # a 5xx with a code is no refusal
    if by_code in (_KEYS, _STOPPED, _ACCOUNT_STOPPED):
        return by_code  # the strictest consequence wins over any status
    if code == -1003 and _BANNED_UNTIL.search(message):
        return _BANNED  # whatever the status: a caller that goes on is banned for longer
    return by_status or by_code or UNLISTED


def _names(error: object) -> set[str]:
    """Package and class of an exception and of its bases, as in "requests.ConnectTimeout"."""
    return {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(error).__mro__}


def _reason(error: BaseException) -> object:
    """The reason of requests' ConnectionError, which holds urllib3's MaxRetryError, which holds the reason."""
    return getattr(error.args[0], "reason", None) if error.args else None


def _whole(code: object) -> int:
    """A code or status, from a body of any shape; 0 for anything else."""
    if isinstance(code, str) and len(code) <= _LONGEST_CODE:
        with suppress(ValueError):
            code = int(code)
    return code if isinstance(code, int) and abs(code) <= _LARGEST_CODE and code is not True else 0


def _line(message: str) -> str:
    """The exchange's text on one line. It may echo the request: URLs, keys and signatures are left out."""
    if message.startswith(_LIBRARYS_OWN):
        return "an answer that isn't JSON"
    return " ".join(word if _harmless(word) else "…" for word in message.split())[:_LONGEST_DETAIL]


def _harmless(word: str) -> bool:
    return len(word) <= _LONGEST_WORD and word.isprintable() and "://" not in word and "signature" not in word
