"""The plain values between the executor and an exchange, and the questions that the executor asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Protocol

from msgspec import Struct

from gate.exchange.usage import NEAR
from gate.values.order_terms import OrderType, PositionSide, Side

SIGNER_AHEAD_MS: Final = 1_000
"""The exchange allows a signer's clock to be ahead by this much, so it accepts a request for longer than recvWindow."""
CLOCK_LEAD_MS: Final = SIGNER_AHEAD_MS + 500
"""From signing time + recvWindow until the exchange certainly accepts the request no more. Half a second is our own."""
LEAST_TO_SEND_MS: Final = SIGNER_AHEAD_MS + 500
"""The least life of a permit with which an order is sent. With less, the exchange could accept it too late, or its
answer could come too late."""


class LotSize(Struct, frozen=True):
    """The quantities that the exchange accepts, in base asset."""

    step: Decimal
    """Quantities are multiples of it, counted from `min_quantity`."""
    min_quantity: Decimal
    max_quantity: Decimal | None


class PriceRange(Struct, frozen=True):
    """The prices that the exchange accepts, in quote asset. None means no bound."""

    tick: Decimal | None
    """Prices are multiples of it, counted from `lowest`."""
    lowest: Decimal
    highest: Decimal | None
    multiplier_up: Decimal | None
    """PERCENT_PRICE: a buyer's limit may be at most so many times the mark price."""
    multiplier_down: Decimal | None
    """A seller's limit must be at least so many times the mark price."""


class Filters(Struct, frozen=True):
    """The exchange's limits for a symbol's orders, from its exchangeInfo. None means no bound."""

    symbol: str
    margin_asset: str
    trading: bool
    lot: LotSize
    """Of limit orders."""
    market_lot: LotSize
    """Of market orders, which must satisfy both lot sizes."""
    prices: PriceRange
    min_notional: Decimal | None


class SymbolConfig(Struct, frozen=True):
    """The account's settings for a symbol at the exchange, and its fee."""

    leverage: int
    max_notional: Decimal | None
    """Largest position and orders that the bracket of this leverage allows, in margin asset; None: not said."""
    fee_rate: Decimal
    """Taker's commission, as a share of notional."""


class LeverageTerms(Struct, frozen=True):
    """What another leverage of a symbol would mean."""

    most_notional: Decimal | None
    """Largest position and orders that the bracket of that leverage allows, in margin asset; None: not said."""
    isolated: bool
    """Whether a position of the symbol has a margin of its own. Then it is what a resting entry's fill is left with."""


class AccountFigures(Struct, frozen=True):
    """The account's figures at one moment."""

    available: Mapping[str, Decimal | str]
    """By margin asset: the margin free for new orders, or the reason why it can't be read."""
    notional: Mapping[tuple[str, str], Decimal]
    """Of each position, signed, by symbol and position side (LONG, SHORT, BOTH), in margin asset."""
    asked_ns: int
    """When the question was asked, on the monotonic clock: it is at least as old as the answer."""
    isolated: Collection[tuple[str, str]] = frozenset()
    """Of a reading, the positions that have a margin of their own, as far as is known."""

    @property
    def age_ms(self) -> int:
        """Milliseconds since it was asked for."""
        return (time.monotonic_ns() - self.asked_ns) // 1_000_000


class Position(Struct, frozen=True):
    """An open position."""

    position_side: str
    """LONG or SHORT in hedge mode, BOTH in one-way mode."""
    amount: Decimal
    """In base asset; below zero for a short position."""

    @property
    def hedged(self) -> bool:
        """Whether it is one of hedge mode."""
        return self.position_side != "BOTH"

    @property
    def direction(self) -> PositionSide:
        """LONG or SHORT, in either mode."""
        if self.hedged:
            return "LONG" if self.position_side == "LONG" else "SHORT"
        return "LONG" if self.amount > 0 else "SHORT"

    @property
    def closing_side(self) -> Side:
        """The side of an order that closes it."""
        return "SELL" if self.direction == "LONG" else "BUY"

    @property
    def size(self) -> Decimal:
        """The quantity that closes all of it."""
        return abs(self.amount)


