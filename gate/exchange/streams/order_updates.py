"""What has come of an order, from the exchange's events and from its answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct, structs

from gate.exchange.answers import FINISHED, figure, text, unreadable, whole
from gate.exchange.port import OrderAnswer
from gate.exchange.streams.events import order_reduces
from gate.values.errors import cut

_CLOSED_BY_THE_EXCHANGE: Final = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
"""How the client order ids begin of orders that the exchange itself sends."""
_OF_THE_EXCHANGE: Final = ("NEW_INSURANCE", "NEW_ADL")
"""Statuses of such orders: its fund takes a position over, or it is deleveraged."""
_LONGEST_REASON: Final = 200


class OrderState(StrEnum):
    """How far an order has come."""

    NEW = "NEW"
    """The exchange has it. Nothing has come of it yet."""
    TRIGGERED = "TRIGGERED"
    """A conditional order has fired. What it becomes has still to fill, and may be refused."""
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    """Somebody has cancelled what wasn't filled of it."""
    EXPIRED = "EXPIRED"
    """The exchange has ended what wasn't filled of it: IOC and FOK, self-trade prevention, a position that is gone."""
    REJECTED = "REJECTED"
    """Of a conditional order: the exchange refused what it became, when it fired. The position isn't protected."""
    LIQUIDATED = "LIQUIDATED"
    """No order of ours: the exchange has closed a position, or a part of it, by an order of its own."""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in _STEPS


_STEPS: Final = (OrderState.NEW, OrderState.TRIGGERED, OrderState.PARTIALLY_FILLED)
"""The states of an order that hasn't ended, in their order."""
_PLAIN: Final = {
    "NEW": OrderState.NEW,
    **dict.fromkeys(_OF_THE_EXCHANGE, OrderState.NEW),  # LIQUIDATED with the first fill
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELLED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.EXPIRED,
    "REJECTED": OrderState.REJECTED,
}
_CONDITIONAL: Final = {
    "NEW": OrderState.NEW,
    "TRIGGERING": OrderState.TRIGGERED,
    "TRIGGERED": OrderState.TRIGGERED,
    "FILLED": OrderState.FILLED,
    FINISHED: OrderState.CANCELLED,  # unless all of it is filled
    "CANCELED": OrderState.CANCELLED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.EXPIRED,
    "REJECTED": OrderState.REJECTED,
}


class OrderUpdate(Struct, frozen=True):
    """What has come of one order. Quantities and prices are of the whole order so far, not of its last fill."""

    client_order_id: str
    symbol: str
    side: str
    """BUY or SELL."""
    state: OrderState
    order_id: str
    """orderId; of a conditional order its algoId."""
    filled_quantity: Decimal
    average_price: Decimal | None
    """None while nothing is filled."""
    time_ms: int
    """On the exchange's clock, epoch ms; of an order that was asked for after a gap, when it was accepted."""
    conditional: bool = False
    actual_order_id: str | None = None
    """Of a conditional order that has fired: the orderId of what it became."""
    fee: Decimal | None = None
    """Of the fill that this tells of, not of all; None where none is told."""
    fee_asset: str | None = None
    detail: str = ""
    """The exchange's word for it: the status, or why it refused what a conditional order became."""
    reduces: bool = False
    """Whether it can only reduce a position."""
    after_gap: bool = False
    """Whether the exchange had to be asked, because events may have been lost."""
    leaves_open: bool = False
    """Of a stop that fired and ended before all of it was filled: whether a position is open that it was to close, or
    to turn, or may be, where the exchange doesn't say."""
    intent_id: str | None = None
    """None for an order that another process has sent, or an earlier life of this one."""

    @property
    def alarming(self) -> bool:
        """Whether a person should hear of it: a stop that was refused when it fired, or that left a position open, a
        liquidation."""
        refused = self.conditional and self.state is OrderState.REJECTED
        return self.state is OrderState.LIQUIDATED or refused or self.leaves_open

    @property
    def may_leave_open(self) -> bool:
        """Whether it is of a stop that ended before all of it was filled, and not by a person's cancellation; or of one
        that was to open a position, and was refused when it fired: it may have been to turn one."""
        if not self.reduces:
            return self.conditional and self.state is OrderState.REJECTED
        ended = self.state is OrderState.EXPIRED or (
            self.state is OrderState.CANCELLED and self.actual_order_id is not None  # what it became was cancelled
        )
        return self.conditional and ended

    def is_news_after(self, state: OrderState | None, filled_quantity: Decimal) -> bool:
        """Whether its order has come further: an event may come twice, and later than an answer that says the same.

        `state`: what was known of the same order before; None where it wasn't known whether the exchange has it.
        """
        if self.state is OrderState.LIQUIDATED:
            return self.filled_quantity > filled_quantity
        if (state is not None and state.ended) or self.filled_quantity < filled_quantity:
            return False
        if state is None or self.state.ended:
            return True
        return (_STEPS.index(self.state), self.filled_quantity) > (_STEPS.index(state), filled_quantity)

    @property
    def answer(self) -> OrderAnswer:
        """The same, as the exchange answers a look-up."""
        return OrderAnswer(
            order_id=self.order_id,
            client_order_id=self.client_order_id,
            status=_STATUS.get(self.state, self.state.value),
            filled_quantity=self.filled_quantity,
            average_price=self.average_price,
            time_ms=self.time_ms,
            actual_order_id=self.actual_order_id,
            side=self.side,
            reduces=self.reduces,
        )


