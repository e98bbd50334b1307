"""The exchange's rate limits: fixed windows, 429 with Retry-After, 418 for clients that don't stop. Pure."""

from __future__ import annotations

from msgspec import Struct

from gate.paper.market.errors import MESSAGES, Code, ExchangeError

_SECOND_MS = 1_000
_TEN_SECONDS_MS = 10_000
_MINUTE_MS = 60_000
_FIRST_BAN_MS = 2 * _MINUTE_MS  # bans grow from two minutes to three days
_LONGEST_BAN_MS = 3 * 24 * 60 * _MINUTE_MS


class RateLimits(Struct, frozen=True):
    """The limits. `tolerated` is the number of 429s in one window that don't ban a client yet.

    The defaults are the exchange's published figures; only `tolerated` isn't published.
    """

    weight_per_minute: int = 2_400
    orders_per_ten_seconds: int = 300
    orders_per_minute: int = 1_200
    tolerated: int = 10


class Window:
    """A count that starts again at 0 in each window of its length."""

    def __init__(self, length_ms: int) -> None:
        self.length_ms = length_ms
        self._index = -1
        self._count = 0

    def count(self, now_ms: int) -> int:
        index = now_ms // self.length_ms
        if index != self._index:
            self._index, self._count = index, 0
        return self._count

    def add(self, now_ms: int, amount: int) -> int:
        self._count = self.count(now_ms) + amount
        return self._count

    def seconds_left(self, now_ms: int) -> int:
        """Whole seconds until the count starts again, at least one."""
        return max(1, -(-(self.length_ms - now_ms % self.length_ms) // _SECOND_MS))


class AddressLimiter:
    """Request weight of one IP address, and its bans."""

    def __init__(self, limits: RateLimits, address: str) -> None:
        self._limits = limits
        self._address = address
        self._weight = Window(_MINUTE_MS)
        self._refused = Window(_MINUTE_MS)
        self._ban_until_ms = 0
        self._next_ban_ms = _FIRST_BAN_MS

    def used_weight(self, now_ms: int) -> int:
        return self._weight.count(now_ms)

    def spend(self, weight: int, now_ms: int) -> None:
        """Count a request; raises 429 over the limit, and 418 during a ban."""
        if now_ms < self._ban_until_ms:
            raise self._banned(now_ms)
        if self._weight.add(now_ms, weight) <= self._limits.weight_per_minute:
            return
        if self._refused.add(now_ms, 1) > self._limits.tolerated:
            self._ban_until_ms = now_ms + self._next_ban_ms
            self._next_ban_ms = min(_LONGEST_BAN_MS, 2 * self._next_ban_ms)
            raise self._banned(now_ms)
        raise too_many_requests(self._limits.weight_per_minute, self._address, self._weight.seconds_left(now_ms))

    def _banned(self, now_ms: int) -> ExchangeError:
        return banned(self._ban_until_ms, -(-(self._ban_until_ms - now_ms) // _SECOND_MS))


class OrderLimiter:
    """Order counts of one account."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._ten_seconds = Window(_TEN_SECONDS_MS)
        self._minute = Window(_MINUTE_MS)

    def counts(self, now_ms: int) -> tuple[int, int]:
        """Orders accepted in this ten-second window and in this minute."""
        return self._ten_seconds.count(now_ms), self._minute.count(now_ms)

    def check(self, now_ms: int, more: int) -> None:
        """-1015 with 429 if this many more orders would exceed a limit."""
        for window, limit, text in (
            (self._ten_seconds, self._limits.orders_per_ten_seconds, "10SECONDS"),
            (self._minute, self._limits.orders_per_minute, "1MINUTE"),
        ):
            if window.count(now_ms) + more > limit:
                raise ExchangeError(
                    int(Code.TOO_MANY_ORDERS),
                    MESSAGES[Code.TOO_MANY_ORDERS].format(limit, text),
                    status=429,
                    retry_after_s=window.seconds_left(now_ms),
                )

    def add(self, now_ms: int, count: int) -> None:
        self._ten_seconds.add(now_ms, count)
        self._minute.add(now_ms, count)


def too_many_requests(limit: int, address: str, retry_after_s: int) -> ExchangeError:
    return ExchangeError(
        int(Code.TOO_MANY_REQUESTS),
        MESSAGES[Code.TOO_MANY_REQUESTS].format(address, limit),
        status=429,
        retry_after_s=retry_after_s,
    )


def banned(until_ms: int, retry_after_s: int) -> ExchangeError:
    return ExchangeError(
        int(Code.TOO_MANY_REQUESTS),
        f"Way too many requests; IP banned until {until_ms}. Please use the websocket for live updates to avoid bans.",
        status=418,
        retry_after_s=retry_after_s,
    )
