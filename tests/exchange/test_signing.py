"""An order is signed by the moment that was taken before the last look, whenever it is sent."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest
import pytest_asyncio
from aiohttp import FormData
from binance import AsyncClient
from binance.exceptions import BinanceRequestException

from gate.exchange.binance import BinanceFutures
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import OrderAnswer, OrderRequest, Validity
from gate.exchange.signing import TimedClient
from gate.executor.execution import Terminal
from gate.values.errors import InvalidField
from gate.values.policy import Policy
from tests.executor.conftest import Desk, OpenDesk

NOON_MS = 1_700_000_040_000
SECRET = "secret"  # noqa: S105  # of a paper account


@pytest_asyncio.fixture
async def client() -> AsyncIterator[TimedClient]:
    client = TimedClient("key", SECRET)
    yield client
    await client.close_connection()


@pytest.mark.parametrize("window_ms", [-5_000, 0, 60_001, 5_000.5, True, None])
async def test_a_recv_window_that_the_exchange_would_refuse_is_refused(window_ms: Any) -> None:
    with pytest.raises(InvalidField) as caught:
        BinanceFutures("key", SECRET, base_url="http://127.0.0.1:1", recv_window_ms=window_ms, streams=False)
    said = "is not a whole number from 1 to 60000: give 5000, or leave it out"
    assert str(caught.value) == f"recv_window_ms: {window_ms!r} {said}"


@pytest.mark.parametrize("window_ms", [1, 60_000])
async def test_the_shortest_and_the_longest_recv_window_are_taken(window_ms: int) -> None:
    address = "http://127.0.0.1:1"
    async with BinanceFutures("key", SECRET, base_url=address, recv_window_ms=window_ms, streams=False) as exchange:
        assert exchange.recv_window_ms == window_ms


@pytest.mark.parametrize("method", ["post", "get"])
async def test_the_library_sends_and_signs_the_moment_that_it_is_given(client: TimedClient, method: str) -> None:
    """Fails when a new release of the library takes its time at another place."""
    client.signed_ms = NOON_MS

    sent = client._get_request_kwargs(method, True, data={"symbol": "BTCUSDT"})

    query = sent["params"] if method == "get" else sent["data"].decode()
    signed, _, signature = query.partition("&signature=")
    assert f"timestamp={NOON_MS}" in signed
    assert signature == hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()


async def test_the_moment_is_for_one_request(client: TimedClient) -> None:
    client.signed_ms = NOON_MS
    client._get_request_kwargs("post", True, data={"symbol": "BTCUSDT"})

    sent = dict(parse_qsl(client._get_request_kwargs("post", True, data={"symbol": "BTCUSDT"})["data"].decode()))

    assert abs(int(sent["timestamp"]) - time.time_ns() // 1_000_000) < 60_000


@pytest.mark.parametrize("note", ["", "~", "a b", "a&c", "d=e", "+", "%", "é", "e\n"])
@pytest.mark.parametrize("symbol", ["BTCUSDT", "币安人生USDT"])
async def test_a_body_is_the_one_that_aiohttp_would_make(client: TimedClient, symbol: str, note: str) -> None:
    parameters = {"symbol": symbol, "quantity": "0.01", "newClientOrderId": "g-a_b-C", "note": note, "no": None}
    client.signed_ms = NOON_MS
    of_the_library = AsyncClient._get_request_kwargs(client, "post", True, data=dict(parameters))["data"]
    client.signed_ms = NOON_MS

    sent = client._get_request_kwargs("post", True, data=dict(parameters))

    assert sent["data"] == FormData(of_the_library)()._value
    assert len(parse_qsl(sent["data"].decode(), keep_blank_values=True)) == len(of_the_library) == 7


class Told:
    """An answer of the exchange, as aiohttp gives it."""

    status = 200

    def __init__(self, body: bytes, content_type: str = "application/json", charset: str | None = None) -> None:
        self._body, self.content_type, self.charset = body, content_type, charset

    async def read(self) -> bytes:
        return self._body

    async def text(self) -> str:
        return self._body.decode(self.charset or "utf-8")

    async def json(self) -> object:
        if self.content_type != "application/json":
            raise ContentTypeError
        return json.loads(await self.text())


class ContentTypeError(Exception):
    pass


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", rb'{"a": [1, 1.5, "\u00e9", null, true, 12345678901234567890123]}', b'{"a": NaN}', rb'"\ud800"'],
)
async def test_an_answer_is_read_as_the_library_reads_it(client: TimedClient, body: bytes) -> None:
    assert repr(await client._handle_response(Told(body))) == repr(
        await AsyncClient._handle_response(client, Told(body))
    )


@pytest.mark.parametrize("charset", ["UTF-8", "gbk", "utf-16", "latin-1"])
async def test_an_answer_is_read_in_the_encoding_that_it_says(client: TimedClient, charset: str) -> None:
    symbol = "Ã©" if charset == "latin-1" else "币安人生USDT"
    told = Told(json.dumps({"symbol": symbol}, ensure_ascii=False).encode(charset), charset=charset)
    assert await client._handle_response(told) == {"symbol": symbol}


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (Told(b"<html>"), BinanceRequestException),
        (Told(b"{}", "text/html"), ContentTypeError),
    ],
    ids=["no JSON", "another type"],
)
async def test_what_the_library_refuses_to_read_stays_refused(
    client: TimedClient, told: Told, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await client._handle_response(told)


async def test_the_exchange_refuses_an_order_that_is_sent_after_its_validity(desk: Desk) -> None:
    order = OrderRequest("BTCUSDT", "BUY", Decimal("0.01"), "late", False, None)
    validity = desk.exchange.valid_for(500)
    earlier = Validity(validity.from_ms - 501 - 10, validity.span_ms)

    with pytest.raises(ExchangeFailure) as refused:
        await desk.exchange.place(order, earlier, timeout_ms=5000)

    assert refused.value.failure.code == "-1021"
    assert not refused.value.failure.may_exist
    assert desk.orders() == []


async def test_a_step_of_the_machines_clock_moves_no_order_beyond_its_deadline(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ahead by seconds, an order that is held up would be accepted by as many seconds later."""
    before = desk.exchange.valid_for(500).from_ms
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 4_000_000_000)
    assert 0 <= desk.exchange.valid_for(500).from_ms - before < 3_000


