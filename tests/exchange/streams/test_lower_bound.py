"""The live account's free margin is never more than the books had free, whatever happens and however late it is told.

The paper exchange's books and its events, without a server. What happens, when it is told and when a snapshot is made
is drawn at random. What a state of the account may say at most is what was free when the last event that it has, or
its snapshot, was made.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

import pytest

from gate.exchange.streams.account import LiveAccount
from gate.exchange.streams.events import decode_user_event
from gate.exchange.streams.snapshot import decode_snapshot
from gate.paper.books.account import AccountBooks
from gate.paper.books.happenings import Happening
from gate.paper.books.ledger import Ledger
from gate.paper.books.orders import Ticket
from gate.paper.books.statement import free_margin
from gate.paper.market.errors import ExchangeError
from gate.paper.market.fees import FeeSchedule
from gate.paper.market.market_data import built_in
from gate.paper.market.prices import quote_at
from gate.paper.market.terms import OrderStatus, OrderType, PositionSide, Side, TimeInForce
from gate.paper.rest import account_answers
from gate.paper.streams.user_events import user_event
from gate.paper.trading.exchange import Exchange

SYMBOLS = ("BTCUSDT", "ETHUSDT")
DUST = Decimal("1e-6")  # texts of the exchange have eight decimals
STEPS = 120


class Course:
    """One account, what happens to it, and a live account that hears of it some time later."""

    MOVES: tuple[int, ...] = (985, 997, 1003, 1015)

    def __init__(self, seed: int, *, hedge: bool = False, isolated: bool = False) -> None:
        self.draws = random.Random(seed)
        self.now_ms = 1_000_000
        self.books = AccountBooks("one", {"USDT": Decimal(10_000)}, self.now_ms)
        self.books.hedge = hedge
        if isolated:
            self.books.isolated.add(SYMBOLS[0])
        self.market = built_in()
        self.exchange = Exchange(self.market, [self.books], FeeSchedule(), Ledger())
        for name in SYMBOLS:
            self.books.set_leverage(self.market.symbols[name], self.draws.choice((1, 5, 20)), self.now_ms)
        self.untold: deque[tuple[int, bytes]] = deque()
        self.live = LiveAccount(lambda name: self.exchange.quotes[name].mark)
        self.stands = 0  # the latest happening that the live account knows of
        self.free = [self.free_now()]
        self.number = 0
        self.books.listener = self.happened

    # ---- what happens

    def happened(self, happening: Happening) -> None:
        self.free.append(self.free_now())
        self.untold.append((len(self.free) - 1, user_event(self.exchange, self.books, happening).body))

    def free_now(self) -> Decimal:
        return free_margin(self.books, self.market, self.exchange.quotes, "USDT")

    def act(self) -> None:
        self.now_ms += self.draws.choice((0, 0, 1, 7))
        with suppress(ExchangeError):
            self.draws.choice((self.order, self.order, self.order, self.cancel, self.transfer, self.quote))()
        self.free.append(self.free_now())

    def order(self) -> None:
        symbol = self.market.symbols[self.draws.choice(SYMBOLS)]
        quote = self.exchange.quotes[symbol.name]
        at_market = self.draws.random() < 0.4
        side = self.draws.choice((Side.BUY, Side.SELL))
        price = (quote.last * Decimal(self.draws.choice((980, 995, 1000, 1005, 1020))) / 1000).quantize(Decimal("0.1"))
        position_side = self.draws.choice((PositionSide.LONG, PositionSide.SHORT)) if self.books.hedge else None
        self.number += 1
        quantity = Decimal(self.draws.randint(10, 40_000)) / quote.last
        ticket = Ticket(
            symbol=symbol.name,
            side=side,
            type=OrderType.MARKET if at_market else OrderType.LIMIT,
            quantity=quantity.quantize(Decimal("0.001")),
            price=Decimal(0) if at_market else price,
            time_in_force=self.draws.choice((TimeInForce.GTC, TimeInForce.IOC, TimeInForce.GTC)),
            position_side=position_side,
            reduce_only=not self.books.hedge and self.draws.random() < 0.2,
            client_order_id=f"o-{self.number}",
        )
        self.exchange.place(self.books, ticket, self.now_ms)

    def cancel(self) -> None:
        if self.books.open_orders:
            order = self.draws.choice(list(self.books.open_orders.values()))
            self.books.close(order, OrderStatus.CANCELED, self.now_ms)

    def transfer(self) -> None:
        wallet = self.books.wallets["USDT"]
        self.books.set_wallet("USDT", wallet + self.draws.choice((-2000, -100, 500, 3000)), self.now_ms)

    def quote(self) -> None:
        """Prices have a stream of their own. So everything else is told before and after: their moment is clear."""
        self.tell_all()
        symbol = self.market.symbols[self.draws.choice(SYMBOLS)]
        last = self.exchange.quotes[symbol.name].last * Decimal(self.draws.choice(self.MOVES)) / 1000
        depth = self.draws.choice((None, Decimal("0.05")))
        quote = quote_at(symbol, last.quantize(Decimal("0.1")), None, depth)
        self.exchange.set_quote(symbol, quote, self.now_ms)
        self.tell_all()
        self.free.append(self.free_now())
        self.stands = len(self.free) - 1

    # ---- what is told

    def tell_one(self) -> None:
        if self.untold:
            number, body = self.untold.popleft()
            self.stands = max(self.stands, number)
            event = decode_user_event(json.loads(body))
            assert event is not None
            self.live.apply(event)

    def tell_all(self) -> None:
        while self.untold:
            self.tell_one()

    def ask(self) -> None:
        """The exchange's clock is read, things happen, the account is read, things happen, the answer comes."""
        from_ms = self.now_ms
        for _ in range(self.draws.randint(0, 3)):
            self.act()
        answer = account_answers.account(self.exchange, self.books, version=3)
        read = len(self.free) - 1
        for _ in range(self.draws.randint(0, 3)):
            self.act()
            self.tell_some()
        self.live.rest_on(decode_snapshot(json.loads(json.dumps(answer)), 0, from_ms, self.now_ms))
        self.stands = max(self.stands, read)

    def tell_some(self) -> None:
        for _ in range(self.draws.randint(0, 4)):
            self.tell_one()

    # ---- what must hold

    def bound(self) -> Decimal | None:
        marks: Callable[[str], Decimal] = lambda name: self.exchange.quotes[name].mark  # noqa: E731
        leverages: Callable[[str], int] = lambda name: self.books.leverage(self.market.symbols[name])  # noqa: E731
        return self.live.available("USDT", lambda name: self.market.symbols[name].margin_asset, marks, leverages)


