"""The books balance after any random sequence of orders, fills and price moves."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gate.paper.books.account import AccountBooks
from gate.paper.books.orders import Order, Ticket
from gate.paper.books.statement import available_balance
from gate.paper.market.errors import ExchangeError
from gate.paper.market.fees import FeeSchedule
from gate.paper.market.market_data import built_in
from gate.paper.market.prices import quote_at
from gate.paper.market.terms import OrderType, PositionSide, Side, TimeInForce
from gate.paper.trading.admission import check_leverage
from gate.paper.trading.exchange import Exchange

SYMBOLS = ("BTCUSDT", "NEARUSDT", "1000PEPEUSDT", "BTCUSDC")
ZERO = Decimal(0)
HAIR = Decimal("1e-18")


class NoJournal:
    def accepted(self, account: AccountBooks, order: Order, received_ms: int) -> None: ...


class Books(RuleBasedStateMachine):
    """Random orders, price moves, leverage and cancellations on one account, in either position mode."""

    @initialize(hedge=st.booleans(), isolated=st.sets(st.sampled_from(SYMBOLS)))
    def open_account(self, hedge: bool, isolated: set[str]) -> None:
        self.account = AccountBooks("account-1", {"USDT": Decimal(10_000), "USDC": Decimal(2_000)}, 1_000)
        self.account.hedge, self.account.isolated = hedge, isolated
        self.exchange = Exchange(built_in(), [self.account], FeeSchedule(), NoJournal())
        self.now_ms = 1_000

    @rule(
        name=st.sampled_from(SYMBOLS),
        side=st.sampled_from(Side),
        order_type=st.sampled_from(OrderType),
        time_in_force=st.sampled_from([TimeInForce.GTC, *TimeInForce]),
        position_side=st.sampled_from([PositionSide.LONG, PositionSide.SHORT]),
        lots=st.integers(15, 400),
        offset_ticks=st.integers(-300, 300),
        reduce_only=st.sampled_from([False, False, False, True]),
    )
    def order(
        self,
        name: str,
        side: Side,
        order_type: OrderType,
        time_in_force: TimeInForce,
        position_side: PositionSide,
        lots: int,
        offset_ticks: int,
        reduce_only: bool,
    ) -> None:
        symbol = self.exchange.symbol(name)
        scale = 20_000 if name == "1000PEPEUSDT" else 20 if name == "NEARUSDT" else 1
        hedge = self.account.hedge
        ticket = Ticket(
            symbol=name,
            side=side,
            type=order_type,
            quantity=symbol.lot.step * lots * scale,
            price=self.exchange.quotes[name].last + offset_ticks * symbol.tick,
            time_in_force=time_in_force,
            position_side=position_side if hedge else None,
            reduce_only=reduce_only and not hedge,
        )
        self._unless_refused(lambda: self.exchange.place(self.account, ticket, self.now_ms))

    @rule(name=st.sampled_from(SYMBOLS), permille=st.integers(-80, 80), depth=st.none() | st.integers(0, 50))
    def move(self, name: str, permille: int, depth: int | None) -> None:
        symbol = self.exchange.symbol(name)
        last = self.exchange.quotes[name].last
        ticks = last * permille / 1_000 // symbol.tick
        offered = None if depth is None else symbol.lot.step * depth
        moved = max(symbol.tick * 2, last + ticks * symbol.tick)
        self.now_ms += 1
        self.exchange.set_quote(symbol, quote_at(symbol, moved, depth=offered), self.now_ms)

    @rule(name=st.sampled_from(SYMBOLS), leverage=st.integers(1, 125))
    def set_leverage(self, name: str, leverage: int) -> None:
        symbol = self.exchange.symbol(name)

        def change() -> None:
            check_leverage(self.account, self.exchange.market, self.exchange.quotes, symbol, leverage)
            self.account.set_leverage(symbol, leverage, self.now_ms)

        self._unless_refused(change)

    @rule(name=st.sampled_from(SYMBOLS))
    def cancel(self, name: str) -> None:
        self.exchange.cancel_all(self.account, name, self.now_ms)

    def _unless_refused(self, act: object) -> None:
        before = self._everything()
        try:
            assert callable(act)
            act()
        except ExchangeError:
            assert self._everything() == before, "a refusal must change nothing"

    def _everything(self) -> object:
        account = self.account
        return (
            dict(account.wallets),
            dict(account.positions),
            dict(account.orders),
            dict(account.open_orders),
            len(account.trades),
            dict(self.exchange.quotes),
        )

    @invariant()
    def wallets_are_deposits_and_realised_pnl_less_fees(self) -> None:
        for asset, wallet in self.account.wallets.items():
            fills = [fill for fill in self.account.trades if fill.margin_asset == asset]
            realized = sum((fill.realized_pnl for fill in fills), ZERO)
            fees = sum((fill.commission for fill in fills), ZERO)
            assert wallet == self.account.deposits[asset] + realized - fees

    @invariant()
    def realised_and_unrealised_pnl_are_the_cash_that_flowed(self) -> None:
        for (name, side), position in self.account.positions.items():
            mark = self.exchange.quotes[name].mark
            fills = [fill for fill in self.account.trades if (fill.symbol, fill.position_side) == (name, side)]
            cash = sum((-fill.side.sign * fill.quote_quantity for fill in fills), ZERO)
            realized = sum((fill.realized_pnl for fill in fills), ZERO)
            assert realized + position.unrealized(mark) == cash + position.notional(mark)

    @invariant()
    def fills_add_up_to_positions_and_orders(self) -> None:
        held = dict.fromkeys(self.account.positions, ZERO)
        executed = dict.fromkeys(self.account.orders, ZERO)
        for fill in self.account.trades:
            held[fill.symbol, fill.position_side] += fill.side.sign * fill.quantity
            executed[fill.order_id] += fill.quantity
        assert held == {key: position.quantity for key, position in self.account.positions.items()}
        assert executed == {key: order.executed for key, order in self.account.orders.items()}
        assert all(order.executed <= order.quantity for order in self.account.orders.values())

    @invariant()
    def hedge_sides_never_turn(self) -> None:
        for (_, side), position in self.account.positions.items():
            assert side is not PositionSide.LONG or position.quantity >= 0
            assert side is not PositionSide.SHORT or position.quantity <= 0

    @invariant()
    def available_is_within_wallet_and_unrealised_less_margins(self) -> None:
        for asset in self.account.wallets:
            bound = self.account.wallets[asset]
            for (name, _), position in self.account.positions.items():
                symbol, mark = self.exchange.symbol(name), self.exchange.quotes[name].mark
                if symbol.margin_asset != asset:
                    continue
                if name in self.account.isolated:
                    bound -= position.isolated_wallet
                else:
                    margin = abs(position.quantity) * mark / self.account.leverage(symbol)
                    bound += position.quantity * mark - position.cost - margin
            available = available_balance(self.account, self.exchange.market, self.exchange.quotes, asset)
            # A hair for the 28th digit: the bound divides each position alone, the exchange divides sums.
            assert ZERO <= available <= max(ZERO, bound) + HAIR

    @invariant()
    def a_flat_position_costs_and_holds_nothing(self) -> None:
        for position in self.account.positions.values():
            if not position.quantity:
                assert (position.cost, position.isolated_wallet) == (ZERO, ZERO)

    @invariant()
    def open_orders_are_the_open_ones(self) -> None:
        assert self.account.open_orders == {
            key: order for key, order in self.account.orders.items() if order.status.is_open
        }


Books.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestBooks = Books.TestCase
