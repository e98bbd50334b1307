"""In multi-assets mode everything is told and compared in USD, whatever asset a symbol is margined in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from importlib import resources
from pathlib import Path

import msgspec
import pytest
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import Account, PaperExchange
from tests.paper.conftest import futures_client
from tests.paper.sockets import user_stream

Open = Callable[[Mapping[str, str]], tuple[PaperExchange, Client]]

ON_ETHER = {"symbol": "ETHBTC", "side": "BUY", "type": "MARKET"}


def _capture(folder: Path) -> Path:
    """The built-in set, and ether in bitcoin, and in euro, which has no price in USD; both without brackets."""
    known = msgspec.json.decode(resources.files("gate.paper.market").joinpath("market.json").read_bytes())
    (like,) = (row for row in known["exchangeInfo"]["symbols"] if row["symbol"] == "ETHUSDT")
    for asset, price in (("BTC", "0.04"), ("EUR", "0.05")):
        filters = [
            {**each, "notional": "0.001"}
            if each["filterType"] == "MIN_NOTIONAL"
            else {**each, "tickSize": "0.000001", "minPrice": "0.0001"}
            if each["filterType"] == "PRICE_FILTER"
            else each
            for each in like["filters"]
        ]
        name = f"ETH{asset}"
        row = {**like, "symbol": name, "quoteAsset": asset, "marginAsset": asset, "pricePrecision": 6}
        known["exchangeInfo"]["symbols"].append({**row, "filters": filters})
        known["premiumIndex"].append({"symbol": name, "markPrice": price})
    file = folder / "capture.json"
    file.write_bytes(msgspec.json.encode(known))
    return file


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens an exchange for one account with these wallets, in multi-assets mode."""
    running: list[tuple[PaperExchange, Client]] = []

    def open_with(wallets: Mapping[str, str]) -> tuple[PaperExchange, Client]:
        account = Account(balance="0", assets={"USDT": "0", **wallets})
        paper = PaperExchange(accounts=[account], exchange_info=_capture(tmp_path), limits=None)
        paper.start()
        client = futures_client(paper)
        running.append((paper, client))
        client.futures_change_multi_assets_mode(multiAssetsMargin="true")
        return paper, client

    yield open_with
    for paper, client in running:
        client.close_connection()
        paper.stop()


def refusal(act: Callable[[], object]) -> int:
    with pytest.raises(BinanceAPIException) as error:
        act()
    code: int = error.value.code
    return code


def test_a_cost_in_bitcoin_is_compared_in_dollars(opened: Open) -> None:
    _, client = opened({"USDT": "1000"})
    # 4.6 ether at 20x: 0.0092 bitcoin, or 921 dollars.
    assert refusal(lambda: client.futures_create_order(**ON_ETHER, quantity="5")) == -2019
    assert refusal(lambda: client.futures_create_order(**ON_ETHER, quantity="100")) == -2019
    client.futures_create_order(**ON_ETHER, quantity="4.6")
    assert refusal(lambda: client.futures_change_leverage(symbol="ETHBTC", leverage=10)) == -2028
    client.futures_change_leverage(symbol="ETHBTC", leverage=19)


def test_an_asset_without_a_price_bears_nothing(opened: Open) -> None:
    _, client = opened({"USDT": "100000", "EUR": "100000"})
    on_euro = {**ON_ETHER, "symbol": "ETHEUR", "quantity": "1"}
    assert refusal(lambda: client.futures_create_order(**on_euro)) == -2019
    client.futures_change_multi_assets_mode(multiAssetsMargin=False)
    client.futures_create_order(**on_euro)
    assert refusal(lambda: client.futures_change_multi_assets_mode(multiAssetsMargin="true")) == -4169


