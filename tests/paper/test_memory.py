"""A paper exchange that runs for long keeps its memory, and its ledger loses nothing."""

from __future__ import annotations

import gc
import hashlib
import hmac
import tracemalloc
from decimal import Decimal
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
import requests
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import PaperExchange
from gate.paper.books.account import AccountBooks
from gate.paper.books.ledger import Ledger
from gate.paper.books.orders import AlgoOrder, AlgoTicket
from gate.paper.market.market_data import built_in
from gate.paper.market.terms import AlgoStatus, ConditionalType, PositionSide, Side
from gate.paper.serving.settings import Account, Settings
from gate.paper.serving.venue import Request, Venue

ORDER = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "IOC",
    "quantity": "0.001",
    "price": "60000",
}
REST = {**ORDER, "timeInForce": "GTC"}
FEW = pytest.mark.paper(kept_orders=10, limits=None)


@FEW
def test_orders_that_are_over_are_forgotten_and_the_ledger_lists_all(
    client: Client, paper_exchange: PaperExchange
) -> None:
    first = client.futures_create_order(**REST, newClientOrderId="rests")
    for number in range(50):
        client.futures_create_order(**ORDER, newClientOrderId=f"n{number}")
    found = client.futures_get_all_orders(symbol="BTCUSDT")
    assert len(found) <= 12
    assert (found[0]["clientOrderId"], found[-1]["clientOrderId"]) == ("rests", "n49")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_get_order(symbol="BTCUSDT", origClientOrderId="n0")
    assert error.value.code == -2013
    rows = paper_exchange.ledger()
    assert [row["clientOrderId"] for row in rows] == ["rests", *(f"n{number}" for number in range(50))]
    assert {row["status"] for row in rows[1:]} == {"EXPIRED"}
    client.futures_cancel_order(symbol="BTCUSDT", orderId=first["orderId"])
    for number in range(50, 70):
        client.futures_create_order(**ORDER, newClientOrderId=f"n{number}")
    assert paper_exchange.ledger()[0]["status"] == "CANCELED"
    assert len(paper_exchange.ledger()) == 71


@FEW
def test_the_ledger_can_be_read_page_by_page(client: Client, paper_exchange: PaperExchange) -> None:
    for number in range(25):
        client.futures_create_order(**ORDER, newClientOrderId=f"n{number}")
    whole, after = [], 0
    while True:
        page = requests.get(f"{paper_exchange.url}/paper/ledger?after={after}&limit=10", timeout=5).json()["orders"]
        if not page:
            break
        whole += page
        after = page[-1]["orderId"]
    assert whole == paper_exchange.ledger()
    refused = requests.get(f"{paper_exchange.url}/paper/ledger?limit=none", timeout=5)
    assert (refused.status_code, "limit" in refused.json()["error"]) == (400, True)


def place(venue: Venue, number: int) -> None:
    """A market order that opens or closes, and every other one refused: as the server's edge hands them over."""
    side, quantity = ("BUY", "0.001") if number % 4 < 2 else ("SELL", "0.001" if number % 4 == 2 else "0")
    text = (
        f"symbol=BTCUSDT&side={side}&type=MARKET&quantity={quantity}"
        f"&newClientOrderId=n{number}&timestamp={venue.clock.now_ms()}"
    )
    signature = hmac.new(b"paper-secret", text.encode(), hashlib.sha256).hexdigest()
    body = f"{text}&signature={signature}"
    venue.answer(venue.arrive(Request("POST", "/fapi/v1/order", "", body, "paper-key", "127.0.0.1")))


def test_an_order_leaves_no_memory_behind_once_it_is_forgotten() -> None:
    venue = Venue(Settings(market=built_in(), accounts=[Account(balance="1000000")], limits=None, kept_orders=100))
    tracemalloc.start()
    for number in range(1_500):  # until the tape has its thousand trades
        place(venue, number)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1_500, 2_500):
        place(venue, number)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(venue.ledger.rows()) == 1_875
    venue.close()
    assert grown / 1_000 < 100


class FullDisk(FileIO):
    """Takes half of a line, or nothing at all."""

    full = False
    half = False

    def write(self, line: Any, /) -> int:
        if self.full and not self.half:
            raise OSError(28, "No space left on device")
        return super().write(bytes(line)[:20] if self.full else line)


@pytest.mark.parametrize("half", [False, True], ids=["nothing", "half a line"])
def test_rows_that_can_not_be_written_down_stay_in_memory(tmp_path: Path, half: bool) -> None:
    venue = Venue(Settings(market=built_in(), accounts=[Account(balance="1000000")], limits=None, kept_orders=10))
    disk = venue.ledger._over = FullDisk(tmp_path / "rows", "w+b")
    for number in range(80):
        disk.full, disk.half = 20 <= number < 60, half
        place(venue, number)
    rows = venue.ledger.rows()
    assert [row.client_order_id for row in rows] == [f"n{number}" for number in range(80) if number % 4 != 3]
    venue.close()


def test_at_least_one_order_is_kept() -> None:
    with pytest.raises(ValueError, match="kept_orders: 0 is not a positive number"):
        PaperExchange(kept_orders=0)


def test_conditional_orders_that_are_over_are_forgotten_too() -> None:
    books = AccountBooks("mine", {}, 0)
    waiting = algo(0)
    books.write_algo(waiting)
    for number in range(1, 6_000):
        books.write_algo(algo(number, AlgoStatus.CANCELED))
    assert len(books.algo_orders) == 5_000
    assert books.algo_by_client_id("a0") == waiting
    assert books.algo_by_client_id("a1") is None
    assert books.algo_by_client_id("a5999") is not None


def algo(number: int, status: AlgoStatus = AlgoStatus.NEW) -> AlgoOrder:
    ticket = AlgoTicket(symbol="BTCUSDT", side=Side.SELL, type=ConditionalType.STOP_MARKET, trigger_price=Decimal(1))
    return AlgoOrder(
        algo_id=number,
        client_algo_id=f"a{number}",
        ticket=ticket,
        position_side=PositionSide.BOTH,
        status=status,
        create_ms=0,
        update_ms=0,
    )


def test_counts_of_refused_requests_are_bounded() -> None:
    ledger = Ledger(kept=10)
    for number in range(100):
        ledger.request_arrived("mine", f"n{number}")
    assert len(ledger._requests) == 40
