"""No order pays for a handshake: connections are open before the first one, and stay open. Counted at a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from benchmarks.order_path_proxy import Distance
from gate import AsyncGate
from gate.exchange import rest_client, warm
from gate.exchange.binance import BinanceFutures
from gate.exchange.failures import ExchangeFailure
from gate.exchange.warm import CONNECTIONS, WarmConnections
from gate.executor import Executor, Terminal
from gate.paper import Fault, FaultKind, PaperExchange
from tests.executor.conftest import ROOMY, Desk
from tests.executor.test_fill_price import hits
from tests.servers.store import Store


@pytest.fixture
def distance(paper_exchange: PaperExchange) -> Iterator[Distance]:
    at = urlsplit(paper_exchange.url)
    with Distance(at.hostname or "", at.port or 0) as distance:
        yield distance


def through(paper: PaperExchange, door: int) -> BinanceFutures:
    """The exchange, behind a door of the proxy."""
    return BinanceFutures(paper.key, paper.secret, base_url=f"http://127.0.0.1:{door}", streams=False)


async def pings(distance: Distance, door: int, number: int) -> int:
    """Waits for so many. Returns how many connections were opened meanwhile."""
    seen = connections = 0
    async with asyncio.timeout(20):
        while seen < number:
            await asyncio.sleep(0.01)
            passed = distance.take(door)
            seen += sum(what == "GET /fapi/v1/ping" for what, _ in passed.requests)
            connections += passed.connections
    return connections


async def test_connections_are_open_before_the_first_intent(
    store: Store, redis_client: object, paper_exchange: PaperExchange, distance: Distance
) -> None:
    door = distance.door()
    async with (
        AsyncGate.from_url(store.url, policy=ROOMY) as gate,
        through(paper_exchange, door) as exchange,
        Executor(gate, exchange) as executor,
    ):
        assert await pings(distance, door, CONNECTIONS) == CONNECTIONS
        desk = Desk(gate, exchange, executor, paper_exchange)
        assert (await executor.execute(desk.intent(reduce_only=True))).outcome is not None
        assert (await executor.execute(desk.intent())).state is Terminal.FILLED
        passed = distance.take(door)
        assert len(passed.had_order_ns()) == 2
        assert passed.connections == 0


async def test_they_stay_open_longer_than_an_idle_one_is_kept(
    monkeypatch: pytest.MonkeyPatch, paper_exchange: PaperExchange, distance: Distance
) -> None:
    monkeypatch.setattr(warm, "EVERY_S", 0.02)
    monkeypatch.setattr(rest_client, "IDLE_S", 2.0)
    door = distance.door()
    async with through(paper_exchange, door) as exchange:
        ping, idle = exchange._warm._ping, asyncio.Event()
        under_way = 0

        async def counted() -> object:
            nonlocal under_way
            under_way += 1
            idle.clear()
            try:
                return await ping()
            finally:
                under_way -= 1
                if not under_way:
                    idle.set()

        monkeypatch.setattr(exchange._warm, "_ping", counted)
        exchange.keep_warm()
        exchange.keep_warm()
        assert await pings(distance, door, CONNECTIONS * 130) == CONNECTIONS  # more than two seconds
        # At this pace some may be under way, on the connections that are needed. To cancel them would close these.
        monkeypatch.setattr(exchange._warm, "_may_ask", lambda: False)
        await asyncio.wait_for(idle.wait(), 20)
        assert await exchange.positions("BTCUSDT") == ()
        assert distance.take(door).connections == 0


async def test_a_connection_that_nobody_uses_is_given_up_before_the_exchange_does(
    monkeypatch: pytest.MonkeyPatch, paper_exchange: PaperExchange, distance: Distance
) -> None:
    monkeypatch.setattr(rest_client, "IDLE_S", 1e-9)  # over by the next request
    door = distance.door()
    async with through(paper_exchange, door) as exchange:
        await exchange.positions("BTCUSDT")
        await exchange.positions("BTCUSDT")
        assert distance.take(door).connections == 2


async def rounds(ping: WarmConnections) -> None:
    """Lets it go on as far as it goes without a clock."""
    ping.keep()
    for _ in range(200):
        await asyncio.sleep(0)
    await ping.end()


async def test_a_ban_that_another_request_has_heard_of_ends_them_too(
    monkeypatch: pytest.MonkeyPatch, paper_exchange: PaperExchange
) -> None:
    monkeypatch.setattr(warm, "FIRST_AFTER_S", 0.0)
    ban = Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v3/positionRisk", retry_after_s=3600)
    paper_exchange.inject(ban)
    async with BinanceFutures(
        paper_exchange.key, paper_exchange.secret, base_url=paper_exchange.url, streams=False
    ) as exchange:
        with pytest.raises(ExchangeFailure):
            await exchange.positions("BTCUSDT")
        paper_exchange.inject(Fault(kind=FaultKind.HTML_502, method="GET", path="/fapi/v1/ping", times=100))
        exchange.keep_warm()
        for _ in range(3):
            assert await exchange.positions("BTCUSDT") == ()
        assert hits(paper_exchange) == 1


async def test_pings_are_the_first_to_rest_near_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "FIRST_AFTER_S", 0.0)
    monkeypatch.setattr(warm, "EVERY_S", 0.0)
    asked = 0

    async def ping() -> None:
        nonlocal asked
        asked += 1

    await rounds(WarmConnections(ping, lambda: False))
    assert asked == 0
    await rounds(WarmConnections(ping, lambda: True))
    assert asked > CONNECTIONS


async def test_they_open_no_sooner_than_a_first_order_would_have_begun(
    monkeypatch: pytest.MonkeyPatch, paper_exchange: PaperExchange, distance: Distance
) -> None:
    """Its own requests don't stand behind theirs."""
    monkeypatch.setattr(warm, "FIRST_AFTER_S", 60.0)
    door = distance.door()
    async with through(paper_exchange, door) as exchange:
        exchange.keep_warm()
        await exchange.positions("BTCUSDT")
        assert [what for what, _ in distance.take(door).requests] == ["GET /fapi/v3/positionRisk"]


async def test_no_request_waits_for_a_connection_that_readings_hold(paper_exchange: PaperExchange) -> None:
    stalls = Fault(kind=FaultKind.SLOW_BODY, method="GET", path="/fapi/v1/premiumIndex", times=150)
    paper_exchange.inject(stalls)
    async with BinanceFutures(
        paper_exchange.key, paper_exchange.secret, base_url=paper_exchange.url, streams=False
    ) as exchange:
        readings = [asyncio.create_task(exchange.mark_price("BTCUSDT")) for _ in range(120)]
        await asyncio.to_thread(paper_exchange.wait_held)
        assert await exchange.positions("BTCUSDT") == ()
        assert not any(reading.done() for reading in readings), "they still hold their connections"
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)
    paper_exchange.release_held()
