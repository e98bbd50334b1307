"""Each rule of the exchange refuses with its own code, and a refused order changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import requests
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import Account, PaperExchange
from tests.paper.conftest import futures_client

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
LIMIT = {**MARKET, "type": "LIMIT", "timeInForce": "GTC", "price": "95000"}


def without(order: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in order.items() if key != name}


@pytest.mark.parametrize(
    ("order", "code"),
    [
        pytest.param({**MARKET, "symbol": "NOPEUSDT"}, -1121, id="unknown symbol"),
        pytest.param(without(MARKET, "symbol"), -1102, id="no symbol"),
        pytest.param(without(MARKET, "side"), -1102, id="no side"),
        pytest.param(without(MARKET, "type"), -1102, id="no type"),
        pytest.param(without(MARKET, "quantity"), -1102, id="no quantity"),
        pytest.param(without(LIMIT, "price"), -1102, id="limit without a price"),
        pytest.param(without(LIMIT, "timeInForce"), -1102, id="limit without a time in force"),
        pytest.param({**MARKET, "quantity": 1e-05}, -1102, id="a float in exponent form"),
        pytest.param({**MARKET, "price": "95000"}, -1106, id="market with a price"),
        pytest.param({**MARKET, "timeInForce": "GTC"}, -1106, id="market with a time in force"),
        pytest.param({**MARKET, "quantity": "0.0105"}, -1111, id="quantity beyond its precision"),
        pytest.param({**LIMIT, "price": "95000.001"}, -1111, id="price beyond its precision"),
        pytest.param({**LIMIT, "price": "95000.05"}, -4014, id="price within precision but off the tick"),
        pytest.param({**MARKET, "side": "HOLD"}, -1117, id="unknown side"),
        pytest.param({**MARKET, "type": "ICEBERG"}, -1116, id="unknown type"),
        pytest.param({**LIMIT, "timeInForce": "DAY"}, -1115, id="unknown time in force"),
        pytest.param({**MARKET, "quantity": "0"}, -4003, id="zero quantity"),
        pytest.param({**MARKET, "quantity": "-1"}, -4003, id="negative quantity"),
        pytest.param({**MARKET, "symbol": "BTCUSDT_260327", "quantity": "11"}, -4005, id="above the market lot"),
        pytest.param({**LIMIT, "quantity": "1001"}, -4005, id="above the lot"),
        pytest.param({**LIMIT, "price": "0"}, -4001, id="zero price"),
        pytest.param({**LIMIT, "price": "500"}, -4013, id="below the lowest price"),
        pytest.param({**LIMIT, "price": "4600000"}, -4002, id="above the highest price"),
        pytest.param({**LIMIT, "price": "111000"}, -4016, id="bid above the percent limit"),
        pytest.param({**LIMIT, "side": "SELL", "price": "54000"}, -4024, id="ask below the percent limit"),
        pytest.param({**MARKET, "symbol": "NEARUSDT", "quantity": "3"}, -4164, id="below the minimum notional"),
        pytest.param({**MARKET, "quantity": "5"}, -2019, id="more than the margin allows"),
        pytest.param({**MARKET, "reduceOnly": "true"}, -2022, id="nothing to reduce"),
        pytest.param({**MARKET, "positionSide": "LONG"}, -4061, id="hedge side in one-way mode"),
        pytest.param({**MARKET, "reduceOnly": "perhaps"}, -1102, id="unreadable flag"),
        pytest.param({**MARKET, "closePosition": "true"}, -4136, id="close-all on the plain endpoint"),
        pytest.param({**MARKET, "newClientOrderId": "x" * 37}, -4015, id="client order id too long"),
        pytest.param({**MARKET, "newOrderRespType": "FULL"}, -1136, id="the spot exchange's response type"),
        pytest.param({**MARKET, "newClientOrderId": "no~tildes"}, -1100, id="client order id with illegal characters"),
        pytest.param({**LIMIT, "timeInForce": "FOK"}, -5021, id="fill-or-kill away from the market"),
        pytest.param({**LIMIT, "timeInForce": "GTX", "price": "101000"}, -5022, id="post-only that would take"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_refused_with_its_code(
    client: Client, paper_exchange: PaperExchange, order: dict[str, str], code: int
) -> None:
    before = client.futures_account(version=3)
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**order)
    assert (error.value.code, error.value.status_code) == (code, 400)
    assert paper_exchange.ledger() == []
    assert client.futures_account(version=3) == before


def test_a_quantity_below_the_smallest_lot_is_refused(coarse_market: PaperExchange) -> None:
    client = futures_client(coarse_market)
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**{**MARKET, "quantity": "0.004"})
    assert error.value.code == -4004
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**{**MARKET, "quantity": "0.007"})
    assert error.value.code == -4023


@pytest.fixture
def coarse_market(tmp_path: Path, paper_exchange: PaperExchange) -> Iterator[PaperExchange]:
    """A capture in which the smallest lot and the step are five times the precision."""
    info = requests.get(f"{paper_exchange.url}/fapi/v1/exchangeInfo", timeout=5).json()
    for row in info["symbols"][0]["filters"]:
        if row["filterType"] in ("LOT_SIZE", "MARKET_LOT_SIZE"):
            row.update(minQty="0.005", stepSize="0.005")
    path = tmp_path / "exchangeInfo.json"
    path.write_bytes(msgspec.json.encode(info))
    with PaperExchange(exchange_info=path) as paper:
        yield paper


def test_conditional_types_belong_on_the_algo_endpoint(client: Client) -> None:
    with pytest.raises(BinanceAPIException) as error:
        client._request_futures_api(  # past python-binance's own routing, as older clients send it
            "post", "order", True, data={**MARKET, "type": "STOP_MARKET", "stopPrice": "90000"}
        )
    assert error.value.code == -4120


def test_a_market_order_is_refused_when_the_best_price_is_too_far_from_the_mark(
    client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.set_price("ETHUSDT", "4500", mark="4000")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.1")
    assert error.value.code == -4131


def test_client_order_ids_are_unique_among_open_orders_only(client: Client, paper_exchange: PaperExchange) -> None:
    filled = [client.futures_create_order(**MARKET, newClientOrderId="again")["orderId"] for _ in range(2)]
    assert client.futures_get_order(symbol="BTCUSDT", origClientOrderId="again")["orderId"] == filled[-1]
    client.futures_create_order(**LIMIT, newClientOrderId="again")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**LIMIT, newClientOrderId="again")
    assert error.value.code == -4116
    assert [row["requestCount"] for row in paper_exchange.ledger()] == [4, 4, 4]


def test_minimum_notional_does_not_hold_back_an_exit(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(symbol="NEARUSDT", side="BUY", type="MARKET", quantity="4")
    paper_exchange.set_price("NEARUSDT", "1.0")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(symbol="NEARUSDT", side="SELL", type="MARKET", quantity="4")
    assert error.value.code == -4164
    client.futures_create_order(symbol="NEARUSDT", side="SELL", type="MARKET", quantity="4", reduceOnly=True)
    assert client.futures_position_information() == []


def test_a_reduce_only_market_order_is_cut_down_to_the_position_and_a_limit_is_refused(client: Client) -> None:
    client.futures_create_order(**MARKET)
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(
            **{**LIMIT, "side": "SELL", "price": "105000", "quantity": "0.011", "reduceOnly": "true"}
        )
    assert error.value.code == -2022
    order = client.futures_create_order(
        symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.05", reduceOnly="true", newOrderRespType="RESULT"
    )
    assert (order["status"], order["executedQty"]) == ("FILLED", "0.010")
    assert client.futures_position_information(symbol="BTCUSDT") == []


def test_resting_exits_claim_the_position(client: Client) -> None:
    client.futures_create_order(**MARKET)
    exit_order = {**LIMIT, "side": "SELL", "price": "105000", "reduceOnly": "true"}
    client.futures_create_order(**exit_order)
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**exit_order)
    assert error.value.code == -2022


def test_exits_that_have_lost_their_position_expire(client: Client) -> None:
    client.futures_create_order(**MARKET)
    resting = client.futures_create_order(**{**LIMIT, "side": "SELL", "price": "105000", "reduceOnly": "true"})
    client.futures_create_order(**{**MARKET, "side": "SELL"})
    assert client.futures_get_order(symbol="BTCUSDT", orderId=resting["orderId"])["status"] == "EXPIRED"


def test_a_resting_exit_never_takes_more_than_the_position(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**MARKET)
    resting = client.futures_create_order(**{**LIMIT, "side": "SELL", "price": "105000", "reduceOnly": "true"})
    client.futures_create_order(**{**MARKET, "side": "SELL", "quantity": "0.004"})
    paper_exchange.set_price("BTCUSDT", "106000")
    found = client.futures_get_order(symbol="BTCUSDT", orderId=resting["orderId"])
    assert (found["status"], found["executedQty"]) == ("EXPIRED", "0.006")
    assert client.futures_position_information(symbol="BTCUSDT") == []


def test_a_resting_exit_holds_no_margin(client: Client) -> None:
    client.futures_create_order(**MARKET)
    sell = {**LIMIT, "side": "SELL", "price": "105000"}
    client.futures_create_order(**sell, reduceOnly="true")
    client.futures_create_order(**{**sell, "quantity": "0.015"})  # would turn the position to a smaller one: free too
    assert client.futures_account(version=3)["totalOpenOrderInitialMargin"] == "0.00000000"
    client.futures_create_order(**{**sell, "quantity": "0.010"})
    assert (
        client.futures_account(version=3)["totalOpenOrderInitialMargin"] == "31.25000000"
    )  # 0.025 x 105,000 - 2 x 1,000


def test_an_exit_needs_no_margin(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**MARKET)
    paper_exchange.set_balance("0")
    client.futures_create_order(**{**MARKET, "side": "SELL"}, reduceOnly="true")
    assert client.futures_position_information(symbol="BTCUSDT") == []


def test_a_position_may_not_outgrow_its_bracket(client: Client) -> None:
    client.futures_change_leverage(symbol="OPUSDT", leverage=75)  # up to 10,000 USDT
    order = {"symbol": "OPUSDT", "side": "BUY", "type": "MARKET"}
    client.futures_create_order(**order, quantity="10000")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**order, quantity="10000")
    assert error.value.code == -2027


@pytest.mark.parametrize(
    ("leverage", "code"),
    [pytest.param(0, -4028, id="none"), pytest.param(126, -4028, id="above the brackets")],
)
def test_leverage_out_of_range_is_refused(client: Client, leverage: int, code: int) -> None:
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_leverage(symbol="BTCUSDT", leverage=leverage)
    assert error.value.code == code


@pytest.mark.paper(accounts=[Account(balance="600")])
def test_leverage_may_not_outrun_the_bracket_or_the_balance(client: Client) -> None:
    client.futures_create_order(symbol="NEARUSDT", side="BUY", type="MARKET", quantity="7500")  # about 10,990 USDT
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_leverage(symbol="NEARUSDT", leverage=75)
    assert error.value.code == -2027
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_leverage(symbol="NEARUSDT", leverage=10)
    assert error.value.code == -2028
