"""What is still open after an exit that didn't get through. Read after the settlement, which doesn't wait for it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Final

from gate.exchange.port import Exchange
from gate.executor.execution import Execution
from gate.values.fields import plain
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.log_words import names

_log: Final = logging.getLogger("gate.executor")

_LONGEST_S: Final = 2.0
_NOT_THE_EXITS_END: Final = (Reason.DUPLICATE, Reason.CONFLICT)
"""Another delivery tells what became of the intent."""
_SILENCE: Final = frozenset({"HTTP_429", "HTTP_418", "HTTP_403", "-1003"})
"""The exchange wants no requests."""


async def with_still_open(exchange: Exchange, intent: Intent, execution: Execution) -> Execution:
    """The execution, with what is open of its symbol if it is an exit that didn't get through. Raises nothing but a
    cancellation."""
    if execution or not intent.is_exit or execution.verdict.reason in _NOT_THE_EXITS_END:
        return execution
    if execution.reason in _SILENCE or exchange.near_limit_ms() is not None:
        return execution
    try:
        async with asyncio.timeout(_LONGEST_S):
            held = await exchange.positions(intent.symbol)
    except Exception as failed:  # whatever it is, the execution has its end
        _log.warning("STILL OPEN %s unknown: %s", names(intent), str(failed) or type(failed).__name__)
        return execution
    for each in held:
        _log.warning("STILL OPEN %s %s %s", names(intent), each.direction, plain(each.size))
    return replace(execution, still_open={each.position_side: each.amount for each in held})
