"""Symbols are data: built in, or from a capture of the real exchange."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from binance import Client
from binance.exceptions import BinanceAPIException

from gate.paper import MarketDataError, PaperExchange
from gate.paper.market.decimals import is_multiple
from gate.paper.market.market_data import built_in, load_market
from tests.paper.conftest import futures_client

NEW = {
    "symbol": "NEWUSDT", "pair": "NEWUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
    "onboardDate": 1700000000000, "status": "TRADING", "baseAsset": "NEW", "quoteAsset": "USDT", "marginAsset": "USDT",
    "pricePrecision": 5, "quantityPrecision": 0, "baseAssetPrecision": 8, "quotePrecision": 8, "underlyingType": "COIN",
    "underlyingSubType": [], "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    "somethingNewer": {"kept": True},
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.00010", "maxPrice": "1000", "tickSize": "0.00010"},
        {"filterType": "LOT_SIZE", "minQty": "1", "maxQty": "100000", "stepSize": "1"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "1", "maxQty": "10000", "stepSize": "1"},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.1", "multiplierDown": "0.9", "multiplierDecimal": "4"},
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE", "notionalLimit": "1"},
    ],
}  # fmt: skip


def write(path: Path, content: object) -> Path:
    path.write_bytes(msgspec.json.encode(content))
    return path


def test_built_in_symbols_obey_their_own_filters() -> None:
    market = built_in()
    assert len([symbol for symbol in market.symbols.values() if symbol.quote_asset == "USDT"]) >= 12
    for name, symbol in market.symbols.items():
        price = market.prices[name]
        assert symbol.min_price < price < symbol.max_price
        assert is_multiple(price - symbol.min_price, symbol.tick)
        assert symbol.lot.min_quantity >= symbol.lot.step == symbol.market_lot.step
        caps = [bracket.cap for bracket in symbol.brackets]
        assert caps == sorted(caps)
        assert [bracket.floor for bracket in symbol.brackets] == [Decimal(0), *caps[:-1]]


def test_a_capture_replaces_the_symbols_and_is_answered_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "info.json", {"timezone": "UTC", "symbols": [NEW]})
    with PaperExchange(exchange_info=path) as paper:
        client: Client = futures_client(paper)
        assert client.futures_exchange_info()["symbols"] == [NEW]
        paper.set_price("NEWUSDT", "2")
        order = client.futures_create_order(symbol="NEWUSDT", side="BUY", type="MARKET", quantity="50")
        assert client.futures_get_order(symbol="NEWUSDT", orderId=order["orderId"])["avgPrice"] == "2.00010"
        assert client.futures_leverage_bracket(symbol="NEWUSDT")[0]["brackets"][0]["initialLeverage"] == 75


def test_a_capture_may_bring_brackets_and_prices(tmp_path: Path) -> None:
    bracket = {
        "bracket": 1, "initialLeverage": 10, "notionalCap": 5000, "notionalFloor": 0, "maintMarginRatio": 0.025,
        "cum": 0,
    }  # fmt: skip
    path = write(
        tmp_path / "all.json",
        {
            "exchangeInfo": {"symbols": [NEW]},
            "leverageBracket": [{"symbol": "NEWUSDT", "brackets": [bracket]}],
            "premiumIndex": [{"symbol": "NEWUSDT", "markPrice": "3.5000"}],
        },
    )
    market = load_market(path)
    assert market.prices == {"NEWUSDT": Decimal("3.5000")}
    assert market.symbols["NEWUSDT"].max_leverage == 10
    assert market.symbols["NEWUSDT"].brackets[0].maintenance_rate == Decimal("0.025")


def test_captured_marks_open_on_the_tick_grid(tmp_path: Path) -> None:
    marks = [{"symbol": "NEWUSDT", "markPrice": "1.23456789"}]
    path = write(tmp_path / "all.json", {"exchangeInfo": {"symbols": [NEW]}, "premiumIndex": marks})
    with PaperExchange(exchange_info=path) as paper:
        client = futures_client(paper)
        ask = client.futures_orderbook_ticker(symbol="NEWUSDT")["askPrice"]
        order = client.futures_create_order(
            symbol="NEWUSDT", side="BUY", type="LIMIT", timeInForce="IOC", quantity="50", price=ask
        )  # fmt: skip
        order = client.futures_get_order(symbol="NEWUSDT", orderId=order["orderId"])
        assert (order["status"], Decimal(order["avgPrice"])) == ("FILLED", Decimal(ask))


def test_a_price_filter_without_a_ceiling_opens_above_zero(tmp_path: Path) -> None:
    first, *others = msgspec.convert(NEW["filters"], list[dict[str, object]])
    unlimited = {**NEW, "filters": [{**first, "maxPrice": "0"}, *others]}
    market = load_market(write(tmp_path / "info.json", {"symbols": [unlimited]}))
    assert market.prices["NEWUSDT"] == 1


def test_a_capture_that_cannot_be_used_names_its_fault(tmp_path: Path) -> None:
    unfiltered = {**NEW, "filters": []}
    path = write(tmp_path / "info.json", {"symbols": [unfiltered]})
    with pytest.raises(MarketDataError, match="NEWUSDT has no PRICE_FILTER"):
        load_market(path)
    with pytest.raises(MarketDataError, match=r"info\.json: symbols: there are none"):
        load_market(write(path, {"symbols": []}))
    with pytest.raises(MarketDataError, match=r"absent\.json"):
        load_market(tmp_path / "absent.json")


@pytest.mark.parametrize(("status", "code"), [("PENDING_TRADING", -4140), ("CLOSE", -4140)])
def test_a_symbol_that_is_not_trading_takes_no_entry(tmp_path: Path, status: str, code: int) -> None:
    path = write(tmp_path / "info.json", {"symbols": [{**NEW, "status": status}]})
    with PaperExchange(exchange_info=path) as paper, pytest.raises(BinanceAPIException) as error:
        futures_client(paper).futures_create_order(symbol="NEWUSDT", side="BUY", type="MARKET", quantity="50")
    assert error.value.code == code
