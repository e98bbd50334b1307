"""What became of one intent: the executor's answer."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from gate.executor.margin import MarginCheck
from gate.values.outcome import Outcome, Settlement
from gate.values.verdict import Verdict


class Terminal(StrEnum):
    """How an execution ended, in one word."""

    FILLED = "FILLED"
    """All of the order is filled."""
    PLACED = "PLACED"
    """The exchange has the order; it isn't filled, or not wholly. One that ended with nothing filled is
    REJECTED_EXCHANGE, with its order id."""
    DENIED = "DENIED"
    """The gate gave no permit."""
    REJECTED_MARGIN = "REJECTED_MARGIN"
    """The margin doesn't cover the order, or nobody can tell whether it does."""
    REJECTED_ORDER = "REJECTED_ORDER"
    """No order that the exchange's filters accept can be made of the intent."""
    REJECTED_EXCHANGE = "REJECTED_EXCHANGE"
    """The exchange refused the order, or it wasn't sent: the reason says which."""
    UNKNOWN = "UNKNOWN"
    """Nobody can tell whether the order exists; it stays in doubt until it is reconciled."""


@dataclass(frozen=True, slots=True)
class Execution:
    """The answer to one intent."""

    state: Terminal
    intent_id: str
    verdict: Verdict
    reason: str
    """A word: the verdict's reason, the exchange's code, or what the executor found."""
    detail: str = ""
    retryable: bool = False
    retry_after_ms: int | None = None
    client_order_id: str | None = None
    order_id: str | None = None
    filled_quantity: Decimal = Decimal(0)
    average_price: Decimal | None = None
    margin: MarginCheck | None = None
    outcome: Outcome | None = None
    """What the gate was told; None where the intent was denied."""
    settlement: Settlement | None = None
    """What the gate said to it."""

    def __bool__(self) -> bool:
        """Whether the exchange has the order."""
        return self.state in (Terminal.FILLED, Terminal.PLACED)
