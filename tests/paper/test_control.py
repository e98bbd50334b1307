"""The control interface does over HTTP what the Python methods do, and answers an error in one line."""

from __future__ import annotations

import asyncio
import socket
from decimal import Decimal
from itertools import pairwise
from queue import SimpleQueue
from threading import Event, Thread

import msgspec
import pytest
import requests
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import ControlError, ExchangeError, PaperExchange
from gate.paper.market.market_data import built_in
from gate.paper.market.prices import Quote, Walk
from gate.paper.serving.control import PriceMove, control, move_price
from gate.paper.serving.settings import Account, Settings, WalkSettings
from gate.paper.serving.venue import Venue

Json = dict[str, object]


def post(paper: PaperExchange, path: str, body: Json) -> tuple[int, Json]:
    answer = requests.post(f"{paper.url}/paper/{path}", json=body, timeout=5)
    return answer.status_code, answer.json()


def test_prices_balances_and_the_clock_obey(client: Client, paper_exchange: PaperExchange) -> None:
    assert post(paper_exchange, "price", {"symbol": "BTCUSDT", "price": "90000", "depth": "0.5"})[0] == 200
    assert client.futures_mark_price(symbol="BTCUSDT")["markPrice"] == "90000.00000000"
    assert client.futures_orderbook_ticker(symbol="BTCUSDT")["bidQty"] == "0.500"
    assert post(paper_exchange, "balance", {"balance": "12.5"})[0] == 200
    assert client.futures_account(version=3)["totalWalletBalance"] == "12.50000000"
    assert post(paper_exchange, "clock", {"hold": 1_700_000_000_000})[1] == {"now_ms": 1_700_000_000_000, "held": True}
    assert post(paper_exchange, "clock", {"advance_ms": 250})[1] == {"now_ms": 1_700_000_000_250, "held": True}
    assert client.futures_time() == {"serverTime": 1_700_000_000_250}
    assert post(paper_exchange, "clock", {"release": True})[1]["held"] is False
    assert abs(client.futures_time()["serverTime"] - 1_700_000_000_250) < 60_000
    assert post(paper_exchange, "clock", {"reset": True})[0] == 200
    client.futures_account()


