"""From what became of an intent to the fields of its result. No I/O.

The first ten fields are those of the service that this one replaces, in its words; programs read them. A figure that
isn't known is `0` there, since those programs make a number of it. The rest is the gate's own, and empty where unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from gate.exchange.port import OrderAnswer
from gate.executor import Execution, Terminal
from gate.service.intake import DeadLetter, Entry
from gate.values.errors import cut
from gate.values.fields import plain
from gate.values.outcome import NOT_PLACED
from gate.values.record import Phase, Record
from gate.values.verdict import Mode

OF_MARGIN: Final = frozenset({"-2019", "INSUFFICIENT_MARGIN", "MARGIN_RESERVED", "MARGIN_UNRESERVED"})
_STATUS: Final = {
    Terminal.FILLED: "filled",
    Terminal.PLACED: "pending_fill",
    Terminal.UNKNOWN: "pending_fill",  # it may exist: who reads `rejected` would send it again
}
_NONE: Final = Decimal(0)
_LONGEST_SYMBOL: Final = 30
_SHOWN: Final = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of an intent, as its result tells it."""

    state: Terminal
    reason: str
    detail: str = ""
    retryable: bool = False
    retry_after_ms: int | None = None
    order_id: str | None = None
    client_order_id: str | None = None
    filled_quantity: Decimal = _NONE
    average_price: Decimal | None = None
    side: str = ""
    """Of the order: BUY or SELL; empty where it isn't known."""
    fence: int | None = None
    mode: Mode = Mode.ENFORCE
    still_open: str = ""
    """What an exit has left open, such as `LONG 0.3`; empty where nothing is, or where it isn't known."""
    looked: bool = False
    """Whether `still_open` is known."""
    notes: tuple[str, ...] = ()
    """What was decided while the intent was read and its order planned."""
    ended: bool = False
    """Of a PLACED one: whether its order has ended, filled in part, so that no update follows."""
    absent: bool = False
    """Whether an order was sent, and the exchange didn't have it then. One that shows up late is told of."""
    told_before: bool = False
    """Whether an earlier delivery has the answer that tells of this end."""

    @property
    def no_order(self) -> bool:
        """Whether no order has come of this delivery. Of another one it may: after a denial, or of an exit of which two
        deliveries met a store that was away."""
        return self.order_id is None and _STATUS.get(self.state) is None

    @property
    def nothing_came(self) -> bool:
        """The same, or its order has ended without a fill: then the result of another delivery counts, too."""
        return not self.filled_quantity and _STATUS.get(self.state) is None


def ending_of(execution: Execution) -> Ending:
    """The ending of an execution."""
    permit = execution.verdict.permit
    return Ending(
        state=execution.state,
        reason=execution.reason,
        detail=execution.detail,
        retryable=execution.retryable,
        retry_after_ms=execution.retry_after_ms,
        order_id=execution.order_id,
        client_order_id=execution.client_order_id,
        filled_quantity=execution.filled_quantity,
        average_price=execution.average_price,
        side=execution.side,
        fence=permit.fence if permit else None,
        mode=execution.verdict.mode,
        still_open=", ".join(f"{side} {plain(amount)}" for side, amount in (execution.still_open or {}).items()),
        looked=execution.still_open is not None,
        notes=execution.notes,
        absent=execution.outcome is not None and execution.outcome.is_absence,
    )


