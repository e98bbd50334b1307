"""The faults of streams: what the client sees of the events, while the books have everything."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import requests
from binance import Client

from gate.paper import Fault, FaultError, FaultKind, PaperExchange
from gate.paper.serving.faults import parse_faults
from tests.paper.conftest import futures_client
from tests.paper.sockets import Line, connected, listen_key, new_key, user_stream

LIMIT = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.002", "price": "90000",
}  # fmt: skip


def place(paper: PaperExchange, name: str, symbol: str = "BTCUSDT") -> None:
    prices = {"BTCUSDT": ("0.002", "90000"), "ETHUSDT": ("0.1", "2000")}
    quantity, price = prices[symbol]
    futures_client(paper).futures_create_order(
        **{**LIMIT, "newClientOrderId": name, "symbol": symbol, "quantity": quantity, "price": price}
    )


def hits(paper: PaperExchange) -> int:
    return int(requests.get(f"{paper.url}/paper/faults", timeout=5).json()["faults"][0]["hits"])


async def told(line: Line) -> str:
    return str((await line.next())["o"]["c"])


async def test_an_event_is_lost(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.LOSE_EVENT, event="ORDER_TRADE_UPDATE", times=2))
    async with user_stream(paper_exchange) as line:
        for name in ("a", "b", "c"):
            place(paper_exchange, name)
        assert await told(line) == "c"
    assert [row["clientOrderId"] for row in paper_exchange.ledger()] == ["a", "b", "c"]


async def test_an_event_comes_twice(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.DOUBLE_EVENT, client_order_id="a"))
    async with user_stream(paper_exchange) as line:
        place(paper_exchange, "a")
        place(paper_exchange, "b")
        assert [await told(line) for _ in range(3)] == ["a", "a", "b"]


async def test_a_fault_that_is_armed_after_an_answer_strikes_none_of_its_events(paper_exchange: PaperExchange) -> None:
    """The events are made after the answer, but before anything else happens."""
    async with user_stream(paper_exchange) as line:
        for number in range(20):
            place(paper_exchange, f"{number}")
            paper_exchange.inject(Fault(kind=FaultKind.LOSE_EVENT))
            assert await told(line) == f"{number}"
            paper_exchange.clear_faults()


async def test_the_events_follow_the_answer_though_nothing_else_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a further request nor the exchange's own clock brings them."""
    monkeypatch.setattr("gate.paper.serving.http_edge._TICK_S", 3_600)
    with PaperExchange() as paper:
        async with user_stream(paper) as line:
            place(paper, "a")
            assert await told(line) == "a"


async def test_a_fault_chooses_its_events_by_symbol_and_name(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(
        Fault(kind=FaultKind.LOSE_EVENT, event="ACCOUNT_UPDATE"), Fault(kind=FaultKind.LOSE_EVENT, symbol="ETHUSDT")
    )
    async with user_stream(paper_exchange) as line:
        place(paper_exchange, "eth", "ETHUSDT")
        place(paper_exchange, "btc")
        assert await told(line) == "btc"


async def test_a_stream_is_dropped_and_can_be_opened_again(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.DROP_STREAM))
    async with user_stream(paper_exchange) as line:
        place(paper_exchange, "lost")
        assert await line.ended() == 1006
    async with user_stream(paper_exchange) as line:
        place(paper_exchange, "told")
        assert await told(line) == "told"


async def test_a_silent_stream_stays_open_and_answers_nothing(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.SILENT_STREAM, client_order_id="b"))
    async with user_stream(paper_exchange) as line, user_stream(paper_exchange) as other:
        place(paper_exchange, "a")
        place(paper_exchange, "b")
        place(paper_exchange, "c")
        assert await told(line) == "a"
        assert [await told(other) for _ in range(3)] == ["a", "b", "c"]  # one hit, one connection
        await line.socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert await other.alive()
        await asyncio.to_thread(paper_exchange.stop)
        assert await line.ended() == 1001  # until the end nothing came: no event, no answer


async def test_a_connection_can_fall_silent_at_a_ping(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.SILENT_STREAM, event="pong"))
    async with user_stream(paper_exchange) as line, user_stream(paper_exchange) as other:
        await line.socket.ping()
        while not hits(paper_exchange):
            pass
        place(paper_exchange, "a")
        assert await told(other) == "a"
        await asyncio.to_thread(paper_exchange.stop)
        assert await line.ended() == 1001


