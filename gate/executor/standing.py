"""Says on the store, all the while, that this service keeps its account under its prefix.

So a person who halts a mistaken prefix is told which ones there are. A second prefix on one API key is refused: it
would have limits of its own, and spend the first one's margin. By another key of the account it is logged: somebody may
mean it, and has positions to close. A second account under one prefix is refused: each would
settle the other's orders as absent, and be denied exits whose ids the other has used.
"""

from __future__ import annotations

from asyncio import gather, sleep, timeout
from typing import Final

from gate.client.gates import AsyncGate
from gate.client.services import TRACE_EVERY_S
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange
from gate.values.errors import AccountTaken, PrefixTaken
from gate.values.log_words import log_of

_READ_S: Final = 2.0
"""How long a start waits for the exchange at most: positions must be closed all the same. Two handshakes far away."""
_log: Final = log_of("gate.executor")


async def stand_for_account(gate: AsyncGate, exchange: Exchange) -> None:
    """Claims the account for the prefix and the prefix for the account, and leaves a trace. Raises AccountTaken,
    PrefixTaken. Goes on where store or exchange don't answer, the exchange gives the account no code, or the store's
    user has no right: positions must be closed all the same."""
    try:
        await _claim(gate, exchange)
    except BaseException as error:
        # Where it is refused here, it may begin elsewhere at once. Where it was cancelled, another may have joined it.
        refused = isinstance(error, AccountTaken | PrefixTaken)
        await gate.leave_account(exchange.key_digest, exchange.known_account_digest(), at_once=refused)
        raise


async def keep_standing(gate: AsyncGate, exchange: Exchange) -> None:
    """Does it again each minute, until the task is cancelled."""
    while True:
        await sleep(TRACE_EVERY_S)
        try:
            await _claim(gate, exchange)
        except (AccountTaken, PrefixTaken) as taken:
            # A store or an exchange that was away at the start; what runs must not end in the middle.
            _log.error("%s", taken)
        except Exception:
            _log.exception("no trace left")  # a bug must not end the loop


async def account_told(exchange: Exchange) -> str | None:
    """The digest of the exchange's code of the account; None where it doesn't tell one within two seconds."""
    try:
        async with timeout(_READ_S):
            return await exchange.account_digest()
    except (ExchangeFailure, TimeoutError):
        return None


async def _claim(gate: AsyncGate, exchange: Exchange) -> None:
    account, holder = await gather(account_told(exchange), gate.claim_account(exchange.key_digest))
    alone = account is None or await gate.claim_prefix(account)  # a service at work renews both, whichever is taken
    if holder is not None:
        raise AccountTaken(gate.prefix, holder)
    if not alone:
        raise PrefixTaken(gate.prefix)
    if account is not None:
        await gate.note_account(account)
    await gate.leave_trace()
