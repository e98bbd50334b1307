"""One account's books: wallets, positions, orders, fills and settings. Only state, no rules."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from copy import copy
from decimal import Decimal

import msgspec
from msgspec import Struct

from gate.paper.books.happenings import (
    AlgoChanged,
    AssetModeChanged,
    BalancesChanged,
    LeverageChanged,
    Listener,
    ListenKeyExpired,
    OrderChanged,
    nobody,
)
from gate.paper.books.listen_key import ListenKey
from gate.paper.books.orders import AlgoOrder, Order, Trade
from gate.paper.books.positions import Position
from gate.paper.market.decimals import ZERO
from gate.paper.market.symbols import Symbol
from gate.paper.market.terms import AlgoStatus, OrderStatus, PositionSide

DEFAULT_LEVERAGE = 20  # the exchange's default for a new account, on every symbol


_MOST_TRANSFERS = 1_000
_MOST_ALGOS = 5_000  # those that wait, and the latest of the others


class Transfer(Struct, frozen=True):
    """What came or went by no trade. `kind` is the exchange's word for it."""

    kind: str
    asset: str
    amount: Decimal
    at_ms: int


class AccountBooks:
    """Everything that belongs to one API key. Not thread-safe: the server's loop owns it."""

    def __init__(
        self, name: str, deposits: Mapping[str, Decimal], opened_ms: int, kept_trades: int | None = None
    ) -> None:
        self.name = name
        self.wallets: dict[str, Decimal] = dict(deposits)
        self.deposits: dict[str, Decimal] = dict(deposits)
        self.wallets_ms: dict[str, int] = dict.fromkeys(deposits, opened_ms)  # when each wallet last changed
        self.positions: dict[tuple[str, PositionSide], Position] = {}
        self.orders: dict[int, Order] = {}
        self.open_orders: dict[int, Order] = {}
        self.algo_orders: dict[int, AlgoOrder] = {}
        self.trades: deque[Trade] = deque(maxlen=kept_trades)
        self.realized: dict[tuple[str, PositionSide], Decimal] = {}  # of each position since the books were opened
        self.hedge = False
        self.multi_assets = False
        self.isolated: set[str] = set()
        self.countdowns: dict[str, int] = {}  # symbol -> server time (ms) at which its orders are cancelled
        self._leverage: dict[str, int] = {}
        self._by_client_id: dict[str, int] = {}
        self._algo_by_client_id: dict[str, int] = {}
        self._open_algos: dict[int, AlgoOrder] = {}
        self._algo_of_order: dict[int, int] = {}  # an open order -> the conditional order that it was
        self.warned: set[tuple[str, PositionSide]] = set()  # positions of which a margin call has told
        self.transfers: deque[Transfer] = deque(maxlen=_MOST_TRANSFERS)
        self.listen_key = ListenKey()
        self.listener: Listener = nobody

    def as_it_stands(self) -> AccountBooks:
        """A copy to reckon with: what later changes do to wallets, positions, open orders and settings isn't in it."""
        stands = copy(self)
        stands.wallets, stands.positions, stands.realized = (
            dict(self.wallets),
            dict(self.positions),
            dict(self.realized),
        )
        stands.open_orders, stands._leverage = dict(self.open_orders), dict(self._leverage)
        stands.isolated = set(self.isolated)
        return stands

    def leverage(self, symbol: Symbol) -> int:
        return self._leverage.get(symbol.name, min(DEFAULT_LEVERAGE, symbol.max_leverage))

    def set_leverage(self, symbol: Symbol, leverage: int, now_ms: int) -> None:
        self._leverage[symbol.name] = leverage
        self.listener(LeverageChanged(symbol.name, leverage, now_ms))

    def set_margin_type(self, symbol: Symbol, *, isolated: bool, now_ms: int) -> None:
        if isolated:
            self.isolated.add(symbol.name)
        else:
            self.isolated.discard(symbol.name)
        sides = (PositionSide.LONG, PositionSide.SHORT) if self.hedge else (PositionSide.BOTH,)
        touched = tuple((symbol.name, side) for side in sides)
        self.listener(BalancesChanged("MARGIN_TYPE_CHANGE", {}, touched, now_ms))

    def set_multi_assets(self, wanted: bool, now_ms: int) -> None:
        self.multi_assets = wanted
        self.listener(AssetModeChanged(wanted, now_ms))

    def set_wallet(self, asset: str, amount: Decimal, now_ms: int) -> None:
        """Sets a wallet, by a deposit or withdrawal of the difference."""
        change = amount - self.wallets.get(asset, ZERO)
        self.deposits[asset] = self.deposits.get(asset, ZERO) + change
        self.credit(asset, change, now_ms)
        if change:
            self.transfers.append(Transfer("TRANSFER", asset, change, now_ms))
            self.listener(BalancesChanged("DEPOSIT" if change > 0 else "WITHDRAW", {asset: change}, (), now_ms))

    def take_from_fund(self, asset: str, amount: Decimal, now_ms: int) -> None:
        """The exchange's insurance fund pays what a liquidation has lost beyond its margin."""
        self.credit(asset, amount, now_ms)
        self.transfers.append(Transfer("INSURANCE_CLEAR", asset, amount, now_ms))
        self.listener(BalancesChanged("INSURANCE_CLEAR", {asset: amount}, (), now_ms))

    def credit(self, asset: str, amount: Decimal, now_ms: int) -> None:
        """Add to a wallet; a negative amount takes from it."""
        self.wallets[asset] = self.wallets.get(asset, ZERO) + amount
        self.wallets_ms[asset] = now_ms

    def expire_listen_key(self, now_ms: int, *, at_once: bool = False) -> None:
        """End the listen key when its time is over, or at once."""
        ended = self.listen_key.close() if at_once else self.listen_key.close_if_due(now_ms)
        if ended is not None:
            self.listener(ListenKeyExpired(ended, now_ms))

    def fill(self, fill: Trade) -> None:
        self.trades.append(fill)
        key = fill.symbol, fill.position_side
        self.realized[key] = self.realized.get(key, ZERO) + fill.realized_pnl

    def position(self, symbol: str, side: PositionSide) -> Position:
        return self.positions.get((symbol, side)) or Position(symbol, side)

    def held_positions(self) -> Iterator[Position]:
        return (position for position in self.positions.values() if position.quantity)

    def open_on(self, symbol: str, side: PositionSide | None = None) -> list[Order]:
        return [o for o in self.open_orders.values() if o.symbol == symbol and side in (None, o.position_side)]

    def write(self, order: Order, fill: Trade | None = None, *, amended: bool = False) -> None:
        """Stores a new order, or an order's new state: after a fill, an amendment, or at its end."""
        self.orders[order.order_id] = order
        if order.status.is_open:
            self.open_orders[order.order_id] = order
        else:
            self.open_orders.pop(order.order_id, None)
        self._by_client_id[order.client_order_id] = order.order_id
        self.listener(OrderChanged(order, fill, amended))
        if not order.status.is_open and order.order_id in self._algo_of_order:
            algo = self.algo_orders[self._algo_of_order.pop(order.order_id)]
            self.listener(AlgoChanged(algo, AlgoStatus.FINISHED, order, order.update_ms))

    def close(self, order: Order, status: OrderStatus, now_ms: int) -> Order:
        closed = msgspec.structs.replace(order, status=status, update_ms=now_ms)
        self.write(closed)
        return closed

    def forget(self, order: Order) -> None:
        """Drop an order that is over. Look-ups don't find it any more."""
        del self.orders[order.order_id]
        if self._by_client_id.get(order.client_order_id) == order.order_id:
            del self._by_client_id[order.client_order_id]

    def by_client_id(self, client_order_id: str) -> Order | None:
        """The latest order under a client order id: ids are unique among open orders only, so they may repeat."""
        order_id = self._by_client_id.get(client_order_id)
        return None if order_id is None else self.orders[order_id]

    def has_open_client_id(self, client_order_id: str) -> bool:
        order = self.by_client_id(client_order_id)
        return order is not None and order.status.is_open

    def write_algo(self, algo: AlgoOrder) -> None:
        self.algo_orders[algo.algo_id] = algo
        if algo.status is AlgoStatus.NEW:
            self._open_algos[algo.algo_id] = algo
        else:
            self._open_algos.pop(algo.algo_id, None)
        self._algo_by_client_id[algo.client_algo_id] = algo.algo_id
        self._tell_of(algo)
        if len(self.algo_orders) > _MOST_ALGOS:
            self._forget_an_algo()

    def _forget_an_algo(self) -> None:
        busy = {*self._open_algos, *self._algo_of_order.values()}
        oldest = next(each for each in self.algo_orders.values() if each.algo_id not in busy)
        del self.algo_orders[oldest.algo_id]
        if self._algo_by_client_id.get(oldest.client_algo_id) == oldest.algo_id:
            del self._algo_by_client_id[oldest.client_algo_id]

    def _tell_of(self, algo: AlgoOrder) -> None:
        """A conditional order that has become an order is triggered first, and finished when that order is over."""
        if algo.actual_order_id is None:
            self.listener(AlgoChanged(algo, algo.status, None, algo.update_ms))
            return
        actual = self.orders[algo.actual_order_id]
        self.listener(AlgoChanged(algo, AlgoStatus.TRIGGERED, actual, algo.update_ms))
        if actual.status.is_open:
            self._algo_of_order[actual.order_id] = algo.algo_id
        else:
            self.listener(AlgoChanged(algo, AlgoStatus.FINISHED, actual, algo.update_ms))

    def algo_by_client_id(self, client_algo_id: str) -> AlgoOrder | None:
        algo_id = self._algo_by_client_id.get(client_algo_id)
        return None if algo_id is None else self.algo_orders[algo_id]

    def open_algos(self, symbol: str | None = None) -> list[AlgoOrder]:
        return [algo for algo in self._open_algos.values() if symbol in (None, algo.ticket.symbol)]
