"""Unmodified python-binance works on the paper exchange."""

from __future__ import annotations

from decimal import Decimal

import pytest
from binance import AsyncClient, Client
from binance.exceptions import BinanceAPIException

from gate.paper import PaperExchange


def refused(error: pytest.ExceptionInfo[BinanceAPIException]) -> int:
    return int(error.value.code)


def test_it_loads_the_markets(client: Client) -> None:
    symbols = {row["symbol"]: row for row in client.futures_exchange_info()["symbols"]}
    assert {"BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "OPUSDT", "NEARUSDT", "1000PEPEUSDT"} <= symbols.keys()
    assert "BTCUSDT_260327" in symbols
    filters = {row["filterType"]: row for row in symbols["BTCUSDT"]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.10"
    assert filters["LOT_SIZE"] == {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"}
    assert filters["MIN_NOTIONAL"]["notional"] == "10"


def test_it_reads_prices(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_price("ETHUSDT", "3210.50", mark="3211")
    assert client.futures_mark_price(symbol="ETHUSDT")["markPrice"] == "3211.00000000"
    assert client.futures_symbol_ticker(symbol="ETHUSDT")["price"] == "3210.50"
    assert client.futures_orderbook_ticker(symbol="ETHUSDT")["askPrice"] == "3210.51"
    assert client.futures_order_book(symbol="ETHUSDT")["bids"][0][0] == "3210.50"
    assert len(client.futures_klines(symbol="ETHUSDT", interval="1m", limit=7)) == 7
    since = client.futures_klines(symbol="ETHUSDT", interval="1m", startTime=1_700_000_000_000, limit=2)
    assert [row[0] for row in since] == [1_700_000_040_000, 1_700_000_100_000], "the first ones, as pages are read"
    assert len(client.futures_mark_price()) == len(client.futures_exchange_info()["symbols"])


def test_a_new_account_has_its_balance_in_every_view(client: Client) -> None:
    assert client.futures_account(version=3)["availableBalance"] == "10000.00000000"
    assert client.futures_account()["totalWalletBalance"] == "10000.00000000"
    usdt = next(row for row in client.futures_account_balance() if row["asset"] == "USDT")
    assert (usdt["balance"], usdt["availableBalance"]) == ("10000.00000000", "10000.00000000")


def test_leverage_is_what_was_set(client: Client) -> None:
    assert client.futures_symbol_config(symbol="OPUSDT")[0]["leverage"] == 20
    answer = client.futures_change_leverage(symbol="OPUSDT", leverage=40)
    assert answer == {"symbol": "OPUSDT", "leverage": 40, "maxNotionalValue": "80000"}
    assert client.futures_symbol_config(symbol="OPUSDT")[0]["leverage"] == 40


def test_brackets_carry_the_reference_figures(client: Client) -> None:
    rows = client.futures_leverage_bracket(symbol="BTCUSDT")[0]["brackets"]
    assert [(row["notionalCap"], row["initialLeverage"]) for row in rows[:4]] == [
        (50_000, 125), (600_000, 100), (3_000_000, 75), (12_000_000, 50),
    ]  # fmt: skip


def test_a_market_order_fills_moves_the_position_and_costs_its_fee(client: Client) -> None:
    order = client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01", newOrderRespType="RESULT"
    )
    assert (order["status"], order["executedQty"]) == ("FILLED", "0.010")
    found = client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])
    assert (found["avgPrice"], found["cumQuote"]) == ("100000.10000", "1000.00100")
    position = client.futures_position_information(symbol="BTCUSDT")[0]
    assert (position["positionAmt"], position["entryPrice"]) == ("0.010", "100000.1")
    assert position["unRealizedProfit"] == "-0.00100000"
    account = client.futures_account(version=3)
    fee = Decimal("1000.001") * Decimal("0.0005")
    assert Decimal(account["totalWalletBalance"]) == Decimal(10_000) - fee.quantize(Decimal("1e-8"))
    held = Decimal(account["totalPositionInitialMargin"])
    assert held == 50  # 1,000 at 20x
    assert Decimal(account["availableBalance"]) == Decimal(account["totalMarginBalance"]) - held


def test_without_result_the_answer_says_nothing_of_the_fill(client: Client) -> None:
    order = client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    assert (order["status"], order["executedQty"]) == ("NEW", "0.000")
    assert "avgPrice" not in order
    assert "cumQuote" not in order
    assert client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])["status"] == "FILLED"


