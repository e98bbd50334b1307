"""Cancels what rests at the exchange, closes what is open, and asks again until it is so. Knows nothing of the store.

One symbol that fails doesn't hold up the others. Every order here only reduces, so a request whose answer was lost may
be sent again: two of them close no more than there is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from gate.exchange.failures import ExchangeFailure
from gate.exchange.holdings import Holder, OpenPosition, closing_quantities
from gate.exchange.port import OrderRequest, RestingOrder
from gate.values.log_words import log_of, pairs

_T = TypeVar("_T")

_log: Final = log_of("gate.flatten")

_ROUNDS: Final = 4
_PAUSE_S: Final = 0.3
"""Before a look that follows a failure or a fill that isn't whole."""
_AT_ONCE: Final = 5
_VALID_MS: Final = 5_000
_TIMEOUT_MS: Final = 8_000


@dataclass
class Flattened:
    """What was done, and what is left. None: it couldn't be read."""

    cancelled: list[RestingOrder] = field(default_factory=list)
    """Orders that rested before and don't any more."""
    closed: list[OpenPosition] = field(default_factory=list)
    """Positions that were open before and aren't any more."""
    resting: tuple[RestingOrder, ...] | None = None
    open: tuple[OpenPosition, ...] | None = None
    problems: list[str] = field(default_factory=list)
    """The last failure of each request that failed."""
    interrupted: bool = False
    """Whether a person has ended it: requests may be on their way."""

    @property
    def nothing_rests(self) -> bool:
        """Whether the exchange, asked again, has no order of the account any more."""
        return self.resting == ()

    @property
    def flat(self) -> bool:
        """Whether the exchange, asked again, has neither orders nor positions of the account any more."""
        return self.nothing_rests and self.open == ()


async def cancel_resting(account: Holder) -> Flattened:
    """Cancels every resting order of the account, of all symbols, and asks again. Doesn't raise."""
    return await _rounds(account, closes=False)


async def flatten(account: Holder) -> Flattened:
    """Cancels every resting order, closes every position, and asks again. Doesn't raise."""
    return await _rounds(account, closes=True)


async def _rounds(account: Holder, *, closes: bool) -> Flattened:
    done = Flattened()
    orders: dict[RestingOrder, None] = {}
    positions: dict[tuple[str, str], OpenPosition] = {}
    failures: dict[str, ExchangeFailure] = {}
    for number in range(_ROUNDS + 1):
        stopped = any(each.failure.stops_asking for each in failures.values())  # going on would prolong a ban
        failures.clear()
        done.resting = await _read(account.resting_orders(), "open orders", failures)
        done.open = await _read(account.holdings(), "positions", failures) if closes else None
        orders.update(dict.fromkeys(done.resting or ()))
        for each in done.open or ():
            positions.setdefault((each.symbol, each.position_side), each)
        finished = done.flat if closes else done.nothing_rests
        stopped = stopped or any(each.failure.stops_asking for each in failures.values())
        if finished or stopped or number == _ROUNDS:
            break
        if number:
            await asyncio.sleep(_PAUSE_S)
        kinds = dict.fromkeys((each.symbol, each.conditional) for each in done.resting or ())
        # First what rests: an own reduce-only order would make the exchange refuse the one that closes.
        await _all(_cancel(account, symbol, conditional, failures) for symbol, conditional in kinds)
        await _all(_close(account, position, failures) for position in done.open or ())
        done.problems = _said(failures)
    finished = done.flat if closes else done.nothing_rests
    done.problems = [] if finished else [*dict.fromkeys((*done.problems, *_said(failures)))]
    left = set(done.resting or ())
    done.cancelled = [each for each in orders if each not in left] if done.resting is not None else []
    still = {(each.symbol, each.position_side) for each in done.open or ()}
    done.closed = [each for place, each in positions.items() if place not in still] if done.open is not None else []
    return done


def _said(failures: Mapping[str, ExchangeFailure]) -> list[str]:
    return [f"{what}: {each.failure.code}: {each.failure.told}" for what, each in failures.items()]


async def _read(
    asked: Awaitable[tuple[_T, ...]], what: str, failures: dict[str, ExchangeFailure]
) -> tuple[_T, ...] | None:
    try:
        return await asked
    except ExchangeFailure as failed:
        failures[what] = failed
        return None


async def _cancel(account: Holder, symbol: str, conditional: bool, failures: dict[str, ExchangeFailure]) -> None:
    what = f"{symbol}: its {'conditional' if conditional else 'plain'} orders aren't cancelled"
    try:
        await account.cancel_all(symbol, conditional=conditional)
    except ExchangeFailure as failed:
        failures[what] = failed


async def _close(account: Holder, position: OpenPosition, failures: dict[str, ExchangeFailure]) -> None:
    what = f"{position} isn't closed"
    try:
        filters = await account.filters(position.symbol)
    except ExchangeFailure:
        filters = None  # the exchange checks them itself
    hedged = position.position_side != "BOTH"
    for quantity in closing_quantities(position, filters):
        order = OrderRequest(
            position.symbol,
            position.closing_side,
            quantity,
            f"g-flat-{secrets.token_hex(12)}",
            reduce_only=True,
            position_side=position.position_side if hedged else None,
        )
        try:
            placed = await account.place(order, account.valid_for(_VALID_MS), timeout_ms=_TIMEOUT_MS)
        except ExchangeFailure as failed:
            failures[what] = failed
            return
        told = pairs(position=position, side=order.side, quantity=quantity, order=placed.order_id, status=placed.status)
        _log.info("FLATTEN %s", told)


async def _all(work: Iterable[Awaitable[None]]) -> None:
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(each: Awaitable[None]) -> None:
        async with free:
            await each

    await asyncio.gather(*(one(each) for each in work))