_STATUS: Final = {OrderState.CANCELLED: "CANCELED"}


def decode_order_update(event: Mapping[str, Any]) -> OrderUpdate | None:
    """None for an event that tells nothing of an order. Raises ExchangeFailure for one that can't be read."""
    try:
        match event.get("e"):
            case "ORDER_TRADE_UPDATE":
                return _of_a_plain_order(event["o"], event["T"])
            case "ALGO_UPDATE":
                return _of_a_conditional_order(event["o"], event["T"])
    except (KeyError, TypeError, AttributeError):
        raise unreadable("event", event.get("e")) from None
    return None


def _of_a_plain_order(order: Mapping[str, Any], at_ms: object) -> OrderUpdate:
    status, client = _word(order, "X"), _word(order, "c")
    state = _PLAIN.get(status)
    if state is None:
        raise unreadable("status", status)
    filled = figure("z", order["z"], least=Decimal(0))
    by_the_exchange = status in _OF_THE_EXCHANGE or order.get("x") == "CALCULATED" or order.get("o") == "LIQUIDATION"
    if filled and (by_the_exchange or client.startswith(_CLOSED_BY_THE_EXCHANGE)):
        state = OrderState.LIQUIDATED
    fee = order.get("n")
    return OrderUpdate(
        client_order_id=client,
        symbol=_word(order, "s"),
        side=_word(order, "S"),
        state=state,
        order_id=text(order["i"]),
        filled_quantity=filled,
        average_price=figure("ap", order["ap"]) if filled else None,
        time_ms=whole("T", at_ms),
        fee=None if fee is None else figure("n", fee, least=None),
        fee_asset=None if fee is None else text(order.get("N")),
        detail=status,
        reduces=order_reduces(order),
    )


def _of_a_conditional_order(order: Mapping[str, Any], at_ms: object) -> OrderUpdate:
    status = _word(order, "X")
    state = _CONDITIONAL.get(status)
    if state is None:
        raise unreadable("status", status)
    actual = text(order.get("ai") or "")
    filled = figure("aq", order.get("aq") or "0", least=Decimal(0)) if actual else Decimal(0)
    # Of quantity 0, which closes the position however large, nothing here tells whether all was filled.
    if status == FINISHED and 0 < figure("q", order.get("q") or "0", least=Decimal(0)) <= filled:
        state = OrderState.FILLED
    return OrderUpdate(
        client_order_id=_word(order, "caid"),
        symbol=_word(order, "s"),
        side=_word(order, "S"),
        state=state,
        order_id=text(order["aid"]),
        filled_quantity=filled,
        average_price=figure("ap", order["ap"]) if filled else None,
        time_ms=whole("T", at_ms),
        conditional=True,
        actual_order_id=actual or None,
        detail=cut(str(order.get("rm") or status), _LONGEST_REASON),
        reduces=order_reduces(order),
    )


def as_conditional(update: OrderUpdate, algo_id: str) -> OrderUpdate:
    """What has come of the order that a conditional one became, told as of the conditional one."""
    return structs.replace(update, conditional=True, order_id=algo_id, actual_order_id=update.order_id)


def update_of(order: OrderAnswer, symbol: str, *, conditional: bool) -> OrderUpdate | None:
    """What an order has come to, by the answer to a look-up; None where its status tells nothing."""
    state = (_CONDITIONAL if conditional else _PLAIN).get(order.status)
    if state is None:
        return None
    if state is OrderState.TRIGGERED and order.filled_quantity:
        state = OrderState.PARTIALLY_FILLED
    if order.status in _OF_THE_EXCHANGE and order.filled_quantity:
        state = OrderState.LIQUIDATED
    return OrderUpdate(
        client_order_id=order.client_order_id,
        symbol=symbol,
        side=order.side,
        state=state,
        order_id=order.order_id,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
        time_ms=order.time_ms,
        conditional=conditional,
        actual_order_id=order.actual_order_id,
        detail=order.status,
        reduces=order.reduces,
        after_gap=True,
    )


def _word(order: Mapping[str, Any], name: str) -> str:
    if not isinstance(order[name], str):
        raise unreadable(name, order[name])
    return text(order[name])
