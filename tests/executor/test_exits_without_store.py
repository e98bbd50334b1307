"""An exit goes though the store can't judge it, and becomes one order all the same."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from gate import Intent, InvalidField, Outcome, Permit, Phase, Settled, Settlement
from gate.executor import Executor
from gate.executor.execution import Terminal
from gate.paper import Fault, FaultKind, PaperExchange
from tests.client.account import STATE
from tests.executor.conftest import LOOK_UPS, ROOMY, Desk, OpenDesk, OpenWorker, an_exit, recorded, until
from tests.servers.store import PrivateStore
from tests.servers.wire import Wire

ORDER = "/fapi/v1/order"


def harm(store: PrivateStore, how: str, intent: Intent) -> None:
    match how:
        case "killed":
            store.stop()
        case "stands still":
            store.pause()
        case "fails":
            with store.client() as client:
                client.rpush(f"quantum:exec:processed:{intent.id}", "a value of the wrong type")
        case "takes no writes":
            with store.client() as client:
                client.config_set("min-replicas-to-write", 1)


@pytest.mark.parametrize("how", ["killed", "stands still", "fails", "takes no writes"])
async def test_an_exit_goes_though_the_store_can_not_judge_it(
    how: str, private_store: PrivateStore, open_worker: OpenWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await open_worker()
    intent = an_exit(worker)
    harm(private_store, how, intent)

    with caplog.at_level(logging.INFO, "gate.executor"):
        execution = await worker.executor.execute(intent)

    assert (execution.state, execution.without_store) == (Terminal.FILLED, True)
    assert len(worker.orders(intent)) == 1
    assert f"WITHOUT STORE id={intent.id} symbol=BTCUSDT side=SELL reason=STORE_" in caplog.text
    [end] = [each for each in caplog.messages if each.startswith("TERMINAL STATE: FILLED")]
    assert " without_store=yes" in end


async def test_plain_and_conditional_orders_are_looked_up_at_once(
    private_store: PrivateStore, open_worker: OpenWorker, asked: list[str]
) -> None:
    """The exit waits for both."""
    worker = await open_worker()
    private_store.stop()
    for path in LOOK_UPS:
        worker.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path=path))

    asked.clear()
    going = asyncio.create_task(worker.executor.execute(an_exit(worker)))
    await asyncio.to_thread(worker.paper.wait_held, len(LOOK_UPS))
    assert sorted(each for each in asked if "rder" in each) == sorted(f"GET {path}" for path in LOOK_UPS)
    worker.paper.release_held()

    assert (await going).state is Terminal.FILLED


async def test_where_one_look_up_fails_what_the_other_one_finds_counts(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    first = await open_worker()
    stop = an_exit(first, quantity=None, close_position=True, order_type="STOP_MARKET", trigger_price="50000")
    private_store.stop()
    placed = await first.executor.execute(stop)
    second = await open_worker()
    second.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=LOOK_UPS[0], times=100))

    found = await second.executor.execute(stop)

    assert (found.state, found.order_id) == (Terminal.PLACED, placed.order_id)


async def test_an_exit_that_another_delivery_is_about_to_send_waits_for_its_permits_end(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    """At the exchange two at one moment find no order of each other."""
    first, second = await open_worker(lock_ttl_ms=3_000), await open_worker(lock_ttl_ms=3_000)
    intent = an_exit(first)
    assert (await first.gate.evaluate(intent)).admitted
    assert (await second.executor.execute(intent)).reason == "DUPLICATE"
    private_store.stop()

    waits = await second.executor.execute(intent)

    assert (waits.state, waits.reason, waits.retryable) == (Terminal.DENIED, "STORE_UNAVAILABLE", True)
    assert waits.detail.startswith("another delivery holds its permit")
    async with asyncio.timeout(20):
        while not (went := await second.executor.execute(intent)):
            pass
    assert (went.state, went.without_store, len(second.orders(intent))) == (Terminal.FILLED, True, 1)


async def test_an_entry_does_not(private_store: PrivateStore, open_worker: OpenWorker) -> None:
    worker = await open_worker()
    private_store.stop()
    intent = worker.intent()

    execution = await worker.executor.execute(intent)

    assert (execution.state, execution.reason) == (Terminal.DENIED, "STORE_UNAVAILABLE")
    assert worker.orders(intent) == []


async def test_a_policy_may_keep_exits_back(private_store: PrivateStore, open_worker: OpenWorker) -> None:
    worker = await open_worker(exits_without_store=False)
    private_store.stop()
    intent = an_exit(worker)

    execution = await worker.executor.execute(intent)

    assert (execution.state, execution.reason, execution.retryable) == (Terminal.DENIED, "STORE_UNAVAILABLE", True)
    assert worker.orders(intent) == []


@pytest.mark.parametrize("at_once", [True, False])
async def test_this_process_sends_it_once(
    at_once: bool, private_store: PrivateStore, open_worker: OpenWorker, paper: PaperExchange
) -> None:
    """Whatever the exchange says: it isn't asked again."""
    worker = await open_worker()
    private_store.stop()
    intent = an_exit(worker)
    if at_once:
        executions = await asyncio.gather(*(worker.executor.execute(intent) for _ in range(3)))
    else:
        executions = [await worker.executor.execute(intent)]
        for path in LOOK_UPS:  # as an exchange that has forgotten it
            paper.inject(Fault(kind=FaultKind.ERROR, method="GET", path=path, status=400, code=-2013, times=100))
        executions += [await worker.executor.execute(intent) for _ in range(2)]

    states = sorted(each.state for each in executions)
    assert states == [Terminal.DENIED, Terminal.DENIED, Terminal.FILLED]
    assert {each.reason for each in executions if not each} == {"DUPLICATE"}
    assert len(worker.orders(intent)) == 1
    if not at_once:
        assert executions[-1].order_id == executions[0].order_id


