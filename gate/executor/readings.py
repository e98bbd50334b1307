"""The readings of the exchange that an order needs: all at once, as far as its streams don't tell already.

An exit doesn't wait: it goes on without a slow reading.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from msgspec import Struct

from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import AccountFigures, Exchange, Filters, LiveFigures, Position, SymbolConfig
from gate.executor.attempt import Attempt
from gate.executor.order_plan import needs_mark_price, sized_by_mark_price, unfiltered
from gate.values.intent import Intent
from gate.values.verdict import Permit

T = TypeVar("T")

_FRESH_FILTERS_S: Final = 60
_FRESH_FILTERS_OF_AN_EXIT_S: Final = 1
_LONGEST_WAIT_OF_AN_EXIT_S: Final = 1.0
_LONGEST_WAIT_FOR_FIRST_FILTERS_S: Final = 3.0
"""Where none were ever read, a quantity off the lot size is refused for good."""


class SymbolFigures(Struct, frozen=True):
    """What an entry's margin is reckoned with, but for the account."""

    mark_price: Decimal
    config: SymbolConfig
    read_ns: int
    """When they were asked for, on the monotonic clock."""


class Readings:
    """What an order needs to know. All that needs a request is asked for at once, and awaited where it is used: so a
    failure counts there, as if one had been asked for after the other. Use it in a `with` block."""

    def __init__(
        self, exchange: Exchange, attempt: Attempt, live: LiveFigures | None, known: SymbolFigures | None = None
    ) -> None:
        """`live`: what the streams tell, in place of requests. `known`: what was read right before the verdict."""
        self._exchange: Final = exchange
        self._attempt: Final = attempt
        self._asked: Final[list[asyncio.Task[Any]]] = []
        self.live: Final = live
        self.began_ns: Final = time.monotonic_ns()
        self._figures: Final = known if live is None else SymbolFigures(live.mark_price, live.config, self.began_ns)
        self.read_ns: Final = self.began_ns if self._figures is None else self._figures.read_ns
        intent = attempt.intent
        self._account: asyncio.Task[AccountFigures] | None = None
        self._config: asyncio.Task[SymbolConfig] | None = None
        if not intent.is_exit and live is None:
            self._account = self._ask(exchange.account())
            if known is None:
                self._config = self._ask(exchange.symbol_config(intent.symbol))
        self._positions = self._ask(exchange.positions(intent.symbol)) if intent.wants_position and not live else None
        self._mark_price: asyncio.Task[Decimal] | None = None
        if self._figures is None and not intent.wants_position and wants_mark_price(intent):
            self._mark_price = self._ask(read_mark_price(exchange, attempt))
        # What was read before needs no request, and so no task either.
        is_first = exchange.known_filters(intent.symbol) is None
        self._filters = self._ask(read_filters(exchange, attempt)) if is_first else None
        self._hedge_mode: asyncio.Task[bool] | None = None
        if is_first and attempt.hedge_mode is None and live is None:
            self._hedge_mode = self._ask(_first_hedge_mode(exchange, attempt))

    def _ask(self, asking: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(asking)
        # Where nobody comes to await it, nobody else takes its failure, and asyncio would log it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._asked.append(task)
        return task

    async def hedge_mode(self) -> bool:
        """Whether the account is in hedge mode; the attempt keeps it."""
        attempt = self._attempt
        if attempt.hedge_mode is None:
            known = self._exchange.known_hedge_mode() if self.live is None else self.live.hedge_mode
            if known is not None:
                attempt.hedge_mode = known
            else:
                attempt.hedge_mode = await (self._hedge_mode or _first_hedge_mode(self._exchange, attempt))
        return attempt.hedge_mode

    async def positions(self) -> tuple[Position, ...]:
        """What is open in the symbol, for an intent that wants to know it."""
        if self.live is not None:
            return self.live.positions
        return await (self._positions or self._exchange.positions(self._attempt.intent.symbol))

    async def positions_soon(self, *, anew: bool = False) -> tuple[Position, ...] | None:
        """What is open, if a reading of it comes as soon as an exit waits for one; where it doesn't, it goes on.
        `anew`: by a second reading."""
        if self.live is not None:
            return self.live.positions
        if self._positions is None or anew:
            self._positions = self._ask(self._exchange.positions(self._attempt.intent.symbol))
        await asyncio.wait([self._positions], timeout=_longest_wait_s(self._attempt.permit))
        told = self._positions.done() and not self._positions.cancelled() and self._positions.exception() is None
        return self._positions.result() if told else None

    async def filters(self) -> Filters | None:
        """As read_filters."""
        attempt = self._attempt
        if self._filters is None and attempt.intent.is_exit:
            known = self._exchange.filters_at_hand(attempt.intent.symbol)
            if known is not None:
                return known
        return await (self._filters or read_filters(self._exchange, self._attempt))

    async def mark_price(self) -> Decimal:
        """As read_mark_price, of the attempt as it is by now."""
        if self._figures is not None:
            return self._figures.mark_price
        return await (self._mark_price or read_mark_price(self._exchange, self._attempt))

    async def config(self) -> SymbolConfig:
        """The settings of an entry's symbol."""
        if self._figures is not None:
            return self._figures.config
        return await (self._config or self._exchange.symbol_config(self._attempt.intent.symbol))

    async def account(self) -> AccountFigures:
        """A reading of the account, begun with these readings or later."""
        return await (self._account or self._exchange.account())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._asked:
            task.cancel()


async def _first_hedge_mode(exchange: Exchange, attempt: Attempt) -> bool:
    return await read_hedge_mode(exchange, attempt, otherwise=attempt.intent.position_side is not None)


async def read_hedge_mode(exchange: Exchange, attempt: Attempt, *, otherwise: bool) -> bool:
    """Whether the account is in hedge mode. For an exit, `otherwise` if the mode can't be read soon."""
    if not attempt.intent.is_exit:
        return await exchange.hedge_mode()
    # An exit only reduces a position in either mode, so it is safe to try one when the account's mode can't be read.
    said = await _soon(exchange.hedge_mode(), attempt.permit)
    return otherwise if said is None else said


async def read_filters(exchange: Exchange, attempt: Attempt) -> Filters | None:
    """The filters of the intent's symbol; None if the exchange doesn't have the symbol."""
    intent = attempt.intent
    if not intent.is_exit:
        return await exchange.filters(intent.symbol)
    # An exit uses the known filters at any age, and goes on without any if there are none: the exchange checks it.
    longest_s = _longest_wait_s(attempt.permit)
    if attempt.asked.quantity is not None and exchange.known_filters(intent.symbol) is None:
        longest_s = min(_LONGEST_WAIT_FOR_FIRST_FILTERS_S, attempt.permit.remaining_ms / 3000)
    try:
        async with asyncio.timeout(longest_s):
            return await exchange.filters(intent.symbol, no_older_than_s=math.inf)
    except (ExchangeFailure, TimeoutError):
        known = exchange.known_filters(intent.symbol)
    if known is None and intent.notional is not None:
        return await exchange.filters(intent.symbol)  # a notional needs the lot size to become a quantity
    return known or unfiltered(intent.symbol)


async def read_latest_filters(exchange: Exchange, attempt: Attempt) -> Filters | None:
    """The present filters, since old filters must not refuse an intent for good; None if the exchange doesn't have the
    symbol, or doesn't say so soon to an exit."""
    intent = attempt.intent
    if not intent.is_exit:
        return await exchange.filters(intent.symbol, no_older_than_s=_FRESH_FILTERS_S)
    reading = exchange.filters(intent.symbol, no_older_than_s=_FRESH_FILTERS_OF_AN_EXIT_S)
    return await _soon(reading, attempt.permit)


def wants_mark_price(intent: Intent) -> bool:
    """Whether the mark price is read for planning the order."""
    return needs_mark_price(intent) or sized_by_mark_price(intent)


async def read_mark_price(exchange: Exchange, attempt: Attempt) -> Decimal:
    """The mark price; 0 if the order can be planned without it."""
    intent = attempt.intent
    if needs_mark_price(intent):
        return await exchange.mark_price(intent.symbol)
    if sized_by_mark_price(intent):
        return await _soon(exchange.mark_price(intent.symbol), attempt.permit) or Decimal(0)
    return Decimal(0)


async def _soon(reading: Coroutine[Any, Any, T], permit: Permit) -> T | None:
    """The reading; None if it fails or takes too long."""
    try:
        async with asyncio.timeout(_longest_wait_s(permit)):
            return await reading
    except (ExchangeFailure, TimeoutError):
        return None


def _longest_wait_s(permit: Permit) -> float:
    return min(_LONGEST_WAIT_OF_AN_EXIT_S, permit.remaining_ms / 4000)
