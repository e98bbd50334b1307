"""A position whose margin is used up is liquidated, at the price that was told before."""

from __future__ import annotations

from decimal import Decimal

import pytest
from binance import Client

from gate.paper import Account, PaperExchange
from tests.paper.sockets import connected, user_stream

SMALL = pytest.mark.paper(accounts=[Account(balance="200")])
LONG = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.02"}
SHORT = {**LONG, "side": "SELL"}


def told_price(client: Client) -> Decimal:
    return Decimal(client.futures_position_information(symbol="BTCUSDT")[0]["liquidationPrice"])


def move(paper: PaperExchange, price: Decimal) -> None:
    paper.set_price("BTCUSDT", price.quantize(Decimal("0.1")))


def held(client: Client) -> list[str]:
    return [row["positionAmt"] for row in client.futures_position_information(symbol="BTCUSDT")]


@SMALL
@pytest.mark.parametrize("order", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("margin_type", ["CROSSED", "ISOLATED"])
def test_a_position_falls_at_the_price_that_it_was_told(
    client: Client, paper_exchange: PaperExchange, order: dict[str, str], margin_type: str
) -> None:
    if margin_type == "ISOLATED":
        client.futures_change_margin_type(symbol="BTCUSDT", marginType=margin_type)
    client.futures_create_order(**order)
    price, away = told_price(client), 1 if order is LONG else -1
    assert 0 < (100_000 - price) * away < 11_000
    move(paper_exchange, price + away)
    assert len(held(client)) == 1
    move(paper_exchange, price - away)
    assert held(client) == []
    assert paper_exchange.wallets()["USDT"] >= 0


def test_the_margin_ratio_is_one_at_the_liquidation_price(client: Client, paper_exchange: PaperExchange) -> None:
    """Several cross positions: the price of one, all others as they are."""
    client.futures_create_order(**{**LONG, "quantity": "1"})
    client.futures_create_order(symbol="ETHUSDT", side="SELL", type="MARKET", quantity="10")
    price = told_price(client)
    paper_exchange.set_price("BTCUSDT", mark=price + Decimal("0.00000001"))
    account = client.futures_account(version=3)
    difference = Decimal(account["totalMarginBalance"]) - Decimal(account["totalMaintMargin"])
    assert abs(difference) < Decimal("0.0001")


def test_a_position_that_cannot_fall_has_no_price(client: Client) -> None:
    client.futures_create_order(**{**LONG, "quantity": "0.01"})
    assert client.futures_position_information(symbol="BTCUSDT")[0]["liquidationPrice"] == "0"


@SMALL
async def test_a_liquidation_is_told(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**LONG)
    client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.001", price="60000",
        newClientOrderId="rests",
    )  # fmt: skip
    price = told_price(client)
    async with user_stream(paper_exchange) as line, connected(paper_exchange, "/ws/btcusdt@forceOrder") as market:
        move(paper_exchange, price + 50)
        warned = await line.next()
        assert (warned["e"], warned["p"][0]["s"], warned["p"][0]["pa"]) == ("MARGIN_CALL", "BTCUSDT", "0.020")
        move(paper_exchange, price + 49)  # one call, not one at each price
        move(paper_exchange, price - 100)
        told = [await line.next() for _ in range(4)]
        forced = await market.next()
    assert [(event["e"], event["o"]["X"] if "o" in event else event["a"]["m"]) for event in told] == [
        ("ORDER_TRADE_UPDATE", "CANCELED"),
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ACCOUNT_UPDATE", "ORDER"),
        ("ORDER_TRADE_UPDATE", "FILLED"),
    ]
    closed = told[-1]["o"]
    assert (closed["x"], closed["o"], closed["f"], closed["S"]) == ("CALCULATED", "LIQUIDATION", "IOC", "SELL")
    assert closed["c"].startswith("autoclose-")
    assert (forced["e"], forced["o"]["S"], forced["o"]["q"]) == ("forceOrder", "SELL", "0.020")
    assert paper_exchange.ledger()[-1]["clientOrderId"] == closed["c"]


