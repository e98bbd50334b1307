"""An exit whose store was lost after its admission, or whose caller was: it goes, or comes again, and is one order."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import Any

import pytest

from gate import Intent, Permit, Phase, Verdict
from gate.exchange.port import LEAST_TO_SEND_MS, OrderAnswer, OrderRequest, Validity
from gate.executor import Executor
from gate.executor.execution import Execution, Terminal
from gate.executor.reconcile import reconcile
from gate.paper import Fault, FaultKind, PaperExchange
from tests.client.account import STATE, server_ms
from tests.executor.conftest import LOOK_UPS, Desk, OpenWorker, an_exit, recorded
from tests.servers.store import PrivateStore

ORDER = "/fapi/v1/order"


async def test_before_it_is_recorded_this_process_knows_better_than_the_store(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    worker = await open_worker()
    intent = an_exit(worker)
    placed = await _sent_and_died(worker, private_store, intent)

    again = await worker.executor.execute(intent)

    assert (again.state, again.reason, again.order_id) == (Terminal.DENIED, "DUPLICATE", placed.order_id)


async def test_a_delivery_that_was_denied_beside_the_permits_own_holds_nothing_up(
    private_store: PrivateStore, open_worker: OpenWorker, paper: PaperExchange
) -> None:
    worker = await open_worker()
    intent, filters = an_exit(worker), worker.exchange.filters

    async def then_deliver_again(symbol: str, **more: Any) -> Any:
        worker.exchange.filters = filters  # type: ignore[method-assign]
        assert (await worker.executor.execute(intent)).reason == "DUPLICATE"
        return await filters(symbol, **more)

    worker.exchange.filters = then_deliver_again  # type: ignore[method-assign]
    paper.inject(Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, code=-1001, times=1))
    assert (await worker.executor.execute(intent)).retryable
    private_store.stop()

    again = await worker.executor.execute(intent)

    assert (again.state, again.without_store) == (Terminal.FILLED, True)


def _loses_the_store_after_the_admission(worker: Desk, store: PrivateStore) -> None:
    """Of the next intent, in the moment before its last look."""
    filters = worker.exchange.filters

    async def then_lose_the_store(symbol: str, **more: Any) -> Any:
        worker.exchange.filters = filters  # type: ignore[method-assign]
        found = await filters(symbol, **more)
        store.pause()
        return found

    worker.exchange.filters = then_lose_the_store  # type: ignore[method-assign]


@pytest.mark.parametrize("refusal", [-1008, None], ids=["overloaded", "no look-up"])
async def test_an_exit_that_was_not_sent_comes_again_though_its_store_was_lost_after_the_admission(
    refusal: int | None, private_store: PrivateStore, open_worker: OpenWorker, paper: PaperExchange
) -> None:
    worker = await open_worker()
    _loses_the_store_after_the_admission(worker, private_store)
    if refusal:
        paper.inject(Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, code=refusal, times=1000))
    else:
        for path in LOOK_UPS:
            paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=path, times=1000))
    intent = an_exit(worker)

    refused = await worker.executor.execute(intent)
    assert (refused.retryable, worker.orders(intent)) == (True, [])

    paper.clear_faults()
    private_store.resume()
    await worker.gate.give_back()
    assert (await worker.executor.execute(intent)).state is Terminal.FILLED


@pytest.mark.parametrize("with_store", [True, False])
async def test_an_exit_that_is_cancelled_before_it_was_sent_comes_again(
    with_store: bool, private_store: PrivateStore, open_worker: OpenWorker, paper: PaperExchange
) -> None:
    """As by a time-out of the caller's, while the exchange is slow to answer a look-up."""
    worker = await open_worker()
    intent = an_exit(worker)
    if with_store:
        with private_store.client() as client:
            client.hset(STATE, "since", server_ms(client))  # permits say verify
    else:
        private_store.pause()
    paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/order"))
    broken_off = asyncio.create_task(worker.executor.execute(intent))
    await asyncio.to_thread(paper.wait_held)
    broken_off.cancel()
    with pytest.raises(asyncio.CancelledError):
        await broken_off
    paper.release_held()
    paper.clear_faults()
    if not with_store:
        private_store.resume()

    assert (await worker.executor.execute(intent)).state is Terminal.FILLED
    assert len(worker.orders(intent)) == 1


