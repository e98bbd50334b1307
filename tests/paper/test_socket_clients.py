"""Unmodified clients live on the paper exchange's streams: python-binance, ccxt.pro, and Binance's own connector."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from binance import AsyncClient, BinanceSocketManager
from binance.exceptions import BinanceAPIException

from gate.paper import Fault, FaultKind, PaperExchange
from tests.paper.sockets import PATIENCE_S

LIMIT = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.002", "price": "90000",
    "newClientOrderId": "rests",
}  # fmt: skip
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.002", "newClientOrderId": "mine"}
BTC = "BTC/USDT:USDT"


async def soon(event: Any) -> Any:
    return await asyncio.wait_for(event, PATIENCE_S)


async def while_something_happens(waiting: Any, paper: PaperExchange) -> Any:
    task = asyncio.ensure_future(waiting)
    for step in itertools.count(1):
        paper.set_balance(10_000 + step)
        paper.set_price("BTCUSDT", 80_000 + step)
        paper.move_clock(1_000)
        await asyncio.wait([task], timeout=0.05)
        if task.done():
            break
    return await task


def end_socket_api(client: AsyncClient) -> None:
    """python-binance's own closing leaves this connection open."""
    if client.ws_future.ws is not None:
        client.ws_future.ws.transport.abort()


@asynccontextmanager
async def opened(socket: Any, paper: PaperExchange) -> AsyncIterator[Any]:
    """A socket of python-binance. Its reader sees that it shall end only with the next event, or after ten seconds."""
    async with AsyncExitStack() as stack:
        stack.push_async_exit(lambda *error: while_something_happens(socket.__aexit__(*error), paper))
        yield await socket.__aenter__()


@pytest.fixture
def manager(async_client: AsyncClient, paper_exchange: PaperExchange) -> BinanceSocketManager:
    manager = BinanceSocketManager(async_client)
    manager.FSTREAM_URL = f"{paper_exchange.socket_url}/"
    return manager


async def test_python_binance_hears_of_its_account(
    manager: BinanceSocketManager, async_client: AsyncClient, paper_exchange: PaperExchange
) -> None:
    async with opened(manager.futures_user_socket(), paper_exchange) as socket:
        await async_client.futures_create_order(**MARKET)
        told = [await soon(socket.recv()) for _ in range(3)]
        assert [event["e"] for event in told] == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
        assert (told[2]["o"]["c"], told[2]["o"]["X"]) == ("mine", "FILLED")
        await async_client.futures_change_leverage(symbol="BTCUSDT", leverage=3)
        assert (await soon(socket.recv()))["ac"] == {"s": "BTCUSDT", "l": 3}


@pytest.mark.parametrize(
    ("name", "arguments", "event"),
    [
        ("symbol_mark_price_socket", {"symbol": "BTCUSDT", "fast": True}, "markPriceUpdate"),
        ("all_mark_price_socket", {"fast": True}, "markPriceUpdate"),
        ("symbol_ticker_futures_socket", {"symbol": "BTCUSDT"}, "bookTicker"),
        ("individual_symbol_ticker_futures_socket", {"symbol": "BTCUSDT"}, "24hrTicker"),
        ("aggtrade_futures_socket", {"symbol": "BTCUSDT"}, "aggTrade"),
        ("kline_futures_socket", {"symbol": "BTCUSDT"}, "continuous_kline"),
        ("futures_depth_socket", {"symbol": "BTCUSDT", "depth": "10"}, "depthUpdate"),
        ("futures_multiplex_socket", {"streams": ["btcusdt@aggTrade"]}, "aggTrade"),
    ],
)
async def test_python_binance_hears_of_the_market(
    manager: BinanceSocketManager, paper_exchange: PaperExchange, name: str, arguments: Any, event: str
) -> None:
    paper_exchange.hold_clock()
    async with opened(getattr(manager, name)(**arguments), paper_exchange) as socket:
        paper_exchange.set_price("BTCUSDT", "90000")
        paper_exchange.move_clock(1_000)
        told = await soon(socket.recv())
    data = told.get("data", told)
    assert (data[0] if isinstance(data, list) else data)["e"] == event


