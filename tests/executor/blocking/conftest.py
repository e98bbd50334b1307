"""Blocking executors on the shared store and a paper exchange, and signals that interrupt them."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from gate import Gate, Intent, Record
from gate.blocking import BlockingExecutor
from gate.paper import PaperExchange
from gate.protocol.keyspace import Keyspace
from tests.executor.conftest import ROOMY
from tests.servers.session import declare_whole
from tests.servers.store import Store
from tests.servers.users import IN_ROLES, url_of_user

NOWHERE = "redis://127.0.0.1:1/0"

OpenExecutor = Callable[..., BlockingExecutor]
Lookup = Callable[[Intent], Record | None]
InMainThread = Callable[[Callable[[], None]], None]
_numbers = itertools.count(1)


def an_intent(symbol: str = "BTCUSDT", side: str = "BUY") -> Intent:
    return Intent(
        id=f"intent-{next(_numbers)}",
        symbol=symbol,
        side=side,
        notional="1000",
        leverage=20,
        timestamp=time.time_ns() // 1_000_000,
    )


def orders_of(paper: PaperExchange, intent: Intent) -> list[Mapping[str, Any]]:
    client_order_id = Keyspace("quantum").client_order_id(intent.id)
    return [row for row in paper.ledger() if row["clientOrderId"] == client_order_id]


def meanwhile(act: Callable[[], None]) -> threading.Thread:
    """Runs `act` in a thread beside the test."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def open_executor(store: Store, redis_client: redis.Redis, paper: PaperExchange) -> Iterator[OpenExecutor]:
    """Opens executors of the one account: `open_executor(url)`."""
    declare_whole(redis_client)
    with ExitStack() as stack:

        def open_one(url: str | None = None, **more: Any) -> BlockingExecutor:
            settings = {"policy": ROOMY, "recv_window_ms": 200, "timeout_ms": 2000, "streams": False, **more}
            where = url or (url_of_user(store, "worker") if IN_ROLES else store.url)
            executor = BlockingExecutor(where, paper.key, paper.secret, base_url=paper.url, **settings)
            stack.enter_context(executor)
            stack.callback(paper.release_held)  # for a test that failed before it closed them
            return executor

        yield open_one


@pytest.fixture
def executor(open_executor: OpenExecutor) -> BlockingExecutor:
    return open_executor()


@pytest.fixture
def lookup(store: Store) -> Iterator[Lookup]:
    with Gate.from_url(store.url, timeout_ms=2000) as gate:
        yield lambda intent: gate.lookup(intent.id)


@pytest.fixture
def in_main_thread() -> Iterator[InMainThread]:
    """Runs a function on the main thread, wherever that thread is, by a signal handler."""
    asked: list[Callable[[], None]] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: asked.pop(0)())

    def do(what: Callable[[], None]) -> None:
        asked.append(what)
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGUSR1)

    yield do
    signal.signal(signal.SIGUSR1, before)
