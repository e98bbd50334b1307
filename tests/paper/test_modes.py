"""Hedge mode, isolated margin and multi-assets mode change the exchange's behaviour, not only its answers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import Account, PaperExchange

BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
SELL = {**BUY, "side": "SELL"}


@pytest.fixture
def hedged(client: Client) -> Client:
    client.futures_change_position_mode(dualSidePosition="true")
    return client


def amounts(client: Client) -> dict[str, str]:
    return {row["positionSide"]: row["positionAmt"] for row in client.futures_position_information(symbol="BTCUSDT")}


def test_hedge_mode_holds_both_sides_apart(hedged: Client) -> None:
    hedged.futures_create_order(**BUY, positionSide="LONG")
    hedged.futures_create_order(**SELL, positionSide="SHORT")
    assert amounts(hedged) == {"LONG": "0.010", "SHORT": "-0.010"}
    hedged.futures_create_order(**SELL, positionSide="LONG")
    hedged.futures_create_order(**BUY, positionSide="SHORT")
    assert amounts(hedged) == {}


@pytest.mark.parametrize(
    ("order", "code"),
    [
        pytest.param(BUY, -4061, id="no position side"),
        pytest.param({**BUY, "positionSide": "BOTH"}, -4061, id="both"),
        pytest.param({**BUY, "positionSide": "LONG", "reduceOnly": "true"}, -1106, id="reduceOnly"),
        pytest.param({**SELL, "positionSide": "LONG"}, -2022, id="nothing to close"),
    ],
)
def test_hedge_mode_refuses_what_is_ambiguous(hedged: Client, order: dict[str, str], code: int) -> None:
    with pytest.raises(BinanceAPIException) as error:
        hedged.futures_create_order(**order)
    assert error.value.code == code


def test_a_hedge_exit_larger_than_its_position_is_refused(hedged: Client) -> None:
    hedged.futures_create_order(**BUY, positionSide="LONG")
    with pytest.raises(BinanceAPIException) as error:
        hedged.futures_create_order(**{**SELL, "quantity": "0.02"}, positionSide="LONG")
    assert error.value.code == -2022


def test_the_mode_cannot_change_under_a_position_or_an_order(client: Client) -> None:
    order = client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="95000"
    )
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_position_mode(dualSidePosition="true")
    assert error.value.code == -4067
    client.futures_cancel_order(symbol="BTCUSDT", orderId=order["orderId"])
    client.futures_create_order(**BUY)
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_position_mode(dualSidePosition="true")
    assert error.value.code == -4068
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_position_mode(dualSidePosition="false")
    assert error.value.code == -4059
    assert client.futures_get_position_mode() == {"dualSidePosition": False}


def test_isolated_margin_is_set_aside_and_given_back(client: Client) -> None:
    client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
    client.futures_create_order(**BUY)
    position = client.futures_position_information(symbol="BTCUSDT")[0]
    assert Decimal(position["isolatedWallet"]) == Decimal("50.00005")  # 1000.001 at 20x
    account = client.futures_account(version=3)
    spent = Decimal(account["totalWalletBalance"]) - Decimal(account["totalCrossWalletBalance"])
    assert spent == Decimal("50.00005")
    client.futures_create_order(**{**SELL, "quantity": "0.004"})
    assert Decimal(client.futures_position_information()[0]["isolatedWallet"]) == Decimal("30.00003")
    client.futures_create_order(**{**SELL, "quantity": "0.006"}, reduceOnly="true")
    account = client.futures_account(version=3)
    assert account["totalCrossWalletBalance"] == account["totalWalletBalance"] == account["availableBalance"]


def test_leverage_is_not_lowered_under_an_isolated_position(client: Client) -> None:
    client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
    client.futures_change_leverage(symbol="BTCUSDT", leverage=10)
    client.futures_create_order(**BUY)
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_leverage(symbol="BTCUSDT", leverage=2)
    assert error.value.code == -4161
    client.futures_change_leverage(symbol="BTCUSDT", leverage=20)
    client.futures_create_order(**SELL, reduceOnly="true")
    client.futures_change_leverage(symbol="BTCUSDT", leverage=2)


def test_the_margin_type_cannot_change_under_a_position(client: Client) -> None:
    client.futures_create_order(**BUY)
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
    assert error.value.code == -4048
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_margin_type(symbol="ETHUSDT", marginType="CROSSED")
    assert error.value.code == -4046


@pytest.mark.paper(accounts=[Account(balance="0", assets={"USDC": "500", "BTC": "0.01"})])
def test_other_assets_are_collateral_in_multi_assets_mode_only(client: Client) -> None:
    assert client.futures_account(version=3)["availableBalance"] == "0.00000000"
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**BUY)
    assert error.value.code == -2019
    client.futures_change_multi_assets_mode(multiAssetsMargin="true")
    available = Decimal(client.futures_account(version=3)["availableBalance"])
    assert available == Decimal(500) * Decimal("0.9999") + 1_000 * Decimal("0.95")
    client.futures_create_order(**BUY)
    assert amounts(client) == {"BOTH": "0.010"}


@pytest.mark.paper(accounts=[Account(balance="0", assets={"USDC": "500"})])
def test_a_usdc_symbol_is_paid_from_the_usdc_wallet(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(**{**BUY, "symbol": "BTCUSDC"})
    assert paper_exchange.wallets()["USDC"] == Decimal(500) - Decimal("0.50000050")
    assert paper_exchange.wallets()["USDT"] == 0
    held = {row["asset"]: row["initialMargin"] for row in client.futures_account(version=3)["assets"]}
    assert (held["USDC"], held["USDT"]) == ("50.00000000", "0.00000000")


def multi_assets_refusal(client: Client, *, wanted: bool = True) -> int:
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_multi_assets_mode(multiAssetsMargin=wanted)
    assert client.futures_account_config()["multiAssetsMargin"] is not wanted
    code: int = error.value.code
    return code


def test_the_asset_mode_cannot_change_under_open_orders(client: Client) -> None:
    order = client.futures_create_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="95000"
    )
    assert multi_assets_refusal(client) == -4170
    client.futures_cancel_order(symbol="BTCUSDT", orderId=order["orderId"])
    client.futures_create_order(
        symbol="BTCUSDT", side="SELL", type="STOP_MARKET", quantity="0.01", triggerPrice="95000", clientAlgoId="stop"
    )
    assert multi_assets_refusal(client) == -4170
    client.futures_cancel_algo_order(clientAlgoId="stop")
    client.futures_change_multi_assets_mode(multiAssetsMargin="true")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_multi_assets_mode(multiAssetsMargin="true")
    assert error.value.code == -4171


def test_the_asset_mode_cannot_change_with_a_wallet_below_zero(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.set_balance("-1", asset="USDC")
    assert multi_assets_refusal(client) == -4172
    paper_exchange.set_balance("0", asset="USDC")
    client.futures_change_multi_assets_mode(multiAssetsMargin="true")
    paper_exchange.set_balance("-1", asset="USDC")
    assert multi_assets_refusal(client, wanted=False) == -4172


@pytest.mark.paper(accounts=[Account(balance="1", assets={"BTC": "0.01"})])
def test_the_asset_mode_cannot_change_to_one_without_margin_for_what_is_held(
    client: Client, paper_exchange: PaperExchange
) -> None:
    client.futures_change_multi_assets_mode(multiAssetsMargin="true")
    client.futures_create_order(**BUY)  # 50 USDT of margin, borne by the bitcoin
    assert multi_assets_refusal(client, wanted=False) == -4169
    paper_exchange.set_balance("100")
    client.futures_change_multi_assets_mode(multiAssetsMargin=False)


def test_multi_assets_and_isolated_margin_exclude_each_other(client: Client) -> None:
    client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_multi_assets_mode(multiAssetsMargin="true")
    assert error.value.code == -4167
    client.futures_change_margin_type(symbol="BTCUSDT", marginType="CROSSED")
    client.futures_change_multi_assets_mode(multiAssetsMargin="true")
    with pytest.raises(BinanceAPIException) as error:
        client.futures_change_margin_type(symbol="BTCUSDT", marginType="ISOLATED")
    assert error.value.code == -4168
    assert client.futures_account_config()["multiAssetsMargin"] is True
