"""Whoever follows the user stream knows what the books hold: orders, positions and wallets, to the digit."""

from __future__ import annotations

import random
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gate.paper import ExchangeError
from gate.paper.books.account import AccountBooks
from gate.paper.books.happenings import Happening
from gate.paper.books.orders import Order
from gate.paper.market.decimals import eight, fixed
from gate.paper.market.market_data import built_in
from gate.paper.market.prices import quote_at
from gate.paper.market.terms import AlgoStatus, PositionSide
from gate.paper.rest import account_answers
from gate.paper.rest.answers import order_state
from gate.paper.serving.settings import Account, Settings
from gate.paper.serving.venue import Request, Venue
from gate.paper.streams.event import Event
from gate.paper.streams.user_events import user_event
from gate.paper.trading.conditional import cancel_algo, place_algo
from gate.paper.trading.params import Params
from gate.paper.trading.tickets import read_algo_ticket, read_ticket

STEPS = 150
PRICES = {"BTCUSDT": 100_000, "ETHUSDT": 4_000}
LOTS = {"BTCUSDT": "0.01", "ETHUSDT": "0.3"}


class Follower:
    """Knows only what the events tell."""

    def __init__(self) -> None:
        self.orders: dict[int, dict[str, Any]] = {}
        self.algos: dict[int, str] = {}
        self.positions: dict[tuple[str, str], dict[str, Any]] = {}
        self.wallets: dict[str, str] = {}
        self.fills: dict[int, Decimal] = {}

    def hear(self, _: str, event: Event) -> None:
        told = msgspec.json.decode(event.body)
        if told["e"] == "ORDER_TRADE_UPDATE":
            order = told["o"]
            self.orders[order["i"]] = order
            self.fills[order["i"]] = self.fills.get(order["i"], Decimal(0)) + Decimal(order["l"])
        elif told["e"] == "ALGO_UPDATE":
            self.algos[told["o"]["aid"]] = told["o"]["X"]
        elif told["e"] == "ACCOUNT_UPDATE":
            self.wallets |= {row["a"]: row["wb"] for row in told["a"]["B"]}
            self.positions |= {(row["s"], row["ps"]): row for row in told["a"]["P"]}


