"""What is in doubt is asked of the exchange, and settled.

Safe from any number of processes at once: settling is atomic, and the same answer twice changes nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.client import AsyncGate
from gate.exchange.orders import CLOCK_LEAD_MS, Exchange, ExchangeFailure, OrderNotFound
from gate.outcome import Outcome, Settlement
from gate.record import Record

_log: Final = logging.getLogger("gate.reconcile")


class Finding(StrEnum):
    """What became of an intent that was in doubt."""

    PLACED = "PLACED"
    """The exchange has its order: recorded as placed."""
    NOT_PLACED = "NOT_PLACED"
    """There is none, and none can come any more: forgotten, so that the intent may be admitted again while fresh."""
    WAIT = "WAIT"
    """None is to be seen yet; a request may still be on its way. Ask again."""
    UNREADABLE = "UNREADABLE"
    """The exchange gave no usable answer. Ask again."""
    LAPSED = "LAPSED"
    """Its record has lapsed, so its symbol isn't known. A person has to look for its client order id."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One intent that was in doubt."""

    intent_id: str
    client_order_id: str
    finding: Finding
    detail: str = ""
    settlement: Settlement | None = None

    @property
    def done(self) -> bool:
        """Whether it is in doubt no longer."""
        return self.finding in (Finding.PLACED, Finding.NOT_PLACED) and bool(self.settlement)


async def reconcile(gate: AsyncGate, exchange: Exchange, *, at_most: int = 100) -> list[Reconciled]:
    """Asks for every intent in doubt, the oldest first, and settles what is certain. Raises StoreFailure."""
    doubt = await gate.in_doubt(at_most)
    client_order_id = gate.calls.keyspace.client_order_id
    found = [await _ask(gate, exchange, record, doubt.now_ms) for record in doubt.records]
    found += [Reconciled(each, client_order_id(each), Finding.LAPSED) for each in doubt.lapsed]
    for each in found:
        _log.info("RECONCILED id=%s %s %s", each.intent_id, each.finding, each.detail)
    return found


async def _ask(gate: AsyncGate, exchange: Exchange, record: Record, now_ms: int) -> Reconciled:
    permit = gate.calls.protocol.permit_of(record)
    try:
        order = await exchange.find_order(record.symbol, permit.client_order_id)
    except OrderNotFound:
        # Nothing is sent after the deadline, nor can the exchange accept it later than its clock may lag behind.
        if now_ms - permit.deadline_ms <= CLOCK_LEAD_MS:
            return Reconciled(record.intent_id, permit.client_order_id, Finding.WAIT)
        outcome = Outcome.rejected("NOT_PLACED", "reconciled: the exchange has no such order", retryable=True)
        settlement = await gate.settle(permit, outcome)
        return Reconciled(record.intent_id, permit.client_order_id, Finding.NOT_PLACED, settlement=settlement)
    except ExchangeFailure as failed:
        return Reconciled(record.intent_id, permit.client_order_id, Finding.UNREADABLE, str(failed))
    settlement = await gate.settle(permit, Outcome.placed(order.order_id))
    detail = f"order {order.order_id} {order.status}"
    return Reconciled(record.intent_id, permit.client_order_id, Finding.PLACED, detail, settlement)