@SMALL
def test_the_fund_pays_what_a_jump_has_lost_beyond_the_wallet(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**LONG)
    paper_exchange.set_price("BTCUSDT", "80000")
    assert held(client) == []
    assert paper_exchange.wallets()["USDT"] == 0
    rows = client.futures_income_history()
    assert [row["incomeType"] for row in rows] == ["COMMISSION", "REALIZED_PNL", "COMMISSION", "INSURANCE_CLEAR"]
    assert sum((Decimal(row["income"]) for row in rows), Decimal(200)) == 0


@pytest.mark.paper(accounts=[Account(balance="1000")])
def test_an_isolated_position_takes_no_more_than_its_margin(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
    client.futures_create_order(**LONG)
    set_aside = Decimal(client.futures_position_information(symbol="BTCUSDT")[0]["isolatedWallet"])
    before = paper_exchange.wallets()["USDT"]
    paper_exchange.set_price("BTCUSDT", "80000")
    assert held(client) == []
    assert paper_exchange.wallets()["USDT"] == before - set_aside


@pytest.mark.parametrize("first", ["BTCUSDT", "ETHUSDT"])
@pytest.mark.paper(accounts=[Account(balance="1000")])
def test_the_fund_pays_nothing_that_another_position_gains(
    client: Client, paper_exchange: PaperExchange, first: str
) -> None:
    long, short = {**LONG, "quantity": "0.1"}, {**SHORT, "symbol": "ETHUSDT", "quantity": "1.5"}
    for order in (long, short) if first == "BTCUSDT" else (short, long):
        client.futures_create_order(**order)
    paper_exchange.set_price("ETHUSDT", "3700")  # 450 gained
    paper_exchange.set_price("BTCUSDT", "84000")  # 1,600 lost
    assert client.futures_position_information() == []
    assert paper_exchange.wallets()["USDT"] == 0


@pytest.mark.paper(accounts=[Account(balance="1000")])
def test_cross_positions_take_nothing_of_an_isolated_one(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_change_margin_type(symbol="ETHUSDT", marginType="ISOLATED")
    client.futures_create_order(**{**LONG, "symbol": "ETHUSDT", "quantity": "1"})
    client.futures_create_order(**{**LONG, "quantity": "0.1"})
    paper_exchange.set_price("BTCUSDT", "85000")  # 1,500 lost, of a cross wallet of 800
    (left,) = client.futures_position_information()
    assert left["symbol"] == "ETHUSDT"
    assert paper_exchange.wallets()["USDT"] == Decimal(left["isolatedWallet"])


@pytest.mark.paper(accounts=[Account(balance="1000", assets={"USDC": "1000"})])
def test_nothing_rests_that_a_used_up_wallet_would_pay_for(client: Client, paper_exchange: PaperExchange) -> None:
    for symbol in ("ETHUSDT", "NEARUSDT"):
        client.futures_change_margin_type(symbol=symbol, marginType="ISOLATED")
    client.futures_create_order(**{**LONG, "symbol": "ETHUSDT", "quantity": "1"})
    client.futures_create_order(**{**LONG, "quantity": "0.1"})
    rests = {"type": "LIMIT", "timeInForce": "GTC"}
    client.futures_create_order(symbol="BNBUSDT", side="BUY", quantity="0.1", price="850", **rests)
    client.futures_create_order(symbol="NEARUSDT", side="BUY", quantity="10", price="1.4", **rests)
    stay = [
        client.futures_create_order(
            symbol="ETHUSDT", side="SELL", quantity="1", price="4100", reduceOnly="true", **rests
        ),
        client.futures_create_order(symbol="BTCUSDC", side="BUY", quantity="0.01", price="95000", **rests),
    ]
    paper_exchange.set_price("BTCUSDT", "85000")
    assert [row["orderId"] for row in client.futures_get_open_orders()] == [order["orderId"] for order in stay]


@pytest.mark.paper(accounts=[Account(balance="1000")])
def test_an_isolated_position_takes_only_its_own_orders_along(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
    client.futures_create_order(**LONG)
    rests = {"type": "LIMIT", "timeInForce": "GTC"}
    client.futures_create_order(symbol="BTCUSDT", side="BUY", quantity="0.001", price="60000", **rests)
    stays = client.futures_create_order(symbol="BNBUSDT", side="BUY", quantity="0.1", price="850", **rests)
    paper_exchange.set_price("BTCUSDT", "90000")
    assert [row["orderId"] for row in client.futures_get_open_orders()] == [stays["orderId"]]