async def test_what_this_process_has_sent_with_the_store_goes_no_second_time_without(
    private_store: PrivateStore, open_worker: OpenWorker, paper: PaperExchange
) -> None:
    worker = await open_worker()
    intent = an_exit(worker)
    assert await worker.executor.execute(intent)
    private_store.stop()
    for path in LOOK_UPS:
        paper.inject(Fault(kind=FaultKind.ERROR, method="GET", path=path, status=400, code=-2013, times=100))

    again = await worker.executor.execute(intent)

    assert (again.state, again.reason) == (Terminal.DENIED, "DUPLICATE")
    assert len(worker.orders(intent)) == 1


@pytest.mark.parametrize("conditional", [False, True], ids=["plain", "algo"])
async def test_another_process_takes_the_order_that_the_exchange_has(
    conditional: bool, private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    first, second = await open_worker(), await open_worker()
    private_store.stop()
    terms = {"order_type": "STOP_MARKET", "trigger_price": "50000"} if conditional else {}
    intent = an_exit(first, **terms)
    placed = await first.executor.execute(intent)

    again = await second.executor.execute(intent)

    assert placed.order_id == again.order_id is not None
    assert bool(placed) is bool(again) is True
    rows = await first.exchange._rest.client.futures_get_open_algo_orders()
    assert len(rows) if conditional else len(first.orders(intent)) == 1


async def test_an_order_of_the_other_kind_counts_too(private_store: PrivateStore, open_worker: OpenWorker) -> None:
    """The intent's fingerprint says nothing of its type: a delivery may name another one."""
    first, second = await open_worker(), await open_worker()
    private_store.stop()
    stop = an_exit(first, order_type="STOP_MARKET", trigger_price="50000")
    placed = await first.executor.execute(stop)

    again = await second.executor.execute(an_exit(second, id=stop.id, timestamp=stop.timestamp_ms))

    assert again.order_id == placed.order_id
    assert first.orders(stop) == []


@pytest.mark.parametrize("unanswered", LOOK_UPS, ids=["plain", "algo"])
async def test_without_the_exchanges_word_nothing_is_sent_and_it_may_come_again(
    unanswered: str, private_store: PrivateStore, open_worker: OpenWorker, paper: PaperExchange
) -> None:
    """That there is no order of the one type says nothing of the other."""
    worker = await open_worker(lock_ttl_ms=3_000)
    private_store.stop()
    intent = an_exit(worker)
    paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=unanswered, times=1000))

    execution = await worker.executor.execute(intent)

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "STORE_LOST")
    assert execution.retryable
    assert worker.orders(intent) == []
    paper.clear_faults()
    assert (await worker.executor.execute(intent)).state is Terminal.FILLED
    assert len(worker.orders(intent)) == 1