async def test_python_binance_comes_back_after_a_drop(
    manager: BinanceSocketManager, async_client: AsyncClient, paper_exchange: PaperExchange
) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.DROP_STREAM))
    async with opened(manager.futures_user_socket(), paper_exchange) as socket:
        await async_client.futures_create_order(**LIMIT)
        told = await soon(socket.recv())
        assert told["e"] == "error"
        while told["e"] == "error":  # the events of the gap are gone, as on the exchange
            told = await soon(while_something_happens(socket.recv(), paper_exchange))
        assert told["e"] == "ACCOUNT_UPDATE"


@pytest_asyncio.fixture
async def ws_client(async_client: AsyncClient, paper_exchange: PaperExchange) -> AsyncIterator[AsyncClient]:
    async_client.ws_future._url = f"{paper_exchange.socket_url}/ws-fapi/v1"
    yield async_client
    end_socket_api(async_client)


async def test_python_binance_trades_over_the_websocket_api(
    ws_client: AsyncClient, paper_exchange: PaperExchange
) -> None:
    placed = await ws_client.ws_futures_create_order(**LIMIT)
    assert placed["status"] == "NEW"
    found = await ws_client.ws_futures_get_order(symbol="BTCUSDT", origClientOrderId="rests")
    assert found == await ws_client.futures_get_order(symbol="BTCUSDT", orderId=placed["orderId"])
    gone = await ws_client.ws_futures_cancel_order(symbol="BTCUSDT", origClientOrderId="rests")
    assert gone["status"] == "CANCELED"
    assert (await ws_client.ws_futures_v2_account_status())["totalWalletBalance"] == "10000.00000000"
    assert (await ws_client.ws_futures_v2_account_balance())[0]["asset"] == "USDT"
    assert await ws_client.ws_futures_v2_account_position() == []
    assert (await ws_client.ws_futures_get_order_book(symbol="BTCUSDT"))["bids"]
    with pytest.raises(BinanceAPIException) as error:
        await ws_client.ws_futures_create_order(**{**MARKET, "quantity": "3"})
    assert (error.value.status_code, error.value.code) == (400, -2019)


async def test_python_binance_places_conditional_orders_over_the_websocket_api(ws_client: AsyncClient) -> None:
    stop = await ws_client.ws_futures_create_algo_order(
        algoType="CONDITIONAL", symbol="BTCUSDT", side="BUY", type="STOP_MARKET", triggerPrice="120000",
        quantity="0.002", clientAlgoId="stop",
    )  # fmt: skip
    assert stop["algoStatus"] == "NEW"
    assert (await ws_client.ws_futures_cancel_algo_order(clientAlgoId="stop"))["msg"] == "success"


def ccxt_pro(paper: PaperExchange) -> Any:
    pytest.importorskip("ccxt", reason="the test group `clients` is not installed")
    import ccxt.pro

    futures = paper.futures_url
    return ccxt.pro.binanceusdm(
        {
            "apiKey": paper.key,
            "secret": paper.secret,
            "urls": {
                "api": {
                    "fapiPublic": f"{futures}/v1",
                    "fapiPublicV2": f"{futures}/v2",
                    "fapiPublicV3": f"{futures}/v3",
                    "fapiPrivate": f"{futures}/v1",
                    "fapiPrivateV2": f"{futures}/v2",
                    "fapiPrivateV3": f"{futures}/v3",
                    "ws": {
                        "linear": f"{paper.socket_url}/ws",
                        "ws-api": {"linear": f"{paper.socket_url}/ws-fapi/v1"},
                    },
                }
            },
            "options": {"fetchCurrencies": False},
        }
    )


@pytest.fixture
def collected() -> Iterator[None]:
    """What a library leaves open is collected within the test that allows for it."""
    yield
    gc.collect()


@pytest_asyncio.fixture
async def ccxt_exchange(collected: None, paper_exchange: PaperExchange) -> AsyncIterator[Any]:
    exchange = ccxt_pro(paper_exchange)
    yield exchange
    await exchange.close()


async def _listening(exchange: Any) -> None:
    """Return when ccxt has its listen key and a connection with it."""
    while True:
        user = [client for url, client in exchange.clients.items() if "listenKey" in url]
        if user:
            await user[0].connected
            return
        await asyncio.wait([asyncio.create_task(asyncio.sleep(0))])


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of two connections that it opens at once, ccxt closes one
async def test_ccxt_pro_watches_its_orders_its_balance_and_its_positions(
    ccxt_exchange: Any, paper_exchange: PaperExchange
) -> None:
    await ccxt_exchange.load_markets()
    watched = asyncio.gather(
        ccxt_exchange.watch_orders(BTC), ccxt_exchange.watch_balance(), ccxt_exchange.watch_my_trades(BTC)
    )
    await soon(_listening(ccxt_exchange))
    await ccxt_exchange.create_order(BTC, "market", "buy", 0.002, params={"newClientOrderId": "mine"})
    orders, balance, trades = await soon(watched)
    assert orders[-1]["clientOrderId"] == "mine"
    assert balance["USDT"]["total"] < 10_000
    assert (trades[-1]["amount"], trades[-1]["price"]) == (0.002, 100_000.1)


