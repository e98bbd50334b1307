"""The market streams: what moves is told at once, and what stands still once a second of the paper's clock."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from binance import Client

from gate.paper import PaperExchange, WalkSettings
from gate.paper.market.tape import PublicTrade, Tape
from gate.paper.market.terms import Side
from tests.paper.sockets import connected

START_MS = 30_000_000 * 60_000  # the start of a minute
MINUTE_MS = 60_000
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.002"}
Json = dict[str, Any]


async def test_the_mark_price_comes_every_second_or_every_third(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock(START_MS)
    async with connected(paper_exchange, "/stream?streams=btcusdt@markPrice/btcusdt@markPrice@1s") as line:
        paper_exchange.set_price("BTCUSDT", mark="100123.5")
        told: list[Json] = []
        for _ in range(3):
            paper_exchange.move_clock(1_000)
        told = [await line.next() for _ in range(4)]
    at = [(event["stream"].removeprefix("btcusdt@"), event["data"]["E"] - START_MS) for event in told]
    assert sorted(at) == [
        ("markPrice", 3_000), ("markPrice@1s", 1_000), ("markPrice@1s", 2_000), ("markPrice@1s", 3_000),
    ]  # fmt: skip
    first = told[0]["data"]
    assert (first["e"], first["s"], first["p"]) == ("markPriceUpdate", "BTCUSDT", "100123.50000000")
    assert first["T"] > START_MS


async def test_a_clock_that_jumps_tells_one_price(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock(START_MS)
    async with connected(paper_exchange, "/market/ws/btcusdt@markPrice@1s") as line:
        paper_exchange.move_clock(3_600_000)
        paper_exchange.move_clock(1_000)
        assert [(await line.next())["E"] - START_MS for _ in range(2)] == [3_600_000, 3_601_000]


async def test_the_best_prices_are_told_when_they_move(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    async with connected(paper_exchange, "/public/ws/btcusdt@bookTicker") as line:
        paper_exchange.set_price("BTCUSDT", "90000", depth="5")
        told, rest = await line.next(), client.futures_orderbook_ticker(symbol="BTCUSDT")
    assert (told["e"], told["b"], told["B"], told["a"], told["A"]) == (
        "bookTicker", rest["bidPrice"], rest["bidQty"], rest["askPrice"], rest["askQty"],
    )  # fmt: skip


async def test_a_fill_takes_from_the_book_and_is_told_as_a_trade(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_price("BTCUSDT", "90000", depth="5")
    streams = "btcusdt@aggTrade/btcusdt@trade/btcusdt@bookTicker"
    async with connected(paper_exchange, f"/stream?streams={streams}") as line:
        client.futures_create_order(**MARKET)
        told: dict[str, Json] = {}
        while len(told) < 3 or told["btcusdt@bookTicker"]["A"] == "5.000":
            event = await line.next()
            told[event["stream"]] = event["data"]
    fill = client.futures_account_trades(symbol="BTCUSDT")[0]
    traded = told["btcusdt@aggTrade"]
    assert (traded["p"], traded["q"], traded["a"], traded["m"]) == ("90000.10", "0.002", fill["id"], False)
    assert told["btcusdt@trade"]["t"] == fill["id"]
    assert told["btcusdt@bookTicker"]["A"] == "4.998"
    assert [row["a"] for row in client.futures_aggregate_trades(symbol="BTCUSDT")][-1] == fill["id"]
    assert client.futures_recent_trades(symbol="BTCUSDT")[-1]["price"] == "90000.10"


async def test_the_depth_continues_a_snapshot(client: Client, paper_exchange: PaperExchange) -> None:
    """As the exchange's page on a local order book has it."""
    paper_exchange.hold_clock()
    paper_exchange.set_price("BTCUSDT", "95000")
    async with connected(paper_exchange, "/public/ws/btcusdt@depth@100ms") as line:
        snapshot = client.futures_order_book(symbol="BTCUSDT", limit=5)
        book = dict(snapshot["bids"])
        paper_exchange.set_price("BTCUSDT", "95001")
        paper_exchange.set_price("BTCUSDT", "95002", depth="3")
        first, second = await line.next(), await line.next()
    assert first["U"] <= snapshot["lastUpdateId"] <= first["u"]
    assert second["pu"] == first["u"]
    for event in (first, second):
        book |= dict(event["b"])
    assert {price: quantity for price, quantity in book.items() if quantity != "0.000"} == {"95002.00": "3.000"}
    assert client.futures_order_book(symbol="BTCUSDT", limit=5)["bids"] == [["95002.00", "3.000"]]


