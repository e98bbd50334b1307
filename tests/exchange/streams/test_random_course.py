"""Over real connections that break, lag and fall silent, no figure says more than the books had free.

What a figure may say at most is what was free at some moment since it stood: it is at least as old as its last event.
An event that is lost alone, with its connection alive, leaves no sign, so that isn't among the faults here.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from decimal import Decimal

import pytest
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.exchange.binance import BinanceFutures
from gate.exchange.port import LiveFigures
from gate.paper import Fault, FaultKind, PaperExchange
from tests.exchange.streams.conftest import SYMBOL, figures, free, place, really_free, until

STEPS = 60
DUST = 1e-6
FAULTS = (
    Fault(kind=FaultKind.DOUBLE_EVENT),
    Fault(kind=FaultKind.DROP_STREAM),
    Fault(kind=FaultKind.DROP_STREAM, event="ACCOUNT_UPDATE"),
    Fault(kind=FaultKind.SILENT_STREAM, event="ORDER_TRADE_UPDATE"),
    Fault(kind=FaultKind.EXPIRE_KEY, event="ORDER_TRADE_UPDATE"),
    Fault(kind=FaultKind.LAG_STREAM, delay_ms=200, probability=Decimal("0.1")),
)


class Course:
    """What somebody does with the account, and what was free after each act."""

    def __init__(self, seed: int, paper: PaperExchange, client: Client) -> None:
        self.draws = random.Random(seed)
        self.paper, self.client = paper, client
        self.free: list[tuple[int, float]] = [(0, really_free(client))]

    def act(self) -> None:
        begun_ns = time.monotonic_ns()
        with suppress(BinanceAPIException):
            self.draws.choice((self.market, self.limit, self.cancel, self.transfer, self.fault))()
        self.free.append((begun_ns, really_free(self.client)))

    def market(self) -> None:
        place(self.client, self.draws.choice(("0.01", "0.05")), self.draws.choice(("BUY", "SELL")))

    def limit(self) -> None:
        side, price = self.draws.choice((("BUY", "95000"), ("SELL", "105000")))
        place(self.client, "0.05", side, type="LIMIT", price=price, timeInForce="GTC")

    def cancel(self) -> None:
        self.client.futures_cancel_all_open_orders(symbol=SYMBOL)

    def transfer(self) -> None:
        self.paper.set_balance(self.draws.choice((4_000, 7_000, 10_000)))

    def fault(self) -> None:
        if self.draws.random() < 0.5:
            self.paper.clear_faults()
            self.paper.inject(self.draws.choice(FAULTS))

    def most(self, figures: LiveFigures) -> float:
        """The most that was free since the figures stood."""
        before = [each for begun_ns, each in self.free if begun_ns <= figures.account.asked_ns]
        return max([before[-1], *(each for begun_ns, each in self.free if begun_ns > figures.account.asked_ns)])


@pytest.mark.parametrize("seed", range(2))
async def test_no_figure_says_more_than_was_free(
    seed: int, paper: PaperExchange, client: Client, exchange: BinanceFutures
) -> None:
    course = Course(seed, paper, client)
    told = 0
    for _ in range(STEPS):
        course.act()
        for _ in range(course.draws.randint(0, 20)):
            await until(lambda: True)
            live = exchange.live(SYMBOL)
            if live is not None:
                told += 1
                assert (free(live) or 0) <= course.most(live) + DUST
    paper.clear_faults()
    await until(lambda: free(exchange.live(SYMBOL)) == really_free(client))
    assert told > STEPS
    assert await figures(exchange)
