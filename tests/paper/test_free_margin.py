"""No order opens what the account can't pay for, and what can't be held any more falls, in any account.

The oracle reckons by itself: of the fills, the open orders and the prices it makes wallets, positions, margins set
aside and free margin, in each asset or in USD. It takes none of the exchange's margins.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import cast

import msgspec
import pytest

from gate.paper.books.account import AccountBooks
from gate.paper.books.orders import Order, Ticket, Trade
from gate.paper.market.errors import ExchangeError
from gate.paper.market.fees import FeeSchedule
from gate.paper.market.market_data import built_in
from gate.paper.market.prices import quote_at
from gate.paper.market.symbols import Market, Symbol
from gate.paper.market.terms import OrderType, PositionSide, Side, TimeInForce
from gate.paper.rest.account_answers import account as account_answer
from gate.paper.trading.admission import check_leverage
from gate.paper.trading.exchange import Exchange
from gate.paper.trading.liquidation import liquidate_fallen

D = Decimal
ZERO = D(0)
HAIR = D("1e-7")  # the exchange keeps eight decimals of each asset: of bitcoin that is a tenth of a cent
CENT = D("0.01")
SYMBOLS = ("BTCUSDT", "NEARUSDT", "BTCUSDC", "ETHBTC", "ETHEUR")
MARGIN_ASSET = {"BTCUSDT": "USDT", "NEARUSDT": "USDT", "BTCUSDC": "USDC", "ETHBTC": "BTC", "ETHEUR": "EUR"}
COUNTS = {"USDT": D("0.9999"), "USDC": D("0.9999"), "BTC": D("0.95")}  # of a balance above zero, as collateral
LEVERAGES = (2, 5, 10, 20, 50)  # at 1 a buyer below the mark price is short of the haircut on his profit

Key = tuple[str, PositionSide]


def market() -> Market:
    """The built-in set, and two symbols on ether: one margined in bitcoin, one in an asset without a price in USD."""
    known = built_in()
    in_bitcoin = _on_ether("ETHBTC", "BTC", D("0.04"), known.symbols["ETHUSDT"])
    in_euro = _on_ether("ETHEUR", "EUR", D("3500"), known.symbols["ETHUSDT"])
    prices = {**known.prices, "ETHBTC": D("0.04"), "ETHEUR": D("3500")}
    return msgspec.structs.replace(
        known, symbols={**known.symbols, "ETHBTC": in_bitcoin, "ETHEUR": in_euro}, prices=prices
    )


def _on_ether(name: str, asset: str, price: Decimal, like: Symbol) -> Symbol:
    share = price / 4_000
    return msgspec.structs.replace(
        like,
        name=name,
        quote_asset=asset,
        margin_asset=asset,
        price_precision=7,
        tick=D("0.000001"),
        min_price=ZERO,
        max_price=ZERO,
        min_notional=like.min_notional * share,
        brackets=tuple(
            msgspec.structs.replace(each, floor=each.floor * share, cap=each.cap * share, cum=each.cum * share)
            for each in like.brackets
        ),
    )


class Held:
    """A position, as the oracle keeps it: by its fills at their average price."""

    def __init__(self) -> None:
        self.quantity, self.entry, self.set_aside = ZERO, ZERO, ZERO

    def fill(self, trade: Trade, leverage: int | None) -> None:
        signed = trade.quantity if trade.side is Side.BUY else -trade.quantity
        closes = min(abs(self.quantity), trade.quantity) if self.quantity * signed < 0 else ZERO
        opens = trade.quantity - closes
        if closes:
            self.set_aside -= self.set_aside * closes / abs(self.quantity)
        whole = abs(self.quantity) - closes + opens
        if opens:
            self.entry = ((abs(self.quantity) - closes) * self.entry + opens * trade.price) / whole
        if opens and leverage is not None:
            self.set_aside += opens * trade.price / leverage
        self.quantity += signed


class NoJournal:
    def accepted(self, account: AccountBooks, order: Order, received_ms: int) -> None: ...


class Course:
    """A random course of orders, prices, marks apart from prices, and leverages, on an account of a random kind."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        choose = self.random.choice
        self.accepted = self.turned = self.refused = self.liquidated = 0
        dollars, tethers, bitcoin = (choose([0, 300, 1_000, 3_000]) for _ in range(3))
        funds = {"USDT": D(tethers), "USDC": D(dollars), "BTC": D(bitcoin) / 100_000, "EUR": D(1_000)}
        self.wallets: defaultdict[str, Decimal] = defaultdict(Decimal, funds)
        self.account = AccountBooks("account-1", funds, 1_000)
        self.account.hedge, self.account.multi_assets = choose([False, False, True]), choose([False, True])
        if not self.account.multi_assets:
            self.account.isolated = {name for name in SYMBOLS if choose([False, True])}
        self.hair = CENT if self.account.multi_assets else HAIR
        self.exchange = Exchange(market(), [self.account], FeeSchedule(), NoJournal())
        self.leverage = {name: choose(LEVERAGES) for name in SYMBOLS}
        for name, leverage in self.leverage.items():
            self.account.set_leverage(self.exchange.symbol(name), leverage, 1_000)
        self.held: defaultdict[Key, Held] = defaultdict(Held)
        self.valued_at: dict[int, Decimal] = {}
        self.seen = self.seen_transfers = 0
        self.now_ms = 1_000

    @property
    def met(self) -> tuple[int, ...]:
        """Orders accepted and refused, positions turned and liquidated."""
        return self.accepted, self.refused, self.turned, self.liquidated

    def step(self) -> None:
        (act,) = self.random.choices([self.order, self.move, self.set_leverage, self.cancel], [12, 5, 1, 1])
        act(self.random.choice(SYMBOLS))
        self.the_account_answer_sums_up()

    def order(self, name: str) -> None:
        choose = self.random.choice
        symbol, last = self.exchange.symbol(name), self.exchange.quotes[name].last
        hedge = self.account.hedge
        key = name, choose([PositionSide.LONG, PositionSide.SHORT]) if hedge else PositionSide.BOTH
        before, side = self.held[key].quantity, choose([Side.BUY, Side.SELL])
        in_dollars = self._dollars(MARGIN_ASSET[name], or_else=D("1.1"))
        dollars = D(choose([50, 300, 1_000, 3_000, 10_000, 40_000]))
        if choose([False, True]):  # nearly all that the account can
            free = self._free(MARGIN_ASSET[name]) * (1 if self.account.multi_assets else in_dollars)
            dollars = max(ZERO, free) * self.leverage[name] * choose([D("0.5"), D("0.9"), D("0.97")])
        quantity = dollars / (last * in_dollars)
        if before and choose([False, True]):  # against the position: all of it, twice, or a little more
            quantity = abs(before) * choose([D(1), D(2), D("2.05"), D("2.3")])
            side = Side.SELL if before > 0 else Side.BUY
        ticket = Ticket(
            symbol=name,
            side=side,
            type=choose([OrderType.LIMIT, OrderType.MARKET]),
            quantity=quantity // symbol.lot.step * symbol.lot.step,
            price=last * (1000 + self.random.randint(-40, 40)) / 1000 // symbol.tick * symbol.tick,
            time_in_force=TimeInForce.GTC,
            position_side=key[1] if hedge else None,
            reduce_only=not hedge and choose([False, False, False, True]),
        )
        quote = self.exchange.quotes[name]
        try:
            order = self.exchange.place(self.account, ticket, self.now_ms)
        except ExchangeError as refusal:
            self.refused += refusal.code == -2019
            return
        # Only limits rest: a bid is valued at its price, an ask at what it may fetch at least.
        least = ZERO if side is Side.BUY else max(quote.last * D("1.0015"), quote.mark)
        self.valued_at[order.order_id] = max(ticket.price, least)
        fees = self._read_fills()
        if order.reduces or not (order.quantity > abs(before) or before * side.sign >= 0):
            return
        self.accepted += 1
        self.turned += before * self.held[key].quantity < 0
        asset = MARGIN_ASSET[name]
        index = self._dollars(asset) if self.account.multi_assets else D(1)
        assert index, "nothing opens in an asset that has no price"
        assert self._free(asset) >= -fees * index - self.hair

    def move(self, name: str) -> None:
        symbol = self.exchange.symbol(name)
        opened = self.exchange.market.prices[name]
        last = self.exchange.quotes[name].last * (1000 + self.random.randint(-60, 60)) / 1000
        last = max(opened * D("0.8"), min(opened * D("1.2"), last)) // symbol.tick * symbol.tick
        apart = self.random.choice([0, 0, -15, 15])
        self.now_ms += 1
        mark = last * (1000 + apart) / 1000 if apart else None
        self.exchange.set_quote(symbol, quote_at(symbol, last, mark), self.now_ms)
        self._read_fills()
        fallen = self._fallen()
        stays = {key: each.quantity for key, each in self.held.items() if key not in fallen}
        liquidate_fallen(self.exchange, self.now_ms)
        self._read_fills()
        self.liquidated += len(fallen)
        assert {key: self.held[key].quantity for key in fallen} == dict.fromkeys(fallen, ZERO)
        assert {key: self.held[key].quantity for key in stays} == stays
        if fallen and self.account.multi_assets:
            assert self._in_dollars(self.wallets) >= -CENT
        for asset in {MARGIN_ASSET[key[0]] for key in fallen if not self._is_apart(key)}:
            assert self.account.multi_assets or self._cross(asset) >= -HAIR

    def set_leverage(self, name: str) -> None:
        symbol, leverage, before = self.exchange.symbol(name), self.random.choice(LEVERAGES), self.leverage[name]
        has_aside = any(each.set_aside for key, each in self.held.items() if key[0] == name)
        try:
            check_leverage(self.account, self.exchange.market, self.exchange.quotes, symbol, leverage)
        except ExchangeError:
            return
        assert not (has_aside and leverage < before)
        self.account.set_leverage(symbol, leverage, self.now_ms)
        self.leverage[name] = leverage
        if leverage < before and self._initial_of(name):
            assert self._free(MARGIN_ASSET[name]) >= -self.hair

    def cancel(self, name: str) -> None:
        self.exchange.cancel_all(self.account, name, self.now_ms)

    def _initial_of(self, name: str) -> Decimal:
        return sum((self._initial(key) for key in self._keys(MARGIN_ASSET[name]) if key[0] == name), ZERO)

    def _read_fills(self) -> Decimal:
        """Takes what is new into the oracle's books; returns the fees of it, in the last fill's asset."""
        fees = ZERO
        fills = list(self.account.trades)[self.seen :]
        self.seen += len(fills)
        for fill in fills:
            asset = MARGIN_ASSET[fill.symbol]
            held = self.held[fill.symbol, fill.position_side]
            signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
            if held.quantity * signed < 0:
                closed = min(abs(held.quantity), fill.quantity)
                gain = (fill.price - held.entry) * (closed if held.quantity > 0 else -closed)
                assert abs(gain - fill.realized_pnl) < HAIR
            self.wallets[asset] += fill.realized_pnl - fill.commission
            fees += fill.commission
            held.fill(fill, self.leverage[fill.symbol] if fill.symbol in self.account.isolated else None)
        paid = list(self.account.transfers)[self.seen_transfers :]
        self.seen_transfers += len(paid)
        for transfer in paid:
            self.wallets[transfer.asset] += transfer.amount
        return fees

    def _dollars(self, asset: str, or_else: Decimal = ZERO) -> Decimal:
        if asset in ("USDT", "USDC"):
            return D(1)
        return self.exchange.quotes["BTCUSDT"].mark if asset == "BTC" else or_else

    def _in_dollars(self, amounts: Mapping[str, Decimal]) -> Decimal:
        return sum((amount * self._dollars(asset) for asset, amount in amounts.items()), ZERO)

    def _mark(self, name: str) -> Decimal:
        return self.exchange.quotes[name].mark

    def _is_apart(self, key: Key) -> bool:
        return key[0] in self.account.isolated

    def _profit(self, key: Key) -> Decimal:
        return self.held[key].quantity * (self._mark(key[0]) - self.held[key].entry)

    def _maintenance(self, key: Key) -> Decimal:
        notional = abs(self.held[key].quantity) * self._mark(key[0])
        brackets = self.exchange.symbol(key[0]).brackets
        bracket = next((each for each in brackets if notional < each.cap), brackets[-1])
        return max(ZERO, notional * bracket.maintenance_rate - bracket.cum)

    def _keys(self, asset: str) -> list[Key]:
        resting = {(order.symbol, order.position_side) for order in self.account.open_orders.values()}
        return sorted(key for key in {*self.held, *resting} if MARGIN_ASSET[key[0]] == asset)

    def _initial(self, key: Key) -> Decimal:
        """The margin at the mark price, if all bids were filled or all asks, whichever is more."""
        position = self.held[key].quantity * self._mark(key[0])
        bids = asks = ZERO
        for order in self.account.open_orders.values():
            if (order.symbol, order.position_side) == key and not order.reduces:
                rest = (order.quantity - order.executed) * self.valued_at[order.order_id]
                bids, asks = (bids + rest, asks) if order.side is Side.BUY else (bids, asks + rest)
        return max(abs(position + bids), abs(position - asks)) / self.leverage[key[0]]

    def _cross(self, asset: str) -> Decimal:
        """The wallet without what is set aside, and the open profit of the cross positions."""
        balance = self.wallets[asset]
        for key in self._keys(asset):
            balance += -self.held[key].set_aside if self._is_apart(key) else self._profit(key)
        return balance

    def _taken(self, asset: str) -> Decimal:
        taken = ZERO
        for key in self._keys(asset):
            notional = abs(self.held[key].quantity) * self._mark(key[0])
            taken += self._initial(key) - (notional / self.leverage[key[0]] if self._is_apart(key) else 0)
        return taken

    def _free(self, asset: str) -> Decimal:
        """What new orders may take: of the asset, or in multi-assets mode of all, in USD."""
        if not self.account.multi_assets:
            return self._cross(asset) - self._taken(asset)
        free = ZERO
        for name in [*self.wallets]:
            balance = self._cross(name)
            counted = balance * COUNTS.get(name, D(1)) if balance > 0 else balance
            free += (counted - self._taken(name)) * self._dollars(name)
        return free

    def _fallen(self) -> set[Key]:
        """The positions whose margin no longer exceeds what they must have."""
        held = [key for key, each in self.held.items() if each.quantity]
        apart = [key for key in held if self._is_apart(key)]
        fallen = {key for key in apart if self.held[key].set_aside + self._profit(key) <= self._maintenance(key)}
        cross = [key for key in held if not self._is_apart(key)]
        assets = {MARGIN_ASSET[key[0]] for key in cross}
        if self.account.multi_assets:
            margin = self._in_dollars({asset: self._cross(asset) for asset in [*self.wallets]})
            needed = sum((self._maintenance(key) * self._dollars(MARGIN_ASSET[key[0]]) for key in cross), ZERO)
            return {*fallen, *(cross if margin <= needed else ())}
        for asset in assets:
            of_asset = [key for key in cross if MARGIN_ASSET[key[0]] == asset]
            if self._cross(asset) <= sum((self._maintenance(key) for key in of_asset), ZERO):
                fallen.update(of_asset)
        return fallen

    def the_account_answer_sums_up(self) -> None:
        answer = account_answer(self.exchange, self.account, version=3)
        assets = {str(row["asset"]): row for row in _rows(answer, "assets")}
        positions = _rows(answer, "positions")
        for asset, row in assets.items():
            lines = [line for line in positions if MARGIN_ASSET[str(line["symbol"])] == asset]
            keys = self._keys(asset)
            self._close(row["walletBalance"], self.wallets[asset])
            aside = sum((self.held[key].set_aside for key in keys), ZERO)
            self._close(row["crossWalletBalance"], self.wallets[asset] - aside)
            self._close(row["unrealizedProfit"], sum((self._profit(key) for key in keys), ZERO))
            self._close(row["maintMargin"], sum((self._maintenance(key) for key in keys), ZERO))
            self._close(row["initialMargin"], sum((self._initial(key) for key in keys), ZERO))
            for part in ("initialMargin", "maintMargin", "unrealizedProfit"):
                self._close(row[part], _sum(lines, part), of=len(lines))
            self._close(row["marginBalance"], D(str(row["walletBalance"])) + D(str(row["unrealizedProfit"])))
            if not self.account.multi_assets:
                self._close(row["availableBalance"], max(ZERO, self._free(asset)))
        totals = (
            ("totalWalletBalance", "walletBalance"),
            ("totalMarginBalance", "marginBalance"),
            ("totalMaintMargin", "maintMargin"),
            ("totalInitialMargin", "initialMargin"),
            ("totalUnrealizedProfit", "unrealizedProfit"),
            ("totalCrossWalletBalance", "crossWalletBalance"),
        )
        for total, part in totals:
            balances = {asset: D(str(row[part])) for asset, row in assets.items()}
            expected = self._in_dollars(balances) if self.account.multi_assets else balances["USDT"]
            assert abs(D(str(answer[total])) - expected) < CENT
        assert abs(D(str(answer["availableBalance"])) - max(ZERO, self._free("USDT"))) < self.hair

    def _close(self, told: object, expected: Decimal, of: int = 1) -> None:
        assert abs(D(str(told)) - expected) <= HAIR * (of + 1)


def _rows(answer: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    return cast("list[Mapping[str, object]]", answer[name])


def _sum(lines: Iterable[Mapping[str, object]], part: str) -> Decimal:
    return sum((D(str(line[part])) for line in lines), ZERO)


@pytest.mark.parametrize("seed", range(60))
def test_no_order_opens_what_the_account_cannot_pay_for(seed: int) -> None:
    course = Course(seed)
    for _ in range(100):
        course.step()


def test_the_courses_meet_what_they_are_about() -> None:
    courses = [Course(seed) for seed in range(20)]
    for course in courses:
        for _ in range(100):
            course.step()
    for multi_assets in (False, True):
        kind = [course for course in courses if course.account.multi_assets is multi_assets]
        assert all(sum(figures) for figures in zip(*(course.met for course in kind), strict=True))
