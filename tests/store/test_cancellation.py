"""A cancelled asyncio call leaves no reply for the next caller, and no permit without an owner."""

from __future__ import annotations

import asyncio
import gc

import pytest
import redis
import redis.asyncio

from gate import AsyncGate, Outcome, Policy, Reason, Settled
from tests.client import account as at
from tests.servers.store import Store
from tests.servers.wire import Wire

ROOMY = Policy(rate_symbol_limit=10_000, rate_global_limit=10_000, max_in_flight=10_000)
# Long enough for an answer on a loaded machine, and short: the next caller waits behind a reply that never comes.
BRIEF_MS = 800


async def test_a_cancelled_call_leaves_no_reply_for_the_next_caller(redis_client: redis.Redis, wire: Wire) -> None:
    async with AsyncGate.from_url(wire.url, policy=ROOMY, timeout_ms=BRIEF_MS) as gate:
        assert await gate.evaluate(at.entry("warm", "ETHUSDT"))
        lost = wire.withhold_next_reply("EVALSHA")
        cancelled = asyncio.create_task(gate.evaluate(at.entry()))
        await asyncio.to_thread(lost.wait)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        other = at.admitted(await gate.evaluate(at.entry("sig-2", "SOLUSDT")))
        assert (other.intent_id, other.symbol) == ("sig-2", "SOLUSDT")
        assert redis_client.get("quantum:exec:lock:SOLUSDT:BUY") == other.token.encode()


async def test_the_permit_of_a_cancelled_call_is_had_by_the_next_delivery(
    redis_client: redis.Redis, wire: Wire
) -> None:
    async with AsyncGate.from_url(wire.url, policy=ROOMY, timeout_ms=BRIEF_MS) as gate:
        assert await gate.evaluate(at.entry("warm", "ETHUSDT"))
        lost = wire.withhold_next_reply("EVALSHA")
        cancelled = asyncio.create_task(gate.evaluate(at.entry()))
        await asyncio.to_thread(lost.wait)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        permit = at.admitted(await gate.evaluate(at.entry()))
        assert permit.fence == 2
        assert redis_client.get(at.LOCK) == permit.token.encode()
        assert (await gate.evaluate(at.entry())).reason is Reason.DUPLICATE


async def test_calls_cancelled_at_any_moment_mix_up_no_replies(redis_client: redis.Redis, store: Store) -> None:
    async with AsyncGate.from_url(store.url, policy=ROOMY, timeout_ms=5_000) as gate:
        admitted = 0
        for number in range(60):
            intents = [at.entry(f"sig-{number}-{symbol}", symbol) for symbol in at.SYMBOLS]
            calls = [asyncio.create_task(gate.evaluate(intent)) for intent in intents]
            for _ in range(number % 12):
                await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            for intent, answer in zip(intents, answers, strict=True):
                if isinstance(answer, asyncio.CancelledError):
                    answer = await gate.evaluate(intent)
                assert not isinstance(answer, BaseException)
                permit = at.admitted(answer)
                assert (permit.intent_id, permit.symbol) == (intent.id, intent.symbol)
                settlement = await gate.settle(permit, Outcome.placed(number))
                assert settlement.status is Settled.SETTLED
                admitted += 1
        assert admitted == 600
        # What a cancelled call was given is had by the next delivery, or was given back with its slot.
        assert redis_client.llen("quantum:exec:rate:global") == 600
        assert redis_client.zcard(at.INFLIGHT) == 0


async def test_many_callers_share_one_gate(redis_client: redis.Redis, store: Store) -> None:
    async with AsyncGate.from_url(store.url, policy=ROOMY, timeout_ms=5_000) as gate:
        verdicts = await asyncio.gather(*(gate.evaluate(at.entry(f"sig-{n}", f"S{n}USDT")) for n in range(300)))
        fences = sorted(at.admitted(verdict).fence for verdict in verdicts)
        assert fences == list(range(1, 301))
        same = await asyncio.gather(*(gate.evaluate(at.entry("one", "ONEUSDT")) for _ in range(50)))
        assert sum(verdict.admitted for verdict in same) == 1
        assert {verdict.reason for verdict in same if not verdict} == {Reason.DUPLICATE}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody can close what belongs to a loop that is closed
def test_one_gate_outlives_its_event_loop(redis_client: redis.Redis, store: Store) -> None:
    gate = AsyncGate.from_url(store.url, policy=ROOMY, timeout_ms=5_000)

    for number in 1, 2:
        verdict = asyncio.run(gate.evaluate(at.entry(f"sig-{number}", f"S{number}USDT")))
        assert at.admitted(verdict).fence == number
    del gate
    gc.collect()


@pytest.mark.parametrize("failing", [False, True], ids=["cancelled in the block", "raised in the block"])
async def test_a_block_left_early_is_settled_as_unknown(failing: bool, redis_client: redis.Redis, store: Store) -> None:
    async with AsyncGate.from_url(store.url, policy=ROOMY, timeout_ms=5_000) as gate:
        entered = asyncio.Event()

        async def hold() -> None:
            async with gate.guard(at.entry()) as permit:
                assert permit
                entered.set()
                if failing:
                    raise RuntimeError("the exchange client broke")
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        await entered.wait()
        if not failing:
            task.cancel()
        with pytest.raises(RuntimeError if failing else asyncio.CancelledError):
            await task
        record = await gate.lookup("sig-1")
        assert record is not None
        assert record.phase == "unknown"
        assert record.note.endswith("RuntimeError" if failing else "CancelledError")