def test_the_ledger_says_what_was_accepted(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.002", newClientOrderId="mine")
    rows = requests.get(f"{paper_exchange.url}/paper/ledger", timeout=5).json()["orders"]
    assert rows == paper_exchange.ledger()
    expected = {
        "clientOrderId": "mine", "symbol": "BTCUSDT", "side": "BUY", "status": "FILLED", "executedQty": "0.002",
        "time": paper_exchange.now_ms(), "receiveTime": paper_exchange.now_ms(), "requestCount": 1,
    }  # fmt: skip
    assert rows[0].items() >= expected.items()
    assert rows[0]["orderId"] == client.futures_get_order(symbol="BTCUSDT", origClientOrderId="mine")["orderId"]


def test_faults_are_armed_listed_and_cleared(paper_exchange: PaperExchange) -> None:
    status, answer = post(paper_exchange, "faults", {"kind": "reset", "times": 3})
    assert status == 200
    faults = msgspec.convert(answer["faults"], list[Json])
    assert [(row["kind"], row["times"], row["hits"]) for row in faults] == [("reset", 3, 0)]
    assert requests.delete(f"{paper_exchange.url}/paper/faults", timeout=5).json()["faults"] == []


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        pytest.param("price", {"symbol": "NOPE", "price": "1"}, "Invalid symbol", id="unknown symbol"),
        pytest.param("price", {"symbol": "BTCUSDT"}, "price or mark", id="neither price"),
        pytest.param("price", {"symbol": "BTCUSDT", "price": "-1"}, "price: -1", id="negative price"),
        pytest.param("price", {"symbol": "BTCUSDT", "price": "NaN"}, "price: NaN", id="not a number"),
        pytest.param("price", {"symbol": "BTCUSDT", "price": "1", "depth": "-1"}, "depth: -1", id="negative depth"),
        pytest.param("price", {"symbol": "BTCUSDT", "price": "50000.05"}, "multiple of 0.1", id="price off the tick"),
        pytest.param("price", {"symbol": "BTCUSDT", "mark": "1e40"}, "mark: 1E+40", id="mark beyond all digits"),
        pytest.param("price", {"symbol": "BTCUSDT", "price": "1", "depth": "0.0005"}, "0.001", id="depth off the step"),
        pytest.param("price", {"symbol": "BTCUSDT", "cost": "1"}, "cost", id="unknown field"),
        pytest.param("balance", {"balance": "Infinity"}, "balance: Infinity", id="infinite balance"),
        pytest.param("balance", {"balance": "-1e16"}, "balance: -1E+16", id="balance beyond reason"),
        pytest.param("balance", {"balance": "0.000000001"}, "balance: 1E-9", id="balance beyond eight decimals"),
        pytest.param("balance", {"balance": "1", "account": "x"}, "no account 'x'", id="unknown account"),
        pytest.param("faults", {"kind": "gremlin"}, "gremlin", id="unknown fault"),
        pytest.param("faults", {"kind": "reset", "probability": "2"}, "probability: 2", id="impossible probability"),
        pytest.param("faults", {"kind": "reset", "probability": "NaN"}, "probability: NaN", id="no probability"),
        pytest.param("faults", {"kind": "unavailable_503", "accept": True}, "accept", id="contradiction"),
        pytest.param("clock", {"hold": "soon"}, "hold", id="unreadable time"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    paper_exchange: PaperExchange, path: str, body: Json, names: str
) -> None:
    status, answer = post(paper_exchange, path, body)
    assert status == 400
    assert names in str(answer["error"])


def test_an_unknown_control_lists_the_known_ones(paper_exchange: PaperExchange) -> None:
    status, answer = post(paper_exchange, "prize", {})
    assert status == 404
    assert "POST /paper/price" in str(answer["error"])


def test_an_unknown_endpoint_is_the_exchange_s_404(paper_exchange: PaperExchange) -> None:
    answer = requests.get(f"{paper_exchange.url}/fapi/v1/nothing", timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (404, -5000)


def test_the_python_methods_raise_for_the_same_reasons(paper_exchange: PaperExchange) -> None:
    with pytest.raises(ControlError, match="price: -1"):
        paper_exchange.set_price("BTCUSDT", "-1")
    with pytest.raises(ExchangeError, match="Invalid symbol"):
        paper_exchange.set_price("NOPE", "1")
    with pytest.raises(ControlError, match="no account"):
        paper_exchange.set_balance("1", account="x")


def test_a_moved_clock_can_be_put_right(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.move_clock(-3_600_000)
    with pytest.raises(BinanceAPIException, match="-1021"):
        client.futures_account()
    paper_exchange.reset_clock()
    client.futures_account()


def test_the_clock_can_be_held_at_any_time(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock(0)
    assert paper_exchange.now_ms() == 0


def test_a_stopped_exchange_says_so() -> None:
    paper = PaperExchange()
    with paper:
        url = paper.url
    with pytest.raises(RuntimeError, match="isn't running"):
        paper.ledger()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/fapi/v1/ping", timeout=5)


def test_stopping_ends_what_another_thread_waits_for() -> None:
    started = Event()
    ends: SimpleQueue[str] = SimpleQueue()

    async def never() -> None:
        started.set()
        await asyncio.Event().wait()

    def wait(paper: PaperExchange) -> None:
        try:
            paper._await(never())
        except RuntimeError as stopped:
            ends.put(str(stopped))

    with PaperExchange() as paper:
        Thread(target=wait, args=(paper,), daemon=True).start()
        assert started.wait(5)
    assert ends.get(timeout=5) == "the paper exchange was stopped"


def test_a_taken_port_is_an_error_and_leaves_nothing_running(paper_exchange: PaperExchange) -> None:
    second = PaperExchange(port=paper_exchange.port)
    with pytest.raises(OSError, match="address already in use"):
        second.start()
    with pytest.raises(RuntimeError, match="isn't running"):
        second.ledger()


@pytest.mark.parametrize(
    "accounts", [[], [Account("k", "s"), Account("k", "t")], [Account("k", name="a"), Account("l", name="a")]]
)
def test_accounts_must_be_there_and_differ(accounts: list[Account]) -> None:
    with pytest.raises(ValueError, match="accounts"):
        PaperExchange(accounts).start()


@pytest.mark.parametrize(
    ("account", "says"),
    [
        pytest.param(Account(key=""), "key: '' is empty", id="empty key"),
        pytest.param(Account(key="schlüssel"), "key: has a character", id="key beyond ASCII"),
        pytest.param(Account(key="two words"), "key: has a character", id="key that no client may send"),
        pytest.param(Account(secret=""), "secret: '' is empty", id="empty secret"),
        pytest.param(Account("k", "geheimniß"), "secret: has a character", id="secret beyond ASCII"),
        pytest.param(Account(balance=Decimal("NaN")), "balance: 'NaN'", id="balance not a number"),
        pytest.param(Account(balance="Infinity"), "balance: 'Infinity'", id="infinite balance"),
        pytest.param(Account(balance="1e16"), "balance: '1e16'", id="balance beyond reason"),
        pytest.param(Account(balance="0.000000001"), "balance: '0.000000001'", id="balance beyond eight decimals"),
        pytest.param(Account(assets={"BTC": "lots"}), "assets: BTC: 'lots'", id="unreadable asset"),
    ],
)
def test_an_account_that_cannot_be_is_refused_by_field_and_value(account: Account, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        PaperExchange([account])
    assert "\n" not in str(error.value)
    assert "schlüssel" not in str(error.value)
    assert "geheim" not in str(error.value)


def test_a_walk_needs_time_between_its_steps() -> None:
    with pytest.raises(ValueError, match="walk: interval_ms: 0"):
        PaperExchange(walk=WalkSettings(1, interval_ms=0))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "", "127.1"])
def test_only_loopback_addresses_are_listened_on(host: str) -> None:
    with pytest.raises(ValueError, match=f"host: '{host}' is not a loopback address"):
        PaperExchange(host=host)


@pytest.mark.parametrize(("host", "shown"), [("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::1", "[::1]")])
def test_any_loopback_address_will_do(host: str, shown: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with PaperExchange(host=host) as paper:
        assert paper.url == f"http://{shown}:{paper.port}"
        assert requests.get(f"{paper.url}/fapi/v1/ping", timeout=5).json() == {}


def walked(seed: int, seconds: int) -> list[str]:
    venue = Venue(Settings(market=built_in(), accounts=[Account()], walk=WalkSettings(seed)))
    venue.clock.hold()
    prices = []
    for _ in range(seconds):
        venue.clock.advance(1_000)
        venue.tick()
        prices.append(str(venue.exchange.quotes["BTCUSDT"].last))
    return prices


def test_the_walk_repeats_with_its_seed_and_stays_on_the_grid() -> None:
    first = walked(1, 50)
    assert first == walked(1, 50) != walked(2, 50)
    assert len(set(first)) > 10
    symbol = built_in().symbols["BTCUSDT"]
    opened_at = built_in().prices["BTCUSDT"]
    walk, price = Walk(3), opened_at
    for _ in range(2_000):
        price = walk.next_price(symbol, price, opened_at)
        assert price % symbol.tick == 0
        assert opened_at / 2 <= price <= opened_at * 2


def walking() -> Venue:
    venue = Venue(Settings(market=built_in(), accounts=[Account()], walk=WalkSettings(7)))
    venue.clock.hold()
    return venue


def step(venue: Venue, count: int) -> list[Quote]:
    quotes = []
    for _ in range(count):
        venue.clock.advance(1_000)
        venue.tick()
        quotes.append(venue.exchange.quotes["BTCUSDT"])
    return quotes


@pytest.mark.parametrize(("price", "sign"), [("300000", -1), ("10000", 1)])
def test_from_outside_its_range_the_walk_goes_there(price: str, sign: int) -> None:
    venue = walking()
    move_price(venue, PriceMove("BTCUSDT", Decimal(price)))
    walked = [Decimal(price), *(quote.last for quote in step(venue, 50))]
    assert all((after - before) * sign >= 0 for before, after in pairwise(walked))
    assert (walked[-1] - walked[0]) * sign > 0


def test_the_walk_leaves_a_mark_and_a_depth_that_were_set() -> None:
    venue = walking()
    move_price(venue, PriceMove("BTCUSDT", mark=Decimal(96_000), depth=Decimal("0.5")))
    walked = step(venue, 20)
    assert len({quote.last for quote in walked}) > 10
    assert {(quote.mark, quote.bid_depth, quote.ask_depth) for quote in walked} == {
        (Decimal(96_000), Decimal("0.5"), Decimal("0.5"))
    }
    move_price(venue, PriceMove("BTCUSDT", Decimal(97_000)))
    assert all(quote.mark == quote.last and quote.bid_depth is None for quote in step(venue, 20))


def test_the_walk_goes_on_after_the_clock_was_moved_back() -> None:
    venue = walking()
    step(venue, 1)
    venue.clock.advance(-3_600_000)
    venue.tick()
    assert len({quote.last for quote in step(venue, 20)}) > 10


def test_prices_stand_still_without_a_walk() -> None:
    venue = Venue(Settings(market=built_in(), accounts=[Account()]))
    before = dict(venue.exchange.quotes)
    venue.clock.advance(3_600_000)
    venue.tick()
    assert venue.exchange.quotes == before
    assert control(venue, "GET", "/paper/price", b"")[0] == 200
