"""What every failure of a request means for its order: one table. What isn't in it is unknown.

Codes and their meaning: the exchange's documentation, and what was run against python-binance 1.0.37 and its
transports. Nothing here imports them: exceptions are told by name, so that reading this table costs nothing.
"""

from __future__ import annotations

from typing import Final

from gate.exchange.orders import Consequence, Failure, Placement

_NOT_PLACED: Final = Placement.NOT_PLACED
_UNKNOWN: Final = Placement.UNKNOWN

# code: (placement, retryable, consequence)
_BY_CODE: Final[dict[int, tuple[Placement, bool, Consequence]]] = {
    -1000: (_UNKNOWN, False, Consequence.NONE),
    -1006: (_UNKNOWN, False, Consequence.NONE),
    -1007: (_UNKNOWN, False, Consequence.NONE),
    -1001: (_NOT_PLACED, True, Consequence.NONE),
    -1008: (_NOT_PLACED, True, Consequence.NONE),
    -1003: (_NOT_PLACED, True, Consequence.REST_ACCOUNT),
    -1015: (_NOT_PLACED, True, Consequence.REST_ACCOUNT),
    -1021: (_NOT_PLACED, True, Consequence.REST_ACCOUNT),
    -5028: (_NOT_PLACED, True, Consequence.REST_ACCOUNT),
    -1002: (_NOT_PLACED, False, Consequence.STOP),
    -1022: (_NOT_PLACED, False, Consequence.STOP),
    -2014: (_NOT_PLACED, False, Consequence.STOP),
    -2015: (_NOT_PLACED, False, Consequence.STOP),
    -4192: (_NOT_PLACED, False, Consequence.STOP),
    -2018: (_NOT_PLACED, True, Consequence.MARGIN),
    -2019: (_NOT_PLACED, True, Consequence.MARGIN),
    -2027: (_NOT_PLACED, True, Consequence.REST_SYMBOL),
    -2028: (_NOT_PLACED, True, Consequence.REST_SYMBOL),
    -2025: (_NOT_PLACED, True, Consequence.REST_SYMBOL),
    -4045: (_NOT_PLACED, True, Consequence.REST_SYMBOL),
    -4016: (_NOT_PLACED, True, Consequence.REST_SYMBOL),
    -4024: (_NOT_PLACED, True, Consequence.REST_SYMBOL),
    -4131: (_NOT_PLACED, True, Consequence.REST_SYMBOL),
    # The id is in use: perhaps by our own order. Only a look-up tells.
    -4116: (_UNKNOWN, False, Consequence.NONE),
}

# Codes that show that a symbol's filters or its state have changed: they are to be read anew.
FILTER_CODES: Final = frozenset(
    {"-4164", "-1111", "-1013", "-4003", "-4004", "-4005", "-4014", "-4023", "-4140", "-4141", "-1121"}
)

# A failure of the transport, by its class name or that of a base: the request never left, or it may have arrived.
_NEVER_LEFT: Final = frozenset(
    {"ClientConnectorError", "ConnectionTimeoutError", "ConnectTimeout", "NewConnectionError", "InvalidURL"}
)

_RETRY_AFTER_DEFAULT_MS: Final = 60_000  # the exchange counts its weights by the minute


def failure_of_answer(status: int, code: int | None, message: str, retry_after_s: int | None) -> Failure:
    """What an error answer means: HTTP status, the exchange's code (None or 0 without one), Retry-After in seconds."""
    rest_ms = None if retry_after_s is None else retry_after_s * 1000
    named = str(code) if code else f"HTTP_{status}"
    if status in (429, 418, 403):
        # 403 is the exchange's firewall, 418 a ban: whoever goes on is banned for longer.
        stop = Consequence.REST_ACCOUNT if status == 429 else Consequence.STOP
        return Failure(_NOT_PLACED, named, message, True, stop, rest_ms or _RETRY_AFTER_DEFAULT_MS)
    known = _BY_CODE.get(code or 0)
    if known:
        return Failure(known[0], named, message, known[1], known[2], rest_ms)
    if status == 503 and ("Service Unavailable" in message or "unable to process" in message):
        return Failure(_NOT_PLACED, named, message, True)
    if status == 408 or status >= 500 or status < 400:
        return Failure(_UNKNOWN, named, message)
    return Failure(_NOT_PLACED, named, message)  # a 4xx: refused, and for good unless the table says otherwise


def failure_of_transport(error: BaseException) -> Failure:
    """What an exception without an answer means. Its text isn't used: it may hold a signed URL."""
    names = {base.__name__ for base in type(error).__mro__}
    name = type(error).__name__
    if names & _NEVER_LEFT:
        return Failure(_NOT_PLACED, name, "the exchange was not reached", True)
    return Failure(_UNKNOWN, name, "no answer that says what became of the request")