async def test_a_stream_lags_until_the_release_and_keeps_its_order(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.LAG_STREAM, client_order_id="b"))
    async with user_stream(paper_exchange) as line:
        for name in ("a", "b", "c"):
            place(paper_exchange, name)  # the answers come at once, the events long after
        paper_exchange.wait_held()
        assert await told(line) == "a"
        assert [row["clientOrderId"] for row in paper_exchange.ledger()] == ["a", "b", "c"]
        paper_exchange.release_held()
        assert [await told(line) for _ in range(2)] == ["b", "c"]


async def test_a_stream_lags_by_a_time_however_many_events_come(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.LAG_STREAM, delay_ms=300, probability=Decimal(1)))
    async with user_stream(paper_exchange) as line:
        begun = time.monotonic()
        for balance in range(1, 101):
            paper_exchange.set_balance(balance)
        assert [(await line.next())["e"] for _ in range(100)] == ["ACCOUNT_UPDATE"] * 100
        # No event is early; and a hundred lags don't add up, or the patience of the line would have ended.
        assert time.monotonic() - begun >= 0.3


async def test_the_event_comes_before_the_answer(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.LATE_ANSWER))
    async with user_stream(paper_exchange) as line:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.futures_create_order, **LIMIT, newClientOrderId="mine")
            assert await told(line) == "mine"
            assert not answer.done()
            paper_exchange.wait_held()
            paper_exchange.release_held()
            assert answer.result(timeout=10)["clientOrderId"] == "mine"


async def test_a_key_expires_in_the_middle_of_its_hour(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.EXPIRE_KEY, event="ORDER_TRADE_UPDATE"))
    key = new_key(paper_exchange)
    async with connected(paper_exchange, f"/private/ws?listenKey={key}") as line:
        place(paper_exchange, "lost")
        expired = await line.next()
        assert (expired["e"], expired["listenKey"]) == ("listenKeyExpired", key)
        assert listen_key(paper_exchange, "PUT").json()["code"] == -1125
        assert new_key(paper_exchange) != key


async def test_market_streams_fail_as_well(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    paper_exchange.inject(Fault(kind=FaultKind.LOSE_EVENT, event="markPriceUpdate"))
    async with connected(paper_exchange, "/market/ws/btcusdt@markPrice@1s") as line:
        paper_exchange.move_clock(1_000)
        paper_exchange.move_clock(1_000)
        assert (await line.next())["E"] == paper_exchange.now_ms()


async def test_a_client_that_reads_nothing_loses_its_connection(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    paper_exchange.inject(Fault(kind=FaultKind.LAG_STREAM))
    intervals = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
    names = [f"{name}@kline_{interval}" for name in ("btcusdt", "ethusdt") for interval in intervals]
    async with connected(paper_exchange, f"/market/stream?streams={'/'.join(names)}") as line:
        for price in range(1_000, 1_700):
            paper_exchange.set_price("BTCUSDT", price)
            paper_exchange.set_price("ETHUSDT", price)
        assert await line.ended() == 1006


def test_a_fault_of_streams_hits_no_request(paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.LOSE_EVENT, method="*", path="*"))
    place(paper_exchange, "a")
    assert hits(paper_exchange) == 0


async def test_a_fault_of_requests_hits_no_event(paper_exchange: PaperExchange) -> None:
    async with user_stream(paper_exchange) as line:
        paper_exchange.inject(Fault(kind=FaultKind.UNAVAILABLE_503, method="*", path="*"))
        paper_exchange.set_balance("1")
        assert (await line.next())["e"] == "ACCOUNT_UPDATE"
        assert hits(paper_exchange) == 0


def test_spent_faults_are_forgotten_but_for_the_last(paper_exchange: PaperExchange) -> None:
    for _ in range(150):
        paper_exchange.inject(Fault(kind=FaultKind.UNAVAILABLE_503, method="GET", path="/fapi/v1/ping"))
        assert requests.get(f"{paper_exchange.futures_url}/v1/ping", timeout=5).status_code == 503
    report = requests.get(f"{paper_exchange.url}/paper/faults", timeout=5).json()["faults"]
    assert len(report) == 100
    assert all(row["spent"] for row in report)


def test_an_event_has_happened_whatever_its_fault() -> None:
    with pytest.raises(FaultError, match="always means true"):
        parse_faults(b'{"kind": "lose_event", "accept": false}')
