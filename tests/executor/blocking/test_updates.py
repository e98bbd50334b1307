"""What comes of orders, without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gate import Intent
from gate.blocking import BlockingExecutor, BlockingUpdates
from gate.executor import OrderState
from gate.paper import PaperExchange
from tests.executor.blocking.conftest import OpenExecutor, an_intent, meanwhile
from tests.service.desk import until


def test_updates_come_in_a_thread_of_their_own_until_the_executor_is_closed(open_executor: OpenExecutor) -> None:
    executor = open_executor(streams=True)
    updates, got, came = executor.updates(), list[tuple[str | None, OrderState]](), threading.Event()

    def listen() -> None:
        for update in updates:
            got.append((update.intent_id, update.state))
            came.set()

    listening = meanwhile(listen)
    sent = an_intent()
    executor.execute(sent)  # where its streams are still opening, the exchange is asked what has come of it
    assert came.wait(10)
    executor.close()
    listening.join(10)
    assert not listening.is_alive()
    assert got == [(sent.id, OrderState.FILLED)]


def test_a_wait_for_an_update_ends_in_its_time_and_after_the_close(
    open_executor: OpenExecutor, paper: PaperExchange
) -> None:
    executor = open_executor()
    updates = executor.updates()
    assert updates.get(0) is None
    executor.close()
    assert updates.get(60) is None
    assert list(updates) == []
    with pytest.raises(RuntimeError, match="is closed"):
        executor.updates()


def test_a_mistake_while_it_waits_is_no_end_of_the_updates(
    open_executor: OpenExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = open_executor().updates()

    async def broken(within_s: float) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(updates, "_find", broken)
    with pytest.raises(RuntimeError, match="of ours"):
        updates.get(60)


def test_no_event_loop_waits_for_an_update(open_executor: OpenExecutor) -> None:
    updates = open_executor().updates()

    async def ask() -> None:
        updates.get(0)

    with pytest.raises(RuntimeError, match="would block this event loop"):
        asyncio.run(ask())


def filled(executor: BlockingExecutor) -> tuple[Intent, BlockingUpdates]:
    """An order whose fill waits to be read."""
    updates, sent = executor.updates(), an_intent()
    executor.execute(sent)
    until(lambda: updates._updates._unread)
    return sent, updates


def test_what_is_unread_at_the_close_can_still_be_read(open_executor: OpenExecutor) -> None:
    executor = open_executor(streams=True)
    sent, updates = filled(executor)
    executor.close()
    assert [(each.intent_id, each.state) for each in updates] == [(sent.id, OrderState.FILLED)]
    assert updates.get(0) is None


@pytest.mark.parametrize("closes", [False, True])
def test_a_wait_that_is_interrupted_loses_no_update(
    open_executor: OpenExecutor, monkeypatch: pytest.MonkeyPatch, *, closes: bool
) -> None:
    executor = open_executor(streams=True)
    sent, updates = filled(executor)
    another = an_intent()
    executor.execute(another)
    until(lambda: len(updates._updates._unread) == 2)
    call = executor._call

    def interrupted(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        call(work)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(executor, "_call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            updates.get(10)
    if closes:
        executor.close()
    got = [updates.get(0) for _ in range(2)]
    assert [each and each.intent_id for each in got] == [sent.id, another.id]