@dataclass(frozen=True, slots=True)
class RestingOrder:
    """An order that the exchange has and that may still fill, whoever has placed it."""

    symbol: str
    side: str
    order_type: str
    order_id: str
    """orderId; of a conditional order its algoId."""
    client_order_id: str
    conditional: bool
    """Whether it lives on the algo endpoint, until its trigger price is reached."""
    reduces: bool = False
    """Whether it can only reduce a position: reduceOnly, closePosition, or by its position side in hedge mode."""
    left: Decimal | None = field(default=None, compare=False)
    """What isn't filled of it; 0 where it closes the position; None where the exchange doesn't say."""

    def __str__(self) -> str:
        return f"{self.symbol} {self.side} {self.order_type} {self.order_id}"


class OrderRequest(Struct, frozen=True):
    """An order, ready to be sent. Sizes and prices as the exchange's filters want them."""

    symbol: str
    side: str
    quantity: Decimal
    """0 where it closes the position: what that is, the exchange finds when the order fires."""
    client_order_id: str
    reduce_only: bool
    position_side: str | None
    """LONG or SHORT in hedge mode, where reduce-only is never sent; None in one-way mode."""
    order_type: OrderType = "MARKET"
    price: Decimal | None = None
    time_in_force: str | None = None
    trigger_price: Decimal | None = None
    working_type: str | None = None
    close_position: bool = False
    """For a conditional order: the exchange's closePosition."""

    @property
    def conditional(self) -> bool:
        """Whether it waits for a trigger price, and so lives on the exchange's algo endpoint."""
        return self.trigger_price is not None


class OrderAnswer(Struct, frozen=True):
    """An order that the exchange has."""

    order_id: str
    """orderId; of a conditional order its algoId."""
    client_order_id: str
    status: str
    """NEW, PARTIALLY_FILLED, FILLED, CANCELED, EXPIRED, EXPIRED_IN_MATCH, …; of a conditional order also TRIGGERED,
    FINISHED, and FILLED when what it became is filled."""
    filled_quantity: Decimal
    average_price: Decimal | None
    """None while nothing is filled, and in the answer to a new order."""
    time_ms: int
    """When the exchange took it; where its clock and ours differ, by whichever says later."""
    actual_order_id: str | None = None
    """Of a conditional order that has fired: the orderId of what it became."""
    side: str = ""
    """BUY or SELL; empty where the answer doesn't tell."""
    reduces: bool = False
    """Whether it can only reduce a position, as of a resting order."""

    @property
    def filled(self) -> bool:
        """Whether all of it is filled. NEW is not: the exchange has it, no more."""
        return self.status == "FILLED"

    @property
    def ended_unfilled(self) -> bool:
        """Whether it has ended without a fill: the exchange had it, and nothing came of it."""
        return self.filled_quantity == 0 and self.ended_early

    @property
    def ended_early(self) -> bool:
        """Whether it has ended before all of it was filled."""
        return self.status in ("EXPIRED", "EXPIRED_IN_MATCH", "CANCELED", "REJECTED")


class Validity(Struct, frozen=True):
    """When an order may be accepted. Its request is signed by this, whenever it is sent: after a pause that is longer,
    the exchange refuses it."""

    from_ms: int
    """The exchange's clock as far as it is known, epoch ms: the request's timestamp."""
    span_ms: int
    """The request's recvWindow. An exchange accepts it SIGNER_AHEAD_MS longer, where our clock is ahead."""


class LiveFigures(Struct, frozen=True):
    """What an entry's checks need, from the exchange's streams. Every figure is fresh; where one isn't, there are no
    LiveFigures."""

    mark_price: Decimal
    config: SymbolConfig
    hedge_mode: bool
    positions: tuple[Position, ...]
    """What is open in the symbol."""
    account: AccountFigures
    """`available` is a lower bound: never more than was free when the figures stood. `asked_ns` is that moment: the
    last at which the connection proved that it lives."""
    snapshot_ns: int
    """When the reading was asked for on which the account rests, on the monotonic clock. An order that was over, or
    known to rest, before that is in the account."""
    snapshot_ms: int
    """The same on the exchange's own clock: what the exchange did before is in the account."""
    awaits_position: bool = False
    """Whether a fill in the symbol has been told, and not yet the position after it."""


OrderListener = Callable[[Mapping[str, Any]], None]
"""Gets each ORDER_TRADE_UPDATE and ALGO_UPDATE as the exchange sends it: in order, once, on the event loop."""
GapListener = Callable[[], None]
"""Hears, once the streams are back, that events of orders may have been lost before; also when they open first."""


