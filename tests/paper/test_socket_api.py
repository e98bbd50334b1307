"""The WebSocket API: the same door as REST, with the same signatures, limits, faults and books."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from binance import Client

from gate.paper import Fault, FaultKind, PaperExchange, RateLimits
from gate.paper.serving.socket_line import Parcel, SocketLine, Text
from tests.paper.sockets import Json, Line, connected, user_stream

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.002", "newClientOrderId": "mine"}
LIMIT = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.002", "price": "90000",
    "newClientOrderId": "rests",
}  # fmt: skip
_IDS: Iterator[int] = itertools.count(1)


class Api(Line):
    def __init__(self, line: Line, paper: PaperExchange) -> None:
        super().__init__(line.socket)
        self._paper = paper

    async def send(self, method: str, *, secret: str | None = None, **params: object) -> int:
        """Send a request, signed over its sorted parameters. Returns its id."""
        whole = {"apiKey": self._paper.key, "timestamp": self._paper.now_ms(), **params}
        text = "&".join(f"{name}={value}" for name, value in sorted(whole.items()))
        key = (secret or self._paper.secret).encode()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        number = next(_IDS)
        await self.socket.send_json({"id": number, "method": method, "params": {**whole, "signature": signature}})
        return number

    async def call(self, method: str, **params: Any) -> Json:
        number = await self.send(method, **params)
        answer = await self.next()
        assert answer["id"] == number
        return answer


@asynccontextmanager
async def api(paper: PaperExchange) -> AsyncIterator[Api]:
    async with connected(paper, "/ws-fapi/v1") as line:
        yield Api(line, paper)


async def test_an_order_s_life(client: Client, paper_exchange: PaperExchange) -> None:
    async with api(paper_exchange) as line:
        placed = await line.call("order.place", **LIMIT)
        assert (placed["status"], placed["result"]["status"]) == (200, "NEW")
        whole = client.futures_get_order(symbol="BTCUSDT", origClientOrderId="rests")
        assert placed["result"].items() <= whole.items()
        found = await line.call("order.status", symbol="BTCUSDT", origClientOrderId="rests")
        assert found["result"] == client.futures_get_order(symbol="BTCUSDT", origClientOrderId="rests")
        gone = await line.call("order.cancel", symbol="BTCUSDT", origClientOrderId="rests")
        assert gone["result"]["status"] == "CANCELED"
    assert [row["clientOrderId"] for row in paper_exchange.ledger()] == ["rests"]


@pytest.mark.parametrize(
    "fault", [None, Fault(kind=FaultKind.CLOCK_SKEW, skew_ms=1), Fault(kind=FaultKind.EXPIRED_IN_MATCH)]
)
async def test_an_order_s_answer_does_not_wait_for_its_events(
    paper_exchange: PaperExchange, monkeypatch: pytest.MonkeyPatch, fault: Fault | None
) -> None:
    said: list[str] = []
    put = SocketLine.put

    def noted(line: SocketLine, *parcels: Parcel) -> None:
        said.extend(parcel.text.decode() for parcel in parcels if isinstance(parcel, Text))
        put(line, *parcels)

    monkeypatch.setattr(SocketLine, "put", noted)
    if fault is not None:
        paper_exchange.inject(fault)
    async with user_stream(paper_exchange) as stream, api(paper_exchange) as line:
        await line.call("order.place", **MARKET)
        await stream.until("ORDER_TRADE_UPDATE")

    assert '"result"' in said[0]
    assert any("ORDER_TRADE_UPDATE" in each for each in said[1:])


async def test_a_conditional_order_s_life(client: Client, paper_exchange: PaperExchange) -> None:
    async with api(paper_exchange) as line:
        stop = await line.call(
            "algoOrder.place", algoType="CONDITIONAL", symbol="BTCUSDT", side="BUY", type="STOP_MARKET",
            triggerPrice=120000, quantity=0.002, clientAlgoId="stop",
        )  # fmt: skip
        assert stop["result"] == client.futures_get_algo_order(clientAlgoId="stop")
        gone = await line.call("algoOrder.cancel", clientAlgoId="stop")
        assert (gone["status"], gone["result"]["msg"]) == (200, "success")


@pytest.mark.parametrize(
    ("method", "call", "arguments"),
    [
        ("account.status", "futures_account", {"version": 2}),
        ("v2/account.status", "futures_account", {"version": 3}),
        ("account.balance", "futures_account_balance", {"version": 2}),
        ("v2/account.balance", "futures_account_balance", {"version": 3}),
        ("account.position", "futures_position_information", {"version": 2}),
        ("v2/account.position", "futures_position_information", {"version": 3}),
    ],
)
async def test_the_account_s_figures_are_those_of_rest(
    client: Client, paper_exchange: PaperExchange, method: str, call: str, arguments: Any
) -> None:
    client.futures_create_order(**MARKET)
    async with api(paper_exchange) as line:
        answer = await line.call(method)
    assert answer["result"] == getattr(client, call)(**arguments)


async def test_public_answers_need_no_signature(client: Client, paper_exchange: PaperExchange) -> None:
    async with api(paper_exchange) as line:
        await line.socket.send_json({"id": "p", "method": "ticker.book", "params": {"symbol": "BTCUSDT"}})
        assert (await line.next())["result"]["bidPrice"] == "100000.00"
        await line.socket.send_json({"id": "d", "method": "depth", "params": {"symbol": "BTCUSDT", "limit": 5}})
        assert (await line.next())["result"]["bids"][0][0] == "100000.00"


async def test_a_listen_key_comes_over_it_too(paper_exchange: PaperExchange) -> None:
    async with api(paper_exchange) as line:
        key = (await line.call("userDataStream.start"))["result"]["listenKey"]
        assert (await line.call("userDataStream.ping"))["result"] == {"listenKey": key}
        assert (await line.call("userDataStream.stop"))["result"] == {}
        assert (await line.call("userDataStream.ping"))["error"]["code"] == -1125


async def test_the_limits_are_those_of_rest_and_every_answer_tells_them(
    client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.hold_clock(30_000_000 * 60_000)
    async with api(paper_exchange) as line:
        client.futures_ping()
        assert client.response.headers["X-MBX-USED-WEIGHT-1M"] == "6"  # the handshake's five, and the ping
        answer = await line.call("order.place", **MARKET)
        assert answer["rateLimits"] == [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400, "count": 6},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300, "count": 1},
            {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200, "count": 1},
        ]
        assert [row["count"] for row in (await line.call("account.balance"))["rateLimits"]] == [11]
        number = next(_IDS)
        await line.socket.send_json(
            {"id": number, "method": "depth", "params": {"symbol": "X", "returnRateLimits": False}}
        )
        assert await line.next() == {"id": number, "status": 400, "error": {"code": -1121, "msg": "Invalid symbol."}}


@pytest.mark.paper(limits=RateLimits(weight_per_minute=8, orders_per_ten_seconds=1))
async def test_limits_refuse(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock(30_000_000 * 60_000)
    async with api(paper_exchange) as line:
        assert (await line.call("order.place", **MARKET))["status"] == 200
        second = await line.call("order.place", **MARKET)
        assert (second["status"], second["error"]["code"]) == (429, -1015)
        third = await line.call("account.balance")
        assert (third["status"], third["error"]["code"]) == (429, -1003)
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with api(paper_exchange):
                pass
        assert error.value.status == 429


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        pytest.param({"secret": "wrong"}, 400, -1022, id="a wrong signature"),
        pytest.param({"apiKey": "nobody"}, 401, -2015, id="an unknown key"),
        pytest.param({"timestamp": 1}, 400, -1021, id="an old timestamp"),
        pytest.param({"quantity": "3"}, 400, -2019, id="too little margin"),
        pytest.param({"type": "STOP_MARKET"}, 400, -4120, id="a conditional order"),
    ],
)
async def test_refusals_come_in_its_shape(
    paper_exchange: PaperExchange, arguments: Any, status: int, code: int
) -> None:
    async with api(paper_exchange) as line:
        answer = await line.call("order.place", **{**MARKET, **arguments})
    assert (answer["status"], answer["error"]["code"]) == (status, code)
    assert "result" not in answer
    assert paper_exchange.ledger() == []


async def test_what_is_no_request_is_refused(paper_exchange: PaperExchange) -> None:
    async with api(paper_exchange) as line:
        await line.socket.send_str("no JSON")
        assert (await line.next())["error"]["code"] == -1135
        answer = await line.call("session.logon")
        assert (answer["status"], answer["error"]["code"]) == (400, -1020)


async def test_an_order_over_it_is_told_on_the_user_stream(paper_exchange: PaperExchange) -> None:
    async with user_stream(paper_exchange) as events, api(paper_exchange) as line:
        placed = await line.call("order.place", **LIMIT)
        assert (await events.next())["o"]["i"] == placed["result"]["orderId"]


@pytest.mark.parametrize(
    ("fault", "accepted", "status", "code"),
    [
        (Fault(kind=FaultKind.UNKNOWN_503), True, 503, -1006),
        (Fault(kind=FaultKind.UNAVAILABLE_503), False, 503, -1001),
        (Fault(kind=FaultKind.TIMEOUT_1007), True, 408, -1007),
        (Fault(kind=FaultKind.RATE_LIMITED_429), False, 429, -1003),
        (Fault(kind=FaultKind.ERROR, code=-1008), False, 503, -1008),
        (Fault(kind=FaultKind.CLOCK_SKEW), False, 400, -1021),
        (Fault(kind=FaultKind.ERROR, code=-2019, path="order.place"), False, 400, -2019),
    ],
)
async def test_the_faults_of_requests_strike_here_too(
    paper_exchange: PaperExchange, fault: Fault, accepted: bool, status: int, code: int
) -> None:
    paper_exchange.inject(fault)
    async with api(paper_exchange) as line:
        answer = await line.call("order.place", **MARKET)
    assert (answer["status"], answer["error"]["code"]) == (status, code)
    assert len(paper_exchange.ledger()) == accepted


@pytest.mark.parametrize(
    ("kind", "accepted"), [(FaultKind.ACCEPT_THEN_DROP, True), (FaultKind.DROP_BEFORE_ACCEPT, False)]
)
async def test_the_connection_breaks_before_the_answer(
    paper_exchange: PaperExchange, kind: FaultKind, accepted: bool
) -> None:
    paper_exchange.inject(Fault(kind=kind))
    async with api(paper_exchange) as line:
        await line.send("order.place", **MARKET)
        assert await line.ended() == 1006
    assert len(paper_exchange.ledger()) == accepted


@pytest.mark.parametrize(("kind", "at_once"), [(FaultKind.DELAY, False), (FaultKind.LATE_ANSWER, True)])
async def test_a_held_request_holds_no_other(paper_exchange: PaperExchange, kind: FaultKind, at_once: bool) -> None:
    paper_exchange.inject(Fault(kind=kind))
    async with api(paper_exchange) as line:
        held = await line.send("order.place", **MARKET)
        paper_exchange.wait_held()
        assert len(paper_exchange.ledger()) == at_once
        assert (await line.call("account.balance"))["status"] == 200
        paper_exchange.release_held()
        answer = await line.next()
    assert (answer["id"], answer["status"]) == (held, 200)
    assert len(paper_exchange.ledger()) == 1


async def test_an_order_over_it_can_be_accepted_late(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    paper_exchange.inject(Fault(kind=FaultKind.TIMEOUT_1007, late_ms=25_000))
    async with user_stream(paper_exchange) as events, api(paper_exchange) as line:
        assert (await line.call("order.place", **LIMIT))["error"]["code"] == -1007
        assert (paper_exchange.late(), paper_exchange.ledger()) == (1, [])
        paper_exchange.move_clock(25_000)
        assert (await events.next())["o"]["c"] == "rests"
    assert len(paper_exchange.ledger()) == 1


async def test_a_fault_of_the_websocket_api_alone(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.UNAVAILABLE_503, path="order.place"))
    client.futures_create_order(**MARKET)
    async with api(paper_exchange) as line:
        assert (await line.call("order.place", **MARKET))["status"] == 503
        assert (await line.call("order.place", **MARKET))["status"] == 200


async def test_a_request_held_when_the_server_stops_never_takes_effect(tmp_path: Path) -> None:
    with PaperExchange(ledger_file=tmp_path / "ledger.jsonl", faults=[Fault(kind=FaultKind.DELAY)]) as paper:
        async with user_stream(paper) as events, api(paper) as line:
            await line.send("order.place", **MARKET)
            paper.wait_held()
            await asyncio.to_thread(paper.stop)
            assert await events.ended() == 1001
    assert (tmp_path / "ledger.jsonl").read_bytes() == b""
