"""One account's books: wallets, positions, orders, fills and settings. Only state, no rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

import msgspec

from gate.paper.books.orders import AlgoOrder, Order, Trade
from gate.paper.books.positions import Position
from gate.paper.market.decimals import ZERO
from gate.paper.market.symbols import Symbol
from gate.paper.market.terms import AlgoStatus, OrderStatus, PositionSide

DEFAULT_LEVERAGE = 20  # the exchange's default for a new account, on every symbol


class AccountBooks:
    """Everything that belongs to one API key. Not thread-safe: the server's loop owns it."""

    def __init__(self, name: str, deposits: Mapping[str, Decimal], opened_ms: int) -> None:
        self.name = name
        self.wallets: dict[str, Decimal] = dict(deposits)
        self.deposits: dict[str, Decimal] = dict(deposits)
        self.wallets_ms: dict[str, int] = dict.fromkeys(deposits, opened_ms)  # when each wallet last changed
        self.positions: dict[tuple[str, PositionSide], Position] = {}
        self.orders: dict[int, Order] = {}
        self.open_orders: dict[int, Order] = {}
        self.algo_orders: dict[int, AlgoOrder] = {}
        self.trades: list[Trade] = []
        self.hedge = False
        self.multi_assets = False
        self.isolated: set[str] = set()
        self.countdowns: dict[str, int] = {}  # symbol -> server time (ms) at which its orders are cancelled
        self._leverage: dict[str, int] = {}
        self._by_client_id: dict[str, int] = {}
        self._algo_by_client_id: dict[str, int] = {}
        self._open_algos: dict[int, AlgoOrder] = {}

    def leverage(self, symbol: Symbol) -> int:
        return self._leverage.get(symbol.name, min(DEFAULT_LEVERAGE, symbol.max_leverage))

    def set_leverage(self, symbol: Symbol, leverage: int) -> None:
        self._leverage[symbol.name] = leverage

    def set_wallet(self, asset: str, amount: Decimal, now_ms: int) -> None:
        """Sets a wallet, by a deposit or withdrawal of the difference."""
        change = amount - self.wallets.get(asset, ZERO)
        self.deposits[asset] = self.deposits.get(asset, ZERO) + change
        self.credit(asset, change, now_ms)

    def credit(self, asset: str, amount: Decimal, now_ms: int) -> None:
        """Add to a wallet; a negative amount takes from it."""
        self.wallets[asset] = self.wallets.get(asset, ZERO) + amount
        self.wallets_ms[asset] = now_ms

    def position(self, symbol: str, side: PositionSide) -> Position:
        return self.positions.get((symbol, side)) or Position(symbol, side)

    def held_positions(self) -> Iterator[Position]:
        return (position for position in self.positions.values() if position.quantity)

    def open_on(self, symbol: str, side: PositionSide | None = None) -> list[Order]:
        return [o for o in self.open_orders.values() if o.symbol == symbol and side in (None, o.position_side)]

    def write(self, order: Order) -> None:
        """Stores a new order, or an order's new state."""
        self.orders[order.order_id] = order
        if order.status.is_open:
            self.open_orders[order.order_id] = order
        else:
            self.open_orders.pop(order.order_id, None)
        self._by_client_id[order.client_order_id] = order.order_id

    def close(self, order: Order, status: OrderStatus, now_ms: int) -> Order:
        closed = msgspec.structs.replace(order, status=status, update_ms=now_ms)
        self.write(closed)
        return closed

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

    def algo_by_client_id(self, client_algo_id: str) -> AlgoOrder | None:
        algo_id = self._algo_by_client_id.get(client_algo_id)
        return None if algo_id is None else self.algo_orders[algo_id]

    def open_algos(self, symbol: str | None = None) -> list[AlgoOrder]:
        return [algo for algo in self._open_algos.values() if symbol in (None, algo.ticket.symbol)]
