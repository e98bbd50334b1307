"""The blocking executor: its answers to many threads, and the places where it can't be called."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from gate import Gate, InvalidField, Phase, Policy, StoreUnavailable
from gate.blocking import BlockingExecutor, _LookUps
from gate.executor.execution import Execution, Terminal
from gate.paper import PaperExchange
from tests.executor.blocking.conftest import NOWHERE, Lookup, OpenExecutor, an_intent, orders_of
from tests.servers.store import Store

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT", "LTCUSDT")


def test_an_intent_becomes_one_filled_order_and_a_record_of_it(
    executor: BlockingExecutor, paper: PaperExchange, lookup: Lookup
) -> None:
    intent = an_intent()

    execution = executor.execute(intent)

    [order] = orders_of(paper, intent)
    record = lookup(intent)
    assert execution.state is Terminal.FILLED
    assert record is not None
    assert (record.phase, record.order_id) == (Phase.PLACED, execution.order_id)
    assert execution.order_id == str(order["orderId"])


def test_a_mapping_will_do_and_a_bad_one_is_denied(executor: BlockingExecutor) -> None:
    fields = {"id": "x", "symbol": "BTCUSDT", "side": "BUY", "position_size_usd": "200", "timestamp": time.time()}

    good, bad = executor.execute(fields), executor.execute({**fields, "position_size_usd": "NaN"})

    assert good.state is Terminal.FILLED
    assert (bad.state, bad.reason) == (Terminal.DENIED, "INVALID")


def test_many_threads_at_once_get_an_order_each(executor: BlockingExecutor, paper: PaperExchange) -> None:
    intents = [an_intent(symbol, side) for symbol in SYMBOLS for side in ("BUY", "SELL")]

    with ThreadPoolExecutor(len(intents)) as threads:
        executions = list(threads.map(executor.execute, intents))

    assert {execution.state for execution in executions} == {Terminal.FILLED}
    assert [execution.intent_id for execution in executions] == [intent.id for intent in intents]
    assert [len(orders_of(paper, intent)) for intent in intents] == [1] * len(intents)


def test_one_intent_from_many_threads_is_one_order(executor: BlockingExecutor, paper: PaperExchange) -> None:
    intent, together = an_intent(), threading.Barrier(8)

    def deliver(_: int) -> Execution:
        together.wait()
        return executor.execute(intent)

    with ThreadPoolExecutor(8) as threads:
        executions = list(threads.map(deliver, range(8)))

    assert Counter(each.state for each in executions) == {Terminal.FILLED: 1, Terminal.DENIED: 7}
    assert len(orders_of(paper, intent)) == 1


def test_without_a_store_nothing_is_sent(open_executor: OpenExecutor, paper: PaperExchange) -> None:
    executor = open_executor(NOWHERE)

    execution = executor.execute(an_intent())

    assert (execution.state, execution.reason) == (Terminal.DENIED, "STORE_UNAVAILABLE")
    assert paper.ledger() == []
    with pytest.raises(StoreUnavailable):
        executor.reconcile()


def test_reconciling_can_be_limited(executor: BlockingExecutor, store: Store, redis_client: redis.Redis) -> None:
    with Gate.from_url(store.url, policy=executor._gate.policy, timeout_ms=2000) as gate:
        assert gate.evaluate(an_intent("ETHUSDT"))
        assert gate.evaluate(an_intent("SOLUSDT"))
    redis_client.zunionstore("quantum:exec:inflight", {"quantum:exec:inflight": 0.5})  # their deadlines have passed

    assert len(executor.reconcile(at_most=1)) == 1
    assert len(executor.reconcile()) == 2


async def test_on_an_event_loop_it_refuses_at_once_and_names_the_alternative(
    executor: BlockingExecutor, paper: PaperExchange
) -> None:
    for call in (lambda: executor.execute(an_intent()), executor.reconcile):
        with pytest.raises(RuntimeError, match=r"await gate\.executor\.Executor"):
            call()

    assert paper.ledger() == []
    assert (await asyncio.to_thread(executor.execute, an_intent())).state is Terminal.FILLED


def test_it_shows_neither_key_nor_password(open_executor: OpenExecutor, paper: PaperExchange) -> None:
    executor = open_executor("redis://user:hunter2@127.0.0.1:1/0")

    execution = executor.execute(an_intent())

    assert repr(executor) == "BlockingExecutor('redis://***@127.0.0.1:1/0', prefix='quantum')"
    for told in (repr(executor), repr(vars(executor)), repr(execution)):
        for secret in (paper.key, paper.secret, "hunter2"):
            assert secret not in told


def test_every_setting_goes_where_it_belongs() -> None:
    policy = Policy(lock_ttl_ms=20_000)
    settings = {"prefix": "acct7", "policy": policy, "timeout_ms": 1234, "recv_window_ms": 777}

    with BlockingExecutor(NOWHERE, "the-key", "the-secret", demo=True, streams=False, **settings) as executor:  # type: ignore[arg-type]
        assert (executor._gate.prefix, executor._gate.policy) == ("acct7", policy)
        assert executor._gate._wire._timeout == 1.234  # type: ignore[attr-defined]
        assert executor._exchange.recv_window_ms == 777
        assert executor._exchange._rest.client.demo


def test_two_exchanges_at_once_are_refused() -> None:
    with pytest.raises(InvalidField, match=r"base_url: .* and demo name two exchanges"):
        BlockingExecutor(NOWHERE, "the-key", "the-secret", demo=True, base_url="http://127.0.0.1:1")


def test_a_call_that_has_ended_is_not_kept() -> None:
    class Fields(dict[str, object]):
        """A mapping whose deletion can be watched."""

    fields = Fields()
    with BlockingExecutor(NOWHERE, "the-key", "the-secret", streams=False) as executor:
        executor.execute(fields)
        watched = weakref.ref(fields)
        del fields
        gc.collect()
        assert watched() is None

    closed = weakref.ref(executor)
    del executor
    gc.collect()
    assert closed() is None


def test_a_look_up_that_fails_says_so_and_one_that_hangs_holds_up_no_exit() -> None:
    look_ups, before, answer = _LookUps(), set(threading.enumerate()), threading.Event()

    assert isinstance(look_ups.submit(int, "x").exception(), ValueError)
    hanging = look_ups.submit(answer.wait)

    assert not hanging.cancel(), "its thread goes on, and has an answer to give"
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    answer.set()
    assert hanging.result()
