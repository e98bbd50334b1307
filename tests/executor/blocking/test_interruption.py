"""When a signal raises in the waiting thread, the call settles its attempt before it raises the exception."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import socket
import sys
import tempfile
import threading

import pytest
import redis

from gate import Outcome, Permit, Phase, Settlement, blocking
from gate.blocking import BlockingExecutor
from gate.executor.execution import Terminal
from gate.executor.reconcile import Finding
from gate.paper import Fault, FaultKind, PaperExchange
from tests.executor.blocking.conftest import NOWHERE, InMainThread, Lookup, an_intent, meanwhile


class Interruption(BaseException):
    """The exception that the signal raises."""


def interrupted(number: int = 1) -> None:
    raise Interruption(number)


def test_interrupted_before_sending_it_sends_nothing_and_may_come_again(
    executor: BlockingExecutor, paper: PaperExchange, lookup: Lookup, in_main_thread: InMainThread
) -> None:
    paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path="*", times=1))
    intent = an_intent()

    @meanwhile
    def _() -> None:
        paper.wait_held()
        in_main_thread(interrupted)

    with pytest.raises(Interruption):
        executor.execute(intent)

    assert lookup(intent) is None, "settled as unsent: neither claimed nor in doubt"
    paper.release_held()
    assert paper.ledger() == []
    assert executor.execute(intent).state is Terminal.FILLED


def test_interrupted_before_the_loop_has_heard_of_it_nothing_is_done(
    executor: BlockingExecutor, paper: PaperExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_early(*_: object) -> None:
        monkeypatch.undo()
        raise Interruption

    monkeypatch.setattr(executor._loop, "call_soon_threadsafe", too_early)

    with pytest.raises(Interruption):
        executor.execute(an_intent())

    assert paper.ledger() == []
    assert executor.execute(an_intent()).state is Terminal.FILLED


def test_interrupted_after_sending_it_is_in_doubt_until_reconciled(
    executor: BlockingExecutor,
    paper: PaperExchange,
    redis_client: redis.Redis,
    lookup: Lookup,
    in_main_thread: InMainThread,
) -> None:
    paper.inject(Fault(kind=FaultKind.SLOW_BODY, times=1))
    intent = an_intent()

    @meanwhile
    def _() -> None:
        paper.wait_held()
        in_main_thread(interrupted)

    with pytest.raises(Interruption):
        executor.execute(intent)

    record = lookup(intent)
    assert record is not None
    assert record.phase is Phase.UNKNOWN
    paper.release_held()
    redis_client.zincrby("quantum:exec:inflight", -60_000, f"{record.reserved}:{intent.id}")  # its deadline has passed
    [found] = executor.reconcile()
    assert (found.intent_id, found.finding, found.done) == (intent.id, Finding.PLACED, True)


def test_interrupted_again_while_it_settles_it_settles_all_the_same(
    executor: BlockingExecutor, paper: PaperExchange, lookup: Lookup, in_main_thread: InMainThread
) -> None:
    paper.inject(Fault(kind=FaultKind.SLOW_BODY, times=1))
    intent, settling, again, go_on = an_intent(), threading.Event(), threading.Event(), asyncio.Event()
    settle = executor._gate.settle

    async def held_up(permit: Permit, outcome: Outcome) -> Settlement:
        settling.set()
        await go_on.wait()
        return await settle(permit, outcome)

    executor._gate.settle = held_up  # type: ignore[method-assign]

    def interrupted_again() -> None:
        again.set()
        interrupted(2)

    @meanwhile
    def _() -> None:
        paper.wait_held()
        in_main_thread(interrupted)
        settling.wait()
        in_main_thread(interrupted_again)
        again.wait()
        executor._loop.call_soon_threadsafe(go_on.set)

    with pytest.raises(Interruption) as raised:
        executor.execute(intent)

    record = lookup(intent)
    assert raised.value.args == (1,)
    assert record is not None
    assert record.phase is Phase.UNKNOWN


def test_a_waiting_thread_runs_no_code_that_keeps_a_lock_when_it_is_interrupted(executor: BlockingExecutor) -> None:
    """A signal may strike in the middle of any Python function; in an Event's or a Future's the loop would hang."""
    seen: set[str] = set()
    sys.setprofile(lambda frame, event, argument: seen.add(frame.f_code.co_filename))
    try:
        execution = executor.execute(an_intent())
    finally:
        sys.setprofile(None)

    assert execution.state is Terminal.FILLED
    assert blocking.__file__ in seen
    assert not seen & {threading.__file__, concurrent.futures._base.__file__, queue.__file__}


def test_a_signal_handler_may_close_it_while_its_thread_waits(
    executor: BlockingExecutor, paper: PaperExchange, in_main_thread: InMainThread
) -> None:
    paper.inject(Fault(kind=FaultKind.DELAY, times=1))
    in_handler = threading.Event()

    def stop() -> None:
        in_handler.set()
        executor.close()

    @meanwhile
    def _() -> None:
        paper.wait_held()
        in_main_thread(stop)
        in_handler.wait()
        paper.release_held()

    assert executor.execute(an_intent()).state is Terminal.FILLED
    with pytest.raises(RuntimeError, match="closed"):
        executor.execute(an_intent())


def test_interrupted_while_it_opens_it_leaves_no_thread(in_main_thread: InMainThread) -> None:
    before = set(threading.enumerate())
    in_handler = threading.Event()

    def interrupt() -> None:
        in_handler.set()
        interrupted()

    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as store:
        store.bind(f"{directory}/valkey.sock")  # an embedded store that runs already, and is slow to answer
        store.listen()

        @meanwhile
        def interrupter() -> None:
            asking, _ = store.accept()
            in_main_thread(interrupt)
            in_handler.wait()
            asking.sendall(b"+PONG\r\n")
            asking.close()

        with pytest.raises(Interruption):
            BlockingExecutor(f"embedded:{directory}", "the-key", "the-secret", streams=False)

        interrupter.join()
    assert set(threading.enumerate()) <= before


def test_interrupted_while_its_thread_starts_that_thread_only_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        started.append(thread)
        raise Interruption

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(Interruption):
            BlockingExecutor(NOWHERE, "the-key", "the-secret", streams=False)

    [late] = started
    late.start()
    late.join()
