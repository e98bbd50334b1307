"""An exchange whose order events come from the paper exchange's user stream, and are lost where a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec

from gate.exchange.binance import BinanceFutures
from gate.exchange.port import AccountFigures, GapListener, LiveFigures, OrderListener, SymbolConfig
from gate.paper import PaperExchange
from tests.paper.sockets import Line, user_stream


class Listening(BinanceFutures):
    """Hears as it is told: `tell` gives an event, `gap` says that some may be lost, `lives` whether it is up."""

    lives = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.orders: list[OrderListener] = []
        self.gaps: list[GapListener] = []
        super().__init__(*arguments, **named)

    def on_order(self, heard: OrderListener) -> None:
        self.orders.append(heard)

    def on_gap(self, heard: GapListener) -> None:
        self.gaps.append(heard)

    def live(self, symbol: str) -> LiveFigures | None:
        return ALIVE if self.lives else None

    def tell(self, event: Mapping[str, Any]) -> None:
        for heard in self.orders:
            heard(event)

    def gap(self) -> None:
        for heard in self.gaps:
            heard()


ALIVE = LiveFigures(Decimal(1), SymbolConfig(1, None, Decimal(0)), False, (), AccountFigures({}, {}, 0), 0, 0)


@asynccontextmanager
async def listening(paper: PaperExchange) -> AsyncIterator[Listening]:
    exchange = Listening(paper.key, paper.secret, base_url=paper.url, recv_window_ms=200, streams=False)
    async with user_stream(paper) as line, exchange:
        carrying = asyncio.create_task(_carry(line, exchange))
        try:
            yield exchange
        finally:
            carrying.cancel()
            await asyncio.wait([carrying])


async def _carry(line: Line, exchange: Listening) -> None:
    while True:
        event = msgspec.json.decode(await line.socket.receive_str(), type=dict[str, Any])
        if event["e"] in ("ORDER_TRADE_UPDATE", "ALGO_UPDATE"):
            exchange.tell(event)
