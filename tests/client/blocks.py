"""Services that place their own orders: gates, python-binance's own clients, and blocks around these."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from binance import AsyncClient, Client

from gate import AsyncGate, Gate, Intent, Policy
from gate.exchange.order_finder import find_order, find_order_async
from gate.paper import PaperExchange
from tests.client import account as at
from tests.servers.session import declare_whole
from tests.servers.store import Store

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=1000)
TIMEOUT_S = 5


@pytest.fixture
def client(paper_exchange: PaperExchange) -> Iterator[Client]:
    parameters = {"allow_redirects": False, "timeout": TIMEOUT_S}
    client = Client(paper_exchange.key, paper_exchange.secret, requests_params=parameters, ping=False)
    client.FUTURES_URL = f"{paper_exchange.url}/fapi"
    with closing(client.session):
        yield client


@pytest.fixture
async def async_client(paper_exchange: PaperExchange) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(paper_exchange.key, paper_exchange.secret, requests_params={"allow_redirects": False})
    client.FUTURES_URL = f"{paper_exchange.url}/fapi"
    yield client
    await client.close_connection()


@pytest.fixture
def gate(store: Store, redis_client: redis.Redis, client: Client) -> Iterator[Gate]:
    with Gate.from_url(store.url, policy=ROOMY, find_order=find_order(client)) as gate:
        yield gate


@pytest.fixture
async def async_gate(store: Store, redis_client: redis.Redis, async_client: AsyncClient) -> AsyncIterator[AsyncGate]:
    async with AsyncGate.from_url(store.url, policy=ROOMY, find_order=find_order_async(async_client)) as gate:
        yield gate


def forget(client: redis.Redis, ago_ms: int = 60_000) -> None:
    """The store has lost everything, so long ago that entries go again."""
    client.flushall()
    declare_whole(client)
    since_ms = at.server_ms(client) - ago_ms
    client.hset(at.STATE, mapping={"fence": 1_000, "since": since_ms, "lost": since_ms})


def terms(intent: Intent, **more: Any) -> dict[str, Any]:
    """What the service sends for an intent."""
    side = {"symbol": intent.symbol, "side": intent.side}
    return {**side, "type": "MARKET", "quantity": "0.01", **more}


def stop(intent: Intent, **more: Any) -> dict[str, Any]:
    return terms(intent, type="STOP_MARKET", triggerPrice="90000", reduceOnly="true", **more)


def place(gate: Gate, client: Client, intent: Intent) -> str:
    """A service's own placement, as short as it gets."""
    with gate.guard(intent) as permit:
        if not permit:
            return permit.reason
        more = {"reduceOnly": "true"} if permit.is_exit else {}
        order = client.futures_create_order(**terms(intent, newClientOrderId=permit.client_order_id, **more))
        permit.placed(order["orderId"])
        return "PLACED"


async def place_async(gate: AsyncGate, client: AsyncClient, intent: Intent) -> str:
    async with gate.guard(intent) as permit:
        if not permit:
            return permit.reason
        order = await client.futures_create_order(**terms(intent, newClientOrderId=permit.client_order_id))
        await permit.placed(order["orderId"])
        return "PLACED"


def on(gate: Gate) -> set[str]:
    return {each.name for each in gate.status().standing}
