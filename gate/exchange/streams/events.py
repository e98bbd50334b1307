"""The events of a user stream, and of mark prices, as far as the live account needs them. Pure.

Whatever can't be read raises ExchangeFailure: the account then rests on nothing until its next snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from gate.exchange.answers import figure, only_reduces, text, unreadable, whole

_ENDED: Final = ("FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED")
_OPEN: Final = ("NEW", "PARTIALLY_FILLED", "NEW_INSURANCE", "NEW_ADL")
SIDES: Final = ("LONG", "SHORT", "BOTH")

Key = tuple[str, str]
"""A position's symbol and side: LONG, SHORT or BOTH."""


class Holding(Struct, frozen=True):
    """What an event says of a position."""

    amount: Decimal
    entry_price: Decimal
    isolated: bool


class BalancesChanged(Struct, frozen=True):
    """ACCOUNT_UPDATE: the state after it, not the change."""

    at_ms: int
    reason: str
    cross_wallets: Mapping[str, Decimal]
    positions: Mapping[Key, Holding]


class OrderChanged(Struct, frozen=True):
    """ORDER_TRADE_UPDATE: the order's state after it, and what has just been filled."""

    at_ms: int
    order_id: int
    client_order_id: str
    symbol: str
    position_side: str
    buys: bool
    reduces: bool
    ended: bool
    quantity: Decimal
    price: Decimal
    """0 for an order at market."""
    filled: Decimal
    """All that is filled."""
    just_filled: Decimal
    """Of this event."""

    @property
    def key(self) -> Key:
        """The position that it changes."""
        return self.symbol, self.position_side

    @property
    def left(self) -> Decimal:
        """What can still be filled."""
        return Decimal(0) if self.ended else self.quantity - self.filled


class AlgoChanged(Struct, frozen=True):
    """ALGO_UPDATE: a conditional order, which holds no margin until it fires and becomes another order."""

    at_ms: int
    client_order_id: str


class LeverageChanged(Struct, frozen=True):
    """ACCOUNT_CONFIG_UPDATE of a symbol."""

    at_ms: int
    symbol: str
    leverage: int


class ModeChanged(Struct, frozen=True):
    """ACCOUNT_CONFIG_UPDATE of the account: its asset mode is another."""

    at_ms: int


class KeyExpired(Struct, frozen=True):
    """listenKeyExpired: nothing more comes on this connection."""


UserEvent = BalancesChanged | OrderChanged | AlgoChanged | LeverageChanged | ModeChanged | KeyExpired


def decode_user_event(event: Mapping[str, Any]) -> UserEvent | None:
    """None for an event that says nothing of what the account holds."""
    try:
        match event.get("e"):
            case "ORDER_TRADE_UPDATE":
                return _order(event)
            case "ACCOUNT_UPDATE":
                return _balances(event)
            case "ALGO_UPDATE":
                return AlgoChanged(_at_ms(event), text(event["o"]["caid"]))
            case "ACCOUNT_CONFIG_UPDATE":
                if "ac" in event:
                    leverage = int(figure("l", event["ac"]["l"], least=Decimal(1)))
                    return LeverageChanged(_at_ms(event), text(event["ac"]["s"]), leverage)
                return ModeChanged(_at_ms(event))
            case "listenKeyExpired":
                return KeyExpired()
    except (KeyError, TypeError, AttributeError):
        raise unreadable("event", event.get("e")) from None
    return None


def decode_mark_price(event: Mapping[str, Any]) -> tuple[str, Decimal, int] | None:
    """Symbol, mark price and the event's time; None for another message, such as the answer to a subscription."""
    if event.get("e") != "markPriceUpdate":
        return None
    return text(event.get("s")), figure("p", event.get("p")), whole("E", event.get("E"))


def _at_ms(event: Mapping[str, Any]) -> int:
    return whole("T", event.get("T"))


def order_reduces(order: Mapping[str, Any]) -> bool:
    """Whether the order of an event can only reduce a position."""
    words = {
        "reduceOnly": order.get("R"),
        "closePosition": order.get("cp"),
        "positionSide": order.get("ps"),
        "side": order.get("S"),
    }
    return only_reduces(words)


def _order(event: Mapping[str, Any]) -> OrderChanged:
    order = event["o"]
    status, side, position_side = order["X"], order["S"], order.get("ps", "BOTH")
    if side not in ("BUY", "SELL") or position_side not in SIDES:
        raise unreadable("side", side)
    # A status that nobody has told of may mean anything.
    if status not in _OPEN and status not in _ENDED:
        raise unreadable("status", status)
    return OrderChanged(
        at_ms=_at_ms(event),
        order_id=whole("i", order["i"]),
        client_order_id=text(order["c"]),
        symbol=text(order["s"]),
        position_side=position_side,
        buys=side == "BUY",
        reduces=order_reduces(order),
        ended=status in _ENDED,
        quantity=figure("q", order["q"], least=Decimal(0)),
        price=figure("p", order["p"], least=Decimal(0)),
        filled=figure("z", order["z"], least=Decimal(0)),
        just_filled=figure("l", order["l"], least=Decimal(0)),
    )


def _balances(event: Mapping[str, Any]) -> BalancesChanged:
    told = event["a"]
    positions: dict[Key, Holding] = {}
    for each in told.get("P", []):
        side = each.get("ps", "BOTH")
        if side not in SIDES:
            raise unreadable("ps", side)
        positions[text(each["s"]), side] = Holding(
            amount=figure("pa", each["pa"], least=None),
            entry_price=figure("ep", each["ep"], least=Decimal(0)),
            isolated=each["mt"] != "cross",
        )
    return BalancesChanged(
        at_ms=_at_ms(event),
        reason=text(told.get("m", "")),
        cross_wallets={text(each["a"]): figure("cw", each["cw"], least=None) for each in told.get("B", [])},
        positions=positions,
    )
