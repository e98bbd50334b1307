"""The order of an intent to close: which side, and how much, by the position that the exchange has.

Nothing of what is read gets into the intent's record: its fingerprint and its client order id are those of the intent
as it was asked for, so every delivery is the same intent, whatever is open by then.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Final

from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange, Position
from gate.executor.attempt import Attempt
from gate.executor.execution import Execution
from gate.executor.order_plan import OrderPlan, PlanRefusal
from gate.executor.readings import Readings
from gate.values.fields import plain
from gate.values.intent import Intent
from gate.values.log_words import log_of, names

_log: Final = log_of("gate.executor")

_READ_AGAIN_AFTER_S: Final = 0.5
_LONGEST_S: Final = 2.0


async def fit_to_position(exchange: Exchange, attempt: Attempt, readings: Readings) -> Execution | None:
    """Gives the attempt's intent the side and the size of what is open, or says why nothing is sent.

    Raises ExchangeFailure where the position can't be read: without it nobody knows what would close it.
    """
    intent = attempt.intent
    if not intent.wants_position:
        return None
    held = await readings.positions_soon()
    if held is None and exchange.rest_ms() is None:
        held = await readings.positions_soon(anew=True)  # by another connection: the first may be the one that hangs
    if held is None and (position := _remembered(exchange, intent)) is not None:
        _close_by_memory(attempt, position)
        return None
    if held is None:
        held = await readings.positions()
    closable = [each for each in held if _closes(intent, each)]
    attempt.told_open = held if readings.live is not None and len(closable) == 1 else None
    if len(closable) != 1 and readings.live is not None:
        held = await exchange.positions(intent.symbol)
        closable = [each for each in held if _closes(intent, each)]
    if not closable:
        # The exchange's readings may be behind a fill of a moment ago, and this end is final.
        await asyncio.sleep(_READ_AGAIN_AFTER_S)
        held = await exchange.positions(intent.symbol)
        closable = [each for each in held if _closes(intent, each)]
    if not closable:
        # Final: a later delivery must not close what was opened since.
        return attempt.unfit(PlanRefusal("NOTHING_TO_CLOSE", _nothing(intent, held)))
    if len(closable) > 1:
        said = " and ".join(map(_shown, closable))
        detail = f"{intent.symbol} has {said}, and an intent gets one order: name position_side"
        return attempt.unsent("TWO_POSITIONS", detail)
    attempt.closes_all = intent.close_position and not intent.is_conditional
    _fit(attempt, closable[0])
    return None


def _remembered(exchange: Exchange, intent: Intent) -> Position | None:
    """What an intent closes by what the exchange last told; None where that names no one position.

    A stop waits for a reading: it may rest for long, and on the wrong side. In hedge mode the other side may be open by
    now, so that the intent has to name its own.
    """
    if intent.is_conditional:
        return None
    closable = [each for each in exchange.last_positions(intent.symbol) or () if _closes(intent, each)]
    if len(closable) != 1 or (closable[0].position_side != "BOTH" and intent.position_side is None):
        return None
    return closable[0]


def _close_by_memory(attempt: Attempt, position: Position) -> None:
    """Sizes a close by what was open when the exchange last told: an exit must not wait for readings that hang. The
    order only reduces. A size that is asked for stays: where less is open, the exchange cuts or refuses it."""
    intent = attempt.asked
    attempt.by_memory, attempt.closes_all = True, intent.close_position
    attempt.intent = _of(intent, position, position.size if attempt.closes_all else intent.quantity)
    attempt.cut = f"by what was last known to be open, {_shown(position)}: the exchange doesn't say what is"
    _log.warning("CLOSE BY MEMORY %s", names(attempt.intent, detail=attempt.cut))


def _fit(attempt: Attempt, position: Position) -> None:
    """Gives the intent as it was asked for the side and the size of a position."""
    intent, quantity = attempt.asked, None
    if intent.quantity is not None:
        quantity = min(intent.quantity, position.size)
    elif attempt.closes_all:
        quantity = position.size
    attempt.intent = _of(intent, position, quantity)


async def cut_to_position(exchange: Exchange, attempt: Attempt) -> bool:
    """Cuts an exit that the exchange has refused to what is open, if it is larger; or turns a close that names no side,
    where the position has turned. Says whether it did."""
    intent, sent = attempt.intent, attempt.sent_quantity
    try:
        async with asyncio.timeout(_LONGEST_S):
            held = await exchange.positions(intent.symbol) if sent is not None else ()
    except (ExchangeFailure, TimeoutError):
        return False
    closable = [each for each in held if _closes(attempt.asked, each)]
    if sent is None or len(closable) != 1:
        return False
    attempt.told_open, attempt.by_memory = None, False
    if closable[0].closing_side != intent.side:
        _fit(attempt, closable[0])
        attempt.cut = f"turned from {intent.side} to {closable[0].closing_side}: {_shown(closable[0])} is open by now"
        _log.warning("TURNED %s", names(intent, detail=attempt.cut))
        return True
    if closable[0].size >= sent:
        return False
    attempt.intent = _of(intent, closable[0], closable[0].size)
    attempt.cut = f"cut from {plain(sent)} to {plain(closable[0].size)}: no more is open"
    _log.warning("CUT %s", names(intent, detail=attempt.cut))
    return True


def tell_what_stays_open(attempt: Attempt, plan: OrderPlan) -> str:
    """What the order of an exit leaves of what it was to close, in words; nothing where it leaves nothing."""
    asked = attempt.intent.quantity
    if plan.cut_from is not None:
        told = f"closes {plain(plan.quantity)} of {plain(plan.cut_from)}, the largest order"
        left = plain(plan.cut_from - plan.quantity)
        told += f"; {left} stays open: send a new intent" if attempt.closes_all else ": send a new intent for the rest"
    elif attempt.closes_all and asked is not None and plan.quantity < asked:
        left = plain(asked - plan.quantity)
        told = f"closes {plain(plan.quantity)} of {plain(asked)}; {left} stays open: no order may be so small"
    else:
        return ""
    _log.warning("STAYS OPEN %s", names(attempt.intent, detail=told))
    return told


def _closes(intent: Intent, position: Position) -> bool:
    return intent.side in ("CLOSE", position.closing_side) and intent.position_side in (None, position.direction)


def _of(intent: Intent, position: Position, quantity: Decimal | None) -> Intent:
    return Intent(
        id=intent.id,
        symbol=intent.symbol,
        side=position.closing_side,
        timestamp=intent.timestamp_ms,
        notional=intent.notional if quantity is None else None,
        quantity=quantity,
        price=intent.price,
        reduce_only=True,
        close_position=intent.close_position and quantity is None,
        position_side=intent.position_side,
        order_type=intent.order_type,
        time_in_force=intent.time_in_force,
        trigger_price=intent.trigger_price,
        working_type=intent.working_type,
        aside=intent.aside,
        notes=intent.notes,
    )


def _nothing(intent: Intent, held: tuple[Position, ...]) -> str:
    if not held:
        return f"{intent.symbol} has no open position"
    wanted = f"{intent.position_side} position" if intent.position_side else f"position that {intent.side} closes"
    return f"{intent.symbol} has no {wanted}; it has {' and '.join(map(_shown, held))}"


def _shown(position: Position) -> str:
    return f"{position.direction} {plain(position.size)}"
