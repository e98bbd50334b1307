"""`with gate.guard(intent)`: one block has one permit, and always an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis

from gate import AsyncGate, Gate, Outcome, Penalty, Permit, Phase, Policy, Reason, Settled, Settlement
from tests.client import account as at
from tests.servers.store import Store

PATIENT_MS = 5_000


@pytest.fixture
def gate(store: Store, redis_client: redis.Redis) -> Iterator[Gate]:
    with Gate.from_url(store.url, timeout_ms=PATIENT_MS) as gate:
        yield gate


def phase(gate: Gate) -> Phase | None:
    record = gate.lookup("sig-1")
    return record.phase if record else None


def test_a_block_that_reports_is_settled_as_it_said(gate: Gate, redis_client: redis.Redis) -> None:
    with gate.guard(at.entry()) as permit:
        assert permit
        assert permit.client_order_id == permit.permit.client_order_id
        assert permit.verdict.reason is Reason.ADMITTED
        assert redis_client.get(at.LOCK) == permit.permit.token.encode()
        assert permit.placed(8_389_765).status is Settled.SETTLED
    record = gate.lookup("sig-1")
    assert record is not None
    assert (record.phase, record.order_id) == (Phase.PLACED, "8389765")
    assert redis_client.exists(at.LOCK, at.COOLDOWN_SYMBOL) == 0


def test_a_denied_block_runs_with_a_permit_that_is_false(gate: Gate, redis_client: redis.Redis) -> None:
    redis_client.set(at.SAFE_MODE, "1")
    ran = False
    with gate.guard(at.entry()) as permit:
        ran = True
        assert not permit
        assert permit.verdict.reason is Reason.SAFE_MODE
        with pytest.raises(LookupError, match="SAFE_MODE"):
            _ = permit.client_order_id
        with pytest.raises(LookupError):
            permit.placed(1)
    assert ran
    assert phase(gate) is None
    assert at.keys(redis_client) == {at.SAFE_MODE, at.STATE}


def test_a_block_that_has_said_there_is_no_order_may_send_no_more(gate: Gate) -> None:
    """The intent has come again by then, and another worker has sent it."""
    with gate.guard(at.entry()) as permit:
        permit.unsent("LATE_SIGNAL")
        assert gate.evaluate(at.entry())
        assert (bool(permit), permit.reason) == (False, "SETTLED")


def _given_up(gate: Gate) -> None:
    with gate.guard(at.entry()) as permit:
        permit.unsent("LATE_SIGNAL")


def test_a_report_that_is_interrupted_after_the_store_has_it_is_said_again_as_it_was(
    gate: Gate, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As unknown, without a record by then, it would be taken for a loss of memory: entries of all would wait."""
    settle = gate.settle

    def interrupted(permit: Permit, outcome: Outcome) -> Settlement:
        monkeypatch.undo()
        settle(permit, outcome)
        raise KeyboardInterrupt

    monkeypatch.setattr(gate, "settle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _given_up(gate)

    assert phase(gate) is None
    assert at.audit(redis_client) == []
    assert gate.evaluate(at.entry()), "it may come again"


async def test_async_a_report_that_is_cancelled_after_the_store_has_it_is_said_again_as_it_was(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncGate.from_url(store.url, timeout_ms=PATIENT_MS) as gate:
        settle, told = gate.settle, asyncio.Event()

        async def hangs(permit: Permit, outcome: Outcome) -> Settlement:
            monkeypatch.undo()
            await settle(permit, outcome)
            told.set()
            await asyncio.Event().wait()
            raise AssertionError

        async def block() -> None:
            async with gate.guard(at.entry()) as permit:
                await permit.unsent("LATE_SIGNAL")

        monkeypatch.setattr(gate, "settle", hangs)
        cancelled = asyncio.create_task(block())
        await told.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled

        assert await gate.lookup("sig-1") is None
        assert at.audit(redis_client) == []
        assert await gate.evaluate(at.entry())


def test_a_block_whose_order_is_placed_may_go_on_with_its_stop(gate: Gate) -> None:
    with gate.guard(at.entry()) as permit:
        permit.placed(1)
        assert permit


def test_a_block_that_leaves_without_a_word_is_in_doubt(gate: Gate, redis_client: redis.Redis) -> None:
    with gate.guard(at.entry()) as permit:
        assert permit
    assert phase(gate) is Phase.UNKNOWN
    assert redis_client.exists(at.LOCK) == 1
    assert 0 < redis_client.pttl(at.COOLDOWN_SYMBOL) <= Policy().unknown_cooldown_ms
    assert redis_client.zcard(at.INFLIGHT) == 1


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_block_left_by_an_exception_is_in_doubt_and_the_exception_goes_on(error: BaseException, gate: Gate) -> None:
    with pytest.raises(type(error)) as caught, gate.guard(at.entry()):
        raise error
    assert caught.value is error
    record = gate.lookup("sig-1")
    assert record is not None
    assert record.phase is Phase.UNKNOWN
    assert record.note == f"UNKNOWN left by {type(error).__name__}"


def test_what_was_said_before_the_exception_stands(gate: Gate) -> None:
    def trade() -> None:
        with gate.guard(at.entry()) as permit:
            permit.placed(1)
            raise RuntimeError("afterwards")

    with pytest.raises(RuntimeError):
        trade()
    assert phase(gate) is Phase.PLACED


def test_every_outcome_can_be_said_in_a_block(gate: Gate, redis_client: redis.Redis) -> None:
    with gate.guard(at.entry()) as permit:
        settlement = permit.rejected(-2019, "Margin is insufficient.", penalty=Penalty(count_failure=True))
        assert settlement.status is Settled.SETTLED
    assert phase(gate) is Phase.REJECTED
    assert redis_client.llen(at.FAILURES) == 1
    redis_client.delete(at.RECORD, at.RATE_SYMBOL)
    slots = redis_client.llen(at.RATE_GLOBAL)
    with gate.guard(at.entry()) as permit:
        assert permit.unsent("FILTERS", "quantity below the minimum")
    assert phase(gate) is None
    assert redis_client.llen(at.RATE_GLOBAL) == slots


async def test_the_same_with_asyncio(store: Store, redis_client: redis.Redis) -> None:
    async with AsyncGate.from_url(store.url, timeout_ms=PATIENT_MS) as gate:
        async with gate.guard(at.entry()) as permit:
            assert permit
            assert (await permit.placed(1)).status is Settled.SETTLED
        async with gate.guard(at.entry()) as permit:
            assert not permit
            assert permit.verdict.reason is Reason.DUPLICATE
            with pytest.raises(LookupError):
                await permit.placed(1)
        async with gate.guard(at.entry("sig-2", "ETHUSDT")) as permit:
            assert await permit.settle(Outcome.rejected(-1, retryable=True))
        assert await gate.lookup("sig-2") is None
        async with gate.guard(at.entry("sig-3", "SOLUSDT")) as permit:
            assert permit
        record = await gate.lookup("sig-3")
        assert record is not None
        assert record.phase is Phase.UNKNOWN
