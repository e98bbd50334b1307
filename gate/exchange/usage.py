"""The use of the exchange's own rate limits, from the headers of its answers. No I/O.

Over a limit, the exchange answers 429. A caller that goes on is banned for minutes to days, and so are its exits.
Therefore new entries rest before a limit is reached.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

NEAR: Final = Decimal("0.8")
"""From this share of a limit on, entries rest until its window ends. The remainder is for exits and look-ups."""
_FARTHEST_APART_MS: Final = 250
"""No entry waits longer for a reading to begin."""

_COUNT: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_UNITS_MS: Final = {"SECOND": 1_000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000}
_LETTERS: Final = {"SECOND": "S", "MINUTE": "M", "HOUR": "H", "DAY": "D"}
_HEADERS: Final = {"REQUEST_WEIGHT": "X-MBX-USED-WEIGHT-", "ORDERS": "X-MBX-ORDER-COUNT-"}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One limit of the exchange: at most `most` in each window of its clock."""

    header: str
    """The answers' header with the number used."""
    most: int
    window_ms: int


DEFAULT_LIMITS: Final[tuple[RateLimit, ...]] = (
    # The published limits, until exchangeInfo is read.
    RateLimit("X-MBX-USED-WEIGHT-1M", 2400, 60_000),
    RateLimit("X-MBX-ORDER-COUNT-10S", 300, 10_000),
    RateLimit("X-MBX-ORDER-COUNT-1M", 1200, 60_000),
)


def decode_limits(rows: object) -> tuple[RateLimit, ...]:
    """The limits of exchangeInfo's `rateLimits`, or of rateLimit/order. Skips rows of an unknown kind."""
    limits = []
    for row in rows if isinstance(rows, list | tuple) else ():
        with suppress(KeyError, TypeError, ValueError):
            unit, count, most = row["interval"], _count(row["intervalNum"]), _count(row["limit"])
            header = f"{_HEADERS[row['rateLimitType']]}{count}{_LETTERS[unit]}"
            limits.append(RateLimit(header, most, count * _UNITS_MS[unit]))
    return tuple(limits)


def _count(value: object) -> int:
    text = str(value) if isinstance(value, int | str) else ""
    if not _COUNT.fullmatch(text):
        raise ValueError("is not a count")
    return int(text)


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of a limit is used in its window of now."""

    name: str
    """Such as `weight_1m` and `order_count_10s`."""
    used: int
    most: int


class Usage:
    """The use of each limit, from the last answers."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        """How many requests there were, by the status of their answer; `none` without one."""
        self.limits = DEFAULT_LIMITS
        self._own: dict[str, RateLimit] = {}
        self._seen: dict[str, tuple[int, int]] = {}

    def published(self, limits: tuple[RateLimit, ...]) -> None:
        """Takes the limits of exchangeInfo, which are those of nobody in particular."""
        self.limits = tuple(self._own.get(each.header, each) for each in limits) or self.limits

    def own(self, limits: tuple[RateLimit, ...]) -> None:
        """Takes the account's own limits of orders. They outrank the published ones: an account may have more."""
        self._own = {each.header: each for each in limits}
        others = (each for each in self.limits if each.header not in self._own)
        self.limits = (*others, *limits)

    def note(self, headers: Mapping[str, str], now_ms: int) -> None:
        """Keeps the figures of an answer's headers. `now_ms`: the best estimate of the exchange's clock."""
        for limit in self.limits:
            told = headers.get(limit.header)
            if told is not None:
                with suppress(ValueError):
                    self._seen[limit.header] = int(told), now_ms

    def uses(self, now_ms: int) -> tuple[LimitUse, ...]:
        """The use of every limit, as the last answers tell it."""
        found = []
        for limit in self.limits:
            name = limit.header.removeprefix("X-MBX-").removeprefix("USED-").lower().replace("-", "_")
            found.append(LimitUse(name, self._used(limit, now_ms), limit.most))
        return tuple(found)

    def near_limit_ms(self, now_ms: int, share: Decimal = NEAR) -> int | None:
        """How long until every limit of which `share` is used starts a new window; None if no limit is so far."""
        rests = []
        for limit in self.limits:
            if self._used(limit, now_ms) >= limit.most * share:
                rests.append(limit.window_ms - now_ms % limit.window_ms)
        return max(rests, default=None)

    def apart_ms(self, now_ms: int, weight: int) -> int:
        """How far apart readings of that weight may begin: 0 while less than half of each limit is used. From then on
        they are spread over the rest of the window, so that they alone don't use the share from which entries rest."""
        apart = 0
        for limit in self.limits:
            used = self._used(limit, now_ms)
            if used * 2 >= limit.most and limit.header.startswith(_HEADERS["REQUEST_WEIGHT"]):
                left_ms, left = limit.window_ms - now_ms % limit.window_ms, int(limit.most * NEAR) - used
                apart = max(apart, left_ms * weight // left if left > 0 else _FARTHEST_APART_MS)
        return min(apart, _FARTHEST_APART_MS)

    def _used(self, limit: RateLimit, now_ms: int) -> int:
        """How much of a limit is used in its window of now."""
        used, at_ms = self._seen.get(limit.header, (0, 0))
        return used if at_ms // limit.window_ms == now_ms // limit.window_ms else 0
