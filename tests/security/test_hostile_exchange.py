"""An exchange that answers what none would: ExchangeFailure, in bounded memory, and no secret in what is kept."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

import pytest
from binance import AsyncClient, Client
from hypothesis import example, given
from hypothesis import strategies as st

from gate.exchange import answers, holdings, usage
from gate.exchange.binance import BinanceFutures
from gate.exchange.bounded import LARGEST
from gate.exchange.failures import ExchangeFailure, OrderNotFound, failure_of, failure_of_answer, retry_after_s
from gate.exchange.order_finder import find_order, find_order_async
from gate.exchange.port import OrderRequest
from gate.values.fields import plain
from tests.exchange.failing_calls import KEY, SECRET
from tests.security.effort import EFFORT
from tests.security.monsters import MONSTERS, unmasked

Sent = tuple[int, dict[str, str], bytes]
MB = 1024 * 1024


class Hostile:
    """Answers every request with `sent`."""

    def __init__(self) -> None:
        self.sent: Sent = (200, {}, b"{}")
        self.accepted: list[str] = []
        hostile = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                hostile.accepted.append(self.headers.get("Accept-Encoding", ""))
                status, headers, body = hostile.sent
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            do_GET = do_POST = do_DELETE = do_PUT = _answer  # noqa: N815  # names of http.server

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    server = Hostile()
    yield server
    server.close()


def bomb(megabytes: int) -> bytes:
    """So many megabytes of spaces, packed."""
    packing = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join([*(packing.compress(b" " * MB) for _ in range(megabytes)), packing.flush()])


def truncated() -> bytes:
    return gzip.compress(b'{"serverTime": 1}' * 1000)[:-20]


BODIES: dict[str, Sent] = {
    "a bomb": (200, {"Content-Encoding": "gzip"}, bomb(400)),
    "a bomb as an error": (400, {"Content-Encoding": "gzip"}, bomb(400)),
    "20 MB": (200, {}, b" " * 20 * MB),
    "an error of 20 MB": (418, {}, b'{"code": -1003, "msg": "' + b"x" * 20 * MB + b'"}'),
    "packed twice": (200, {"Content-Encoding": "gzip, gzip"}, gzip.compress(gzip.compress(b"{}"))),
    "packed unasked": (200, {"Content-Encoding": "br"}, b"\x0b\x02\x80{}\x03"),
    "deflated": (200, {"Content-Encoding": "deflate"}, zlib.compress(b" " * 50 * MB)),
    "no gzip": (200, {"Content-Encoding": "gzip"}, b"{}"),
    "cut short": (200, {"Content-Encoding": "gzip"}, truncated()),
    "100,000 lists": (200, {}, b"[" * 100_000),
    "992 lists": (200, {}, b"[" * 992 + b"]" * 992),
    "5,000 digits": (200, {}, b'{"serverTime": ' + b"9" * 5000 + b"}"),
    "infinity": (200, {}, b'{"serverTime": 1e999}'),
    "not UTF-8": (200, {}, b'{"a": "\xff\xfe"}'),
    "a message of lists": (400, {}, b'{"code": -1, "msg": ' + b"[" * 900 + b"]" * 900 + b"}"),
    "a code of 5,000 digits": (400, {}, b'{"code": ' + b"9" * 4000 + b', "msg": "x"}'),
    "an endless ban": (418, {"Retry-After": "9" * 5000}, b"{}"),
}
ORDER = OrderRequest("BTCUSDT", "BUY", Decimal("0.001"), "g-1", reduce_only=False, position_side=None)


async def _filters(exchange: BinanceFutures) -> object:
    return await exchange.filters("BTCUSDT")


async def _account(exchange: BinanceFutures) -> object:
    return await exchange.account()


async def _find(exchange: BinanceFutures) -> object:
    return await exchange.find_order("BTCUSDT", "g-1", conditional=False)


async def _place(exchange: BinanceFutures) -> object:
    return await exchange.place(ORDER, exchange.valid_for(5000), timeout_ms=5000)


async def _resting(exchange: BinanceFutures) -> object:
    return await exchange.resting_orders()


async def _leverage(exchange: BinanceFutures) -> object:
    return await exchange.set_leverage("BTCUSDT", 3)


CALLS = [_filters, _account, _find, _place, _resting, _leverage]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("what", BODIES)
async def test_an_answer_that_no_exchange_gives_is_a_failure_in_bounded_memory(
    hostile: Hostile, what: str, call: Callable[[BinanceFutures], Any]
) -> None:
    hostile.sent = BODIES[what]
    async with BinanceFutures(KEY, SECRET, base_url=hostile.url) as exchange:
        tracemalloc.start()
        try:
            with pytest.raises((ExchangeFailure, OrderNotFound)) as raised:
                await call(exchange)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # The server's own copy of what it sends isn't counted: it was made before.
    assert peak < 8 * LARGEST, f"{peak / MB:.0f} MB"
    assert len(str(raised.value)) < 500


async def test_what_is_packed_as_asked_is_read(hostile: Hostile) -> None:
    figures = {"symbol": "BTCUSDT", "markPrice": "50000.5", "padding": "x" * MB}
    hostile.sent = (200, {"Content-Encoding": "gzip"}, gzip.compress(json.dumps(figures).encode()))
    async with BinanceFutures(KEY, SECRET, base_url=hostile.url) as exchange:
        assert await exchange.mark_price("BTCUSDT") == Decimal("50000.5")
    assert set(hostile.accepted) == {"gzip"}


def kept_by(error: BaseException) -> Iterator[object]:
    """Every exception that this one keeps, and what the frames of each hold."""
    seen, waiting = set[int](), [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield from (str(each), each.args, vars(each))
        waiting.extend(filter(None, (each.__cause__, each.__context__)))
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if _is_the_gates(frame) or each is not error:
                yield {name: value for name, value in frame.f_locals.items() if isinstance(value, str | dict | tuple)}


def _is_the_gates(frame: FrameType) -> bool:
    return "/gate/" in frame.f_code.co_filename


SECRET_WORDS = ("signature", SECRET, KEY)
FAILURES = ["an error", "no JSON", "a redirect", "nobody listens", "not found"]


def failing(hostile: Hostile, what: str) -> str:
    answers_ = {
        "an error": (400, {}, b'{"code": -2019, "msg": "Margin is insufficient."}'),
        "no JSON": (200, {}, b"<html>"),
        "a redirect": (302, {"Location": "/fapi/v1/ping?signature=abc"}, b""),
        "not found": (400, {}, b'{"code": -2013, "msg": "Order does not exist."}'),
    }
    hostile.sent = answers_.get(what, hostile.sent)
    return "http://127.0.0.1:1" if what == "nobody listens" else hostile.url


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("call", [_place, _find, _account])
async def test_a_failure_keeps_no_signed_url(
    hostile: Hostile, what: str, call: Callable[[BinanceFutures], Any]
) -> None:
    """Whoever reports errors with their chains and locals would send it along."""
    async with BinanceFutures(KEY, SECRET, base_url=failing(hostile, what)) as exchange:
        with pytest.raises((ExchangeFailure, OrderNotFound)) as raised:
            await call(exchange)
    held = [repr(each) for each in kept_by(raised.value)]
    assert [word for word in SECRET_WORDS for each in held if word in each] == []


@pytest.mark.parametrize("what", ["an error", "no JSON", "nobody listens"])
def test_a_finders_failure_keeps_no_signed_url(hostile: Hostile, what: str) -> None:
    url = failing(hostile, what)

    async def asked() -> BaseException:
        client = AsyncClient(KEY, SECRET)
        client.FUTURES_URL = f"{url}/fapi"
        try:
            await find_order_async(client)("BTCUSDT", "g-1")
        except ExchangeFailure as failed:
            return failed
        finally:
            await client.close_connection()
        raise AssertionError("no failure")

    sync = Client(KEY, SECRET, ping=False)
    sync.FUTURES_URL = f"{url}/fapi"
    with pytest.raises(ExchangeFailure) as raised:
        find_order(sync)("BTCUSDT", "g-1")
    for failed in (raised.value, asyncio.run(asked())):
        assert failed.__context__ is None
        assert failed.__cause__ is None


figures = st.sampled_from(["NaN", "Infinity", "-1", "0", "x", "", "0.001", *MONSTERS])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | figures | st.text(max_size=5)
# fmt: off
fields = st.sampled_from([
    "symbol", "orderId", "clientOrderId", "status", "time", "updateTime", "avgPrice", "executedQty",
    "algoId", "clientAlgoId", "actualQty", "assets", "asset", "availableBalance", "positions",
    "positionSide", "positionAmt", "notional", "filters", "filterType", "stepSize", "minQty", "maxQty",
    "tickSize", "minPrice", "maxPrice", "multiplierUp", "quantity", "algoStatus", "actualOrderId",
    "interval", "intervalNum", "limit", "rateLimitType", "side", "type", "reduceOnly", "closePosition",
    "origQty", "marginAsset",
])
# fmt: on
words = st.sampled_from(
    ["BTCUSDT", "LONG", "BOTH", "LOT_SIZE", "PRICE_FILTER", "MIN_NOTIONAL", "USDT", "FINISHED", "MINUTE", "ORDERS"]
)
json_values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(fields, inner, max_size=6),
    max_leaves=25,
)


def _printed(value: object) -> None:
    """Prints every figure, as logs and orders do: none may take for ever."""
    if isinstance(value, Decimal):
        assert len(plain(value)) < 100
    elif isinstance(value, dict):
        for each in value.values():
            _printed(each)
    elif isinstance(value, list | tuple):
        for each in value:
            _printed(each)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            _printed(getattr(value, name))


READERS: list[Callable[[Any], object]] = [
    answers.decode_order,
    answers.decode_conditional_order,
    lambda answer: answers.decode_own_order(answer, "g-1", conditional=False),
    lambda answer: answers.decode_account(answer, 0),
    lambda answer: answers.decode_positions(answer, "BTCUSDT"),
    lambda answer: answers.decode_filters(answer if isinstance(answer, dict) else {"symbol": answer}),
    lambda answer: list(holdings.decode_resting(answer, conditional=False)),
    lambda answer: list(holdings.decode_resting(answer, conditional=True)),
    lambda answer: list(holdings.decode_holdings(answer)),
    usage.decode_limits,
]


@EFFORT
@given(json_values)
@example([{"symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "<tiny exponent>"}])
@example(
    {"symbol": "B", "filters": [{"filterType": "LOT_SIZE", "stepSize": "<tiny exponent>", "minQty": "<huge exponent>"}]}
)
@example({"orderId": 1, "clientOrderId": "<992 lists>", "time": float("inf")})
@example([{"interval": "MINUTE", "intervalNum": float("inf"), "limit": 1, "rateLimitType": "ORDERS"}])
@example([{"symbol": "B", "orderId": 1, "side": "<992 lists>", "positionSide": []}])
def test_every_reader_of_answers_reads_or_raises_exchange_failure(answer: Any) -> None:
    answer = unmasked(answer)
    for read in READERS:
        if isinstance(answer, dict) and "symbol" not in answer:
            answer = {**answer, "symbol": "BTCUSDT"}
        try:
            found = read(answer)
        except ExchangeFailure as failed:
            said = str(failed)
            assert len(said) < 500, said[:200]
        else:
            _printed(found)


class _Response:
    def __init__(self, retry_after: object) -> None:
        self.headers = {"Retry-After": retry_after}


@EFFORT
@given(st.integers(0, 999), scalars | words, json_values, figures | st.text(max_size=20))
@example(418, -1003, "Way too many requests; banned until 9999999999999", "<tiny exponent>")
@example(400, "<5,001 digits>", "<992 lists>", "<huge exponent>")
@example(429, None, "", "1 Jan 9999 23:59:59 -2359")
@example(429, None, "", "1 Jan 1 0:0:0 +9999")
def test_every_error_answer_means_something(status: int, code: Any, message: Any, retry_after: str) -> None:
    header = unmasked(retry_after)
    seconds = retry_after_s(_Response(header if isinstance(header, str) else "-"))  # a header is text
    failure = failure_of_answer(status, unmasked(code), unmasked(message), seconds)
    assert len(failure.detail) <= 120
    assert failure.rest_ms is None or 0 <= failure.rest_ms <= 3 * 24 * 3_600_000
    assert failure_of(RuntimeError(message)).may_exist
