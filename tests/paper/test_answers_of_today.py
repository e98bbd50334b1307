"""What the exchange has answered since 2025 and 2026: shapes, codes, texts, and symbols beyond ASCII."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from binance import AsyncClient, Client
from binance.exceptions import BinanceAPIException

from gate.paper import Fault, FaultKind, PaperExchange, RateLimits
from gate.paper.market.errors import MESSAGES, Code
from gate.paper.market.market_data import built_in
from tests.paper.conftest import futures_client

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
SYMBOL = "币安人生USDT"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A capture of exchangeInfo with one symbol, whose name is Chinese."""
    published = {**built_in().symbols["NEARUSDT"].published, "symbol": SYMBOL, "pair": SYMBOL, "baseAsset": "币安人生"}
    path = tmp_path / "info.json"
    path.write_text(json.dumps({"symbols": [published]}), encoding="utf-8")
    return path


def test_the_answer_to_an_order_has_quantity_and_status_but_no_price(client: Client) -> None:
    order = client.futures_create_order(**ORDER, newOrderRespType="RESULT")

    assert (order["status"], order["executedQty"]) == ("FILLED", "0.010")
    assert not order.keys() & {"avgPrice", "cumQuote"}
    found = client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])
    assert (found["avgPrice"], found["cumQuote"]) == ("100000.10000", "1000.00100")


@pytest.mark.paper(old_answers=True)
def test_the_old_answer_has_the_price_where_it_is_asked_for(client: Client) -> None:
    order = client.futures_create_order(**ORDER, newOrderRespType="RESULT")

    assert (order["avgPrice"], order["cumQuote"]) == ("100000.10000", "1000.00100")


@pytest.mark.parametrize("code", list(Code), ids=str)
def test_every_code_is_raised_with_the_text_and_status_of_the_exchange(
    client: Client, paper_exchange: PaperExchange, code: Code
) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.ERROR, code=code))

    with pytest.raises(BinanceAPIException) as refused:
        client.futures_create_order(**ORDER)

    assert (refused.value.code, refused.value.message) == (code, MESSAGES[code])
    status = {-1008: 503, -1007: 408, -2014: 401, -2015: 401}.get(code, 400)
    assert refused.value.status_code == status


def test_a_ban_is_told_in_the_text_alone_where_the_header_is_switched_off(
    client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.hold_clock()
    until_ms = paper_exchange.now_ms() + 90_000
    paper_exchange.inject(Fault(kind=FaultKind.BANNED_418, retry_after_s=90, retry_after_header=False))

    with pytest.raises(BinanceAPIException, match=f"IP banned until {until_ms}") as refused:
        client.futures_create_order(**ORDER)

    assert refused.value.status_code == 418
    assert "Retry-After" not in refused.value.response.headers


def test_an_order_that_meets_one_of_the_same_account_ends_without_a_fill(
    client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.EXPIRED_IN_MATCH))

    order = client.futures_create_order(**ORDER, newOrderRespType="RESULT")

    assert (order["status"], order["executedQty"]) == ("EXPIRED_IN_MATCH", "0.000")
    assert [row["status"] for row in paper_exchange.ledger()] == ["EXPIRED_IN_MATCH"]
    assert client.futures_position_information(symbol="BTCUSDT") == []


@pytest.mark.paper(limits=RateLimits(orders_per_minute=7_000))
def test_an_account_s_own_order_limit_is_not_in_exchange_info(client: Client) -> None:
    published = {row["limit"] for row in client.futures_exchange_info()["rateLimits"]}
    own = {row["limit"] for row in client.futures_v1_get_rate_limit_order()}

    assert published == {2_400, 1_200, 300}
    assert own == {7_000, 300}


@pytest.mark.paper(limits=None)
def test_two_hundred_conditional_orders_wait_at_most_on_all_symbols_together(
    client: Client,
) -> None:
    filters = [each for symbol in client.futures_exchange_info()["symbols"] for each in symbol["filters"]]
    assert "MAX_NUM_ALGO_ORDERS" not in {each["filterType"] for each in filters}

    def place(number: int) -> None:
        symbol, trigger = (("BTCUSDT", "90000"), ("ETHUSDT", "2000"))[number % 2]
        client.futures_create_order(
            symbol=symbol, side="SELL", type="STOP_MARKET", quantity="0.01", triggerPrice=trigger
        )

    for number in range(200):
        place(number)
    with pytest.raises(BinanceAPIException, match="Reach max stop order limit"):
        place(200)


def test_a_chinese_symbol_is_signed_sent_and_found(capture: Path) -> None:
    with PaperExchange(exchange_info=capture) as paper:
        client = futures_client(paper)
        client.futures_change_leverage(symbol=SYMBOL, leverage=3)
        order = client.futures_create_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity="50")

        assert client.futures_get_order(symbol=SYMBOL, orderId=order["orderId"])["symbol"] == SYMBOL
        assert client.futures_mark_price(symbol=SYMBOL)["symbol"] == SYMBOL
        assert [row["symbol"] for row in paper.ledger()] == [SYMBOL]
        client.close_connection()


async def test_a_chinese_symbol_goes_through_the_async_client_too(capture: Path) -> None:
    with PaperExchange(exchange_info=capture) as paper:
        client = AsyncClient(paper.key, paper.secret)
        client.FUTURES_URL = paper.futures_url
        order = await client.futures_create_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity="50")
        found = await client.futures_get_order(symbol=SYMBOL, orderId=order["orderId"])
        await client.close_connection()

    assert (found["symbol"], Decimal(found["executedQty"])) == (SYMBOL, Decimal(50))