async def test_an_exit_that_is_cancelled_while_the_store_is_asked_is_not_sent(
    private_store: PrivateStore, open_worker: OpenWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that has given up doesn't expect an order any more."""
    worker = await open_worker()
    intent, asking, go_on = an_exit(worker), asyncio.Event(), asyncio.Event()
    private_store.pause()
    evaluate = worker.gate.evaluate

    async def slowly(*words: Any, **more: Any) -> Verdict:
        asking.set()
        await go_on.wait()
        return await evaluate(*words, **more)

    with monkeypatch.context() as patched:
        patched.setattr(worker.gate, "evaluate", slowly)
        broken_off = asyncio.create_task(worker.executor.execute(intent))
        await asking.wait()
        broken_off.cancel()
        await asyncio.sleep(0)  # until the pass knows of it
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await broken_off

    assert worker.orders(intent) == []
    assert (await worker.executor.execute(intent)).state is Terminal.FILLED, "it may come again"


async def test_a_store_that_is_lost_after_the_admission_stops_no_exit(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    worker = await open_worker()
    _loses_the_store_after_the_admission(worker, private_store)
    intent = an_exit(worker)

    execution = await worker.executor.execute(intent)

    assert (execution.state, execution.without_store) == (Terminal.FILLED, True)
    private_store.resume()
    record = await recorded(worker, intent)
    assert (record.phase, record.order_id) == (Phase.PLACED, execution.order_id)


@pytest.mark.parametrize("left_ms", [None, LEAST_TO_SEND_MS - 1])
async def test_what_its_look_up_takes_then_counts_for_the_order(
    left_ms: int | None, private_store: PrivateStore, open_worker: OpenWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed by the moment before the look, it may be refused as too old; and its permit may be about to run out."""
    worker = await open_worker()
    find_order, valid_for, place = worker.exchange.find_order, worker.exchange.valid_for, worker.exchange.place
    made, signed_anew = list[Validity](), list[bool]()  # since the look-up

    async def slowly(*words: Any, **more: Any) -> OrderAnswer:
        try:
            return await find_order(*words, **more)
        finally:
            made.clear()
            if left_ms is not None:
                monkeypatch.setattr(Permit, "remaining_ms", left_ms)

    def noted(span_ms: int) -> Validity:
        made.append(valid_for(span_ms))
        return made[-1]

    async def noting(order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        signed_anew.append(made[-1:] == [validity])
        return await place(order, validity, timeout_ms=timeout_ms)

    for name, instead in ("find_order", slowly), ("valid_for", noted), ("place", noting):
        monkeypatch.setattr(worker.exchange, name, instead)
    _loses_the_store_after_the_admission(worker, private_store)

    execution = await worker.executor.execute(an_exit(worker))

    if left_ms is None:
        assert (execution.state, signed_anew) == (Terminal.FILLED, [True])
    else:
        assert (execution.reason, execution.retryable, signed_anew) == ("DEADLINE", True, [])


async def _sent_and_died(worker: Desk, store: PrivateStore, intent: Intent) -> Execution:
    """A worker sends an exit without the store, and dies before it can record it."""
    store.pause()
    execution = await worker.executor.execute(intent)
    recording = worker.executor._without_store._recording
    assert recording is not None
    recording.cancel()
    store.resume()
    return execution


@pytest.mark.parametrize(
    ("saw_it_fail", "ahead_ms"), [(False, -1_500), (False, 5_000), (True, 900)], ids=["old", "dated ahead", "fresh"]
)
async def test_after_a_death_before_the_record_another_process_finds_the_order(
    saw_it_fail: bool, ahead_ms: int, private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    """By its age alone, one that is dated ahead by less than a second is fresh for longer than the test takes."""
    dying, other = await open_worker(), await open_worker()
    if saw_it_fail:
        private_store.pause()
        assert (await other.executor.execute(an_exit(other, id="of-the-others"))).without_store
        private_store.resume()
        await recorded(other, an_exit(other, id="of-the-others"))
    intent = an_exit(dying, timestamp=time.time_ns() // 1_000_000 + ahead_ms)
    placed = await _sent_and_died(dying, private_store, intent)

    taken_over = await other.executor.execute(intent)

    assert taken_over.order_id == placed.order_id
    assert len(dying.orders(intent)) == 1


async def test_that_look_does_not_hold_an_exit_up(
    private_store: PrivateStore, open_worker: OpenWorker, paper: PaperExchange
) -> None:
    """The store is whole and has no record of it. So an exchange that doesn't answer stops it no more than before."""
    worker = await open_worker()
    paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=1000))

    execution = await worker.executor.execute(an_exit(worker, timestamp=time.time_ns() // 1_000_000 - 5_000))

    assert execution.state is Terminal.FILLED


async def test_a_fresh_exit_pays_for_no_look(open_worker: OpenWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await open_worker()
    asked = []
    monkeypatch.setattr(worker.exchange, "find_order", lambda *words, **more: asked.append(words))
    executor = Executor(worker.gate, worker.exchange, fill_prices=False)

    assert await executor.execute(an_exit(worker, timestamp=time.time_ns() // 1_000_000 + 500))
    assert asked == []


async def test_one_in_doubt_is_found_out_once_the_store_answers(
    private_store: PrivateStore, open_worker: OpenWorker, paper: PaperExchange
) -> None:
    worker = await open_worker(lock_ttl_ms=3_000)
    private_store.pause()
    intent = an_exit(worker)
    paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP, times=1))
    place = worker.exchange.place

    async def then_fail_the_look_ups(*words: Any, **more: Any) -> Any:
        for path in LOOK_UPS:
            paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=path, times=1000))
        return await place(*words, **more)

    worker.exchange.place = then_fail_the_look_ups  # type: ignore[method-assign]  # the moment before sending
    execution = await worker.executor.execute(intent)
    assert execution.state is Terminal.UNKNOWN
    private_store.resume()
    assert (await recorded(worker, intent)).phase is Phase.UNKNOWN

    paper.clear_faults()
    [found] = await reconcile(worker.gate, worker.exchange)

    assert found.done
    record = await worker.gate.lookup(intent.id)
    assert record is not None
    assert record.phase is Phase.PLACED
    assert Decimal(worker.orders(intent)[0]["executedQty"]) == Decimal("0.01")