class Trader:
    """Does something at random, and lets the exchange refuse it."""

    def __init__(self, venue: Venue, seed: int) -> None:
        self.venue = venue
        self.books: AccountBooks = next(iter(venue.exchange.accounts.values()))
        self.chance = random.Random(seed)

    def act(self) -> None:
        acts = (self.market, self.limit, self.limit, self.stop, self.move, self.move, self.end, self.pay)
        with suppress(ExchangeError):
            self.chance.choice(acts)()

    @property
    def now_ms(self) -> int:
        return self.venue.clock.now_ms()

    def name(self) -> str:
        return self.chance.choice([*PRICES])

    def price(self, symbol: str) -> str:
        return str(PRICES[symbol] * self.chance.randint(85, 115) // 100)

    def place(self, **fields: str) -> None:
        side = self.chance.choice(["BUY", "SELL"])
        if self.books.hedge:
            fields["positionSide"] = self.chance.choice(["LONG", "SHORT"])
        elif self.chance.random() < 0.2:
            fields["reduceOnly"] = "true"
        ticket = read_ticket(Params({"side": side, **fields}))
        self.venue.exchange.place(self.books, ticket, self.now_ms)

    def market(self) -> None:
        symbol = self.name()
        self.place(symbol=symbol, type="MARKET", quantity=LOTS[symbol])

    def limit(self) -> None:
        symbol, force = self.name(), self.chance.choice(["GTC", "GTC", "GTC", "IOC", "FOK", "GTX"])
        self.place(symbol=symbol, type="LIMIT", quantity=LOTS[symbol], price=self.price(symbol), timeInForce=force)

    def stop(self) -> None:
        symbol = self.name()
        fields = {"algoType": "CONDITIONAL", "symbol": symbol, "side": self.chance.choice(["BUY", "SELL"])}
        fields |= {"type": self.chance.choice(["STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP"]), "quantity": LOTS[symbol]}
        fields |= {"triggerPrice": self.price(symbol), "price": self.price(symbol)}
        if self.books.hedge:
            fields["positionSide"] = self.chance.choice(["LONG", "SHORT"])
        place_algo(self.venue.exchange, self.books, read_algo_ticket(Params(fields)), self.now_ms)

    def move(self) -> None:
        symbol = self.venue.exchange.symbol(self.name())
        depth = self.chance.choice([None, symbol.lot.step * 3])
        self.venue.set_quote(symbol, quote_at(symbol, Decimal(self.price(symbol.name)), None, depth))

    def end(self) -> None:
        resting: list[Order] = [*self.books.open_orders.values()]
        if resting and self.chance.random() < 0.7:
            self.venue.exchange.cancel(self.books, self.chance.choice(resting), self.now_ms)
        elif self.books.open_algos():
            cancel_algo(self.books, self.chance.choice(self.books.open_algos()), self.now_ms)

    def pay(self) -> None:
        self.books.set_wallet("USDT", self.books.wallets["USDT"] + self.chance.randint(-50, 50), self.now_ms)


@pytest.mark.parametrize("hedge", [False, True], ids=["one way", "hedge"])
@pytest.mark.parametrize("isolated", [False, True], ids=["cross", "isolated"])
@pytest.mark.parametrize("seed", range(8))
def test_the_events_add_up_to_the_books(seed: int, isolated: bool, hedge: bool) -> None:
    venue = Venue(Settings(market=built_in(), accounts=[Account(balance="800")], limits=None))
    trader, follower = Trader(venue, seed), Follower()
    books = trader.books
    books.hedge = hedge
    if isolated:
        books.set_margin_type(venue.exchange.symbol("BTCUSDT"), isolated=True, now_ms=0)
    venue.hub.join(books.listen_key.open(trader.now_ms), follower.hear)
    for _ in range(STEPS):
        trader.act()
        compare(venue, books, follower)
    assert follower.fills
    assert follower.positions


@pytest.mark.parametrize("hedge", [False, True], ids=["one way", "hedge"])
@pytest.mark.parametrize("seed", range(4))
def test_events_that_wait_for_the_answer_tell_how_the_books_stood(seed: int, hedge: bool) -> None:
    """How much is open, at which margin type, which leverage, and what the wallets hold."""
    venue = Venue(Settings(market=built_in(), accounts=[Account(balance="800")], limits=None))
    trader = Trader(venue, seed)
    books, at_once, heard = trader.books, list[Event](), list[Event]()
    books.hedge = hedge
    hears = books.listener

    def listener(happening: Happening) -> None:
        at_once.append(user_event(venue.exchange, books, happening))
        hears(happening)

    books.listener = listener
    venue.hub.join(books.listen_key.open(trader.now_ms), lambda _, event: heard.append(event))
    for _ in range(STEPS):
        with venue.hub.keeping(), suppress(ExchangeError):
            trader.chance.choice([trader.market, trader.limit, trader.stop, trader.end, trader.pay])()
        venue.tick()  # as before everything that comes from outside
        trader.move()
    assert heard == at_once
    assert len(heard) > STEPS // 2


def test_the_events_of_a_request_are_told_after_its_answer_and_before_the_next_one() -> None:
    venue = Venue(Settings(market=built_in(), accounts=[Account()]))
    books, heard = next(iter(venue.exchange.accounts.values())), list[str]()
    venue.hub.join(books.listen_key.open(venue.clock.now_ms()), lambda _, event: heard.append(event.name))
    pay = Request("POST", "/fapi/v1/listenKey", "", "", "paper-key", "127.0.0.1")

    with venue.hub.keeping():
        books.set_wallet("USDT", Decimal(1), venue.clock.now_ms())
    assert heard == []
    venue.answer_first(venue.arrive(pay))
    assert heard == ["ACCOUNT_UPDATE"]


def test_a_copy_of_the_books_stays_as_it_stands() -> None:
    venue = Venue(Settings(market=built_in(), accounts=[Account()]))
    trader = Trader(venue, 1)
    books, symbol = trader.books, venue.exchange.symbol("BTCUSDT")
    stands = books.as_it_stands()
    before = (dict(books.wallets), dict(books.realized), books.leverage(symbol))

    books.set_margin_type(symbol, isolated=True, now_ms=0)
    books.set_leverage(symbol, 7, 0)
    for _ in range(STEPS):
        trader.act()

    assert books.isolated
    assert books.open_orders
    assert books.wallets != stands.wallets
    assert not stands.isolated
    assert not stands.positions
    assert not stands.open_orders
    assert (stands.wallets, stands.realized, stands.leverage(symbol)) == before
    assert books.realized != stands.realized


def test_who_joins_hears_nothing_of_before() -> None:
    venue = Venue(Settings(market=built_in(), accounts=[Account()]))
    books, first, second = next(iter(venue.exchange.accounts.values())), list[str](), list[str]()
    key = books.listen_key.open(venue.clock.now_ms())
    venue.hub.join(key, lambda _, event: first.append(event.name))

    with venue.hub.keeping():
        books.set_wallet("USDT", Decimal(1), venue.clock.now_ms())
    venue.hub.join(key, lambda _, event: second.append(event.name))
    venue.hub.tell()

    assert (first, second) == (["ACCOUNT_UPDATE"], [])


def test_nothing_is_told_after_the_end_of_a_listen_key() -> None:
    venue = Venue(Settings(market=built_in(), accounts=[Account()]))
    books, heard = next(iter(venue.exchange.accounts.values())), list[str]()
    venue.hub.join(books.listen_key.open(venue.clock.now_ms()), lambda _, event: heard.append(event.name))

    with venue.hub.keeping():
        books.set_wallet("USDT", Decimal(1), venue.clock.now_ms())
    books.expire_listen_key(venue.clock.now_ms(), at_once=True)
    venue.tick()

    assert heard == ["listenKeyExpired"]


def compare(venue: Venue, books: AccountBooks, follower: Follower) -> None:
    assert follower.orders.keys() == books.orders.keys()
    for order_id, told in follower.orders.items():
        order = books.orders[order_id]
        rest = order_state(order, venue.exchange.market.symbols[order.symbol])
        assert (told["X"], told["z"], told["ap"], told["q"], told["p"]) == (
            rest["status"], rest["executedQty"], rest["avgPrice"], rest["origQty"], rest["price"],
        )  # fmt: skip
        assert follower.fills[order_id] == order.executed
    for name, wallet in follower.wallets.items():
        assert wallet == eight(books.wallets[name])
    assert {key for key, row in follower.positions.items() if Decimal(row["pa"])} == {
        (position.symbol, position.side.value) for position in books.held_positions()
    }
    for (name, side), told in follower.positions.items():
        position = books.position(name, PositionSide(side))
        symbol = venue.exchange.symbol(name)
        assert told["pa"] == fixed(position.quantity, symbol.quantity_precision)
        if position.quantity:
            row = account_answers.every_position(venue.exchange, books, name)
            line = next(each for each in row if each.position.side.value == side)
            rest = account_answers.position_risk_v3(line, symbol, Decimal(0))
            assert (told["ep"], told["iw"]) == (rest["entryPrice"], rest["isolatedWallet"])
    for algo_id, status in follower.algos.items():
        algo = books.algo_orders[algo_id]
        actual = books.orders[algo.actual_order_id] if algo.actual_order_id else None
        waiting = actual is not None and actual.status.is_open
        assert status == (AlgoStatus.TRIGGERED if waiting else algo.status)