class Amending(Course):
    """Orders that rest are amended, too."""

    def order(self) -> None:
        resting = list(self.books.open_orders.values())
        if not resting or self.draws.random() < 0.5:
            super().order()
            return
        order = self.draws.choice(resting)
        price = order.price * Decimal(self.draws.choice((950, 990, 1000, 1010, 1050))) / 1000
        self.number += 1
        ticket = Ticket(
            symbol=order.symbol,
            side=order.side,
            type=OrderType.LIMIT,
            quantity=order.quantity * self.draws.choice((1, 1, 2)),
            price=price.quantize(Decimal("0.1")),
            time_in_force=TimeInForce.GTC,
            client_order_id=f"a-{self.number}",
        )
        self.exchange.amend(self.books, order, ticket, self.now_ms)


class Crashing(Course):
    """Prices move so far that positions are liquidated."""

    MOVES = (900, 985, 1015, 1110)


@pytest.mark.parametrize("modes", [{}, {"hedge": True}, {"isolated": True}], ids=["one-way", "hedge", "isolated"])
@pytest.mark.parametrize("seed", range(15))
def test_it_never_says_more_than_was_free(seed: int, modes: dict[str, bool]) -> None:
    assert told_rightly(Course(seed, **modes)) > STEPS // 2


@pytest.mark.parametrize("kind", [Amending, Crashing])
@pytest.mark.parametrize("modes", [{}, {"hedge": True}], ids=["one-way", "hedge"])
@pytest.mark.parametrize("seed", range(8))
def test_nor_when_orders_are_amended_or_positions_liquidated(
    seed: int, modes: dict[str, bool], kind: type[Course]
) -> None:
    told_rightly(kind(seed, **modes))


def told_rightly(course: Course) -> int:
    """Goes through a course, and holds each figure against the books. Returns how many there were."""
    told = 0
    for _ in range(STEPS):
        course.draws.choice((course.act, course.act, course.tell_some, course.tell_some, course.ask))()
        bound = course.bound()
        if bound is None:
            continue
        told += 1
        assert bound <= max(Decimal(0), course.free[course.stands]) + DUST, (course.stands, len(course.free))
    return told
