"""All callers of an AsyncGate share one connection. None of them hears another's reply, or waits for another's."""

from __future__ import annotations

import asyncio
import time
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]  # its stub hides it
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import redis

from gate import AsyncGate, Policy, StoreFailure, StoreUnavailable
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Pipeline
from gate.store import link
from gate.store.connect import connect_async
from gate.store.failures import ReplyLost
from gate.store.wire import AsyncWire
from tests.client import account as at
from tests.servers.authority import Authority
from tests.servers.hostile import HostileStore, bulk
from tests.servers.session import declare_whole
from tests.servers.store import PrivateStore, Store
from tests.servers.tls import tls_front
from tests.servers.wire import Wire

BRIEF_MS = 800
PATIENT_MS = 5_000
CALLERS = 64
LOOPS: Final = [loop for loop in ("asyncio", "uvloop") if find_spec(loop)]
"""uvloop comes with a client of the test group `clients`, which the lowest versions are tested without."""
ROOMY = Policy(rate_symbol_limit=10_000, rate_global_limit=10_000, max_in_flight=10_000)


def to(url: str, timeout_ms: int = PATIENT_MS) -> AsyncWire:
    return connect_async(url, Keyspace("quantum"), timeout_ms)[0]


async def echo(wire: AsyncWire, word: str) -> bytes:
    reply: bytes = await wire.round_trip(("ECHO", word))
    return reply


def connections(client: redis.Redis) -> int:
    return int(client.info("stats")["total_connections_received"])


async def test_sixty_four_callers_share_one_connection(private_store: PrivateStore) -> None:
    with private_store.client() as client:
        declare_whole(client)
        before = connections(client)
        async with AsyncGate.from_url(private_store.url, policy=ROOMY, timeout_ms=PATIENT_MS) as gate:
            verdicts = await asyncio.gather(*(gate.evaluate(at.entry(f"sig-{n}", f"S{n}USDT")) for n in range(CALLERS)))
        assert {at.admitted(each).intent_id for each in verdicts} == {f"sig-{n}" for n in range(CALLERS)}
        assert all(each.permit and each.permit.symbol == f"S{n}USDT" for n, each in enumerate(verdicts))
        assert connections(client) - before == 1