async def test_the_clock_that_the_exchange_tells_is_never_ahead(desk: Desk) -> None:
    desk.paper.hold_clock(NOON_MS)
    await desk.exchange._rest.set_clock(5)
    assert NOON_MS <= desk.exchange.valid_for(500).from_ms < NOON_MS + 3_000


async def test_a_time_that_was_long_on_its_way_sets_no_clock(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell which half of the way took so long."""
    monkeypatch.setattr("gate.exchange.rest_client._LONGEST_TIME_READ_MS", -1)
    desk.paper.hold_clock(NOON_MS)
    with pytest.raises(ExchangeFailure, match="read in"):
        await desk.exchange._rest.set_clock(5)
    assert desk.exchange._rest.client.timestamp_offset == 0
    assert desk.exchange.valid_for(500).from_ms > NOON_MS + 3_000


async def test_a_process_that_stops_after_its_last_look_sends_nothing_that_the_exchange_accepts(
    open_desk: OpenDesk,
) -> None:
    """It goes on when its permit has run out, and another worker may hold the lock."""
    desk = await open_desk(Policy(lock_ttl_ms=2500, rate_global_limit=100))
    place = desk.exchange.place

    async def stop_then_place(order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        time.sleep(2.6)  # noqa: ASYNC251  # stops the whole process, as SIGSTOP does
        return await place(order, validity, timeout_ms=timeout_ms)

    desk.exchange.place = stop_then_place  # type: ignore[method-assign]  # a pause between the look and the signature
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    assert desk.orders(intent) == []
    assert execution.state is Terminal.REJECTED_EXCHANGE
