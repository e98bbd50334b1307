"""A desk: a gate on the shared store, a paper exchange, and python-binance between the two."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, cast

import pytest
import redis
from binance import Client

from gate import AsyncGate, Intent, Phase, Policy, Record, StoreUnavailable
from gate.exchange.binance import BinanceFutures
from gate.exchange.port import Filters, OrderRequest
from gate.executor import Executor
from gate.paper import Account, Fault, FaultKind, PaperExchange
from gate.paper.serving.venue import Arrival, Venue
from tests.client.account import STATE, server_ms
from tests.client.gates import GateInRoles, urls_in_roles
from tests.executor.listening import Listening, listening
from tests.paper.arrivals import hear_arrivals
from tests.paper.conftest import futures_client
from tests.servers.session import declare_whole
from tests.servers.store import PrivateStore, Store
from tests.servers.users import IN_ROLES

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=1000)
"""Limits that no test reaches by accident."""


@dataclass(slots=True)
class Desk:
    """One account, ready to trade."""

    gate: AsyncGate
    exchange: BinanceFutures
    executor: Executor
    paper: PaperExchange
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def intent(self, symbol: str = "BTCUSDT", side: str = "BUY", **more: Any) -> Intent:
        """A fresh intent; without a size it is of 1,000 USDT."""
        if not more.keys() & {"notional", "quantity"}:
            more["notional"] = "1000"
        arguments = {"id": f"intent-{next(self.numbers)}", "timestamp": time.time_ns() // 1_000_000, **more}
        return Intent(symbol=symbol, side=side, **arguments)

    def orders(self, intent: Intent | None = None) -> list[Mapping[str, Any]]:
        """The orders that the exchange has really accepted, of one intent or of all."""
        if intent is None:
            return list(self.paper.ledger())
        client_order_id = self.gate.client_order_id(intent.id)
        return [row for row in self.paper.ledger() if row["clientOrderId"] == client_order_id]

    def balance(self, amount: str | Decimal) -> None:
        """Sets the wallet."""
        self.paper.set_balance(amount)

    def unreadable_account(self) -> None:
        """Makes readings of the account fail."""
        for path in ("/fapi/v3/account", "/fapi/v1/symbolConfig"):
            self.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=path))


def forget(client: redis.Redis, *keys: str, ago_ms: int = 60_000) -> None:
    """Deletes the keys, or everything: the store has lost its memory so long ago. After a minute, entries go again.

    With 0 nobody has noticed a loss, but the memory is young: the executor's own wait is all that is left.
    """
    if keys:
        client.delete(*keys)
    else:
        client.flushall()
    declare_whole(client)
    since_ms = server_ms(client) - ago_ms
    # Others have brought the fence above all that was seen.
    client.hset(STATE, mapping={"fence": 1_000, "since": since_ms, **({"lost": since_ms} if ago_ms else {})})


async def abandoned(
    desk: Desk,
    redis_client: redis.Redis,
    *,
    sent: bool,
    past_ms: int = 10_000,
    symbol: str = "BTCUSDT",
    quantity: str = "0.01",
) -> Intent:
    """An intent whose worker died before it could settle it, `past_ms` after its deadline."""
    intent = desk.intent(symbol, quantity=quantity)
    permit = (await desk.gate.evaluate(intent)).permit
    assert permit is not None
    if sent:
        order = OrderRequest(intent.symbol, intent.side, Decimal(quantity), permit.client_order_id, False, None)
        await desk.exchange.place(order, desk.exchange.valid_for(5000), timeout_ms=5000)
    age(desk, redis_client, intent, past_ms)
    return intent


def age(desk: Desk, redis_client: redis.Redis, intent: Intent, past_ms: int) -> None:
    """Moves the permit's times back, as if so much time had passed since its deadline."""
    key = f"quantum:exec:processed:{intent.id}"
    fields = redis_client.get(key).decode().split(" ")  # type: ignore[union-attr]
    back_ms = int(fields[7]) + past_ms
    fields[4] = str(int(fields[4]) - back_ms)
    redis_client.set(key, " ".join(fields), keepttl=True)
    redis_client.hset("quantum:exec:state", f"permit:{intent.id}", " ".join(fields))
    redis_client.zincrby("quantum:exec:inflight", -back_ms, f"{fields[8]}:{intent.id}")
    redis_client.delete(f"quantum:exec:lock:{intent.symbol}:{intent.side}")


_BESIDE = ("/fapi/v1/rateLimit/order", "/fapi/v1/listenKey")
"""Nothing waits for these."""


async def until(so: Callable[[], object]) -> None:
    """Waits for something that comes over a connection."""
    async with asyncio.timeout(10):
        while not so():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.005)


def keep_snapshots_back(*desks: Desk) -> None:
    """What the streams told last stays as it is: no later snapshot repairs it."""
    for desk in desks:
        assert desk.exchange._streams is not None
        desk.exchange._streams._until_snapshot_s = lambda: 30.0  # type: ignore[method-assign]
        desk.exchange._streams._doubts += 1  # of one that is under way, too


