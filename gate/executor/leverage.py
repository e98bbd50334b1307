"""The leverage of entries: what the intent names, what the exchange has set, and what the policy does about it.

An order never goes out at a higher leverage than its intent names. An intent that names none takes what is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from msgspec import structs

from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import CLOCK_LEAD_MS, LEAST_TO_SEND_MS, Exchange, SymbolConfig
from gate.executor.attempt import Attempt
from gate.executor.execution import Execution
from gate.values.intent import Intent
from gate.values.log_words import log_of, names
from gate.values.policy import Policy

_log: Final = log_of("gate.executor")


def assumed(intent: Intent, policy: Policy, config: SymbolConfig) -> SymbolConfig:
    """The settings under which the intent's order will go out, by a reading of those that are there."""
    if policy.leverage == "set" and intent.leverage is not None:
        return structs.replace(config, leverage=intent.leverage)
    return config


async def agreed(exchange: Exchange, attempt: Attempt, config: SymbolConfig) -> SymbolConfig | Execution:
    """The settings for the order, once the exchange has what the intent names; or why nothing is sent.

    Costs a request only where the exchange has another leverage, and the policy sets it.
    """
    named, there = attempt.intent.leverage, config.leverage
    if named is None or named == there:
        return config
    differ = f"the exchange has leverage {there} for {attempt.intent.symbol}, the intent names {named}"
    match attempt.policy.leverage:
        case "match":
            return attempt.unsent("LEVERAGE_DIFFERS", f"{differ}; the policy wants them to match")
        case "exchange" if there < named:
            return config
        case "exchange":
            return attempt.unsent("LEVERAGE_TOO_HIGH", f"{differ}; the policy takes the exchange's, but none higher")
        case _:
            return await _set(exchange, attempt, named, differ)


async def rests_below(exchange: Exchange, attempt: Attempt, leverage: int) -> Execution | None:
    """Why an isolated symbol's leverage isn't raised: an entry that rests was sent at the present one, and would fill
    at the new one, with a fraction of the margin behind it. None: no entry rests. Raises ExchangeFailure."""
    intent = attempt.intent
    entries = [each for each in await exchange.resting_orders(intent.symbol) if not each.reduces]
    if not entries:
        return None
    detail = (
        f"{intent.symbol} is in isolated margin at leverage {leverage}, and {entries[0]} rests there: it would fill at "
        f"{intent.leverage}. Cancel it, or name leverage {leverage}"
    )
    _log.warning("LEVERAGE %s", names(intent, detail=detail))
    return attempt.unsent("LEVERAGE_DIFFERS", detail)


async def _set(exchange: Exchange, attempt: Attempt, named: int, differ: str) -> SymbolConfig | Execution:
    if (left_ms := attempt.permit.remaining_ms) < LEAST_TO_SEND_MS:
        # The turn came too late. This order can't go any more; a leverage set now would only change those of others.
        return attempt.unsent("DEADLINE", f"{left_ms} ms of the permit were left, {LEAST_TO_SEND_MS} are needed")
    attempt.sets_leverage = True
    try:
        config = await exchange.set_leverage(attempt.intent.symbol, named)
    except ExchangeFailure as failed:
        if failed.failure.may_exist:
            # It may yet be set, late. The turn is kept until that is over, or it would be so under another's order.
            await asyncio.sleep((exchange.recv_window_ms + CLOCK_LEAD_MS) / 1000)
        return attempt.leverage_not_set(failed.failure, differ)
    _log.info("LEVERAGE SET %s", names(attempt.intent, leverage=named, detail=differ))
    return config


@dataclass(slots=True)
class _Turn:
    leverage: int = 0
    under_way: int = 0
    ended_ns: int = 0
    another_ended_ns: int = 0
    """When the last turn of another leverage ended, on the monotonic clock."""
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def end(self) -> None:
        """Ends the turn of one entry, and wakes all that wait with the last one's."""
        self.under_way -= 1
        self.ended_ns = time.monotonic_ns()
        if not self.under_way:
            waiting, self.waiting = self.waiting, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)


class LeverageTurns:
    """Lets entries of one symbol that name different leverages go one after the other, and those of one leverage
    together: the exchange has one leverage for a symbol, and the next entry must not change it before this one's order
    is there. Within this process."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def turn(self, attempt: Attempt, acceptable_ms: int, read_ns: int = 0) -> AsyncIterator[bool]:
        """Holds the symbol's leverage for the attempt. At once where nothing is to be held. Says whether what was read
        at `read_ns` or later still holds: no turn of another leverage has ended since.

        `acceptable_ms`: how long after its signature the exchange may still accept a request.
        """
        intent = attempt.intent
        if intent.is_exit or intent.leverage is None or attempt.policy.leverage != "set":
            yield True
            return
        turn = self._turns.setdefault(intent.symbol, _Turn())
        loop = asyncio.get_running_loop()
        while turn.under_way and turn.leverage != intent.leverage:
            woken = loop.create_future()
            turn.waiting.append(woken)
            await woken
        if turn.leverage != intent.leverage:
            turn.leverage, turn.another_ended_ns = intent.leverage, turn.ended_ns
        turn.under_way += 1
        try:
            yield turn.another_ended_ns < read_ns
        except asyncio.CancelledError:
            if attempt.sent or attempt.sets_leverage:  # either may be on the way, for so long
                loop.call_later(max(attempt.permit.remaining_ms, acceptable_ms) / 1000, turn.end)
            else:
                turn.end()
            raise
        except BaseException:
            turn.end()
            raise
        else:
            turn.end()
