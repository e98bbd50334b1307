"""Orders live and die as their type and time in force say."""

from __future__ import annotations

from decimal import Decimal

import pytest
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import PaperExchange

Fields = dict[str, str]
BID: Fields = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010", "price": "99000",
}  # fmt: skip


def status(client: Client, order: dict[str, int]) -> str:
    found = client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])
    return str(found["status"])


def test_a_resting_order_fills_at_its_own_price_as_maker(client: Client, paper_exchange: PaperExchange) -> None:
    order = client.futures_create_order(**BID)
    assert status(client, order) == "NEW"
    paper_exchange.set_price("BTCUSDT", "98000")
    found = client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])
    assert (found["status"], found["avgPrice"]) == ("FILLED", "99000.00000")
    fill = client.futures_account_trades(symbol="BTCUSDT")[0]
    assert (fill["maker"], fill["price"], fill["commission"]) == (True, "99000.00", "0.19800000")  # 990 at 0.02 %


def test_a_marketable_limit_takes_at_the_better_price(client: Client) -> None:
    order = client.futures_create_order(**{**BID, "price": "101000"})
    order = client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])
    assert (order["status"], order["avgPrice"]) == ("FILLED", "100000.10000")
    assert client.futures_account_trades(symbol="BTCUSDT")[0]["maker"] is False


def test_an_average_of_fills_keeps_the_digits_that_their_sum_needs(
    client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.set_price("BTCUSDT", "100000", depth="0.003")
    order = client.futures_create_order(**{**BID, "quantity": "0.007", "price": "101000"})
    assert client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])["avgPrice"] == "100000.10000"
    paper_exchange.set_price("BTCUSDT", "100900")
    found = client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])
    assert (found["avgPrice"], found["cumQuote"]) == ("100571.47143", "704.00030")
    assert f"{Decimal(found['avgPrice']) * Decimal(found['executedQty']):.5f}" == found["cumQuote"]


def test_what_is_not_on_offer_rests(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_price("BTCUSDT", "100000", depth="0.004")
    order = client.futures_create_order(**{**BID, "price": "101000"}, newOrderRespType="RESULT")
    assert (order["status"], order["executedQty"]) == ("PARTIALLY_FILLED", "0.004")
    paper_exchange.set_price("BTCUSDT", "100000")
    found = client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])
    assert (found["status"], found["executedQty"]) == ("FILLED", "0.010")


def test_immediate_or_cancel_takes_what_is_there_and_expires(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_price("BTCUSDT", "100000", depth="0.004")
    order = client.futures_create_order(**{**BID, "price": "101000", "timeInForce": "IOC"}, newOrderRespType="RESULT")
    assert (order["status"], order["executedQty"]) == ("EXPIRED", "0.004")
    assert client.futures_get_open_orders() == []


def test_fill_or_kill_fills_whole_or_not_at_all(client: Client, paper_exchange: PaperExchange) -> None:
    fok = {**BID, "price": "101000", "timeInForce": "FOK"}
    paper_exchange.set_price("BTCUSDT", "100000", depth="0.004")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**fok)
    assert error.value.code == -5021
    assert paper_exchange.ledger() == []
    paper_exchange.set_price("BTCUSDT", "100000", depth="0.010")
    assert client.futures_create_order(**fok, newOrderRespType="RESULT")["status"] == "FILLED"


def test_post_only_rests(client: Client) -> None:
    assert status(client, client.futures_create_order(**{**BID, "timeInForce": "GTX"})) == "NEW"


def test_a_market_order_without_enough_on_offer_expires_with_what_it_got(
    client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.set_price("BTCUSDT", "100000", depth="0.004")
    order = client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010", newOrderRespType="RESULT"
    )
    assert (order["status"], order["executedQty"]) == ("EXPIRED", "0.004")
    assert client.futures_position_information(symbol="BTCUSDT")[0]["positionAmt"] == "0.004"


def test_the_better_bid_is_filled_first(client: Client, paper_exchange: PaperExchange) -> None:
    worse = client.futures_create_order(**BID)
    better = client.futures_create_order(**{**BID, "price": "99500"})
    paper_exchange.set_price("BTCUSDT", "98000", depth="0.010")
    assert (status(client, worse), status(client, better)) == ("NEW", "FILLED")


def test_cancel_all_cancels_one_symbol(client: Client) -> None:
    client.futures_create_order(**BID)
    client.futures_create_order(**{**BID, "symbol": "ETHUSDT", "price": "3900"})
    client.futures_cancel_all_open_orders(symbol="BTCUSDT")
    assert [row["symbol"] for row in client.futures_get_open_orders()] == ["ETHUSDT"]


def test_the_countdown_cancels_when_it_runs_out_and_not_before(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    order = client.futures_create_order(**BID)
    client.futures_countdown_cancel_all(symbol="BTCUSDT", countdownTime=4_000)
    paper_exchange.move_clock(3_999)
    assert len(client.futures_get_open_orders(symbol="BTCUSDT")) == 1
    client.futures_countdown_cancel_all(symbol="BTCUSDT", countdownTime=4_000)
    paper_exchange.move_clock(3_999)
    assert len(client.futures_get_open_orders(symbol="BTCUSDT")) == 1
    paper_exchange.move_clock(1)
    assert status(client, order) == "CANCELED"


def test_a_countdown_of_zero_disarms(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.hold_clock()
    client.futures_create_order(**BID)
    client.futures_countdown_cancel_all(symbol="BTCUSDT", countdownTime=1_000)
    client.futures_countdown_cancel_all(symbol="BTCUSDT", countdownTime=0)
    paper_exchange.move_clock(2_000)
    assert len(client.futures_get_open_orders(symbol="BTCUSDT")) == 1


def test_the_number_of_open_orders_is_limited(client: Client) -> None:
    for _ in range(200):
        client.futures_create_order(**{**BID, "quantity": "0.001"})
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**{**BID, "quantity": "0.001"})
    assert error.value.code == -2025


def test_an_open_order_is_shown_until_it_is_closed(client: Client) -> None:
    order = client.futures_create_order(**BID)
    assert client._request_futures_api(
        "get", "openOrder", True, data={"symbol": "BTCUSDT", "orderId": order["orderId"]}
    )
    client.futures_cancel_order(symbol="BTCUSDT", orderId=order["orderId"])
    with pytest.raises(BinanceAPIException) as error:
        client._request_futures_api("get", "openOrder", True, data={"symbol": "BTCUSDT", "orderId": order["orderId"]})
    assert error.value.code == -2013
    assert [row["status"] for row in client.futures_get_all_orders(symbol="BTCUSDT")] == ["CANCELED"]


def test_an_order_without_a_client_order_id_is_given_one(client: Client) -> None:
    given = [
        client._request_futures_api("post", "order", True, data=dict(BID))["clientOrderId"] for _ in range(2)
    ]  # past python-binance's wrapper, which makes up ids itself
    assert all(given)
    assert len(set(given)) == 2
    assert client.futures_get_order(symbol="BTCUSDT", origClientOrderId=given[0])["status"] == "NEW"