def ending_of_record(
    record: Record, client_order_id: str, order: OrderAnswer | None, mode: Mode, detail: str = ""
) -> Ending | None:
    """The ending of an intent whose earlier delivery had no result, by its record. None: it is still on its way.

    `order`: of a placed one, as the exchange tells it; None where it doesn't answer.
    """
    if record.phase is Phase.ADMITTED:
        return None
    known = {"client_order_id": client_order_id, "fence": record.fence, "mode": mode}
    if record.phase is Phase.FOREIGN:
        said = "the replaced service has a record of it"
        return Ending(Terminal.DENIED, "DUPLICATE", detail or said, mode=mode)
    code, _, told = record.note.partition(" ")
    if record.phase is Phase.UNKNOWN:
        return Ending(Terminal.UNKNOWN, code, told, **known)  # type: ignore[arg-type]
    if record.phase is Phase.REJECTED and order is None:
        if code in OF_MARGIN:
            state = Terminal.REJECTED_MARGIN
        else:
            state = Terminal.REJECTED_ORDER if record.unsent else Terminal.REJECTED_EXCHANGE
        return Ending(state, code, told, absent=code == NOT_PLACED, **known)  # type: ignore[arg-type]
    if order is None:
        said = "an earlier delivery has placed it; what has filled isn't known"
        return Ending(Terminal.PLACED, "PLACED", said, order_id=record.order_id, **known)  # type: ignore[arg-type]
    unfilled = Terminal.REJECTED_EXCHANGE if order.ended_unfilled else Terminal.PLACED
    return Ending(
        Terminal.FILLED if order.filled else unfilled,
        order.status,
        "an earlier delivery has placed it",
        order_id=order.order_id,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
        side=order.side,
        ended=order.ended_early and not order.ended_unfilled,
        **known,  # type: ignore[arg-type]
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What an intent asks for, as far as its results tell it."""

    intent_id: str
    symbol: str
    action: str
    leverage: int
    value: Decimal | None
    """What it is to be worth; None where that isn't known."""
    expected_price: Decimal | None

    @classmethod
    def by(cls, entry: Entry) -> Asked:
        """By an entry of the stream."""
        intent, value = entry.intent, entry.intent.notional
        if value is None and intent.quantity is not None and entry.expected_price is not None:
            value = intent.quantity * entry.expected_price
        return cls(intent.id, intent.symbol, intent.side, intent.leverage or 1, value, entry.expected_price)

    @classmethod
    def by_what_is_left(cls, letter: DeadLetter) -> Asked:
        """By an entry that can't be read as an intent."""
        action = letter.action.upper()
        known = action if action in ("BUY", "SELL", "CLOSE") else ""
        return cls(letter.intent_id, cut(letter.symbol, _LONGEST_SYMBOL), known, 1, None, None)


def result_fields(asked: Asked, ending: Ending, *, by: str, now_ms: int, fee_rate: Decimal | None) -> dict[str, str]:
    """The fields of the result, in the order in which they are written. `fee_rate`: of a taker, where it is known."""
    price, filled = ending.average_price, ending.filled_quantity
    status = "filled" if ending.ended else _STATUS.get(ending.state, "rejected")
    return {
        **old_fields(asked, ending.side, price, filled, ending.order_id, status, now_ms, fee_rate),
        "intent_id": asked.intent_id,
        "state": ending.state.value,
        "reason": ending.reason,
        "detail": ending.detail,
        "retryable": "1" if ending.retryable else "0",
        "retry_after_ms": "" if ending.retry_after_ms is None else str(ending.retry_after_ms),
        "filled_quantity": plain(filled),
        "average_price": "" if price is None else plain(price),
        "client_order_id": ending.client_order_id or "",
        "fence": "" if ending.fence is None else str(ending.fence),
        "mode": ending.mode.value,
        "by": by,
        "still_open": ending.still_open,
        "notes": "; ".join(ending.notes),
    }


def old_fields(
    asked: Asked,
    side: str,
    price: Decimal | None,
    filled: Decimal,
    order_id: str | None,
    status: str,
    now_ms: int,
    fee_rate: Decimal | None,
) -> dict[str, str]:
    """The fields of the service that this one replaces. `side`: of the order, empty where it isn't known; `price`: the
    average of what is filled."""
    value = filled * price if price is not None else None
    fee = value * fee_rate if value is not None and fee_rate is not None else _NONE
    return {
        "symbol": asked.symbol,
        "action": asked.action,
        "entry_price": _number(price if price is not None else asked.expected_price),
        "position_size_usd": _number(value if value else asked.value),
        "leverage": str(asked.leverage),
        "timestamp": datetime.fromtimestamp(now_ms / 1000, UTC).replace(tzinfo=None).isoformat(),
        "order_id": order_id or "",
        "status": status,
        "slippage_pct": _number(_slippage(asked, side, price)),
        "fee_usd": _number(fee),
    }


def _slippage(asked: Asked, side: str, price: Decimal | None) -> Decimal:
    """By how many percent the fill is worse than the expected price; below zero where it is better."""
    expected, side = asked.expected_price, side or asked.action
    if price is None or expected is None or side not in ("BUY", "SELL"):
        return _NONE  # only its order tells whether a CLOSE buys or sells
    worse = price - expected if side == "BUY" else expected - price
    return worse / expected * 100


def _number(figure: Decimal | None) -> str:
    if not figure:
        return "0"
    return plain(figure.quantize(_SHOWN)) if abs(figure) < Decimal("1e15") else plain(figure)
