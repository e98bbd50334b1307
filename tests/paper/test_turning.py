"""An order that turns a position pays for what it opens."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import Account, PaperExchange

BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.098"}
TURN = {**BUY, "side": "SELL", "quantity": "0.196"}
THOUSAND = pytest.mark.paper(accounts=[Account(balance="1000")])


def refusal(act: Callable[[], object]) -> int:
    with pytest.raises(BinanceAPIException) as error:
        act()
    code: int = error.value.code
    return code


@pytest.fixture
def isolated(client: Client) -> Client:
    """With a long position of 9,800 USDT, 980 set aside for it, and about 15 free."""
    client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
    client.futures_change_leverage(symbol="BTCUSDT", leverage=10)
    client.futures_create_order(**BUY)
    return client


def free(client: Client) -> Decimal:
    return Decimal(client.futures_account(version=3)["availableBalance"])


@THOUSAND
@pytest.mark.parametrize("kind", ["MARKET", "LIMIT at the bid", "LIMIT that rests"])
def test_an_isolated_turn_at_a_loss_needs_margin_for_what_it_opens(
    isolated: Client, paper_exchange: PaperExchange, kind: str
) -> None:
    paper_exchange.set_price("BTCUSDT", "96000")
    order = TURN
    if kind != "MARKET":
        price = "96000" if kind == "LIMIT at the bid" else "96050"
        order = {**TURN, "type": "LIMIT", "timeInForce": "GTC", "price": price}
    before = paper_exchange.wallets()
    assert refusal(lambda: isolated.futures_create_order(**order)) == -2019
    assert paper_exchange.wallets() == before
    paper_exchange.set_balance("1400")
    isolated.futures_create_order(**order)
    if kind == "LIMIT that rests":
        paper_exchange.set_price("BTCUSDT", "96050")
    assert Decimal(isolated.futures_position_information(symbol="BTCUSDT")[0]["positionAmt"]) == Decimal("-0.098")
    assert free(isolated) > 0


@THOUSAND
def test_an_isolated_turn_without_a_loss_takes_the_margin_that_comes_back(isolated: Client) -> None:
    """The margin of the long position bears the short one; the assumed price and the fee take a little more."""
    isolated.futures_create_order(**{**TURN, "quantity": "0.195"})
    assert Decimal(isolated.futures_position_information()[0]["positionAmt"]) == Decimal("-0.097")
    assert free(isolated) > 0


@THOUSAND
def test_a_profit_that_is_not_there_yet_opens_nothing(isolated: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_price("BTCUSDT", "105000")  # 490 of open profit; 15 free, and 980 come back
    assert refusal(lambda: isolated.futures_create_order(**TURN)) == -2019
    isolated.futures_create_order(**{**TURN, "quantity": "0.19"})


@THOUSAND
def test_an_order_that_only_closes_an_isolated_position_passes(isolated: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_price("BTCUSDT", "89000", mark="100000")  # 1,078 lost, of 980
    isolated.futures_create_order(**{**BUY, "side": "SELL"})
    assert isolated.futures_position_information() == []


@THOUSAND
def test_closing_under_a_resting_order_that_opens_then_needs_its_margin(
    isolated: Client, paper_exchange: PaperExchange
) -> None:
    """The resting order would have closed the position. When another order closes it, the resting one opens."""
    rests = {**BUY, "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "price": "101000"}
    order = isolated.futures_create_order(**rests)
    paper_exchange.set_price("BTCUSDT", "94000")
    paper_exchange.set_balance("1200")  # for the larger exposure, and not for the loss of 588 besides
    assert refusal(lambda: isolated.futures_create_order(**{**BUY, "side": "SELL"})) == -2019
    isolated.futures_cancel_order(symbol="BTCUSDT", orderId=order["orderId"])
    isolated.futures_create_order(**{**BUY, "side": "SELL"})


def test_a_turn_opens_nothing_under_water(client: Client, paper_exchange: PaperExchange) -> None:
    """The other side is no larger and needs no more margin. But the margin that is there doesn't bear it."""
    paper_exchange.set_balance("600")
    client.futures_create_order(**{**BUY, "side": "SELL", "quantity": "0.1"})  # 500 of margin at 20x
    paper_exchange.set_price("BTCUSDT", "102000")
    assert free(client) == 0
    order = {**BUY, "type": "LIMIT", "timeInForce": "GTC", "price": "101000"}
    assert refusal(lambda: client.futures_create_order(**{**order, "quantity": "0.2"})) == -2019
    client.futures_create_order(**{**order, "quantity": "0.1"})


def test_a_turn_pays_for_the_loss_against_the_mark_price(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_balance("800")
    client.futures_create_order(**{**BUY, "quantity": "0.1"})  # 500 of margin at 20x
    paper_exchange.set_price("BTCUSDT", "100000", mark="102000")  # 490 free, 400 lost when 0.2 are sold at the bid
    paper_exchange.set_balance("690")
    assert free(client) > 370
    assert refusal(lambda: client.futures_create_order(**{**TURN, "quantity": "0.2"})) == -2019
    paper_exchange.set_balance("740")
    client.futures_create_order(**{**TURN, "quantity": "0.2"})


def test_a_short_limit_below_the_mark_price_has_an_open_loss(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_price("BTCUSDT", "100000", mark="102000")
    order = {**BUY, "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "101000"}
    paper_exchange.set_balance("600")  # 510 of margin at the mark price and 20x, and 100 of open loss
    assert refusal(lambda: client.futures_create_order(**order)) == -2019
    paper_exchange.set_balance("610")
    client.futures_create_order(**order)


def test_a_short_at_the_market_is_assumed_at_the_mark_price_above_it(
    client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.set_price("BTCUSDT", "100000", mark="102000")
    order = {**BUY, "side": "SELL", "quantity": "0.1"}
    paper_exchange.set_balance("705")  # 510 of margin at the mark price and 20x, and 200 of open loss
    assert refusal(lambda: client.futures_create_order(**order)) == -2019
    paper_exchange.set_balance("710")
    client.futures_create_order(**order)


def test_more_leverage_gives_nothing_back_to_an_isolated_position(isolated: Client) -> None:
    before = free(isolated), isolated.futures_position_information()[0]["isolatedWallet"]
    isolated.futures_change_leverage(symbol="BTCUSDT", leverage=20)
    assert (free(isolated), isolated.futures_position_information()[0]["isolatedWallet"]) == before


def test_resting_orders_are_reckoned_anew_at_another_leverage(client: Client) -> None:
    client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.1", price="99000"
    )
    before = free(client)
    client.futures_change_leverage(symbol="BTCUSDT", leverage=10)
    assert before - free(client) == 495
    client.futures_change_leverage(symbol="BTCUSDT", leverage=99)
    assert free(client) - before == 395
