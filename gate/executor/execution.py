"""The executor's answer to one intent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from gate.executor.margin import MarginCheck
from gate.values.outcome import Outcome, Settlement
from gate.values.verdict import Verdict


class Terminal(StrEnum):
    """How an execution ended, in one word."""

    FILLED = "FILLED"
    """The whole order is filled."""
    PLACED = "PLACED"
    """The exchange has the order, without a fill or with a part of it. An order that ended without a fill is
    REJECTED_EXCHANGE, with its order id."""
    DENIED = "DENIED"
    """The gate gave no permit."""
    REJECTED_MARGIN = "REJECTED_MARGIN"
    """The margin doesn't cover the order, or the free margin can't be read. Nothing was sent, or the exchange refused
    it for that (-2018, -2019)."""
    REJECTED_ORDER = "REJECTED_ORDER"
    """The intent gives no order that the exchange's filters accept."""
    REJECTED_EXCHANGE = "REJECTED_EXCHANGE"
    """The exchange refused the order; or the order ended without a fill; or it was sent and the exchange doesn't have
    it; or the executor didn't send it. `outcome` and `order_id` say which."""
    UNKNOWN = "UNKNOWN"
    """The order may exist. The intent stays in doubt until it is reconciled."""


class Execution(Struct, frozen=True):
    """The answer to one intent."""

    state: Terminal
    intent_id: str
    verdict: Verdict
    reason: str
    """One word: the verdict's reason, the exchange's code, or the executor's own."""
    detail: str = ""
    retryable: bool = False
    retry_after_ms: int | None = None
    """How long a retry waits at least. Of an exit only what the exchange asks for: a rest of entries isn't its own."""
    client_order_id: str | None = None
    order_id: str | None = None
    """orderId; of a conditional order its algoId."""
    actual_order_id: str | None = None
    """Of a conditional order that has fired: the orderId of what it became."""
    filled_quantity: Decimal = Decimal(0)
    average_price: Decimal | None = None
    """None while nothing is filled, and where the exchange hasn't told it."""
    margin: MarginCheck | None = None
    outcome: Outcome | None = None
    """The outcome that the executor reported to the gate; None for a denial."""
    settlement: Settlement | None = None
    """The gate's answer to the outcome."""
    without_store: bool = False
    """Whether an exit went without the store, which couldn't be asked or had failed."""
    still_open: Mapping[str, Decimal] | None = None
    """Of an exit that didn't get through: what of the symbol is open all the same, by position side (LONG, SHORT, or
    BOTH in one-way mode), below zero for a short position. None where it isn't known, or is nobody's concern."""
    notes: tuple[str, ...] = ()
    """What reading the intent has decided, such as a leverage that was rounded down (see `Intent.notes`); and what
    stays open of a position that is too large for one order."""
    side: str = ""
    """Of the order that the exchange has: BUY or SELL, also of an intent to close; empty where it isn't known."""

    @property
    def retry_after(self) -> timedelta | None:
        """`retry_after_ms` as a timedelta."""
        return None if self.retry_after_ms is None else timedelta(milliseconds=self.retry_after_ms)

    def __bool__(self) -> bool:
        """Whether the state is FILLED or PLACED."""
        return self.state in (Terminal.FILLED, Terminal.PLACED)
