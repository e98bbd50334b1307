"""Compares the exchange's own books with the gate's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gate.demo.stage import Desk
from gate.values.record import Phase

LedgerRow = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Line:
    """One intent, in the exchange's books and in the gate's records."""

    account: str
    intent_id: str
    said: str
    """The executor's answer, in one word."""
    record: str
    """The gate's record."""
    orders: str
    """The exchange's order with the intent's client order id."""
    agrees: bool


async def hold_together(desk: Desk, ledger: Sequence[LedgerRow]) -> list[Line]:
    """A line for every intent of a desk, and a line for every order that belongs to no intent."""
    lines = []
    explained = set()
    for intent_id in desk.intents:
        client_order_id = desk.gate.client_order_id(intent_id)
        orders = [
            row for row in ledger if row["account"] == desk.account.name and row["clientOrderId"] == client_order_id
        ]
        explained.add(client_order_id)
        record = await desk.gate.lookup(intent_id)
        placed = record is not None and record.phase is Phase.PLACED
        order_ids = [str(row["orderId"]) for row in orders]
        agrees = (
            len(orders) <= 1 and placed == bool(orders) and (not placed or [record and record.order_id] == order_ids)
        )
        executions = [each for each in desk.executions if each.intent_id == intent_id]
        told = next((each for each in executions if each), executions[-1])
        lines.append(
            Line(
                desk.account.name,
                intent_id,
                told.reason,
                "-" if record is None else f"{record.phase} {record.note}"[:60],
                ", ".join(f"{row['orderId']} {row['status']}" for row in orders) or "-",
                agrees,
            )
        )
    for row in ledger:
        if row["account"] == desk.account.name and row["clientOrderId"] not in explained:
            lines.append(Line(desk.account.name, "?", "-", "-", f"{row['orderId']} {row['status']}", False))
    return lines
