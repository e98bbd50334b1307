"""A pass goes on to its end whenever its caller is cancelled, and breaks off only where it says so."""

from __future__ import annotations

import asyncio

import pytest

from gate.executor.passage import Passage

_STEPS = 6
_TURNS = range(1, 2 * _STEPS + 6)


async def _pass(steps: list[str], fails: bool = False) -> str:
    for number in range(_STEPS):
        steps.append(str(number))
        await asyncio.sleep(0)
    steps.append("end")
    if fails:
        raise ValueError("its own")
    return "result"


async def _after_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("turn", _TURNS)
async def test_a_cancelled_caller_hears_of_it_when_the_pass_has_ended(turn: int, times: int) -> None:
    steps: list[str] = []
    passage = Passage()
    caller = asyncio.create_task(passage.carry(_pass(steps)))
    await _after_turns(turn)
    over = caller.done()
    for _ in range(times):
        caller.cancel()
        await asyncio.sleep(0)
    if over:
        assert await caller == "result"
        return
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps[-1] == "end", "it goes on to its end"
    assert passage.cancelled is not None


@pytest.mark.parametrize("turn", _TURNS)
async def test_its_failure_is_the_callers(turn: int) -> None:
    steps: list[str] = []
    caller = asyncio.create_task(Passage().carry(_pass(steps, fails=True)))
    await _after_turns(turn)
    if turn % 2 and steps:
        caller.cancel()
    with pytest.raises(ValueError, match="its own"):
        await caller


@pytest.mark.parametrize("turn", _TURNS)
async def test_a_cancellation_breaks_off_what_may_be_broken_off(turn: int) -> None:
    steps: list[str] = []
    passage = Passage()

    async def placing() -> str:
        steps.append("verdict")
        await asyncio.sleep(0)
        try:
            with passage.may_break_off():
                await _pass(steps)
        except asyncio.CancelledError:
            steps.append("broken off")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        steps.append("settled")
        return "result"

    caller = asyncio.create_task(passage.carry(placing()))
    await _after_turns(turn)
    over = caller.done()
    caller.cancel()
    if over:
        assert await caller == "result"
        return
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps[-1] == "settled"
    assert ("broken off" in steps) is not ("end" in steps)


async def test_what_may_be_broken_off_does_not_begin_after_a_cancellation() -> None:
    steps: list[str] = []
    passage, began, go_on = Passage(), asyncio.Event(), asyncio.Event()

    async def placing() -> None:
        began.set()
        await go_on.wait()
        with passage.may_break_off():
            steps.append("sent")

    caller = asyncio.create_task(passage.carry(placing()))
    await began.wait()
    caller.cancel()
    await asyncio.sleep(0)  # until the pass knows of it
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps == []


async def test_the_caller_goes_on_in_the_turn_after_the_passs_end() -> None:
    """In that turn nothing comes between that was ready after the pass."""
    order: list[str] = []
    loop = asyncio.get_running_loop()

    async def ends() -> None:
        await asyncio.sleep(0)
        loop.call_soon(lambda: loop.call_soon(order.append, "the turn after the next one"))

    await Passage().carry(ends())
    order.append("the caller")
    await _after_turns(3)
    assert order == ["the caller", "the turn after the next one"]
