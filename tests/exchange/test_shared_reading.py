"""One request for all callers that ask at about the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gate.exchange.shared_reading import SharedReading


class _Source:
    """Counts its readings; each waits until it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()

    async def read(self) -> int:
        self.begun += 1
        number = self.begun
        await self.go_on.wait()
        return number


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_reading_begins_at_once_where_none_is_under_way() -> None:
    source = _Source()
    source.go_on.set()
    shared = SharedReading(source.read)

    assert [await shared.get() for _ in range(3)] == [1, 2, 3]


async def test_near_the_limits_readings_begin_apart_and_all_who_ask_meanwhile_share_the_next() -> None:
    source = _Source()
    source.go_on.set()
    shared = SharedReading(source.read, apart_ms=lambda: 3_600_000)
    await shared.get()

    waiting = [asyncio.create_task(shared.get()) for _ in range(5)]
    await _turns()

    assert source.begun == 1, "an hour has not passed"
    for task in waiting:
        task.cancel()


async def test_a_caller_during_a_reading_gets_the_next_one() -> None:
    source = _Source()
    shared = SharedReading(source.read, apart_ms=lambda: 0)
    first = asyncio.create_task(shared.get())
    await _turns()
    second = asyncio.create_task(shared.get())
    await _turns()
    source.go_on.set()

    assert (await first, await second) == (1, 2)


async def test_a_cancelled_caller_does_not_take_the_answer_from_the_others() -> None:
    source = _Source()
    shared = SharedReading(source.read, apart_ms=lambda: 0)
    leaves, stays = (asyncio.create_task(shared.get()) for _ in range(2))
    await _turns()

    leaves.cancel()
    await _turns()
    source.go_on.set()

    assert await stays == 1


async def test_a_failed_reading_fails_for_all_waiting_callers_and_not_for_the_next() -> None:
    failures = [OSError("away")]

    async def read() -> int:
        if failures:
            raise failures.pop()
        return 2

    shared = SharedReading(read, apart_ms=lambda: 0)
    answers = await asyncio.gather(shared.get(), shared.get(), return_exceptions=True)

    assert [type(answer) for answer in answers] == [OSError, OSError]
    assert await shared.get() == 2
    with pytest.raises(IndexError):
        failures.pop()


async def test_a_loop_that_starts_tasks_at_once_does_not_make_one_answer_serve_for_ever() -> None:
    """As Python 3.12's eager tasks: they run before whoever has made them notes that. So no factory makes this one."""
    source = _Source()
    source.go_on.set()
    shared = SharedReading(source.read)
    loop = asyncio.get_running_loop()

    loop.set_task_factory(_no_factory)
    try:
        assert [await shared.get() for _ in range(3)] == [1, 2, 3]
    finally:
        loop.set_task_factory(None)


def _no_factory(*_: Any, **__: Any) -> Any:
    raise AssertionError("a task was made by the loop's factory")
