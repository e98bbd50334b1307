"""What comes of orders, without an event loop."""

from __future__ import annotations

import threading

import pytest

from gate.executor import OrderState
from gate.paper import PaperExchange
from tests.executor.blocking.conftest import OpenExecutor, an_intent, meanwhile


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
