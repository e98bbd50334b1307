"""One table of what each failure of a request means for its order. A failure that isn't in the table means unknown.

The codes and their meaning come from the exchange's documentation, and from runs against python-binance 1.0.37 and its
transports.

The table holds for a client that neither repeats a request nor follows a redirect by itself (`allow_redirects=False`).
Otherwise the repeated request may fail to connect after the first has reached the exchange.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

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


DOUBT: Final = Failure(may_exist=True)
"""The order may exist. Don't send it again; look it up by its client order id."""
REFUSED: Final = Failure(may_exist=False)
"""The order doesn't exist, and a later delivery won't be placed either."""
AGAIN: Final = replace(REFUSED, retryable=True)
"""The order doesn't exist; a later delivery may be placed."""
# The exchange counts its request weights by the minute.
_TOO_FAST: Final = replace(AGAIN, consequence=Consequence.REST_ACCOUNT, rest_ms=60_000)
# A caller that goes on during a ban is banned for longer.
BANNED: Final = replace(AGAIN, consequence=Consequence.STOP, rest_ms=60_000)
# It takes exits then, so they are tried again at once; entries make it no better.
_OVERLOADED: Final = replace(AGAIN, consequence=Consequence.REST_ACCOUNT, rest_ms=5_000)
STOPPED: Final = replace(REFUSED, consequence=Consequence.STOP)
WRONG_KEYS: Final = replace(
    STOPPED,
    advice="the API key is wrong here: check key and secret, its rights, its list of IPs, and whether it is of this "
    "exchange (demo trading has keys of its own)",
)
# No order of the account is taken: it is inactive, locked, or being liquidated.
ACCOUNT_STOPPED: Final = replace(WRONG_KEYS, advice="the exchange takes no orders of this account")
_MARGIN: Final = replace(AGAIN, consequence=Consequence.MARGIN)
_REST_ACCOUNT: Final = replace(AGAIN, consequence=Consequence.REST_ACCOUNT)
_REST_SYMBOL: Final = replace(AGAIN, consequence=Consequence.REST_SYMBOL)
_REST_SHORTLY: Final = replace(_REST_SYMBOL, rest_ms=30_000)
_EXITS_ONLY: Final = "the exchange takes exits only"
_SYMBOL_EXITS_ONLY: Final = replace(_REST_SYMBOL, advice=_EXITS_ONLY)
_ACCOUNT_EXITS_ONLY: Final = replace(_REST_ACCOUNT, advice=_EXITS_ONLY)
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

# The codes of the sets below. Their rows don't tell them apart: other rows may be equal.
_CODES_OFF_THE_FILTERS: Final = (-1013, -1111, -4003, -4004, -4005, -4014, -4023, -4164)
_CODES_OF_A_SYMBOL_OFF: Final = (-1121, -4140, -4141, -4402)
_CODES_OF_NO_SUCH_LEVERAGE: Final = (-4028, -4202, -4203, -4205, -4206, -4208, -4209)
_CODES_OF_A_COVERED_POSITION: Final = (-2022, -4118)

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
    -1002: WRONG_KEYS,
    -1022: WRONG_KEYS,
    -2014: WRONG_KEYS,
    -2015: WRONG_KEYS,
    -4192: STOPPED,
    # the account may not trade
    -2017: ACCOUNT_STOPPED,
    -2023: ACCOUNT_STOPPED,
    -4088: ACCOUNT_STOPPED,
    -4109: ACCOUNT_STOPPED,
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
    **dict.fromkeys(_CODES_OF_NO_SUCH_LEVERAGE, _NO_SUCH_LEVERAGE),
    -4161: replace(
        REFUSED, advice="an isolated position keeps its leverage or a higher one: close it first, or name that leverage"
    ),
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
    **dict.fromkeys(_CODES_OFF_THE_FILTERS, REFUSED),
    # the symbol isn't traded
    **dict.fromkeys(_CODES_OF_A_SYMBOL_OFF, _SYMBOL_OFF),
    # reduce-only without a position to reduce; the margin isn't the reason
    **dict.fromkeys(_CODES_OF_A_COVERED_POSITION, _COVERED),
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
    418: BANNED,
    403: BANNED,  # the exchange's firewall
    451: BANNED,  # the exchange doesn't serve the place that the request comes from
}

# The beginnings of the exchange's own 503 messages, which have no code. A 503 with another text may be a proxy's.
TEXTS_OF_503: Final[dict[str, Failure]] = {
    "Unknown error": DOUBT,
    "Service Unavailable": AGAIN,
    "Internal error; unable to process": AGAIN,
}

# Codes that hold under any status: the exchange didn't pass the request on.
NOT_PASSED_ON: Final = (-1001, -1008)

# Exceptions without an answer, by the package and name of their class or of a base class. After these, the request
# never left; after any other exception, it may have arrived.
NEVER_LEFT: Final[dict[str, Failure]] = {
    "aiohttp.ClientConnectorError": AGAIN,
    "aiohttp.ConnectionTimeoutError": AGAIN,
    "requests.ConnectTimeout": AGAIN,
    "urllib3.NewConnectionError": AGAIN,  # also for a host name that can't be resolved
}

OFF_THE_FILTERS: Final = frozenset(map(str, _CODES_OFF_THE_FILTERS))
"""Codes of a size or a price that the symbol's filters don't allow."""
FILTER_CODES: Final = OFF_THE_FILTERS | frozenset(map(str, _CODES_OF_A_SYMBOL_OFF))
"""Codes that show that the symbol's filters or its state have changed. The filters must be read again."""

NO_SUCH_LEVERAGE: Final = frozenset(map(str, _CODES_OF_NO_SUCH_LEVERAGE))
"""Codes that no later try changes: the entry names another leverage, or none."""
COVERED: Final = frozenset(map(str, _CODES_OF_A_COVERED_POSITION))
"""Codes of an exit that has nothing left to reduce."""

NO_SUCH_ORDER: Final = frozenset({"-2013", "-1121"})
"""Codes of a look-up that say: not yet. Of a symbol that doesn't exist there is no order either."""
