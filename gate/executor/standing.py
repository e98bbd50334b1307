"""Says on the store, all the while, that this service keeps its account under its prefix.

So a person who halts a mistaken prefix is told which ones there are, and a second prefix on one API key is refused: it
would have limits of its own, and spend the first one's margin.
"""

from __future__ import annotations

from asyncio import sleep
from typing import Final

from gate.client.gates import AsyncGate
from gate.client.services import TRACE_EVERY_S
from gate.exchange.port import Exchange
from gate.values.errors import AccountTaken
from gate.values.log_words import log_of

_log: Final = log_of("gate.executor")


async def stand_for_account(gate: AsyncGate, exchange: Exchange) -> None:
    """Leaves a trace and claims the account. Raises AccountTaken. Goes on where the store doesn't answer, or its user
    has no right: positions must be closed all the same."""
    holder = await gate.claim_account(exchange.key_digest)
    if holder is not None:
        raise AccountTaken(gate.prefix, holder)
    await gate.leave_trace()


async def keep_standing(gate: AsyncGate, exchange: Exchange) -> None:
    """Does it again each minute, until the task is cancelled."""
    while True:
        await sleep(TRACE_EVERY_S)
        try:
            await stand_for_account(gate, exchange)
        except AccountTaken as taken:
            _log.error("%s", taken)  # a store that was away at the start; what runs must not end in the middle
        except Exception:
            _log.exception("no trace left")  # a bug must not end the loop
