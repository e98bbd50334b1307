"""What is still open after an exit. Read after the settlement, which doesn't wait for it."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from msgspec.structs import replace

from gate.exchange.port import Exchange, Position
from gate.executor.execution import Execution, Terminal
from gate.values.fields import plain
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.log_words import log_of, names

_log: Final = log_of("gate.executor")

_LONGEST_S: Final = 2.0
_EVENTS_TAKE_S: Final = 0.1
_LOOKS: Final = 10
_SHARED_S: Final = 1.0
_NOT_THE_EXITS_END: Final = (Reason.DUPLICATE, Reason.CONFLICT)
"""Another delivery tells what became of the intent."""
_ENDED: Final = ("CANCELED", "EXPIRED", "EXPIRED_IN_MATCH")
"""The exchange's words for an order that ended before all of it was filled."""
_SILENCE: Final = frozenset({"HTTP_429", "HTTP_418", "HTTP_403", "-1003"})
"""The exchange wants no requests."""


class StillOpen:
    """Reads what is open after exits. Deliveries of one symbol within a second share a reading: what is denied may come
    again and again."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange
        self._read: dict[str, tuple[float, tuple[Position, ...]]] = {}

    async def after(self, intent: Intent, execution: Execution) -> Execution:
        """The execution, with what is open of its symbol: of an exit that didn't get through, of one whose order ended
        before it was filled, and of a close that leaves something. Raises nothing but a cancellation."""
        closed_all = execution.state is Terminal.FILLED and intent.wants_position and intent.close_position
        cut_short = execution.state is Terminal.PLACED and execution.reason in _ENDED
        if (
            not intent.is_exit
            or (execution and not closed_all and not cut_short)
            or execution.verdict.reason in _NOT_THE_EXITS_END
        ):
            return execution
        if closed_all and await self._told_flat(intent):
            return execution
        if execution.reason in _SILENCE or self._exchange.near_limit_ms() is not None:
            return execution
        try:
            async with asyncio.timeout(_LONGEST_S):
                # What another delivery has read before this exit's end is old: only a denial has changed nothing.
                held = await self._positions(intent.symbol, anew=execution.state is not Terminal.DENIED)
        except Exception as failed:  # whatever it is, the execution has its end
            _log.warning("STILL OPEN UNKNOWN %s", names(intent, detail=str(failed) or type(failed).__name__))
            return execution
        if closed_all or cut_short:
            held = tuple(each for each in held if intent.position_side in (None, each.direction))
            if not held:
                return execution
        for each in held:
            _log.warning("STILL OPEN %s", names(intent, position=each.direction, size=plain(each.size)))
        return replace(execution, still_open={each.position_side: each.amount for each in held})

    async def _told_flat(self, intent: Intent) -> bool:
        """Whether the streams tell that nothing is open any more: so soon after the order's fill, or not at all."""
        for _ in range(_LOOKS):
            live = self._exchange.live(intent.symbol)
            if live is None:
                return False
            left = any(intent.position_side in (None, each.direction) for each in live.positions)
            if not left and not live.awaits_position:
                return True
            await asyncio.sleep(_EVENTS_TAKE_S / _LOOKS)
        return False

    async def _positions(self, symbol: str, *, anew: bool) -> tuple[Position, ...]:
        at_s, held = self._read.get(symbol, (-_SHARED_S, ()))
        if anew or time.monotonic() - at_s >= _SHARED_S:
            at_s = time.monotonic()
            held = await self._exchange.positions(symbol)
            self._read[symbol] = at_s, held
        return held
