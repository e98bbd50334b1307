"""Asks the exchange through python-binance, by its own clock and within its limits, and judges whatever comes back.

Traps of the library that this file goes round are named where they are: see docs/exchange.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

from gate.exchange.answers import figure, unreadable
from gate.exchange.failures import ExchangeFailure, failure_of
from gate.exchange.usage import NEAR, Usage, decode_limits
from gate.exchange.warm import IDLE_S
from gate.values.versions import insist_on

CLOCK_CODES: Final = ("-1021", "-5028")
READ_TIMEOUT_S: Final = 5.0
_MOST_CONNECTIONS: Final = 500
"""An exit must not wait for a connection that a reading holds, and each entry in flight may have four that hang. By
itself aiohttp opens 100."""
_CONNECT_TIMEOUT_S: Final = 3.0
_LONGEST_TIME_READ_MS: Final = 2_000  # the clock of reads is off by half of it at most, and may be ahead by a second
_YEAR_2100_MS: Final = 4_102_444_800_000


class RestClient:
    """The requests of one account. What asks raises ExchangeFailure. Make it in an event loop, and close it."""

    def __init__(self, api_key: str, api_secret: str, *, address: str | None, demo: bool, recv_window_ms: int) -> None:
        """`address`: another server than the exchange's own. `recv_window_ms`: of every reading."""
        insist_on("aiohttp", "binance")  # half a second: only for those who place orders
        from aiohttp import ClientTimeout, TCPConnector

        from gate.exchange.bounded import bounded_response
        from gate.exchange.signing import TimedClient

        # The constructor, not create(): that one calls the spot exchange first.
        self.client: Final[Any] = TimedClient(
            api_key,
            api_secret,
            demo=demo,
            loop=asyncio.get_running_loop(),
            session_params={
                "connector": TCPConnector(limit=_MOST_CONNECTIONS, keepalive_timeout=IDLE_S),
                # Who hears of the headers here, too: `client.response` is shared between calls.
                "response_class": bounded_response(self._heard),
                "auto_decompress": False,
            },
            requests_params={
                "allow_redirects": False,  # a 302 would turn the POST into a GET, and its page into a success
                "timeout": ClientTimeout(sock_connect=_CONNECT_TIMEOUT_S),
            },
        )
        if address is not None:
            self.client.FUTURES_URL = f"{address}/fapi"
        self.usage: Final = Usage()
        self._recv_window_ms: Final = recv_window_ms
        self._unanswered: Final[set[asyncio.Task[Any] | None]] = set()
        self._limits_reading: asyncio.Task[None] | None = None
        self._rests_until_ns = 0
        self._rests_after = ""
        # The exchange's clock at a moment of ours that doesn't step. Until the exchange tells its time, the machine's.
        self._set_at = time.time_ns() // 1_000_000, time.monotonic_ns()

    async def read(self, method: str, **parameters: object) -> Any:
        """The answer to a method of python-binance. Where our clock was off, it asks again: twice does no harm."""
        try:
            return await self.ask_once(method, READ_TIMEOUT_S, self._recv_window_ms, **parameters)
        except ExchangeFailure as failed:
            if failed.failure.code not in CLOCK_CODES:
                raise
        await self.set_clock(READ_TIMEOUT_S)
        return await self.ask_once(method, READ_TIMEOUT_S, self._recv_window_ms, **parameters)

    async def ask_once(
        self, method: str, timeout_s: float, window_ms: int, signed_ms: int | None = None, /, **parameters: object
    ) -> Any:
        """Sends one request, and never a second one. `signed_ms`: the moment it is valid from, on the exchange's clock,
        for `window_ms`; None: the moment of sending."""
        # As an argument of the call it would be overwritten with this. The call signs before it first waits, so no
        # other call can come between.
        self.client.REQUEST_RECVWINDOW = max(1, window_ms)
        self.client.signed_ms = signed_ms
        asks = asyncio.current_task()
        self._unanswered.add(asks)
        try:
            async with asyncio.timeout(timeout_s):
                return await getattr(self.client, method)(**parameters)
        except Exception as error:  # whatever the library and its transport come up with is judged by the table
            failure = failure_of(error, now_ms=self.now_ms())
        finally:
            if asks in self._unanswered:
                self._unanswered.remove(asks)
                self.usage.requests["none"] += 1
        if (rest_ms := failure.silence_ms) is not None:
            self._rests_until_ns = max(self._rests_until_ns, time.monotonic_ns() + rest_ms * 1_000_000)
            self._rests_after = f"{failure.code}: {failure.told}"
        # Not inside the handler: the chain of this exception would keep the library's, and with it the signed URL.
        raise ExchangeFailure(failure)

    def now_ms(self) -> int:
        """The exchange's clock, epoch ms, as far as it is known."""
        at_ms, at_ns = self._set_at
        return at_ms + (time.monotonic_ns() - at_ns) // 1_000_000

    async def set_clock(self, timeout_s: float) -> None:
        """Signs by the exchange's clock from now on."""
        sent_ms, sent_ns = time.time_ns() // 1_000_000, time.monotonic_ns()
        answer = await self.ask_once("futures_time", timeout_s, self._recv_window_ms)
        took_ms = (time.monotonic_ns() - sent_ns) // 1_000_000
        try:
            if took_ms > _LONGEST_TIME_READ_MS:
                raise unreadable("serverTime", f"read in {took_ms} ms")
            server_ms = int(figure("serverTime", answer["serverTime"]))
            if server_ms > _YEAR_2100_MS:
                raise unreadable("serverTime", server_ms)
            self.client.timestamp_offset = server_ms - sent_ms - took_ms // 2
            # The answer is older than the moment of its arrival, so this clock is never ahead.
            self._set_at = server_ms, time.monotonic_ns()
        except (KeyError, TypeError):
            raise unreadable("serverTime", None) from None

    async def ping(self) -> object:
        """The lightest request that there is."""
        return await self.ask_once("futures_ping", READ_TIMEOUT_S, self._recv_window_ms)

    def near_limit_ms(self, share: Decimal = NEAR) -> int | None:
        """How long to rest, by the headers of the last answers; None while less than `share` of each limit is used."""
        return self.usage.near_limit_ms(self.now_ms(), share)

    def rest_ms(self, share: Decimal = NEAR) -> int | None:
        """How long to ask nothing that can wait: near a limit, and as an answer has said. Who goes on during a ban is
        banned for longer. None while less than `share` of each limit is used."""
        left_ms, near_ms = self._silence_ms(), self.near_limit_ms(share)
        return max(left_ms, near_ms or 0) if left_ms > 0 or near_ms is not None else None

    def silenced_by(self) -> str:
        """The answer after which the exchange wants to hear nothing; empty while it may be asked."""
        return self._rests_after if self._silence_ms() > 0 else ""

    async def until_it_may_ask(self) -> None:
        """Returns once the exchange wants no silence any more."""
        if (left_ms := self._silence_ms()) > 0:
            await asyncio.sleep(left_ms / 1000)

    def _silence_ms(self) -> int:
        """How long the exchange wants to hear nothing, as its answers have said; below 0 when that is over."""
        return (self._rests_until_ns - time.monotonic_ns()) // 1_000_000

    def ask_for_own_limits(self) -> None:
        """Reads the account's own limits of orders, beside what goes on: nothing waits for them.

        Once for each reading of exchangeInfo, whose figures they outrank, and after a refusal that tells of others.
        """
        if self._limits_reading is None or self._limits_reading.done():
            self._limits_reading = asyncio.create_task(self._read_own_limits())

    async def _read_own_limits(self) -> None:
        with suppress(ExchangeFailure):
            rows = await self.read("futures_v1_get_rate_limit_order")
            self.usage.own(decode_limits(rows))

    def _heard(self, status: int, headers: Mapping[str, str]) -> None:
        """Of an answer, in the task that has asked."""
        self.usage.note(headers, self.now_ms())
        self.usage.requests[str(status)] += 1
        self._unanswered.discard(asyncio.current_task())

    async def close(self) -> None:
        """Closes the connections."""
        try:
            if self._limits_reading is not None:
                self._limits_reading.cancel()
                await asyncio.wait([self._limits_reading])
        finally:
            await self.client.close_connection()
