"""Conditional orders wait on the algo endpoint and turn into plain orders when their price comes."""

from __future__ import annotations

import pytest
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import PaperExchange

BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
STOP = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "triggerPrice": "95000", "clientAlgoId": "stop-1"}
TAKE = {**STOP, "type": "TAKE_PROFIT_MARKET", "triggerPrice": "105000", "clientAlgoId": "take-1"}


def algo(client: Client, client_algo_id: str) -> dict[str, str]:
    found: dict[str, str] = client.futures_get_algo_order(clientAlgoId=client_algo_id)
    return found


@pytest.mark.parametrize(
    ("order", "before", "at"),
    [
        pytest.param(STOP, "95000.10", "95000", id="stop"),
        pytest.param(TAKE, "104999.90", "105000", id="take profit"),
    ],
)
def test_a_close_position_order_closes_all_of_it_at_its_price(
    client: Client, paper_exchange: PaperExchange, order: dict[str, str], before: str, at: str
) -> None:
    client.futures_create_order(**BUY)
    client.futures_create_order(**order, closePosition="true")
    paper_exchange.set_price("BTCUSDT", before)
    assert algo(client, order["clientAlgoId"])["algoStatus"] == "NEW"
    paper_exchange.set_price("BTCUSDT", at)
    done = algo(client, order["clientAlgoId"])
    assert done["algoStatus"] == "FINISHED"
    assert client.futures_position_information(symbol="BTCUSDT") == []
    exit_order = client.futures_get_order(symbol="BTCUSDT", orderId=done["actualOrderId"])
    assert (exit_order["origType"], exit_order["executedQty"]) == (order["type"], "0.010")
    assert paper_exchange.ledger()[-1]["clientOrderId"] == order["clientAlgoId"]


def test_one_move_fires_the_nearest_first(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**BUY)
    for name, trigger in (("far", "91000"), ("near", "99000"), ("middle", "95000")):
        client.futures_create_order(
            **{**STOP, "clientAlgoId": name, "triggerPrice": trigger}, quantity="0.004", reduceOnly="true"
        )
    paper_exchange.set_price("BTCUSDT", "90000")
    exits = [(row["clientOrderId"], row["executedQty"]) for row in paper_exchange.ledger()[1:]]
    assert exits == [("near", "0.004"), ("middle", "0.004"), ("far", "0.002")]


def test_the_working_price_decides(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**BUY)
    client.futures_create_order(**STOP, closePosition="true", workingType="MARK_PRICE")
    paper_exchange.set_price("BTCUSDT", "94000", mark="96000")
    assert algo(client, "stop-1")["algoStatus"] == "NEW"
    paper_exchange.set_price("BTCUSDT", mark="95000")
    assert algo(client, "stop-1")["algoStatus"] == "FINISHED"


def test_without_a_position_it_expires(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**STOP, closePosition="true")
    paper_exchange.set_price("BTCUSDT", "94000")
    assert algo(client, "stop-1")["algoStatus"] == "EXPIRED"
    assert paper_exchange.ledger() == []


def test_without_margin_when_it_fires_it_is_rejected(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**STOP, quantity="0.01")
    paper_exchange.set_balance("0")
    paper_exchange.set_price("BTCUSDT", "94000")
    assert algo(client, "stop-1")["algoStatus"] == "REJECTED"


def test_a_stop_limit_rests_at_its_price(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="STOP", triggerPrice="101000", price="100500", quantity="0.01",
        clientAlgoId="entry-1",
    )  # fmt: skip
    paper_exchange.set_price("BTCUSDT", "101000")
    assert [row["price"] for row in client.futures_get_open_orders(symbol="BTCUSDT")] == ["100500.00"]
    assert client.futures_get_algo_order(clientAlgoId="entry-1")["algoStatus"] == "TRIGGERED"
    paper_exchange.set_price("BTCUSDT", "100000")
    assert client.futures_get_algo_order(clientAlgoId="entry-1")["algoStatus"] == "FINISHED"


@pytest.mark.parametrize(
    ("order", "code"),
    [
        pytest.param({**STOP, "triggerPrice": "101000", "closePosition": "true"}, -2021, id="would fire at once"),
        pytest.param({**STOP, "closePosition": "true", "quantity": "0.01"}, -4137, id="quantity with close-all"),
        pytest.param({**STOP, "closePosition": "true", "reduceOnly": "true"}, -1106, id="reduceOnly with close-all"),
        pytest.param({**STOP, "type": "STOP", "closePosition": "true", "price": "94000"}, -4136, id="limit close-all"),
        pytest.param(STOP, -1102, id="neither quantity nor close-all"),
        pytest.param({**STOP, "quantity": "0.01", "triggerPrice": "95000.05"}, -4014, id="trigger off the tick"),
        pytest.param({**STOP, "quantity": "0.01", "triggerPrice": "0"}, -4006, id="trigger of zero"),
        pytest.param({**STOP, "quantity": "0.01", "positionSide": "LONG"}, -4061, id="hedge side"),
    ],
)
def test_a_broken_rule_is_refused(client: Client, order: dict[str, str], code: int) -> None:
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**order)
    assert error.value.code == code
    assert client.futures_get_open_algo_orders() == []


def test_one_close_all_per_direction_and_kind(client: Client) -> None:
    client.futures_create_order(**STOP, closePosition="true")
    client.futures_create_order(**TAKE, closePosition="true")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**{**STOP, "clientAlgoId": "stop-2", "triggerPrice": "94000"}, closePosition="true")
    assert error.value.code == -4130


def test_the_ids_of_waiting_orders_are_unique(client: Client) -> None:
    client.futures_create_order(**{**STOP, "clientAlgoId": "stop-0"}, quantity="0.01")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**{**STOP, "clientAlgoId": "stop-0"}, quantity="0.01")
    assert error.value.code == -4116


def test_cancelled_ones_never_fire(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**STOP, quantity="0.01")
    client.futures_create_order(**{**STOP, "clientAlgoId": "stop-2"}, quantity="0.01")
    assert client.futures_cancel_algo_order(clientAlgoId="stop-1")["code"] == "200"
    client.futures_cancel_all_algo_open_orders(symbol="BTCUSDT")
    paper_exchange.set_price("BTCUSDT", "94000")
    assert {row["algoStatus"] for row in client.futures_get_all_algo_orders(symbol="BTCUSDT")} == {"CANCELED"}
    assert paper_exchange.ledger() == []
    with pytest.raises(BinanceAPIException) as error:
        client.futures_cancel_algo_order(clientAlgoId="stop-1")
    assert error.value.code == -2011
