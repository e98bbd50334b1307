"""Several orders in one request, changed orders, and what the account has earned."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import PaperExchange
from tests.paper.sockets import user_stream

LIMIT = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.002", "price": "90000",
}  # fmt: skip
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.002"}


def batch(client: Client, orders: list[dict[str, str]]) -> Any:
    return client.futures_place_batch_order(batchOrders=orders)


def test_the_orders_of_a_batch_succeed_or_fail_each_by_itself(client: Client, paper_exchange: PaperExchange) -> None:
    good, bad = {**LIMIT, "newClientOrderId": "good"}, {**MARKET, "quantity": "3", "newClientOrderId": "bad"}
    answers = batch(client, [good, bad, {**good, "newClientOrderId": "better"}])
    assert [row.get("code", row.get("status")) for row in answers] == ["NEW", -2019, "NEW"]
    assert client.response.headers["X-MBX-ORDER-COUNT-1M"] == "3"
    assert [row["clientOrderId"] for row in paper_exchange.ledger()] == ["good", "better"]
    gone = client.futures_cancel_orders(symbol="BTCUSDT", origclientorderidlist=["good", "nobody"])
    assert [row.get("code", row.get("status")) for row in gone] == ["CANCELED", -2011]


@pytest.mark.parametrize("count", [0, 6])
def test_a_batch_has_one_to_five_orders(client: Client, count: int) -> None:
    with pytest.raises(BinanceAPIException) as error:
        batch(client, [dict(LIMIT) for _ in range(count)])
    assert error.value.code == -4082


async def test_an_order_is_changed_in_its_place(client: Client, paper_exchange: PaperExchange) -> None:
    async with user_stream(paper_exchange) as line:
        client.futures_create_order(**LIMIT, newClientOrderId="mine")
        await line.next()
        change = {"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": "mine"}
        changed = client.futures_modify_order(**change, quantity="0.003", price="91000")
        assert (changed["status"], changed["origQty"], changed["price"]) == ("NEW", "0.003", "91000.00")
        told = (await line.next())["o"]
        assert (told["x"], told["X"], told["q"], told["p"]) == ("AMENDMENT", "NEW", "0.003", "91000.00")
        assert client.futures_get_order(symbol="BTCUSDT", origClientOrderId="mine") == changed
        # At a price that takes, it fills at once.
        client.futures_modify_order(**change, quantity="0.003", price="101000")
        assert [(await line.next())["e"] for _ in range(3)] == [
            "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE",
        ]  # fmt: skip
    assert client.futures_get_order(symbol="BTCUSDT", origClientOrderId="mine")["status"] == "FILLED"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"quantity": "0.002", "price": "90000"}, -5027, id="nothing changes"),
        pytest.param({"quantity": "3", "price": "90000"}, -2019, id="too little margin"),
        pytest.param({"quantity": "0.002", "price": "90000.05"}, -4014, id="off the tick"),
        pytest.param({"quantity": "0.002"}, -1102, id="no price"),
        pytest.param({"quantity": "0.002", "price": "91000", "origClientOrderId": "nobody"}, -2013, id="no order"),
    ],
)
def test_a_refused_change_changes_nothing(client: Client, change: dict[str, str], code: int) -> None:
    placed = client.futures_create_order(**LIMIT, newClientOrderId="mine")
    before = client.futures_get_order(symbol="BTCUSDT", orderId=placed["orderId"])
    with pytest.raises(BinanceAPIException) as error:
        client.futures_modify_order(**{"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": "mine", **change})
    assert error.value.code == code
    assert client.futures_get_order(symbol="BTCUSDT", orderId=placed["orderId"]) == before
    assert [row["orderId"] for row in client.futures_get_open_orders(symbol="BTCUSDT")] == [placed["orderId"]]


def test_a_change_below_what_is_filled_cancels_the_rest(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**LIMIT, newClientOrderId="mine")
    paper_exchange.set_price("BTCUSDT", "89999.9", depth="0.001")
    changed = client.futures_modify_order(
        symbol="BTCUSDT", side="BUY", origClientOrderId="mine", quantity="0.001", price="89000"
    )
    assert (changed["status"], changed["executedQty"]) == ("CANCELED", "0.001")


def test_income_adds_up_to_the_wallet(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**MARKET)
    paper_exchange.set_price("BTCUSDT", "101000")
    client.futures_create_order(**{**MARKET, "side": "SELL"})
    paper_exchange.set_balance(paper_exchange.wallets()["USDT"] + 500)
    rows = client.futures_income_history()
    assert [row["incomeType"] for row in rows] == ["COMMISSION", "REALIZED_PNL", "COMMISSION", "TRANSFER"]
    assert sum((Decimal(row["income"]) for row in rows), Decimal(10_000)) == paper_exchange.wallets()["USDT"]
    assert len({row["tranId"] for row in rows}) == 4
    assert [row["income"] for row in client.futures_income_history(incomeType="TRANSFER")] == ["500.00000000"]
    assert [row["incomeType"] for row in client.futures_income_history(symbol="BTCUSDT", limit=1)] == ["COMMISSION"]
