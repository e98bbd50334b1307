"""Rate limits: headers count the use, 429 with Retry-After refuses, and 418 bans a client that goes on."""

from __future__ import annotations

import time

import pytest
import requests
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import PaperExchange, RateLimits

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
TIGHT = RateLimits(weight_per_minute=20, orders_per_ten_seconds=3, orders_per_minute=5, tolerated=2)
MINUTE_MS = 60_000
START_MS = 30_000_000 * MINUTE_MS  # the start of a minute, far from today


@pytest.fixture
def held(paper_exchange: PaperExchange, client: Client) -> PaperExchange:
    paper_exchange.hold_clock(START_MS)
    return paper_exchange


def order(client: Client, paper: PaperExchange) -> None:
    """An order signed at the server's time: the client's own clock is far from the held one."""
    client.timestamp_offset = paper.now_ms() - time.time() * 1_000
    client.futures_create_order(**ORDER)


def spend(client: Client, times: int) -> None:
    for _ in range(times):
        client.futures_ping()


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        ("premiumIndex", "symbol=BTCUSDT", 1),
        ("premiumIndex", "", 10),
        ("ticker/price", "symbol=BTCUSDT", 1),
        ("ticker/price", "", 2),
        ("ticker/bookTicker", "symbol=BTCUSDT", 2),
        ("ticker/bookTicker", "", 5),
        ("ticker/24hr", "symbol=BTCUSDT", 1),
        ("ticker/24hr", "", 40),
        ("depth", "symbol=BTCUSDT&limit=5", 2),
        ("depth", "symbol=BTCUSDT&limit=50", 2),
        ("depth", "symbol=BTCUSDT&limit=100", 5),
        ("depth", "symbol=BTCUSDT&limit=500", 10),
        ("depth", "symbol=BTCUSDT", 10),
        ("depth", "symbol=BTCUSDT&limit=many", 10),
        ("depth", "symbol=BTCUSDT&limit=1000", 20),
        ("klines", "symbol=BTCUSDT&interval=1m&limit=99", 1),
        ("klines", "symbol=BTCUSDT&interval=1m&limit=100", 2),
        ("klines", "symbol=BTCUSDT&interval=1m&limit=499", 2),
        ("klines", "symbol=BTCUSDT&interval=1m", 5),
        ("klines", "symbol=BTCUSDT&interval=1m&limit=1000", 5),
        ("klines", "symbol=BTCUSDT&interval=1m&limit=1001", 10),
        ("openOrders", "symbol=BTCUSDT", 1),
        ("openOrders", "", 40),
        ("openAlgoOrders", "symbol=BTCUSDT", 1),
        ("openAlgoOrders", "", 40),
    ],
)
def test_the_weight_goes_by_the_parameters(paper_exchange: PaperExchange, path: str, query: str, weight: int) -> None:
    # Weight is spent before a request is believed, so that the signed endpoints need no signature here.
    answer = requests.get(f"{paper_exchange.url}/fapi/v1/{path}?{query}", timeout=5)
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


def refusal(client: Client) -> tuple[int, int, int]:
    with pytest.raises(BinanceAPIException) as error:
        client.futures_ping()
    return error.value.status_code, error.value.code, int(error.value.response.headers["Retry-After"])


@pytest.mark.paper(limits=TIGHT)
def test_weight_is_counted_and_the_window_starts_anew(client: Client, held: PaperExchange) -> None:
    spend(client, 7)
    assert client.response.headers["X-MBX-USED-WEIGHT-1M"] == "7"
    held.move_clock(MINUTE_MS)
    spend(client, 1)
    assert client.response.headers["X-MBX-USED-WEIGHT-1M"] == "1"


@pytest.mark.paper(limits=TIGHT)
def test_above_the_limit_comes_429_until_the_window_ends(client: Client, held: PaperExchange) -> None:
    held.move_clock(15_000)
    spend(client, 20)
    assert refusal(client) == (429, -1003, 45)
    held.move_clock(45_000)
    spend(client, 1)


@pytest.mark.paper(limits=TIGHT)
def test_a_client_that_goes_on_is_banned_and_the_bans_grow(client: Client, held: PaperExchange) -> None:
    spend(client, 20)
    assert [refusal(client)[0] for _ in range(3)] == [429, 429, 418]
    assert refusal(client) == (418, -1003, 120)
    held.move_clock(119_000)
    assert refusal(client) == (418, -1003, 1)
    held.move_clock(1_000)
    spend(client, 20)
    assert [refusal(client)[0] for _ in range(3)] == [429, 429, 418]
    assert refusal(client) == (418, -1003, 240)


@pytest.mark.paper(limits=TIGHT)
def test_orders_are_counted_per_ten_seconds_and_per_minute(client: Client, held: PaperExchange) -> None:
    for _ in range(3):
        order(client, held)
    assert client.response.headers["X-MBX-ORDER-COUNT-10S"] == "3"
    assert client.response.headers["X-MBX-ORDER-COUNT-1M"] == "3"
    with pytest.raises(BinanceAPIException) as error:
        order(client, held)
    assert (error.value.status_code, error.value.code) == (429, -1015)
    assert error.value.response.headers["Retry-After"] == "10"
    held.move_clock(10_000)
    for _ in range(2):
        order(client, held)
    with pytest.raises(BinanceAPIException, match="5 orders per 1MINUTE"):
        order(client, held)
    assert len(held.ledger()) == 5


@pytest.mark.paper(limits=None)
def test_limits_can_be_switched_off(client: Client) -> None:
    for _ in range(320):
        client.futures_create_order(**ORDER)


@pytest.mark.paper(limits=None)
def test_no_limits_means_that_nothing_tells_of_any(client: Client) -> None:
    client.futures_create_order(**ORDER)
    assert [name for name in client.response.headers if name.startswith("X-MBX")] == []
    assert client.futures_exchange_info()["rateLimits"] == []
    assert client.futures_v1_get_rate_limit_order() == []


def test_the_published_limits_are_the_ones_in_force(client: Client) -> None:
    limits = {
        (row["rateLimitType"], row["interval"]): row["limit"] for row in client.futures_exchange_info()["rateLimits"]
    }
    assert limits == {("REQUEST_WEIGHT", "MINUTE"): 2_400, ("ORDERS", "MINUTE"): 1_200, ("ORDERS", "SECOND"): 300}
    assert [row["limit"] for row in client.futures_v1_get_rate_limit_order()] == [300, 1_200]
