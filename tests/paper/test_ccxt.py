"""ccxt's unmodified binanceusdm works on the paper exchange by configuration alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gate.paper import PaperExchange

pytest.importorskip("ccxt", reason="the test group `clients` is not installed")
import ccxt

BTC = "BTC/USDT:USDT"


@pytest.fixture
def exchange(paper_exchange: PaperExchange) -> Iterator[ccxt.binanceusdm]:
    futures = paper_exchange.futures_url
    exchange = ccxt.binanceusdm(
        {
            "apiKey": paper_exchange.key,
            "secret": paper_exchange.secret,
            "urls": {
                "api": {
                    "fapiPublic": f"{futures}/v1",
                    "fapiPublicV2": f"{futures}/v2",
                    "fapiPublicV3": f"{futures}/v3",
                    "fapiPrivate": f"{futures}/v1",
                    "fapiPrivateV2": f"{futures}/v2",
                    "fapiPrivateV3": f"{futures}/v3",
                }
            },
            # The currencies come from the spot wallet's API, which the paper exchange doesn't have.
            "options": {"fetchCurrencies": False},
        }
    )
    yield exchange
    exchange.close()


def test_a_day_s_work(exchange: ccxt.binanceusdm, paper_exchange: PaperExchange) -> None:
    markets = exchange.load_markets()
    assert markets[BTC]["precision"] == {**markets[BTC]["precision"], "price": 0.1, "amount": 0.001}
    assert exchange.fetch_balance()["USDT"]["free"] == 10_000
    assert exchange.set_leverage(5, BTC)["leverage"] == 5

    bought = exchange.create_order(BTC, "market", "buy", 0.01, params={"newClientOrderId": "ccxt-1"})
    assert (bought["status"], bought["filled"], bought["average"]) == ("closed", 0.01, None)
    assert exchange.fetch_order(bought["id"], BTC)["average"] == 100_000.1
    limit = exchange.create_order(BTC, "limit", "sell", 0.01, 105_000, params={"newClientOrderId": "ccxt-2"})
    assert limit["status"] == "open"
    found = exchange.fetch_order(None, BTC, params={"origClientOrderId": "ccxt-2"})
    assert (found["id"], found["price"]) == (limit["id"], 105_000)
    assert [order["id"] for order in exchange.fetch_open_orders(BTC)] == [limit["id"]]
    assert exchange.cancel_order(limit["id"], BTC)["status"] == "canceled"

    position = exchange.fetch_positions([BTC])[0]
    assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", 0.01, 100_000.1)
    assert exchange.fetch_ticker(BTC)["last"] == 100_000
    assert len(exchange.fetch_my_trades(BTC)) == 1

    paper_exchange.set_balance("0")
    # At any address but Binance's own, ccxt doesn't choose the futures table of errors: the code is in the text.
    with pytest.raises(ccxt.ExchangeError, match="-2019"):
        exchange.create_order(BTC, "market", "buy", 0.01)
    exchange.create_order(BTC, "market", "sell", 0.01, params={"reduceOnly": True})
    assert exchange.fetch_positions([BTC]) == []
    assert [row["clientOrderId"] for row in paper_exchange.ledger()[:2]] == ["ccxt-1", "ccxt-2"]


def test_a_stop_goes_to_the_algo_endpoint_and_fires(exchange: ccxt.binanceusdm, paper_exchange: PaperExchange) -> None:
    exchange.load_markets()
    exchange.create_order(BTC, "market", "buy", 0.01)
    stop = exchange.create_order(BTC, "STOP_MARKET", "sell", 0.01, params={"triggerPrice": 95_000, "reduceOnly": True})
    assert stop["triggerPrice"] == 95_000
    paper_exchange.set_price("BTCUSDT", "94000")
    assert exchange.fetch_positions([BTC]) == []
