"""A halt of all stops an exit, also where the store can't judge it and only tells of the halt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gate import AsyncGate, Permit
from gate.client.caller import Caller
from gate.executor.execution import Terminal
from tests.executor.conftest import OpenWorker, an_exit
from tests.servers.store import PrivateStore


@pytest.mark.parametrize("how", ["refused", "paused"])
@pytest.mark.parametrize("scope", ["all", "entries", "by hand"])
async def test_a_store_that_takes_no_writes_still_tells_of_a_halt(
    scope: str, how: str, private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    worker = await open_worker()
    with private_store.client() as client:
        client.hset("quantum:safety:halt", mapping={"scope": scope, "by": "ops", "reason": "CPI print"})
        if how == "refused":
            client.config_set("min-replicas-to-write", 1)
        else:
            client.client_pause(60_000, all=False)

    execution = await worker.executor.execute(an_exit(worker))

    assert execution.reason == ("HALTED" if scope == "all" else "FILLED")


async def test_a_store_that_takes_no_writes_tells_each_of_many_exits_of_a_halt(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    """They share a connection, on which the verdict of the first is awaited."""
    worker = await open_worker()
    await worker.gate.halt(by="ops", reason="CPI print", scope="all")
    with private_store.client() as client:
        client.client_pause(60_000, all=False)

    exits = [an_exit(worker, id=f"out-{number}") for number in range(4)]
    executions = await asyncio.gather(*map(worker.executor.execute, exits))

    assert [each.reason for each in executions] == ["HALTED"] * 4


async def test_a_store_that_is_back_once_the_exchange_has_been_asked_tells_of_a_halt(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    worker = await open_worker()
    await worker.gate.halt(by="ops", reason="CPI print", scope="all")
    private_store.pause()
    find = worker.exchange.find_order

    async def slowly(*words: Any, **more: Any) -> Any:
        if not more["conditional"]:  # of two that are asked at once
            private_store.resume()
            async with asyncio.timeout(20):
                while await worker.gate.halt_in_force() is None:
                    pass
        return await find(*words, **more)

    worker.exchange.find_order = slowly  # type: ignore[method-assign]
    intent = an_exit(worker)

    execution = await worker.executor.execute(intent)

    assert (execution.reason, worker.orders(intent)) == ("HALTED", [])


async def _halted_by_a_person(store: PrivateStore) -> None:
    async with AsyncGate.from_url(store.url) as another:
        await another.halt(by="ops", reason="CPI print", scope="all")


async def test_a_halt_since_the_admission_stops_an_exit_whose_last_look_came_too_late(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    """The store answers again by the time at which the exchange has been asked."""
    worker = await open_worker()
    filters, find = worker.exchange.filters, worker.exchange.find_order

    async def then_halt(symbol: str, **more: Any) -> Any:
        found = await filters(symbol, **more)
        await _halted_by_a_person(private_store)
        private_store.pause()
        return found

    async def then_resume(*words: Any, **more: Any) -> Any:
        if not more["conditional"]:  # of two that are asked at once
            private_store.resume()
        return await find(*words, **more)

    worker.exchange.filters = then_halt  # type: ignore[method-assign]  # the moment before the last look
    worker.exchange.find_order = then_resume  # type: ignore[method-assign]
    intent = an_exit(worker)

    execution = await worker.executor.execute(intent)

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "HALTED")
    assert worker.orders(intent) == []


async def test_a_halt_stops_an_exit_whose_verdict_is_read_after_its_permit_has_run_out(
    private_store: PrivateStore, open_worker: OpenWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process stood still meanwhile. The store was up all the time."""
    worker = await open_worker()
    intent = an_exit(worker)
    await _halted_by_a_person(private_store)
    with private_store.client() as client:
        client.delete("quantum:safety:halt")
    monkeypatch.setattr(Permit, "live", property(lambda _: False))
    saw = Caller.saw

    def then_halted(caller: Caller, fence: int, line: str) -> None:
        saw(caller, fence, line)
        with private_store.client() as client:
            client.hset("quantum:safety:halt", mapping={"scope": "all", "by": "ops", "reason": "CPI print", "at": "1"})

    monkeypatch.setattr(Caller, "saw", then_halted)

    execution = await worker.executor.execute(intent)

    assert (execution.reason, worker.orders(intent)) == ("HALTED", [])


async def test_a_halt_that_is_damaged_after_the_admission_stops_an_exit_as_one_before_it(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    worker = await open_worker()
    filters = worker.exchange.filters

    async def then_damage(symbol: str, **more: Any) -> Any:
        with private_store.client() as client:
            client.set("quantum:safety:halt", "all")
        return await filters(symbol, **more)

    worker.exchange.filters = then_damage  # type: ignore[method-assign]  # the moment before the last look
    intent = an_exit(worker)

    execution = await worker.executor.execute(intent)

    assert (execution.reason, worker.orders(intent)) == ("HALTED", [])
