"""One prefix is one account: an executor of a second account under it doesn't start, whatever its API key."""

from __future__ import annotations

import asyncio
import logging
import pickle
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

import pytest
import redis

from gate import AccountTaken, AsyncGate, Intent, Phase, PrefixTaken, StoreUnavailable
from gate.blocking import BlockingExecutor
from gate.client.services import Traces, account_key, prefix_key
from gate.exchange.address import exchange_at
from gate.exchange.binance import BinanceFutures
from gate.executor import Executor, standing
from gate.executor.execution import Terminal
from gate.executor.reconcile import reconcile
from gate.paper import Account, Fault, FaultKind, PaperExchange
from tests.client.account import text
from tests.executor.conftest import ROOMY, Desk, recorded, until
from tests.paper.conftest import futures_client
from tests.servers.session import declare_whole
from tests.servers.store import Store

FIRST = Account("k1", "s1", "100000")
SECOND = Account("k2", "s2", "100000")
POLICY = replace(ROOMY, lock_ttl_ms=5_000)
"""What is in doubt is asked about sooner."""
KEPT = prefix_key("quantum")
BALANCE = "/fapi/v3/balance"
TAKEN = "another account, of this or another exchange, is kept under the prefix 'quantum' on this store: give each"


@pytest.fixture
def paper() -> Iterator[PaperExchange]:
    with PaperExchange(accounts=[FIRST, SECOND], limits=None) as paper:
        yield paper


@asynccontextmanager
async def account_of(
    store: Store, paper: PaperExchange, account: Account, prefix: str = "quantum", *, url: str | None = None
) -> AsyncIterator[tuple[AsyncGate, BinanceFutures]]:
    async with (
        AsyncGate.from_url(url or store.url, prefix=prefix, policy=POLICY, timeout_ms=5_000) as gate,
        BinanceFutures(account.key, account.secret, base_url=paper.url, recv_window_ms=200, streams=False) as exchange,
    ):
        yield gate, exchange


def intent(side: str = "BUY", **more: object) -> Intent:
    named = {"id": "sig-1", "quantity": "0.01", **more}
    return Intent(symbol="BTCUSDT", side=side, timestamp=time.time_ns() // 1_000_000, **named)  # type: ignore[arg-type]


async def test_a_second_account_under_one_prefix_is_refused_with_the_remedy(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    async with account_of(store, paper, FIRST) as first, Executor(*first), Executor(*first):
        with pytest.raises(PrefixTaken, match=TAKEN) as raised:
            async with account_of(store, paper, SECOND) as second, Executor(*second):
                pass
        async with account_of(store, paper, SECOND, "second") as apart, Executor(*apart):
            pass  # at once: nothing of the refused one stands in its way
    again = pickle.loads(pickle.dumps(raised.value))  # noqa: S301  # its own bytes
    assert (again.prefix, str(again)) == ("quantum", str(raised.value))


async def test_the_blocking_executor_refuses_it_too(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        with pytest.raises(PrefixTaken, match=TAKEN):
            BlockingExecutor(store.url, SECOND.key, SECOND.secret, base_url=paper.url)
        BlockingExecutor(store.url, SECOND.key, SECOND.secret, prefix="second", base_url=paper.url).close()


async def test_no_account_settles_an_order_of_another_as_absent(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    """With both under one prefix, the first one's executor found no such order, and settled NOT_PLACED."""
    declare_whole(redis_client, "second")
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(account_of(store, paper, FIRST))
        await stack.enter_async_context(Executor(*first))
        with pytest.raises(PrefixTaken):
            async with account_of(store, paper, SECOND) as mistaken, Executor(*mistaken):
                pytest.fail("its order would be settled by the first account's executor")
        second = await stack.enter_async_context(account_of(store, paper, SECOND, "second"))
        executor = await stack.enter_async_context(Executor(*second))
        paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP, method="POST", path="/fapi/v1/order"))
        paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=20))
        asked = intent()
        assert (await executor.execute(asked)).state is Terminal.UNKNOWN
        paper.clear_faults()
        assert await reconcile(*first) == [], "it knows nothing of it"
        await _looked_up(Desk(*second, executor, paper), asked)


