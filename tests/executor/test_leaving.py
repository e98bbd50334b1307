"""Whoever leaves the blocks of executor and exchange leaves nothing behind, also where the leaving is cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gate.exchange.binance import BinanceFutures
from gate.executor import Executor, Terminal, order_news
from gate.executor.updates import Updates
from tests.executor.conftest import Desk, until


@pytest.mark.parametrize("steps", range(0, 36, 3))
async def test_a_cancellation_while_the_blocks_are_left_leaves_nothing_open(desk: Desk, steps: int) -> None:
    """It comes so many steps of the loop after the leaving has begun."""
    before, go_on = asyncio.all_tasks(), asyncio.Event()
    opened: asyncio.Future[tuple[BinanceFutures, Updates]] = asyncio.get_running_loop().create_future()

    async def trade() -> None:
        async with (
            BinanceFutures(desk.paper.key, desk.paper.secret, base_url=desk.paper.url) as exchange,
            Executor(desk.gate, exchange) as executor,
        ):
            await until(lambda: exchange.streams() == "ok")
            opened.set_result((exchange, executor.updates()))
            await go_on.wait()

    trading = asyncio.create_task(trade())
    exchange, updates = await opened
    go_on.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    trading.cancel()
    with suppress(asyncio.CancelledError):
        await trading

    await until(lambda: asyncio.all_tasks() == before)
    assert exchange._streams is not None
    assert exchange._streams._session is not None
    assert exchange._streams._session.closed
    assert exchange._rest.client.session.closed
    async with asyncio.timeout(10):
        assert [update async for update in updates] == []


async def test_an_executor_that_has_ended_hears_nothing_more_of_its_exchange(desk: Desk) -> None:
    """Each order that others send would be told and logged once more for each that has ended."""
    async with BinanceFutures(desk.paper.key, desk.paper.secret, base_url=desk.paper.url) as exchange:
        assert exchange._streams is not None
        listeners = exchange._streams._listeners

        def hear() -> tuple[int, int]:
            return len(listeners._to_orders), len(listeners._to_gaps)

        for _ in range(3):
            async with Executor(desk.gate, exchange):
                assert hear() == (1, 1)
            assert hear() == (0, 0)


async def test_one_that_has_ended_waits_for_no_event_that_it_would_not_hear(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_news, "_GRACE_S", 60.0)
    async with BinanceFutures(desk.paper.key, desk.paper.secret, base_url=desk.paper.url) as exchange:
        executor = Executor(desk.gate, exchange)
        async with executor:
            await until(lambda: exchange.streams() == "ok")
        async with asyncio.timeout(20):
            execution = await executor.execute(desk.intent())
        assert (execution.state, execution.average_price is not None) == (Terminal.FILLED, True)


async def test_an_executor_that_is_opened_again_hears_again_and_asks_for_what_it_has_missed(desk: Desk) -> None:
    async with BinanceFutures(desk.paper.key, desk.paper.secret, base_url=desk.paper.url) as exchange:
        executor = Executor(desk.gate, exchange)
        async with executor:
            pass
        executor._news._gaps._gap = False  # what the streams themselves may have missed, is asked for anyway
        async with executor:
            assert exchange._streams is not None
            assert len(exchange._streams._listeners._to_orders) == 1
            assert executor._news._gaps._gap
