"""What a failure of a request means for its order, by its exception or its answer. `failure_table` has the rows.

This module imports neither python-binance nor its transports: it knows exceptions by name, so importing it costs
nothing.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, Final

from msgspec.structs import replace

from gate.exchange.failure_table import (
    ACCOUNT_STOPPED,
    BANNED,
    CODES,
    DOUBT,
    NEVER_LEFT,
    NOT_PASSED_ON,
    STATUSES,
    STOPPED,
    TEXTS_OF_503,
    UNLISTED,
    WRONG_KEYS,
    Consequence,
    Failure,
)
from gate.values.errors import shown

__all__ = [
    "Consequence",
    "ExchangeFailure",
    "Failure",
    "OrderNotFound",
    "failure_of",
    "failure_of_answer",
    "failure_of_transport",
    "is_of_a_request",
    "posted",
    "retry_after_s",
]

_TRANSPORTS: Final = frozenset({"binance", "requests", "urllib3", "aiohttp"})
_BANNED_UNTIL: Final = re.compile(r"banned until (\d{13})\b", re.ASCII)  # epoch ms
_LARGEST_CODE: Final = 99_999
_LONGEST_CODE: Final = 12
_LONGEST_BAN_S: Final = Decimal(3 * 24 * 3600)  # the exchange bans for three days at most
_LONGEST_DETAIL: Final = 120
_LONGEST_TEXT: Final = 10_000
_LIBRARYS_OWN: Final = "Invalid JSON error message from Binance"  # python-binance appends the response object's repr
_LONGEST_WORD: Final = 40  # keys and signatures are longer, client order ids and symbols aren't


class ExchangeFailure(Exception):
    """A request failed; `failure` says what that means for the order. The text holds no URL, key or signature."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(f"{failure.code}: {failure.detail}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.failure,)


class OrderNotFound(Exception):
    """The exchange has no order of that client order id yet. It may still accept a request that is on its way."""


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
    said_ms = (retry_after_s or 0) * 1000 or (_ban_left_ms(message, now_ms) if row == BANNED else 0)
    return replace(
        row,
        code=str(code) if code else f"HTTP_{status}",
        detail=_line(_BANNED_UNTIL.sub(lambda until: _told_to_a_person(int(until[1]), now_ms), message)),
        rest_ms=said_ms or row.rest_ms,
    )


def _told_to_a_person(until_ms: int, now_ms: int | None) -> str:
    """The end of a ban, in UTC. What is left counts from the answer: the text is kept, and read later."""
    end = datetime.fromtimestamp(until_ms // 1000, UTC).isoformat().replace("+00:00", "Z")
    left_s = (until_ms - _now_ms(now_ms)) // 1000
    return f"banned until {end} ({left_s} s after this answer)" if left_s > 0 else f"banned until {end}"


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
    if by_code and code in NOT_PASSED_ON:
        return by_code
    if not 400 <= status < 500:
        return by_text or DOUBT  # a 5xx with a code is no refusal
    if by_code in (WRONG_KEYS, STOPPED, ACCOUNT_STOPPED):
        return by_code  # the strictest consequence wins over any status
    if code == -1003 and _BANNED_UNTIL.search(message):
        return BANNED  # whatever the status: a caller that goes on is banned for longer
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
