"""Opening and closing an executor without an event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn

import pytest

from gate.blocking import BlockingExecutor
from gate.executor.execution import Terminal
from gate.paper import Fault, FaultKind, PaperExchange
from gate.values.errors import InvalidField
from tests.executor.blocking.conftest import NOWHERE, OpenExecutor, an_intent


def until_refused(executor: BlockingExecutor) -> None:
    while True:
        executor.reconcile()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "nonsense"},
        {"url": "redis://user:hunter2@127.0.0.1:6379/x"},
        {"url": "redis+cluster://127.0.0.1:1"},
        {"prefix": "two words"},
    ],
    ids=str,
)
def test_an_executor_that_can_not_open_raises_and_leaves_no_thread(wrong: dict[str, str]) -> None:
    before = set(threading.enumerate())

    with pytest.raises(InvalidField) as refused:
        BlockingExecutor(wrong.get("url", NOWHERE), "the-key", "the-secret", prefix=wrong.get("prefix", "quantum"))

    assert set(threading.enumerate()) <= before
    for secret in ("hunter2", "the-key", "the-secret"):
        assert secret not in str(refused.value)


def test_closing_waits_for_what_is_under_way_and_refuses_what_comes(
    executor: BlockingExecutor, paper: PaperExchange
) -> None:
    paper.inject(Fault(kind=FaultKind.DELAY, times=1))
    with ThreadPoolExecutor(3) as threads:
        under_way = threads.submit(executor.execute, an_intent())
        paper.wait_held()
        closers = [threads.submit(executor.close) for _ in range(2)]
        with pytest.raises(RuntimeError, match="this BlockingExecutor is closed"):
            until_refused(executor)
        assert not any(closer.done() for closer in closers)
        paper.release_held()

        assert under_way.result().state is Terminal.FILLED
        for closer in closers:
            closer.result()

    with pytest.raises(RuntimeError, match="this BlockingExecutor is closed"):
        executor.execute(an_intent())
    assert len(paper.ledger()) == 1


def test_closing_ends_the_thread_and_can_be_repeated(open_executor: OpenExecutor) -> None:
    before = set(threading.enumerate())
    executor = open_executor()
    executor.execute(an_intent())

    with ThreadPoolExecutor(4) as threads:
        for each in [threads.submit(executor.close) for _ in range(4)]:
            each.result()
    executor.close()

    assert set(threading.enumerate()) <= before


def test_two_closes_at_once_close_it_once_and_completely(executor: BlockingExecutor) -> None:
    reached, go_on, done = threading.Event(), asyncio.Event(), threading.Event()

    async def slow() -> None:
        reached.set()
        await go_on.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        done.set()

    executor._connections.push_async_callback(slow)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(executor.close)
        reached.wait()
        executor._loop.call_soon_threadsafe(executor._shut)  # the second
        executor._loop.call_soon_threadsafe(go_on.set)
        first.result()

    assert done.is_set()


def test_a_call_that_comes_after_the_last_round_of_the_loop_is_refused(executor: BlockingExecutor) -> None:
    loop, late = executor._loop, list[Future[object]]()
    close = loop.close

    def a_moment_earlier() -> None:
        late.append(threads.submit(executor.reconcile))
        while not loop._ready:  # type: ignore[attr-defined]
            pass
        close()

    loop.close = a_moment_earlier  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as threads:
        executor.close()

    with pytest.raises(RuntimeError, match="this BlockingExecutor is closed"):
        late[0].result()


def test_an_error_while_closing_is_raised_and_everything_is_closed(paper: PaperExchange) -> None:
    before = set(threading.enumerate())
    executor = BlockingExecutor(NOWHERE, paper.key, paper.secret, base_url=paper.url)

    def fail() -> None:
        raise OSError("as asked for")

    executor._connections.callback(fail)

    with pytest.raises(OSError, match="as asked for"):
        executor.close()

    assert set(threading.enumerate()) <= before


def test_what_the_libraries_have_left_on_the_loop_is_ended() -> None:
    """The look-up of a host goes on when the request is gone for which it was made."""
    with BlockingExecutor(NOWHERE, "the-key", "the-secret", streams=False) as executor:
        left = asyncio.run_coroutine_threadsafe(asyncio.Event().wait(), executor._loop)
    assert left.cancelled()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_system_exit_on_the_loop_leaves_no_caller_waiting() -> None:
    class Fields(dict[str, object]):
        def items(self) -> NoReturn:
            raise SystemExit

    with BlockingExecutor(NOWHERE, "the-key", "the-secret", streams=False) as executor:
        # The loop will end with nobody to finish what runs on it, or to close what is open. Whatever is left would
        # complain when it is collected: in whichever test comes next.
        asyncio.run_coroutine_threadsafe(executor._connections.aclose(), executor._loop).result()
        with pytest.raises(SystemExit):
            executor.execute(Fields(id="x"))
        with pytest.raises(RuntimeError, match="this BlockingExecutor is closed"):
            executor.execute(an_intent())