async def test_a_candle_grows_and_is_closed(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock(START_MS)
    async with connected(paper_exchange, "/ws/btcusdt@kline_1m/btcusdt_perpetual@continuousKline_1m") as line:
        paper_exchange.set_price("BTCUSDT", "100500")
        grown = [await line.next(), await line.next()]
        paper_exchange.move_clock(MINUTE_MS)
        closed = [await line.next() for _ in range(4)]
    assert [event["e"] for event in grown] == ["kline", "continuous_kline"]
    assert [(event["k"]["o"], event["k"]["c"], event["k"]["x"]) for event in grown] == [
        ("100000.00", "100500.00", False)
    ] * 2
    assert [(event["k"]["t"] - START_MS, event["k"]["c"], event["k"]["x"]) for event in closed[::2]] == [
        (0, "100500.00", True), (0, "100500.00", True),
    ]  # fmt: skip
    assert [(event["k"]["t"] - START_MS, event["k"]["o"], event["k"]["x"]) for event in closed[1::2]] == [
        (MINUTE_MS, "100500.00", False)
    ] * 2


async def test_the_day_is_told_in_short_and_in_full(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock(START_MS)
    paper_exchange.set_price("BTCUSDT", "101000")
    async with connected(paper_exchange, "/market/stream?streams=btcusdt@miniTicker/btcusdt@ticker") as line:
        paper_exchange.move_clock(1_000)
        told = [(await line.next())["data"] for _ in range(2)]
    short, full = sorted(told, key=lambda event: str(event["e"]))
    if short["e"] != "24hrMiniTicker":
        short, full = full, short
    rest = client.futures_ticker(symbol="BTCUSDT")
    assert (short["o"], short["c"], short["h"], short["l"]) == ("100000.00", "101000.00", "101000.00", "100000.00")
    assert (full["p"], full["P"], full["c"]) == (rest["priceChange"], rest["priceChangePercent"], rest["lastPrice"])
    assert full["P"] == "1.000"


@pytest.mark.parametrize(
    ("stream", "name", "many"),
    [
        ("!markPrice@arr@1s", "markPriceUpdate", True),
        ("!miniTicker@arr", "24hrMiniTicker", True),
        ("!ticker@arr", "24hrTicker", True),
        ("!bookTicker", "bookTicker", False),
        ("btcusdt@depth5@100ms", "depthUpdate", False),
    ],
)
async def test_every_kind_of_stream_speaks(paper_exchange: PaperExchange, stream: str, name: str, many: bool) -> None:
    paper_exchange.hold_clock(START_MS)
    async with connected(paper_exchange, f"/stream?streams={stream}") as line:
        paper_exchange.move_clock(1_000)
        data = (await line.next())["data"]
    assert isinstance(data, list) is many
    assert (data[0] if many else data)["e"] == name


async def test_subscribing_and_unsubscribing(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    async with connected(paper_exchange, "/ws") as line:
        assert await line.ask("SUBSCRIBE", "btcusdt@bookTicker", "ethusdt@bookTicker") == {"result": None, "id": 1}
        listed = await line.ask("LIST_SUBSCRIPTIONS", number=2)
        assert listed == {"result": ["btcusdt@bookTicker", "ethusdt@bookTicker"], "id": 2}
        assert (await line.ask("UNSUBSCRIBE", "btcusdt@bookTicker", number=3))["id"] == 3
        paper_exchange.set_price("BTCUSDT", "1000")
        paper_exchange.set_price("ETHUSDT", "1000")
        assert (await line.next())["s"] == "ETHUSDT"
        assert (await line.ask("SET_PROPERTY", "combined", True))["result"] is None
        assert (await line.ask("GET_PROPERTY", "combined"))["result"] is True
        paper_exchange.set_price("ETHUSDT", "1001")
        assert (await line.next())["stream"] == "ethusdt@bookTicker"


async def test_a_message_that_cannot_be_read_is_refused(paper_exchange: PaperExchange) -> None:
    async with connected(paper_exchange, "/ws") as line:
        assert (await line.ask("SING"))["error"]["code"] == 2
        assert (await line.ask("SUBSCRIBE", 5))["error"]["code"] == 2
        await line.socket.send_str("no JSON")
        assert (await line.next())["error"]["code"] == 2
        assert await line.alive()


async def test_a_stream_of_another_category_sends_nothing(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock(START_MS)
    async with connected(paper_exchange, "/public/ws") as line:
        await line.ask("SUBSCRIBE", "btcusdt@markPrice@1s", "btcusdt@bookTicker")
        paper_exchange.move_clock(1_000)
        assert (await line.next())["e"] == "bookTicker"
        # No mark price comes before the answer.
        listed = await line.ask("LIST_SUBSCRIPTIONS")
        assert listed["result"] == ["btcusdt@markPrice@1s", "btcusdt@bookTicker"]


async def test_a_connection_lives_a_day_of_the_paper_s_clock(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    async with connected(paper_exchange, "/ws") as line:
        paper_exchange.move_clock(24 * 3_600_000)
        while (message := await line.socket.receive(timeout=10)).type.name == "PING":
            pass
        assert (message.type.name, message.data) == ("CLOSE", 1001)


async def test_the_server_asks_whether_the_client_lives(paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    async with connected(paper_exchange, "/ws") as line:
        paper_exchange.move_clock(180_000)
        assert (await line.socket.receive(timeout=10)).type.name == "PING"


def test_candles_do_not_rewrite_the_past(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock(START_MS)
    query = {"symbol": "BTCUSDT", "interval": "1m", "startTime": START_MS - MINUTE_MS, "limit": 3}
    paper_exchange.set_price("BTCUSDT", "100500")
    paper_exchange.set_price("BTCUSDT", "99500")
    paper_exchange.move_clock(MINUTE_MS)
    before = client.futures_klines(**query)
    assert [row[1:5] for row in before] == [
        ["100000.00"] * 4,
        ["100000.00", "100500.00", "99500.00", "99500.00"],
        ["99500.00"] * 4,
    ]
    assert before[1][8] == 2
    paper_exchange.set_price("BTCUSDT", "120000")
    assert client.futures_klines(**query)[:2] == before[:2]
    hour = client.futures_klines(symbol="BTCUSDT", interval="1h", startTime=START_MS // 3_600_000 * 3_600_000)[-1]
    assert hour[1:5] == ["100000.00", "120000.00", "99500.00", "120000.00"]


@pytest.mark.paper(walk=WalkSettings(seed=7, interval_ms=10_000))
def test_prices_that_walk_leave_history(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    paper_exchange.move_clock(10 * MINUTE_MS)
    rows = client.futures_klines(symbol="BTCUSDT", interval="1m", limit=10)
    assert len({row[4] for row in rows}) > 5
    assert all(later[1] == earlier[4] for earlier, later in itertools.pairwise(rows))
    assert rows[-1][4] == client.futures_symbol_ticker(symbol="BTCUSDT")["price"]


def test_the_funding_rates_of_the_past_are_told(client: Client, paper_exchange: PaperExchange) -> None:
    rows = client.futures_funding_rate(symbol="BTCUSDT", limit=3)
    assert [row["fundingRate"] for row in rows] == ["0.00010000"] * 3
    assert [later["fundingTime"] - row["fundingTime"] for row, later in itertools.pairwise(rows)] == [8 * 3_600_000] * 2


def test_a_tape_keeps_a_week_of_minutes() -> None:
    tape = Tape(Decimal(100))
    for minute in range(10_081):
        tape.printed(PublicTrade(minute, Decimal(minute + 1), Decimal(1), Side.BUY, minute * MINUTE_MS), moves=True)
    # What is older is flat at the last price that was forgotten.
    assert tape.candle(0, MINUTE_MS).open == tape.candle(0, MINUTE_MS).close == 1
    assert tape.candle(MINUTE_MS, MINUTE_MS).close == 2
    assert tape.candle(0, 20_000 * MINUTE_MS).trades == 10_080
