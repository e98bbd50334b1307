"""An executor says under which prefix it keeps its account, and a second prefix on one API key is refused."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator

import pytest
import redis

from gate import AccountTaken, AsyncGate
from gate.blocking import BlockingExecutor
from gate.client.services import account_key
from gate.exchange.binance import BinanceFutures
from gate.executor import Executor
from gate.executor import standing as standing_module
from gate.executor.execution import Terminal
from gate.paper import PaperExchange
from tests.client.account import text
from tests.executor.conftest import ROOMY, Desk, OpenDesk
from tests.servers.store import Store


@pytest.fixture
async def other(store: Store, redis_client: redis.Redis) -> AsyncIterator[AsyncGate]:
    """A gate under a mistaken prefix."""
    async with AsyncGate.from_url(store.url, prefix="acct7", policy=ROOMY, timeout_ms=5_000) as gate:
        yield gate


async def test_two_prefixes_on_one_key_are_refused_by_name(open_desk: OpenDesk, other: AsyncGate) -> None:
    desk = await open_desk()
    async with desk.executor, Executor(desk.gate, desk.exchange):
        with pytest.raises(AccountTaken, match="kept under the prefix 'quantum' on this store, not under 'acct7'"):
            await Executor(other, desk.exchange).__aenter__()


async def test_a_clean_stop_frees_the_account_for_another_prefix_soon(
    open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    desk = await open_desk()
    async with desk.executor:
        key = account_key(desk.exchange.key_digest)
        assert redis_client.ttl(key) > 290
        async with Executor(desk.gate, desk.exchange):
            pass
        assert 60 < redis_client.ttl(key) <= 70, "longer than the one that is at work takes to renew it"
        await desk.gate.claim_account(desk.exchange.key_digest)
        assert redis_client.ttl(key) > 290


async def test_the_blocking_executor_refuses_it_too(open_desk: OpenDesk, store: Store, paper: PaperExchange) -> None:
    desk = await open_desk()
    async with desk.executor:
        with pytest.raises(AccountTaken) as raised:
            BlockingExecutor(store.url, paper.key, paper.secret, prefix="acct7", base_url=paper.url)
    for error in (raised.value, pickle.loads(pickle.dumps(raised.value))):  # noqa: S301  # its own bytes
        assert (error.prefix, error.holder, str(error)) == ("acct7", "quantum", str(raised.value))


async def test_an_executor_at_work_is_seen(open_desk: OpenDesk, other: AsyncGate) -> None:
    desk = await open_desk()
    async with desk.executor:
        assert [each.prefix for each in (await other.seen_services()).others] == ["quantum"]


async def test_the_key_itself_is_never_kept(
    open_desk: OpenDesk, paper: PaperExchange, redis_client: redis.Redis
) -> None:
    desk = await open_desk()
    async with desk.executor:
        kept = {text(key) for key in redis_client.keys("{gate}:account:*")}
    digests = {desk.exchange.key_digest, desk.exchange.known_account_digest() or ""}
    assert kept == {account_key(digest) for digest in digests}
    assert [len(digest) for digest in digests] == [24, 24]
    assert not any(paper.key in key for key in kept)


async def test_another_exchange_or_key_is_another_account(paper: PaperExchange) -> None:
    digests = set()
    for key, url in (("key", paper.url), ("key", None), ("other", paper.url)):
        async with BinanceFutures(key, "secret", base_url=url) as exchange:
            digests.add(exchange.key_digest)
    async with BinanceFutures("key", "secret", demo=True, streams=False) as exchange:
        digests.add(exchange.key_digest)
    async with BinanceFutures("key", "secret", base_url=paper.futures_url + "/") as exchange:
        assert exchange.key_digest in digests
    assert len(digests) == 4


async def test_a_worker_without_the_right_closes_positions(
    open_desk: OpenDesk, store: Store, redis_client: redis.Redis
) -> None:
    desk: Desk = await open_desk()
    redis_client.execute_command("ACL", "SETUSER", "narrow", "on", ">-", "~quantum:*", "+@all")
    try:
        await desk.executor.execute(desk.intent(quantity="0.01"))
        url = store.url.replace("//", "//narrow:-@")
        async with (
            AsyncGate.from_url(url, policy=ROOMY, timeout_ms=5_000) as gate,
            Executor(gate, desk.exchange) as narrow,
        ):
            closed = await narrow.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))
        assert closed.state is Terminal.FILLED
        assert redis_client.keys("{gate}:*") == []
    finally:
        redis_client.execute_command("ACL", "DELUSER", "narrow")


async def test_a_store_out_of_reach_does_not_keep_an_executor_from_starting(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    async with (
        AsyncGate.from_url("redis://127.0.0.1:1/0", policy=ROOMY) as gate,
        Executor(gate, desk.exchange) as alone,
    ):
        denied = await alone.execute(desk.intent())
    assert denied.reason == "STORE_UNAVAILABLE"


async def test_a_prefix_that_is_found_taken_later_is_logged(
    open_desk: OpenDesk, other: AsyncGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the store was away at the start. What runs goes on: it may have positions to close."""
    desk = await open_desk()
    monkeypatch.setattr(standing_module, "TRACE_EVERY_S", 0.01)
    async with desk.executor:
        await other.claim_account(desk.exchange.key_digest)
        said, heard = asyncio.Event(), logging.Handler()
        heard.emit = lambda record: said.set()  # type: ignore[method-assign]
        logger = logging.getLogger("gate.executor")
        logger.addHandler(heard)
        running = asyncio.create_task(standing_module.keep_standing(other, desk.exchange))
        await asyncio.wait_for(said.wait(), 10)
        logger.removeHandler(heard)
        running.cancel()
    assert "kept under the prefix 'quantum'" in caplog.text