class Exchange(Protocol):
    """What the executor asks of an exchange. Whatever asks it something may raise ExchangeFailure."""

    recv_window_ms: int
    key_digest: str
    """Tells one API key from another, and doesn't tell the key. An account may have several."""

    def keep_warm(self) -> None:
        """Opens connections and keeps them open, in the background, until the exchange is closed."""

    async def filters(self, symbol: str, *, no_older_than_s: float = ...) -> Filters | None:
        """What is allowed for a symbol's orders; None for an unknown symbol. Older ones where newer can't be read."""

    def known_filters(self, symbol: str) -> Filters | None:
        """Those that were read last, without asking."""

    def filters_at_hand(self, symbol: str) -> Filters | None:
        """As `filters` at any age, where nothing has to be read for it; None where something has."""

    async def mark_price(self, symbol: str) -> Decimal:
        """The price by which notional is measured."""

    async def hedge_mode(self) -> bool:
        """Whether the account holds long and short positions side by side."""

    def known_hedge_mode(self) -> bool | None:
        """As `hedge_mode`, without asking; None where it would have to be read."""

    async def symbol_config(self, symbol: str) -> SymbolConfig:
        """Leverage, what it allows, and the fee."""

    async def positions(self, symbol: str) -> tuple[Position, ...]:
        """What is open in a symbol: at most one in one-way mode, two in hedge mode."""

    async def resting_orders(self, symbol: str | None = None) -> tuple[RestingOrder, ...]:
        """Every order that may still fill, plain and conditional, of a symbol or of the account."""

    async def cancel(self, order: RestingOrder) -> None:
        """Cancels an order."""

    async def leverage_terms(self, symbol: str, leverage: int) -> LeverageTerms:
        """What another leverage would mean, before it is set."""

    async def set_leverage(self, symbol: str, leverage: int) -> SymbolConfig:
        """Sets a symbol's leverage, also that of its position. Returns the settings after it."""

    def last_positions(self, symbol: str) -> tuple[Position, ...] | None:
        """What was open in a symbol when the exchange last told, however long ago; None where it never did, or an order
        was sent since. No entry counts on it."""

    async def account_digest(self) -> str | None:
        """Tells one account from another, and doesn't tell the exchange's code of it. Read once. None where the
        exchange gives no code, or wants to be asked nothing now."""

    def known_account_digest(self) -> str | None:
        """As `account_digest`, without asking; None where it wasn't read."""

    async def account(self) -> AccountFigures:
        """What is free and what is held; asked for after the call, so never older than it."""

    async def find_order(self, symbol: str, client_order_id: str, *, conditional: bool) -> OrderAnswer:
        """The order of a client order id. Raises OrderNotFound too."""

    def valid_for(self, span_ms: int) -> Validity:
        """From now on, for so long, and at most for `recv_window_ms`."""

    async def place(self, order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        """Sends an order, once; the exchange accepts it within its validity only, whenever it is sent.

        Where our clock was off, it is set by then.
        """

    def forget_filters(self) -> None:
        """Reads them anew at the next order."""

    def forget_hedge_mode(self) -> None:
        """Reads it anew at the next order."""

    def near_limit_ms(self, share: Decimal = NEAR) -> int | None:
        """How long to rest so as not to reach the exchange's own limits; None while less than `share` is used."""

    def rest_ms(self, share: Decimal = NEAR) -> int | None:
        """How long to ask nothing that can wait: from `share` of a limit on, and as an answer has said. None: ask."""

    def silenced_by(self) -> str:
        """The answer after which the exchange wants to hear nothing; empty while it may be asked."""

    def live(self, symbol: str) -> LiveFigures | None:
        """What the streams tell of a symbol at this moment, without asking. None where a figure is absent, stale or in
        doubt: then a reading decides. From the first call on the symbol is watched."""

    def streams(self) -> str:
        """How the streams are: `off`, `ok`, or what is down and why. Without them readings decide."""

    def has_seen(self, client_order_id: str) -> bool:
        """Whether the account of `live` includes this order: its event has been heard, and counts. One that isn't seen
        may be included all the same, by the snapshot."""

    def doubt_live(self, why: str) -> None:
        """Says that the streams don't tell all that they should: `live` has nothing before a new snapshot."""

    def on_order(self, heard: OrderListener) -> Callable[[], None]:
        """Has each event of an order told to the listener from now on. Returns what ends that."""

    def on_gap(self, heard: GapListener) -> Callable[[], None]:
        """Has the listener told when events of orders may have been lost. Returns what ends that."""