@pytest.mark.parametrize(
    "name", ["watch_ticker", "watch_order_book", "watch_trades", "watch_ohlcv", "watch_mark_price"]
)
async def test_ccxt_pro_watches_the_market(ccxt_exchange: Any, paper_exchange: PaperExchange, name: str) -> None:
    await ccxt_exchange.load_markets()
    watching = asyncio.create_task(getattr(ccxt_exchange, name)(BTC))
    price = 90_000
    while not watching.done():
        price += 1
        paper_exchange.set_price("BTCUSDT", price)
        await asyncio.wait([watching], timeout=0.05)
    assert await soon(watching)


async def test_ccxt_pro_trades_over_the_websocket_api(ccxt_exchange: Any, paper_exchange: PaperExchange) -> None:
    await ccxt_exchange.load_markets()
    placed = await ccxt_exchange.create_order_ws(BTC, "limit", "buy", 0.002, 90_000)
    assert placed["status"] == "open"
    assert (await ccxt_exchange.fetch_order_ws(placed["id"], BTC))["price"] == 90_000
    assert (await ccxt_exchange.cancel_order_ws(placed["id"], BTC))["status"] == "canceled"
    assert [row["status"] for row in paper_exchange.ledger()] == ["CANCELED"]


def connector(paper: PaperExchange) -> Any:
    module = "binance_sdk_derivatives_trading_usds_futures"
    pytest.importorskip(module, reason="the test group `clients` is not installed")
    from binance_common.configuration import (
        ConfigurationRestAPI,
        ConfigurationWebSocketAPI,
        ConfigurationWebSocketStreams,
    )
    from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
        DerivativesTradingUsdsFutures,
    )

    return DerivativesTradingUsdsFutures(
        config_rest_api=ConfigurationRestAPI(api_key=paper.key, api_secret=paper.secret, base_path=paper.url),
        config_ws_api=ConfigurationWebSocketAPI(
            api_key=paper.key, api_secret=paper.secret, stream_url=f"{paper.socket_url}/ws-fapi/v1"
        ),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=f"{paper.socket_url}/stream"),
    )


async def test_binance_s_connector_reads_every_user_event(
    paper_exchange: PaperExchange, caplog: pytest.LogCaptureFixture
) -> None:
    """The connector checks the types of each event against Binance's own schema."""
    caplog.set_level(logging.WARNING)
    client = connector(paper_exchange)
    key = client.rest_api.start_user_data_stream().data().listen_key
    connection = await client.websocket_streams.create_connection()
    told: asyncio.Queue[Any] = asyncio.Queue()
    try:
        stream = await connection.user_data(key)
        stream.on("message", told.put_nowait)
        client.rest_api.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=0.002)
        client.rest_api.change_initial_leverage(symbol="BTCUSDT", leverage=3)
        client.rest_api.new_algo_order(
            algo_type="CONDITIONAL", symbol="BTCUSDT", side="SELL", type="STOP_MARKET", trigger_price=95_000,
            close_position="true",
        )  # fmt: skip
        events = [(await soon(told.get())).actual_instance for _ in range(5)]
    finally:
        await connection.close_connection()
    assert [type(event).__name__ for event in events] == [
        "OrderTradeUpdate", "AccountUpdate", "OrderTradeUpdate", "AccountConfigUpdate", "AlgoUpdate",
    ]  # fmt: skip
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_binance_s_connector_trades_over_the_websocket_api(paper_exchange: PaperExchange) -> None:
    client = connector(paper_exchange)
    connection = await client.websocket_api.create_connection()
    try:
        placed = await connection.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=0.002)
        assert placed.data().result.status == "NEW"
        held = await connection.position_information_v2(symbol="BTCUSDT")
        assert held.data().result[0].position_amt == "0.002"
    finally:
        await connection.close_connection()
