"""Every event has the fields of Binance's own schema, in its connector: all of them, none beside, with their types."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from binance import Client

from gate.paper import Account, Fault, FaultKind, PaperExchange
from tests.paper.sockets import connected, user_stream

MODELS = "binance_sdk_derivatives_trading_usds_futures.websocket_streams.models"
pytest.importorskip("binance_sdk_derivatives_trading_usds_futures", reason="the test group `clients` is not installed")

USER = {
    "ORDER_TRADE_UPDATE": "OrderTradeUpdate",
    "ACCOUNT_UPDATE": "AccountUpdate",
    "ALGO_UPDATE": "AlgoUpdate",
    "ACCOUNT_CONFIG_UPDATE": "AccountConfigUpdate",
    "MARGIN_CALL": "MarginCall",
    "listenKeyExpired": "ListenKeyExpired",
}
MARKET = {
    "btcusdt@markPrice@1s": "MarkPriceStreamResponse",
    "btcusdt@bookTicker": "IndividualSymbolBookTickerStreamsResponse",
    "btcusdt@aggTrade": "AggregateTradeStreamsResponse",
    "btcusdt@kline_1m": "KlineCandlestickStreamsResponse",
    "btcusdt_perpetual@continuousKline_1m": "ContinuousContractKlineCandlestickStreamsResponse",
    "btcusdt@miniTicker": "IndividualSymbolMiniTickerStreamResponse",
    "btcusdt@ticker": "IndividualSymbolTickerStreamsResponse",
    "btcusdt@depth5@100ms": "PartialBookDepthStreamsResponse",
    "btcusdt@depth@100ms": "DiffBookDepthStreamsResponse",
    "btcusdt@forceOrder": "LiquidationOrderStreamsResponse",
}
# Only trailing stops, numbered changes, fills, cross positions, or one of two settings have these.
NOT_ALWAYS = {"AP", "cr", "ia", "M", "N", "n", "cw", "ac", "ai", "s", "l", "j", "S"}
MIGRATED = {"ps", "st"}  # come with the migration of the COIN-M markets


def differences(name: str, event: dict[str, Any]) -> tuple[set[str], set[str]]:
    """What the event has beside the schema, and what it lacks."""
    model = getattr(importlib.import_module(MODELS), name).from_dict(event)
    unknown, missing = set[str](), set[str]()
    _compare(model, unknown, missing)
    return unknown - {"e"}, missing


def _compare(model: Any, unknown: set[str], missing: set[str]) -> None:
    unknown |= model.additional_properties.keys()
    for field in type(model).model_fields:
        value = getattr(model, field)
        if field == "additional_properties":
            continue
        if value is None:
            missing.add(field)
        for inner in value if isinstance(value, list) else [value]:
            if hasattr(inner, "additional_properties"):
                _compare(inner, unknown, missing)


@pytest.mark.paper(accounts=[Account(balance="200")])
async def test_the_events_of_the_user_stream(client: Client, paper_exchange: PaperExchange) -> None:
    told: list[dict[str, Any]] = []
    async with user_stream(paper_exchange) as line:
        client.futures_change_leverage(symbol="BTCUSDT", leverage=21)
        client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.02")
        client.futures_create_order(
            symbol="BTCUSDT", side="SELL", type="STOP_MARKET", triggerPrice="50000", closePosition="true"
        )
        price = client.futures_position_information(symbol="BTCUSDT")[0]["liquidationPrice"]
        paper_exchange.set_price("BTCUSDT", int(float(price)) + 20)
        paper_exchange.inject(Fault(kind=FaultKind.EXPIRE_KEY, event="ORDER_TRADE_UPDATE", skip=1))
        paper_exchange.set_price("BTCUSDT", 80_000)
        while not told or told[-1]["e"] != "listenKeyExpired":
            told.append(await line.next())
    assert {event["e"] for event in told} == USER.keys()
    for event in told:
        unknown, missing = differences(USER[event["e"]], event)
        assert (event["e"], unknown, missing - NOT_ALWAYS) == (event["e"], set(), set())


@pytest.mark.paper(accounts=[Account(balance="200")])
async def test_the_events_of_the_market_streams(client: Client, paper_exchange: PaperExchange) -> None:
    client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.02")
    told: dict[str, dict[str, Any]] = {}
    async with connected(paper_exchange, f"/stream?streams={'/'.join(MARKET)}") as line:
        paper_exchange.set_price("BTCUSDT", 80_000)
        paper_exchange.move_clock(1_000)
        while told.keys() != MARKET.keys():
            event = await line.next()
            told[event["stream"]] = event["data"]
    for stream, event in told.items():
        unknown, missing = differences(MARKET[stream], event)
        assert (stream, unknown, missing - MIGRATED) == (stream, set(), set())
