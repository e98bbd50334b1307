"""An exchange on its streams, which a test can tell of events and gaps, and whose figures it can take away; and what
an executor tells of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from gate.exchange.binance import BinanceFutures
from gate.exchange.port import GapListener, LiveFigures, OrderListener
from gate.executor import OrderUpdate
from gate.executor.updates import Updates
from gate.paper import PaperExchange


class Listening(BinanceFutures):
    """Hears what the exchange tells, and what `tell` and `gap` say. `lives`: whether its figures are there."""

    lives = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.orders: list[OrderListener] = []
        self.gaps: list[GapListener] = []
        super().__init__(*arguments, **named)

    def on_order(self, heard: OrderListener) -> Callable[[], None]:
        self.orders.append(heard)
        return super().on_order(heard)

    def on_gap(self, heard: GapListener) -> Callable[[], None]:
        self.gaps.append(heard)
        return super().on_gap(heard)

    def live(self, symbol: str) -> LiveFigures | None:
        return super().live(symbol) if self.lives else None

    def tell(self, event: Mapping[str, Any]) -> None:
        for heard in self.orders:
            heard(event)

    def gap(self) -> None:
        for heard in self.gaps:
            heard()


@asynccontextmanager
async def listening(paper: PaperExchange) -> AsyncIterator[Listening]:
    exchange = Listening(paper.key, paper.secret, base_url=paper.url, recv_window_ms=200)
    async with exchange:
        async with asyncio.timeout(20):
            while exchange.live("BTCUSDT") is None:  # noqa: ASYNC110  # streams open beside everything else
                await asyncio.sleep(0.01)
        yield exchange


async def told(updates: Updates, number: int) -> list[OrderUpdate]:
    """The next so many; and that there aren't more."""
    async with asyncio.timeout(10):
        got = [await anext(updates) for _ in range(number)]
    await asyncio.sleep(0)
    assert not updates.unread
    return got


def states(got: list[OrderUpdate]) -> list[tuple[str, Decimal]]:
    return [(each.state.value, each.filled_quantity) for each in got]