@pytest.mark.parametrize("how", ["stands still", "takes no writes"])
async def test_it_is_recorded_once_the_store_answers_and_the_memory_is_as_whole_as_it_was(
    how: str, private_store: PrivateStore, open_worker: OpenWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker, other = await open_worker(), await open_worker()
    with private_store.client() as client:
        await worker.executor.execute(worker.intent("ETHUSDT"))
        since = client.hget(STATE, "since")
        intent = an_exit(worker)
        harm(private_store, how, intent)
        execution = await worker.executor.execute(intent)
        if how == "stands still":
            private_store.resume()
        else:
            client.config_set("min-replicas-to-write", 0)

        record = await recorded(worker, intent)

        assert (record.phase, record.order_id, record.is_exit) == (Phase.PLACED, execution.order_id, True)
        assert client.hget(STATE, "since") == since
    again = await other.executor.execute(intent)
    assert (again.state, again.reason, again.order_id) == (Terminal.DENIED, "DUPLICATE", execution.order_id)
    assert (await other.executor.execute(other.intent("SOLUSDT", id="next"))).state is Terminal.FILLED, (
        "no MEMORY_YOUNG"
    )
    assert f"RECORDED id={intent.id}" in caplog.text


async def test_it_is_recorded_once_a_claim_of_another_is_given_back(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    """Another process was about to send it, before the store failed."""
    worker, other = await open_worker(), await open_worker()
    intent, settle = an_exit(worker), worker.gate.settle
    claim = (await other.gate.evaluate(intent)).permit
    assert claim is not None
    told: list[Settlement] = []

    async def heard(permit: Permit, outcome: Outcome) -> Settlement:
        told.append(await settle(permit, outcome))
        return told[-1]

    worker.gate.settle = heard  # type: ignore[method-assign]
    private_store.pause()
    execution = await worker.executor.execute(intent)
    assert (execution.state, execution.without_store) == (Terminal.FILLED, True)
    private_store.resume()
    await until(lambda: any(each.status is Settled.FENCED for each in told))

    assert await other.gate.settle(claim, Outcome.unsent("DEADLINE"))

    record = await recorded(worker, intent)
    assert (record.phase, record.order_id) == (Phase.PLACED, execution.order_id)


async def test_it_is_recorded_when_the_executor_closes(
    private_store: PrivateStore, open_worker: OpenWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await open_worker()
    intents = [an_exit(worker), an_exit(worker)]
    async with Executor(worker.gate, worker.exchange) as executor:
        private_store.pause()
        assert await executor.execute(intents[0])
        private_store.resume()
    assert (await worker.gate.lookup(intents[0].id)) is not None

    async with Executor(worker.gate, worker.exchange) as executor:
        private_store.stop()
        assert await executor.execute(intents[1])
    assert f"NOT RECORDED id={intents[1].id}" in caplog.text


@pytest.mark.parametrize("steps", [1, 5, 20])
async def test_what_is_not_recorded_is_told_also_where_the_closing_is_cancelled(
    private_store: PrivateStore, open_worker: OpenWorker, caplog: pytest.LogCaptureFixture, steps: int
) -> None:
    worker = await open_worker()
    intents = [an_exit(worker), an_exit(worker)]
    gone = asyncio.Event()

    async def trade() -> None:
        async with Executor(worker.gate, worker.exchange) as executor:
            private_store.pause()
            for intent in intents:
                assert await executor.execute(intent)
            gone.set()

    trading = asyncio.create_task(trade())
    await gone.wait()
    for _ in range(steps):
        await asyncio.sleep(0)
    trading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trading
    private_store.resume()
    assert [f"NOT RECORDED id={each.id}" in caplog.text for each in intents] == [True, True]


async def test_an_executor_that_is_opened_again_records_again(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    worker = await open_worker()
    intent = an_exit(worker)
    executor = Executor(worker.gate, worker.exchange)
    async with executor:
        pass
    async with executor:
        private_store.pause()
        assert await executor.execute(intent)
        private_store.resume()
        assert (await recorded(worker, intent)).phase is Phase.PLACED


async def test_what_the_store_has_admitted_unheard_is_not_given_back_while_its_order_is_out(
    desk: Desk, open_desk: OpenDesk, wire: Wire
) -> None:
    """The claim has the token of the lost evaluation. Given back, the intent could be admitted and sent again."""
    worker = await open_desk(url=wire.url)
    await worker.exchange._rest.client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1")
    await desk.gate.evaluate(desk.intent("SOLUSDT", id="loads-the-script"))
    for _ in range(2):
        wire.lose_next_reply("EVALSHA")
    intent = an_exit(worker)
    execution = await worker.executor.execute(intent)
    assert (execution.state, execution.without_store) == (Terminal.FILLED, True)

    await worker.gate.evaluate(worker.intent("ETHUSDT", id="gives-back"))

    record = await recorded(desk, intent)
    assert (record.phase, record.order_id) == (Phase.PLACED, execution.order_id)
    assert record.fence > 0, "the record of the admission"


async def test_what_was_not_sent_gives_the_unheard_claim_back(
    desk: Desk, open_desk: OpenDesk, wire: Wire, paper: PaperExchange
) -> None:
    worker = await open_desk(replace(ROOMY, lock_ttl_ms=3_500), url=wire.url)
    await desk.gate.evaluate(desk.intent("SOLUSDT", id="loads-the-script"))
    for _ in range(2):
        wire.lose_next_reply("EVALSHA")
    intent = an_exit(worker)
    paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=1000))
    refused = await worker.executor.execute(intent)
    assert (refused.reason, refused.retryable) == ("STORE_LOST", True)

    assert await desk.gate.lookup(intent.id) is None


async def test_an_old_exit_does_not_go(private_store: PrivateStore, open_worker: OpenWorker) -> None:
    """A late close would close what was opened since."""
    worker = await open_worker()
    private_store.pause()
    old_ms = worker.gate.policy.max_age_ms + 61_000

    stale = await worker.executor.execute(an_exit(worker, timestamp=time.time_ns() // 1_000_000 - old_ms))

    assert (stale.reason, stale.still_open) == ("STALE", {"BOTH": Decimal("0.1")})


async def test_an_order_of_the_entry_is_not_taken_for_the_exits(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    """Where both have one id, such as a trade's. With the store it is CONFLICT."""
    worker, other = await open_worker(), await open_worker()
    entry = await worker.executor.execute(worker.intent(id="trade-7"))
    assert entry.state is Terminal.FILLED
    private_store.pause()

    conflict = await other.executor.execute(an_exit(other, id="trade-7"))

    assert (conflict.state, conflict.reason) == (Terminal.REJECTED_ORDER, "CONFLICT")
    assert f"BUY order {entry.order_id}" in conflict.detail


async def test_only_an_exit_gets_a_permit_without_the_store(open_worker: OpenWorker) -> None:
    worker = await open_worker()
    with pytest.raises(InvalidField, match="is an entry; without the store only exits go"):
        worker.gate.permit_without_store(worker.intent())
    keeps_back = await open_worker(exits_without_store=False)
    with pytest.raises(InvalidField, match="no exit goes without the store"):
        keeps_back.gate.permit_without_store(an_exit(keeps_back))


async def test_a_policy_that_holds_exits_back_by_now_is_a_denial(
    private_store: PrivateStore, open_worker: OpenWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await open_worker()
    intent = an_exit(worker)
    harm(private_store, "fails", intent)

    def held_back(_: Intent) -> Permit:
        raise InvalidField("exits_without_store", False, "is the policy's: no exit goes without the store")

    monkeypatch.setattr(worker.gate, "permit_without_store", held_back)
    denied = await worker.executor.execute(intent)
    assert (denied.state, denied.reason) == (Terminal.DENIED, "STORE_ERROR")
