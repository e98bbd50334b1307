"""Clients of a paper exchange: unmodified python-binance, configured with its address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from binance import AsyncClient, Client

from gate.paper import PaperExchange
from gate.paper.pytest_plugin import paper_exchange, pytest_configure

# Named here too, so that the tests run from a checkout that isn't installed and has no entry point.
__all__ = ["paper_exchange", "pytest_configure"]


def futures_client(paper: PaperExchange, number: int = 0) -> Client:
    account = paper.accounts[number]
    client = Client(account.key, account.secret, ping=False)
    client.FUTURES_URL = paper.futures_url
    return client


@pytest.fixture
def client(paper_exchange: PaperExchange) -> Iterator[Client]:
    client = futures_client(paper_exchange)
    yield client
    client.close_connection()


@pytest_asyncio.fixture
async def async_client(paper_exchange: PaperExchange) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(paper_exchange.key, paper_exchange.secret)
    client.FUTURES_URL = paper_exchange.futures_url
    yield client
    await client.close_connection()
