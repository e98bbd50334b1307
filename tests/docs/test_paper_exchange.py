"""The page in docs/ tells how to point each client at the paper exchange; its code is run here as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from binance import AsyncClient, BinanceSocketManager, Client

from gate.paper import Account, FaultKind, PaperExchange
from gate.paper.market.market_data import built_in
from gate.paper.rest.socket_methods import METHODS
from gate.paper.serving.control import control
from gate.paper.serving.settings import Settings
from gate.paper.serving.venue import KEYED, PUBLIC, SIGNED, Venue
from gate.paper.streams.topics import Kind
from tests.paper.test_socket_clients import end_socket_api

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "paper-exchange.md").read_text()
BLOCKS = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "8890" in block]
DEMO = pytest.mark.paper(accounts=[Account("demo", "demo", "10000")])


def run(number: int, paper: PaperExchange, **names: object) -> dict[str, object]:
    exec(BLOCKS[number].replace("127.0.0.1:8890", f"127.0.0.1:{paper.port}"), names)  # noqa: S102 - our own page
    return names


@DEMO
async def test_python_binance(paper_exchange: PaperExchange) -> None:
    sync_block, _, async_block = BLOCKS[0].partition("\n\nclient = AsyncClient")
    assert async_block
    names = run(0, paper_exchange)
    client = names["client"]
    assert isinstance(client, AsyncClient)
    assert (await client.futures_account(version=3))["availableBalance"] == "10000.00000000"
    await client.close_connection()
    exec(sync_block.replace("127.0.0.1:8890", f"127.0.0.1:{paper_exchange.port}"), names)  # noqa: S102 - our own page
    sync_client = names["client"]
    assert isinstance(sync_client, Client)
    assert sync_client.futures_account(version=3)["availableBalance"] == "10000.00000000"


@DEMO
def test_ccxt(paper_exchange: PaperExchange) -> None:
    ccxt = pytest.importorskip("ccxt", reason="the test group `clients` is not installed")
    exchange = run(1, paper_exchange, ccxt=ccxt)["exchange"]
    assert isinstance(exchange, ccxt.binanceusdm)
    assert exchange.fetch_balance()["USDT"]["free"] == 10_000


@DEMO
async def test_the_sockets_of_python_binance(paper_exchange: PaperExchange) -> None:
    names = run(3, paper_exchange)
    client, sockets = names["client"], names["sockets"]
    assert isinstance(client, AsyncClient)
    assert isinstance(sockets, BinanceSocketManager)
    assert (await client.ws_futures_v2_account_balance())[0]["balance"] == "10000.00000000"
    async with sockets.futures_user_socket() as socket:
        paper_exchange.set_balance("1")
        assert (await socket.recv())["e"] == "ACCOUNT_UPDATE"
        paper_exchange.set_balance("2")  # the reader sees that it shall end with the next event
    await client.close_connection()
    end_socket_api(client)


def test_every_fault_endpoint_and_control_is_on_the_page() -> None:
    assert [kind for kind in FaultKind if f"| `{kind}` |" not in PAGE] == []
    endpoints = {re.sub(r"^/(fapi|api)/v\d/", "", path) for _, path in [*PUBLIC, *KEYED, *SIGNED]}
    assert [endpoint for endpoint in sorted(endpoints) if not re.search(rf"\b{endpoint}\b", PAGE)] == []
    assert [method for method in METHODS if f"`{method.removeprefix('v2/')}`" not in PAGE] == []
    assert [kind for kind in Kind if kind not in PAGE and kind is not Kind.PARTIAL_DEPTH] == []
    venue = Venue(Settings(market=built_in(), accounts=[Account()]))
    known = str(control(venue, "GET", "/paper/nothing", b"")[1]["error"])
    assert [path for path in set(re.findall(r"/paper/\w+", known)) - {"/paper/nothing"} if path not in PAGE] == []
