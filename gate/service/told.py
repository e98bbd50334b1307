"""What the stream of the results has told of an order, and what an update of it adds. No I/O.

It stands in the store, `P:stream:order:{client_order_id}`, from the intent's result on. So every service of the account
knows of which intent an order is, that its result is written, and what would be news.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct, structs

from gate.executor import OrderState, OrderUpdate, Terminal
from gate.service.intake import Entry
from gate.service.results import Asked, Ending, old_fields
from gate.values.fields import plain

UPDATE: Final = "ORDER_UPDATE"
"""The state of an entry that is no result: it tells what came of an order after its result."""
OPEN_MS: Final = 90 * 86_400_000
"""How long an order is known of which more may come. The exchange tells of none that is older."""


class ToldOrder(Struct, frozen=True, omit_defaults=True):
    """One order."""

    asked: Asked
    state: str = ""
    """An OrderState; empty where it isn't known whether the exchange has it."""
    filled: Decimal = Decimal(0)
    price: Decimal | None = None
    """The average of what is filled."""
    order_id: str = ""
    conditional: bool = False
    absent: bool = False
    """Whether its result has told that the exchange doesn't have it. It may still show up; nobody asks for it."""
    fence: str = ""
    mode: str = ""
    updates: int = 0
    """How many updates were told."""
    at_ms: int = 0
    """When that happened which was told last, on the exchange's clock; 0 where the result told it."""

    @property
    def open(self) -> bool:
        """Whether more may come of an order that the exchange has, or may have."""
        return not OrderState(self.state).ended if self.state else not self.absent

    @property
    def status(self) -> str:
        """In the words of the service that this one replaces: an order is `pending_fill` until its end, and then it is
        `filled` if there is any fill."""
        if self.open or not self.state:
            return "pending_fill"
        return "filled" if self.filled else "rejected"

    def after(self, update: OrderUpdate) -> ToldOrder | None:
        """What is told with an update; None where that is no news. What is filled never gets less."""
        last = OrderState(self.state) if self.state else None
        if self.is_another(update):
            return structs.replace(self, state="", filled=Decimal(0)).after(update)
        if not update.is_news_after(last, self.filled):
            return None
        return structs.replace(
            self,
            state=update.state.value,
            filled=update.filled_quantity,
            price=update.average_price,
            order_id=update.order_id,
            updates=self.updates + 1,
            at_ms=update.time_ms,
        )

    def is_another(self, update: OrderUpdate) -> bool:
        """Whether it tells of a younger order, which has got the client order id of this one after its end."""
        if self.conditional or not self.state or not OrderState(self.state).ended:
            return False
        ids = self.order_id, update.order_id
        return all(map(str.isdigit, ids)) and int(ids[1]) > int(ids[0])

    def packed(self) -> bytes:
        """As the store keeps it."""
        return msgspec.json.encode(self)

    @classmethod
    def read(cls, packed: bytes) -> ToldOrder:
        """Raises ValueError for what isn't one."""
        told = msgspec.json.decode(packed, type=cls)
        if told.state:
            OrderState(told.state)
        expected = told.asked.expected_price
        figures = told.filled, told.price, told.asked.value, expected
        if not all(each is None or each.is_finite() for each in figures) or (expected is not None and expected <= 0):
            raise ValueError("a figure is none")
        return told


def told_by(entry: Entry, ending: Ending) -> ToldOrder | None:
    """What a result tells of its order; None where it tells of none."""
    if not ending.client_order_id or ending.state is Terminal.DENIED or (ending.no_order and not ending.absent):
        return None
    if ending.state is Terminal.UNKNOWN or ending.absent:
        state = ""
    elif ending.state is Terminal.FILLED:
        state = OrderState.FILLED.value
    elif ending.ended:
        state = OrderState.EXPIRED.value
    elif ending.state is Terminal.PLACED:
        state = (OrderState.PARTIALLY_FILLED if ending.filled_quantity else OrderState.NEW).value
    else:  # the exchange had it, and nothing came of it
        state = OrderState.EXPIRED.value
    return ToldOrder(
        asked=Asked.by(entry),
        state=state,
        filled=ending.filled_quantity,
        price=ending.average_price,
        order_id=ending.order_id or "",
        conditional=entry.intent.is_conditional,
        absent=ending.absent,
        fence="" if ending.fence is None else str(ending.fence),
        mode=ending.mode.value,
    )


def of_nobody(update: OrderUpdate) -> ToldOrder:
    """Of an order that no intent has asked for: the exchange's own, by which it closes a position."""
    return ToldOrder(Asked("", update.symbol, update.side, 1, None, None))


def update_fields(
    told: ToldOrder, update: OrderUpdate, *, by: str, fee_rate: Decimal | None, now_ms: int | None = None
) -> dict[str, str]:
    """The fields of an update: those of a result, and some more. `told`: with that update."""
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return {
        **old_fields(told.asked, update.side, told.price, told.filled, told.order_id, told.status, now_ms, fee_rate),
        "intent_id": told.asked.intent_id,
        "state": UPDATE,
        "reason": update.state.value,
        "detail": update.detail,
        "retryable": "0",
        "retry_after_ms": "",
        "filled_quantity": plain(told.filled),
        "average_price": "" if told.price is None else plain(told.price),
        "client_order_id": update.client_order_id,
        "fence": told.fence,
        "mode": told.mode,
        "by": by,
        "still_open": "",
        "notes": "",
        "order_status": update.answer.status,
        "order_time_ms": str(update.time_ms),
        "update": str(told.updates),
    }