def waits_before_sending(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something is waited for between the verdict and the order, so that the verdict isn't the last look."""
    filters = desk.exchange.filters

    async def after_a_turn(symbol: str, **more: Any) -> Filters | None:
        await asyncio.sleep(0)
        return await filters(symbol, **more)

    monkeypatch.setattr(desk.exchange, "filters", after_a_turn)
    monkeypatch.setattr(desk.exchange, "filters_at_hand", lambda symbol: None)


OpenDesk = Callable[..., Awaitable[Desk]]


@pytest.fixture
def paper() -> Iterator[PaperExchange]:
    account = Account(key="key-of-the-test", secret="secret-of-the-test")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account]) as paper:
        yield paper


@pytest.fixture
async def open_desk(store: Store, redis_client: redis.Redis, paper: PaperExchange) -> AsyncIterator[OpenDesk]:
    """Opens desks of the one account: `await open_desk(policy)`; None follows the one in force. With streams where
    `watched` names symbols of which they tell by then."""
    declare_whole(redis_client)
    async with AsyncExitStack() as stack:

        async def open_one(policy: Policy | None = ROOMY, url: str | None = None, *watched: str) -> Desk:
            async def gate_at(where: str) -> AsyncGate:
                return await stack.enter_async_context(AsyncGate.from_url(where, policy=policy, timeout_ms=2000))

            if IN_ROLES and url is None:
                worker, *others = [await gate_at(each) for each in urls_in_roles(store, "quantum", policy)]
                gate = cast(AsyncGate, GateInRoles(worker, *others))
            else:
                worker = gate = await gate_at(url or store.url)
            # A short window of acceptance: absence is certain sooner, on the paper exchange's own clock as well.
            exchange = BinanceFutures(
                paper.key, paper.secret, base_url=paper.url, recv_window_ms=200, streams=bool(watched)
            )
            await stack.enter_async_context(exchange)
            # All of them, each time: the first call has its symbol watched.
            await until(lambda: None not in [exchange.live(symbol) for symbol in watched])
            return Desk(gate, exchange, Executor(worker, exchange), paper)

        yield open_one


@pytest.fixture
async def desk(open_desk: OpenDesk) -> Desk:
    """A desk with roomy limits."""
    return await open_desk()


@pytest.fixture
async def heard(desk: Desk) -> AsyncIterator[Desk]:
    """A desk whose exchange hears."""
    async with listening(desk.paper) as exchange:
        yield Desk(desk.gate, exchange, Executor(desk.gate, exchange), desk.paper, desk.numbers)


def ears(desk: Desk) -> Listening:
    assert isinstance(desk.exchange, Listening)
    return desk.exchange


@pytest.fixture
def client(paper: PaperExchange) -> Client:
    return futures_client(paper)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that have reached the exchange, in their order."""
    asked: list[str] = []

    def heard(_: Venue, arrival: Arrival) -> None:
        if arrival.request.path not in _BESIDE:
            asked.append(f"{arrival.request.method} {arrival.request.path}")

    hear_arrivals(monkeypatch, heard)
    return asked


LOOK_UPS = ("/fapi/v1/order", "/fapi/v1/algoOrder")
BRIEF_MS = 300
"""How long the workers of `open_worker` wait for the store. One that stands still costs an exit that much."""

OpenWorker = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def open_worker(private_store: PrivateStore, paper: PaperExchange) -> AsyncIterator[OpenWorker]:
    """Opens workers, each like a process of its own, on a store that the test may harm. Begins with a position."""
    with private_store.client() as client:
        declare_whole(client)
    async with AsyncExitStack() as stack:

        async def open_one(**figures: Any) -> Desk:
            policy, url = replace(ROOMY, **figures), private_store.url
            gate = await stack.enter_async_context(AsyncGate.from_url(url, policy=policy, timeout_ms=BRIEF_MS))
            exchange = BinanceFutures(paper.key, paper.secret, base_url=paper.url, recv_window_ms=5_000, streams=False)
            await stack.enter_async_context(exchange)
            desk = Desk(gate, exchange, Executor(gate, exchange), paper)
            if not paper.ledger():
                await exchange._rest.client.futures_create_order(
                    symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1"
                )
            return desk

        yield open_one


def an_exit(desk: Desk, **more: Any) -> Intent:
    """An intent that sells a tenth of what a worker holds, unless said otherwise."""
    return desk.intent(side="SELL", reduce_only=True, **({"quantity": "0.01"} | more))


async def recorded(desk: Desk, intent: Intent) -> Record:
    """The record, once the store has one that is settled."""
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreUnavailable):  # a worker's gate waits briefly, and the test's machine may be busy
                record = await desk.gate.lookup(intent.id)
                if record is not None and record.phase is not Phase.ADMITTED:
                    return record
            await asyncio.sleep(0.05)