async def test_of_many_calls_in_one_turn_a_server_at_rest_gets_the_first_ones_at_once(
    private_store: PrivateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has an answer ready before the sixteenth is made; and once it is busy, no further system call is needed."""
    together: list[int] = []
    send = _SelectorSocketTransport.write

    def count(transport: object, packed: bytes) -> None:
        together.append(packed.count(b"ECHO"))
        send(transport, packed)

    wire = to(private_store.url)
    await echo(wire, "warm")
    monkeypatch.setattr(_SelectorSocketTransport, "write", count)
    for _ in range(2):
        together.clear()
        words = [str(number) for number in range(CALLERS)]
        assert await asyncio.gather(*(echo(wire, word) for word in words)) == [word.encode() for word in words]
        assert together == [1, 2, 4, 8, 16, 16, 16, 1]
    await wire.close()


async def test_the_reply_to_a_cancelled_call_is_dropped_in_its_place(private_store: PrivateStore) -> None:
    wire = to(private_store.url)
    with private_store.client() as client:
        await echo(wire, "warm")
        before = connections(client)
        private_store.pause()
        calls = [asyncio.create_task(echo(wire, f"call-{n}")) for n in range(10)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        private_store.resume()
        assert await asyncio.gather(*calls[1::2]) == [b"call-%d" % n for n in range(1, 10, 2)]
        assert await echo(wire, "next") == b"next"
        assert connections(client) == before
    await wire.close()


async def test_a_call_in_time_outlives_a_late_one_on_its_connection(private_store: PrivateStore) -> None:
    wire = to(private_store.url, BRIEF_MS)
    await echo(wire, "warm")
    with private_store.client() as client:
        before = connections(client)
    private_store.pause()
    early = asyncio.create_task(echo(wire, "early"))
    await asyncio.wait({early}, timeout=BRIEF_MS / 2000)
    late = asyncio.create_task(echo(wire, "late"))
    with pytest.raises(ReplyLost, match=f"no answer in {BRIEF_MS} ms"):
        await early
    assert not late.done(), "its own time isn't over"
    other = asyncio.create_task(echo(wire, "other"))
    private_store.resume()
    assert (await late, await other) == (b"late", b"other")
    with private_store.client() as client:
        assert connections(client) - before == 2, "nobody else waits behind the late one; and this client's"
    await wire.close()


async def test_after_a_late_reply_the_next_caller_gets_another_connection(store: Store, wire: Wire) -> None:
    carries = to(wire.url, BRIEF_MS)
    await echo(carries, "warm")
    wire.withhold_next_reply("ECHO")
    with pytest.raises(ReplyLost):
        await echo(carries, "lost")
    assert await echo(carries, "next") == b"next"
    await carries.close()


@pytest.mark.parametrize("lose", ["lose_next_reply", "withhold_next_reply"])
async def test_a_connection_lost_under_many_callers_costs_none_its_one_admission(
    lose: str, redis_client: redis.Redis, wire: Wire
) -> None:
    async with AsyncGate.from_url(wire.url, policy=ROOMY, timeout_ms=BRIEF_MS) as gate:
        assert await gate.evaluate(at.entry("warm", "ETHUSDT"))
        getattr(wire, lose)("EVALSHA")
        verdicts = await asyncio.gather(*(gate.evaluate(at.entry(f"sig-{n}", f"S{n}USDT")) for n in range(20)))
        assert [at.admitted(each).intent_id for each in verdicts] == [f"sig-{n}" for n in range(20)]
        assert redis_client.hget(at.STATE, "fence") == b"21"
        assert redis_client.zcard(at.INFLIGHT) == 21


async def test_a_command_that_blocks_holds_up_nobody(store: Store) -> None:
    wire = to(store.url, BRIEF_MS)
    blocking = Pipeline((("ECHO", "a"), ("BLPOP", "nothing", "0.9")), allow_ms=PATIENT_MS)
    blocked = asyncio.create_task(wire.round_trip(blocking))
    await echo(wire, "warm")
    assert await echo(wire, "beside it") == b"beside it"
    assert not blocked.done()
    assert await blocked == [b"a", None]
    await wire.close()


async def test_a_caller_that_is_cancelled_while_connecting_takes_nobody_along(private_store: PrivateStore) -> None:
    wire = to(private_store.url)
    private_store.pause()
    first, *others = [asyncio.create_task(echo(wire, f"call-{n}")) for n in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    private_store.resume()
    assert await asyncio.gather(*others) == [b"call-%d" % n for n in range(1, 5)]
    await wire.close()


async def _again(wire: AsyncWire) -> bytes:
    """As a dialogue does: once more, where the first call may have been lost."""
    try:
        return await echo(wire, "next")
    except ReplyLost:
        return await echo(wire, "next")


async def test_a_failure_to_connect_is_each_caller_s_own(private_store: PrivateStore) -> None:
    """Each notes on it what it knows: a shared one would mix that up."""
    wire = to(private_store.url)
    private_store.stop()
    failures = await asyncio.gather(*(echo(wire, "x") for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in failures] == [StoreUnavailable] * 3
    assert len({id(each) for each in failures}) == 3


async def test_what_waits_for_a_server_that_does_not_read_has_a_bound(
    private_store: PrivateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_MOST_UNSENT", 8_000_000)
    wire = to(private_store.url)
    await echo(wire, "warm")
    private_store.pause()
    word = "x" * 1_000_000
    calls = [asyncio.create_task(echo(wire, word)) for _ in range(40)]
    await asyncio.wait(calls, timeout=0)
    refused = [call for call in calls if call.done()]
    assert refused
    for call in refused:
        with pytest.raises(StoreUnavailable, match="reads nothing") as raised:
            call.result()
        assert not isinstance(raised.value, ReplyLost), "nothing was sent"
    private_store.resume()
    assert set(await asyncio.gather(*(call for call in calls if call not in refused))) == {word.encode()}
    assert await echo(wire, "next") == b"next"
    await wire.close()


async def test_an_answer_that_nobody_has_asked_for_is_nobody_s() -> None:
    with HostileStore({"ECHO": bulk("answer") + bulk("another")}) as store:
        wire = to(store.url, BRIEF_MS)
        assert await echo(wire, "one") == b"answer"
        store.answers["ECHO"] = bulk("the next one's")
        assert await echo(wire, "two") == b"the next one's"
        assert store.asked == ["identify", "ECHO", "identify", "ECHO"], "its connection is out of step"
        await wire.close()


@pytest.mark.parametrize("refusal", [b"-LOADING it reads its file\r\n", b"-NOAUTH Authentication required.\r\n"])
async def test_after_a_refusal_that_may_pass_the_next_caller_gets_another_connection(refusal: bytes) -> None:
    with HostileStore({"ECHO": refusal}) as store:
        wire = to(store.url)
        for _ in range(2):
            with pytest.raises(StoreFailure):
                await echo(wire, "refused")
        assert store.asked == ["identify", "ECHO"] * 2
        await wire.close()


async def test_a_store_that_was_away_is_found_again_by_a_loop_that_starts_tasks_at_once(
    private_store: PrivateStore,
) -> None:
    """As Python 3.12's eager tasks: connecting may have failed before whoever begins it notes that it is under way. So
    no factory makes this task."""

    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> Any:
        made.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **named)

    wire = to(private_store.url)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        assert await echo(wire, "word") == b"word"
        await wire.close()
    finally:
        loop.set_task_factory(None)
    assert [each for each in made if "Wire" in each] == []


async def connecting(store: HostileStore) -> tuple[Any, asyncio.Task[bytes]]:
    """A wire while it connects, and who has called by it."""
    wire = to(store.url)
    calling = asyncio.create_task(echo(wire, "word"))
    while not store.asked:  # noqa: ASYNC110  # it connects beside everything else
        await asyncio.sleep(0.005)
    return wire, calling


async def test_whoever_closes_it_while_it_connects_and_is_cancelled_leaves_no_connection_open() -> None:
    with HostileStore({"identify": b""}) as store:  # it says nothing
        wire, calling = await connecting(store)
        closing = asyncio.create_task(wire.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([calling, closing])
        assert wire._link is wire._connecting is None
        assert str(calling.exception()) == "the connection was closed while it was made"


async def test_who_closes_it_too_hears_nothing_of_another_one_s_cancellation() -> None:
    with HostileStore({"identify": b""}) as store:  # it says nothing
        wire, calling = await connecting(store)
        first, second = asyncio.create_task(wire.close()), asyncio.create_task(wire.close())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([calling, first, second])
        assert (first.cancelled(), second.cancelled(), second.exception()) == (True, False, None)


def test_a_loop_that_was_left_while_it_connected_takes_nothing_from_the_next_one(private_store: PrivateStore) -> None:
    wire = to(private_store.url)
    with asyncio.Runner() as first, asyncio.Runner() as second:

        async def begin() -> None:
            calling = asyncio.create_task(echo(wire, "word"))
            for _ in range(3):  # it connects by now
                await asyncio.sleep(0)
            calling.cancel()

        first.run(begin())
        second.run(begin())
        first.run(asyncio.sleep(0.2))
        assert wire._connecting is not None, "the second one's"  # type: ignore[attr-defined]
        assert second.run(echo(wire, "second")) == b"second"
        first.run(asyncio.sleep(0.2))
        assert second.run(asyncio.wait_for(echo(wire, "again"), 5)) == b"again"
        second.run(wire.close())


def test_loops_that_take_turns_leave_no_connection_open(private_store: PrivateStore) -> None:
    with private_store.client() as client, ExitStack() as stack:
        loops = [stack.enter_context(asyncio.Runner()) for _ in range(2)]
        wire = to(private_store.url)
        open_before = len(client.client_list())
        for _ in range(5):
            for each in loops:
                assert each.run(echo(wire, "word")) == b"word"
        for each in loops:
            each.run(asyncio.sleep(0))  # it closes what the other one has taken from it
            each.run(wire.close())
            each.run(asyncio.sleep(0))
        at_last = PATIENT_MS / 1000 + time.monotonic()
        while len(client.client_list()) > open_before and time.monotonic() < at_last:
            pass
        assert len(client.client_list()) == open_before


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("kind", LOOPS)
def test_it_is_shared_on_each_kind_of_loop_and_socket(
    kind: str, tls: bool, private_store: PrivateStore, tmp_path: Path
) -> None:
    """uvloop and TLS have transports of their own, which hand over what they read in other ways."""
    loops = import_module(kind).new_event_loop
    words = [f"{number} " * 10 ** (number % 6) for number in range(24)]

    problems: list[object] = []

    async def ask(url: str) -> list[bytes]:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
        wire = to(url)
        replies = await asyncio.gather(*(echo(wire, word) for word in words))
        private_store.stop()
        with pytest.raises(StoreUnavailable):
            await _again(wire)
        await wire.close()
        return replies

    with ExitStack() as stack:
        url = private_store.url
        if tls:
            authority = Authority(tmp_path)
            port = stack.enter_context(tls_front(urlsplit(url).port or 0, authority.server("127.0.0.1")))
            url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.ca}"
        runner = stack.enter_context(asyncio.Runner(loop_factory=loops))
        assert runner.run(ask(url)) == [word.encode() for word in words]
    assert not problems