def test_an_order_is_found_by_its_client_order_id(client: Client) -> None:
    placed = client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="95000",
        newClientOrderId="mine-1",
    )  # fmt: skip
    found = client.futures_get_order(symbol="BTCUSDT", origClientOrderId="mine-1")
    assert (found["orderId"], found["status"], found["price"]) == (placed["orderId"], "NEW", "95000.00")
    assert [row["clientOrderId"] for row in client.futures_get_open_orders(symbol="BTCUSDT")] == ["mine-1"]


@pytest.mark.parametrize(
    "where", [{"symbol": "BTCUSDT", "origClientOrderId": "other"}, {"symbol": "ETHUSDT", "origClientOrderId": "mine"}]
)
def test_an_order_that_is_not_there_does_not_exist(client: Client, where: dict[str, str]) -> None:
    client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01", newClientOrderId="mine")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_get_order(**where)
    assert refused(error) == -2013


def test_a_cancelled_order_is_cancelled_once(client: Client) -> None:
    client.futures_create_order(
        symbol="BTCUSDT", side="SELL", type="LIMIT", timeInForce="GTC", quantity="0.01", price="105000",
        newClientOrderId="mine-2",
    )  # fmt: skip
    answer = client.futures_cancel_order(symbol="BTCUSDT", origClientOrderId="mine-2")
    assert answer["status"] == "CANCELED"
    with pytest.raises(BinanceAPIException) as error:
        client.futures_cancel_order(symbol="BTCUSDT", origClientOrderId="mine-2")
    assert refused(error) == -2011


def test_an_empty_account_meets_insufficient_margin(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_balance("0")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    assert refused(error) == -2019
    assert paper_exchange.ledger() == []


def test_test_orders_are_checked_and_not_placed(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_test_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_test_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="99")
    assert refused(error) == -2019
    assert paper_exchange.ledger() == []


def test_flat_symbols_have_no_position_in_version_3_and_an_empty_one_in_version_2(client: Client) -> None:
    assert client.futures_position_information(symbol="BTCUSDT") == []
    rows = client.futures_account()["positions"]
    assert {row["symbol"]: row["positionAmt"] for row in rows}["BTCUSDT"] == "0"


async def test_the_async_client_trades_too(async_client: AsyncClient, paper_exchange: PaperExchange) -> None:
    assert len((await async_client.futures_exchange_info())["symbols"]) >= 12
    await async_client.futures_change_leverage(symbol="ETHUSDT", leverage=10)
    order = await async_client.futures_create_order(
        symbol="ETHUSDT", side="SELL", type="MARKET", quantity="0.5", newClientOrderId="async-1",
        newOrderRespType="RESULT",
    )  # fmt: skip
    assert order["status"] == "FILLED"
    found = await async_client.futures_get_order(symbol="ETHUSDT", origClientOrderId="async-1")
    assert found["orderId"] == order["orderId"]
    limit = await async_client.futures_create_order(
        symbol="ETHUSDT", side="SELL", type="LIMIT", timeInForce="GTC", quantity="0.5", price="4100"
    )
    await async_client.futures_cancel_order(symbol="ETHUSDT", orderId=limit["orderId"])
    assert (await async_client.futures_position_information(symbol="ETHUSDT"))[0]["positionAmt"] == "-0.500"
    paper_exchange.set_balance("1")
    with pytest.raises(BinanceAPIException) as error:
        await async_client.futures_create_order(symbol="ETHUSDT", side="SELL", type="MARKET", quantity="0.5")
    assert refused(error) == -2019
    assert len(paper_exchange.ledger()) == 2


async def test_the_spot_ping_and_time_of_a_client_s_start_are_answered(
    async_client: AsyncClient, paper_exchange: PaperExchange
) -> None:
    paper_exchange.hold_clock()
    async_client.API_URL = f"{paper_exchange.url}/api"
    assert await async_client.ping() == {}
    assert (await async_client.get_server_time())["serverTime"] == (await async_client.futures_time())["serverTime"]