async def _looked_up(desk: Desk, asked: Intent) -> None:
    """Waits until it is settled as placed, by the test's own reconciling or the executor's."""
    async with asyncio.timeout(60):
        while (record := await recorded(desk, asked)).phase is Phase.UNKNOWN:
            await reconcile(desk.gate, desk.exchange)
    assert record.phase is Phase.PLACED
    assert record.order_id == str(desk.orders(asked)[0]["orderId"])


async def test_an_exit_of_one_account_does_not_trap_that_of_another_with_the_same_id(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    """As of a strategy that was copied. With both under one prefix, the second one's CLOSE was a DUPLICATE."""
    for number in range(2):
        futures_client(paper, number).futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1")
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(account_of(store, paper, FIRST))
        executors = [await stack.enter_async_context(Executor(*first))]
        with pytest.raises(PrefixTaken):
            async with account_of(store, paper, SECOND) as mistaken, Executor(*mistaken):
                pytest.fail("its exit would be denied as a duplicate of the first account's")
        second = await stack.enter_async_context(account_of(store, paper, SECOND, "second"))
        executors.append(await stack.enter_async_context(Executor(*second)))
        close = Intent(id="close-1", symbol="BTCUSDT", side="CLOSE", timestamp=time.time_ns() // 1_000_000)
        for executor in executors:
            assert (await executor.execute(close)).state is Terminal.FILLED
        assert [await exchange.holdings() for _, exchange in (first, second)] == [(), ()]


async def test_the_code_itself_is_in_no_key_and_no_log(
    store: Store, redis_client: redis.Redis, paper: PaperExchange, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        kept = text(redis_client.get(KEPT))
        assert redis_client.ttl(KEPT) > 290
        with pytest.raises(PrefixTaken) as raised:
            async with account_of(store, paper, SECOND) as second, Executor(*second):
                pass
    assert kept == await first[1].account_digest() == first[1].known_account_digest()
    assert re.fullmatch("[0-9a-f]{24}", kept)
    assert kept != first[1].key_digest
    assert not re.search("account-[12]|k1|k2", f"{raised.value} {caplog.text}")


async def test_a_clean_stop_frees_the_prefix_for_another_account_soon(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        async with account_of(store, paper, FIRST) as other_worker, Executor(*other_worker):
            pass
        assert 60 < redis_client.ttl(KEPT) <= 70, "longer than the one that is at work takes to renew it"
        await standing.stand_for_account(*first)
        assert redis_client.ttl(KEPT) > 290
    redis_client.pexpire(KEPT, 0)
    async with account_of(store, paper, SECOND) as second, Executor(*second):
        assert text(redis_client.get(KEPT)) == second[1].known_account_digest()


async def test_one_that_is_refused_leaves_the_claims_of_others(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        before = {key: redis_client.get(key) for key in redis_client.keys("{gate}:[ap]*")}
        with pytest.raises(PrefixTaken):
            async with account_of(store, paper, SECOND) as second, Executor(*second):
                pass
        with pytest.raises(AccountTaken):
            async with account_of(store, paper, FIRST, "mistaken") as mistaken, Executor(*mistaken):
                pass
        assert {key: redis_client.get(key) for key in redis_client.keys("{gate}:[ap]*")} == before
        assert all(redis_client.ttl(key) > 290 for key in before)


async def test_another_key_of_the_account_goes_on_under_its_prefix(store: Store, redis_client: redis.Redis) -> None:
    """A key that was rotated: the exchange's code of the account stays."""
    with PaperExchange(accounts=[FIRST]) as paper:
        port = int(paper.url.rpartition(":")[2])
        async with account_of(store, paper, FIRST) as first, Executor(*first):
            kept = redis_client.get(KEPT)
    with PaperExchange(accounts=[Account("rotated", "s1", name="account-1")], port=port) as paper:
        async with account_of(store, paper, Account("rotated", "s1")) as rotated, Executor(*rotated):
            assert redis_client.get(KEPT) == kept
            assert rotated[1].key_digest != first[1].key_digest


async def test_the_same_code_at_another_exchange_is_another_account(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    with PaperExchange(accounts=[FIRST]) as another:
        async with account_of(store, paper, FIRST) as first, Executor(*first):
            with pytest.raises(PrefixTaken):
                async with account_of(store, another, FIRST) as elsewhere, Executor(*elsewhere):
                    pass


FAULTS = [
    Fault(kind=FaultKind.INTERNAL_503, method="GET", path=BALANCE, times=9),
    Fault(kind=FaultKind.EMPTY_200, method="GET", path=BALANCE, times=9),
    Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, method="GET", path=BALANCE, times=9),
    Fault(kind=FaultKind.DELAY, method="GET", path=BALANCE, times=9),  # until it is released: for ever
    Fault(kind=FaultKind.BANNED_418, method="GET", path=BALANCE, times=9),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
async def test_an_exchange_that_does_not_tell_keeps_no_executor_from_starting_or_closing(
    store: Store, redis_client: redis.Redis, paper: PaperExchange, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_READ_S", 0.2)
    futures_client(paper, 1).futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1")
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        paper.inject(fault)
        async with account_of(store, paper, SECOND) as second, Executor(*second) as executor:
            assert second[1].known_account_digest() is None
            if fault.kind is not FaultKind.BANNED_418:  # then the exchange takes nothing
                close = Intent(id="close-1", symbol="BTCUSDT", side="CLOSE", timestamp=time.time_ns() // 1_000_000)
                assert (await executor.execute(close)).state is Terminal.FILLED
        paper.release_held()


async def test_a_start_does_not_wait_for_an_exchange_that_never_answers(
    store: Store, redis_client: redis.Redis, paper: PaperExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_READ_S", 0.1)
    async with account_of(store, paper, FIRST) as first, asyncio.timeout(20):
        monkeypatch.setattr(first[1], "account_digest", asyncio.Event().wait)
        async with Executor(*first):
            assert not redis_client.exists(KEPT)
            assert redis_client.keys("{gate}:account:*") == [account_key(first[1].key_digest).encode()]


async def test_an_exchange_that_wants_silence_is_not_asked(
    store: Store, redis_client: redis.Redis, paper: PaperExchange, asked: list[str]
) -> None:
    async with account_of(store, paper, FIRST) as first:
        paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path=BALANCE, retry_after_s=60))
        assert await standing.account_told(first[1]) is None
        assert await standing.account_told(first[1]) is None
    assert asked.count(f"GET {BALANCE}") == 1


async def test_the_code_is_read_once(
    store: Store, redis_client: redis.Redis, paper: PaperExchange, asked: list[str]
) -> None:
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        await standing.stand_for_account(*first)
    assert asked.count(f"GET {BALANCE}") == 1


async def test_a_worker_without_the_right_starts(store: Store, redis_client: redis.Redis, paper: PaperExchange) -> None:
    rules = ["on", ">-", "~quantum:*", "~{gate}:account:*", "~{gate}:services", "+@all"]
    redis_client.execute_command("ACL", "SETUSER", "narrow", *rules)
    try:
        url = store.url.replace("//", "//narrow:-@")
        async with (
            account_of(store, paper, FIRST) as first,
            Executor(*first),
            account_of(store, paper, SECOND, url=url) as second,
            Executor(*second),
        ):
            assert redis_client.exists(account_key(second[1].key_digest)), "what it may do it does"
    finally:
        redis_client.execute_command("ACL", "DELUSER", "narrow")


@pytest.mark.parametrize(
    ("address", "at"),
    [
        (None, ""),
        ("https://fapi.binance.com", ""),
        ("https://fapi1.binance.com:443", ""),
        ("https://demo-fapi.binance.com", "demo"),
        ("https://fapi.binance.com.example", "fapi.binance.com.example:443"),
        ("https://proxy.example/binance", "proxy.example:443/binance"),
        ("https://proxy.example:443/binance", "proxy.example:443/binance"),
        ("http://localhost:8000", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "127.0.0.1:8000"),
        ("http://127.0.0.1:8001", "127.0.0.1:8001"),
    ],
)
def test_an_exchange_is_known_by_any_of_its_addresses(address: str | None, at: str) -> None:
    assert exchange_at(address, demo=False) == at
    assert exchange_at(None, demo=True) == "demo"


async def test_another_spelling_of_the_address_is_the_same_account(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    """A rolling restart may change it."""
    spelt = paper.url.replace("127.0.0.1", "localhost")
    async with (
        account_of(store, paper, FIRST) as first,
        Executor(*first),
        BinanceFutures(FIRST.key, FIRST.secret, base_url=spelt, streams=False) as again,
        Executor(first[0], again),
    ):
        assert again.known_account_digest() == first[1].known_account_digest() is not None
        assert again.key_digest == first[1].key_digest


async def test_a_start_that_is_cancelled_leaves_its_claims_soon(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    async with account_of(store, paper, FIRST) as first:
        paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path=BALANCE))
        starting = asyncio.create_task(Executor(*first).__aenter__())
        await asyncio.to_thread(paper.wait_held)
        key = account_key(first[1].key_digest)
        await until(lambda: redis_client.exists(key))
        starting.cancel()
        await asyncio.wait([starting])
        paper.release_held()
        assert starting.cancelled()
        assert 60 < redis_client.ttl(key) <= 70


async def test_one_that_is_refused_ends_no_claim_that_it_has_found(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    """A service that couldn't ask at its start which account it has is at work by the same key."""
    async with account_of(store, paper, FIRST) as first, Executor(*first), account_of(store, paper, SECOND) as second:
        key = account_key(second[1].key_digest)
        redis_client.set(key, "quantum", ex=200)
        with pytest.raises(PrefixTaken):
            await Executor(*second).__aenter__()
        assert redis_client.ttl(key) > 290


@pytest.fixture
async def noted(store: Store, redis_client: redis.Redis, paper: PaperExchange) -> str:
    """The key that has the account FIRST by the exchange's code of it, under the prefix quantum, by another API key."""
    async with account_of(store, paper, FIRST) as first:
        key = account_key(await first[1].account_digest() or "")
    redis_client.set(key, "quantum", ex=200)
    declare_whole(redis_client, "second")
    return key


@pytest.mark.usefixtures("soon")
async def test_another_prefix_of_the_account_by_another_key_is_logged_once_and_trades(
    store: Store, redis_client: redis.Redis, paper: PaperExchange, caplog: pytest.LogCaptureFixture, noted: str
) -> None:
    """Somebody may mean it, and has positions to close."""
    said = "ACCOUNT SHARED prefix=second other=quantum detail="
    async with account_of(store, paper, FIRST, "second") as second, Executor(*second) as executor:
        assert (await executor.execute(intent())).state is Terminal.FILLED
        for _ in range(3):
            await _another_round(redis_client)
        assert caplog.text.count(said) == 1
        redis_client.delete(noted)
        await until(lambda: redis_client.get(noted) == b"second")
        redis_client.set(noted, "quantum")
        await until(lambda: caplog.text.count(said) == 2)
    assert (redis_client.get(noted), redis_client.ttl(noted)) == (b"quantum", -1), "it leaves the other's"


async def _another_round(client: redis.Redis) -> None:
    """Waits until the service of the second prefix has claimed once more."""
    client.expire(prefix_key("second"), 100)
    await until(lambda: client.ttl(prefix_key("second")) > 290)


async def test_the_account_is_noted_by_its_code_and_left(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        key = account_key(first[1].known_account_digest() or "")
        assert (redis_client.get(key), redis_client.ttl(key) > 290) == (b"quantum", True)
    assert 60 < redis_client.ttl(key) <= 70


async def test_two_prefixes_that_start_at_once_on_one_key_refuse_one_of_them(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    declare_whole(redis_client, "second")
    async with account_of(store, paper, FIRST) as first, account_of(store, paper, FIRST, "second") as second:
        both = [Executor(*each) for each in (first, second)]
        came = await asyncio.gather(*(each.__aenter__() for each in both), return_exceptions=True)
        assert sorted(isinstance(each, AccountTaken) for each in came) == [False, True], came
        await asyncio.gather(*(each.__aexit__(None, None, None) for each in came if isinstance(each, Executor)))


async def test_the_prefix_is_kept_where_another_one_has_the_key(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        redis_client.set(account_key(first[1].key_digest), "another")
        redis_client.expire(KEPT, 5)
        with pytest.raises(AccountTaken):
            await standing._claim(*first)
        assert redis_client.ttl(KEPT) > 290


def test_a_store_that_does_not_answer_is_waited_for_once() -> None:
    traces, silence = Traces("quantum"), StoreUnavailable("no answer")
    claiming = traces.claim_account("key")
    next(claiming)
    with pytest.raises(StopIteration):
        claiming.throw(silence)
    assert list(traces.claim_prefix("account")) == []
    leaving = traces.leave_account("key", "account", at_once=False)
    next(leaving)
    with pytest.raises(StopIteration):
        leaving.throw(silence)
    assert list(traces.note_account("account")) == []
    again = traces.claim_account("key")
    next(again)
    with pytest.raises(StopIteration):
        again.send(None)
    assert "SET" in str(next(traces.claim_prefix("account"))), "it answers again"


def test_a_shared_account_is_logged_once_though_the_store_fails_between(caplog: pytest.LogCaptureFixture) -> None:
    traces = Traces("second")
    for reply in (b"quantum", StoreUnavailable("no answer"), b"quantum"):
        traces._silent = False
        noting = traces.note_account("code")
        next(noting)
        with suppress(StopIteration):
            noting.throw(reply) if isinstance(reply, Exception) else noting.send(reply)
    assert caplog.text.count("ACCOUNT SHARED") == 1


def test_a_store_that_answers_again_has_every_claim_left() -> None:
    traces = Traces("quantum")
    claiming = traces.claim_account("key")
    next(claiming)
    with pytest.raises(StopIteration):
        claiming.throw(StoreUnavailable("no answer"))
    leaving = traces.leave_account("key", "account", at_once=False)
    values = {account_key("key"): b"quantum", account_key("account"): b"quantum", KEPT: b"account"}
    expired, reply = [], None
    with suppress(StopIteration):
        while True:
            command = leaving.send(reply)
            assert isinstance(command, tuple)
            name, key = str(command[0]), str(command[1])
            expired += [key] if name == "EXPIRE" else []
            reply = values[key] if name == "GET" else None
    assert expired == [*values]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "TRACE_EVERY_S", 0.02)


@pytest.mark.usefixtures("soon")
async def test_what_the_exchange_does_not_tell_at_the_start_is_asked_again_and_logged(
    store: Store, redis_client: redis.Redis, paper: PaperExchange, caplog: pytest.LogCaptureFixture
) -> None:
    """What runs goes on: it may have positions to close. It keeps its claim on its key."""
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=BALANCE))
        async with account_of(store, paper, SECOND) as second, Executor(*second):
            await until(lambda: TAKEN in caplog.text)
            key = account_key(second[1].key_digest)
            redis_client.expire(key, 5)
            await until(lambda: redis_client.ttl(key) > 290)
            assert text(redis_client.get(KEPT)) == first[1].known_account_digest()
    assert "no trace left" not in caplog.text, "it is no bug"


@pytest.mark.usefixtures("soon")
async def test_it_is_renewed_while_the_executor_runs(
    store: Store, redis_client: redis.Redis, paper: PaperExchange
) -> None:
    async with account_of(store, paper, FIRST) as first, Executor(*first):
        redis_client.expire(KEPT, 5)
        await until(lambda: redis_client.ttl(KEPT) > 290)