def test_positions_in_bitcoin_fall_by_their_margin_in_dollars(opened: Open) -> None:
    paper, client = opened({"USDT": "1000"})
    client.futures_create_order(**ON_ETHER, quantity="4.5")
    price = Decimal(client.futures_position_information(symbol="ETHBTC")[0]["liquidationPrice"])
    assert Decimal("0.0380") < price < Decimal("0.0384")
    paper.set_price("ETHBTC", (price + Decimal("0.000001")).quantize(Decimal("0.000001")))
    account = client.futures_account(version=3)
    assert Decimal(account["totalMarginBalance"]) > Decimal(account["totalMaintMargin"])
    assert client.futures_position_information(symbol="ETHBTC") != []
    paper.set_price("ETHBTC", (price - Decimal("0.000001")).quantize(Decimal("0.000001")))
    assert client.futures_position_information(symbol="ETHBTC") == []


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_price_that_moves_the_collateral_too_is_told_so(opened: Open, side: str) -> None:
    """Bitcoin bears a position on bitcoin: its price counts twice."""
    paper, client = opened({"BTC": "0.2"})
    client.futures_create_order(**ON_ETHER, quantity="40")  # its maintenance margin is in bitcoin, and moves too
    client.futures_create_order(symbol="BTCUSDT", side=side, type="MARKET", quantity="1")
    price = Decimal(client.futures_position_information(symbol="BTCUSDT")[0]["liquidationPrice"])
    away = 1 if side == "BUY" else -1
    assert 0 < (100_000 - price) * away < 25_000
    paper.set_price("BTCUSDT", (price + away).quantize(Decimal("0.1")))
    assert client.futures_position_information(symbol="BTCUSDT") != []
    paper.set_price("BTCUSDT", (price - away).quantize(Decimal("0.1")))
    assert client.futures_position_information(symbol="BTCUSDT") == []


def test_a_liquidation_takes_from_every_asset_before_the_fund_pays(opened: Open) -> None:
    paper, client = opened({"BTC": "0.1"})
    client.futures_create_order(symbol="ETHUSDT", side="BUY", type="MARKET", quantity="40")
    paper.set_price("ETHUSDT", "3900", mark="3760")  # the mark price takes the margin; the fill is better
    assert client.futures_position_information() == []
    assert paper.wallets()["BTC"] == Decimal("0.1")
    assert -7_000 < paper.wallets()["USDT"] < -6_000  # a debt, which the bitcoin bears
    assert Decimal(client.futures_account(version=3)["totalWalletBalance"]) > 0
    assert [row for row in client.futures_income_history() if row["incomeType"] == "INSURANCE_CLEAR"] == []


def test_the_fund_pays_what_all_assets_together_lack(opened: Open) -> None:
    paper, client = opened({"BTC": "0.1"})
    client.futures_create_order(symbol="ETHUSDT", side="BUY", type="MARKET", quantity="40")
    rests = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001", "price": "95000"}
    client.futures_create_order(symbol="BTCUSDC", side="BUY", **rests)
    paper.set_price("ETHUSDT", "3000")
    assert client.futures_get_open_orders() == []
    assert paper.wallets()["USDT"] == -10_000
    assert Decimal(client.futures_account(version=3)["totalWalletBalance"]) == 0


async def test_a_margin_call_tells_the_wallets_together(opened: Open) -> None:
    paper, client = opened({"USDT": "1000", "BTC": "0.001"})
    client.futures_create_order(**ON_ETHER, quantity="4.5")
    price = Decimal(client.futures_position_information(symbol="ETHBTC")[0]["liquidationPrice"])
    async with user_stream(paper) as line:
        paper.set_price("ETHBTC", (price + Decimal("0.00001")).quantize(Decimal("0.000001")))
        called = await line.next()
    assert called["e"] == "MARGIN_CALL"
    assert called["cw"] == client.futures_account(version=3)["totalCrossWalletBalance"]


def test_brackets_that_a_capture_lacks_are_in_the_margin_asset(opened: Open) -> None:
    _, client = opened({"USDT": "1000"})
    (told,) = client.futures_leverage_bracket(symbol="ETHBTC")
    (usual,) = client.futures_leverage_bracket(symbol="NEARUSDT")
    for rung, like in zip(told["brackets"], usual["brackets"], strict=True):
        assert rung["notionalCap"] * 100_000 == pytest.approx(like["notionalCap"])
        assert rung["cum"] * 100_000 == pytest.approx(like["cum"])
        assert rung["maintMarginRatio"] == like["maintMarginRatio"]
