"""Entries of one symbol that differ in leverage: each waits until the order before it can't come any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from msgspec import structs

from gate.exchange.port import CLOCK_LEAD_MS, LEAST_TO_SEND_MS
from gate.executor.attempt import Attempt
from gate.executor.execution import Terminal
from gate.executor.leverage import LeverageTurns
from gate.paper import Fault, FaultKind
from tests.executor.conftest import ROOMY, Desk, OpenDesk, forget
from tests.executor.test_leverage import AT_FIRST, hits, leverage_there, setting


async def test_an_entry_at_another_leverage_waits_until_the_order_before_it_is_there(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.DELAY))
    low = asyncio.create_task(desk.executor.execute(desk.intent(leverage=2)))
    await asyncio.to_thread(desk.paper.wait_held)

    high = asyncio.create_task(desk.executor.execute(desk.intent(side="SELL", leverage=50)))
    await _waits(desk)

    assert await leverage_there(desk) == 2, "or the order that is on its way would be placed at 50"
    desk.paper.release_held()
    assert (await low).state is Terminal.FILLED
    assert (await high).state is Terminal.FILLED
    assert await leverage_there(desk) == 50


async def test_a_setting_that_may_come_late_keeps_its_turn_until_it_cannot(desk: Desk) -> None:
    desk.paper.inject(setting(FaultKind.UNKNOWN_503, accept=False))
    began_ns = time.monotonic_ns()
    unclear = asyncio.create_task(desk.executor.execute(desk.intent(leverage=50)))
    while not await asyncio.to_thread(hits, desk):
        pass
    lower = asyncio.create_task(desk.executor.execute(desk.intent(side="SELL", leverage=2)))
    await _waits(desk)

    await desk.exchange._rest.client.futures_change_leverage(symbol="BTCUSDT", leverage=50)  # here it comes

    assert (await unclear).reason == "LEVERAGE_NOT_SET"
    assert time.monotonic_ns() - began_ns >= (desk.exchange.recv_window_ms + CLOCK_LEAD_MS) * 1_000_000
    assert (await lower).state is Terminal.FILLED
    assert await leverage_there(desk) == 2


async def test_an_entry_whose_turn_comes_too_late_sets_nothing(open_desk: OpenDesk) -> None:
    """Its order can't be sent any more. The leverage would be that of the position that is there."""
    desk = await open_desk(replace(ROOMY, lock_ttl_ms=3_000))
    turns = desk.executor._placer._turns
    low = desk.intent(leverage=2)
    verdict = await desk.gate.evaluate(low)
    assert verdict.permit is not None
    async with turns.turn(Attempt(low, verdict, verdict.permit, desk.gate.policy), 0):
        high = asyncio.create_task(desk.executor.execute(desk.intent(side="SELL", leverage=50)))
        await _waits(desk)
        await asyncio.sleep((verdict.permit.remaining_ms - LEAST_TO_SEND_MS + 500) / 1000)  # no clock can be moved here

    assert (await high).reason == "DEADLINE"
    assert await leverage_there(desk) == AT_FIRST


async def test_entries_of_one_leverage_and_of_other_symbols_wait_for_nobody(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.DELAY))
    held = asyncio.create_task(desk.executor.execute(desk.intent(leverage=2)))
    await asyncio.to_thread(desk.paper.wait_held)

    same = await desk.executor.execute(desk.intent(side="SELL", leverage=2, notional="500"))
    other = await desk.executor.execute(desk.intent("ETHUSDT", leverage=3))
    exit_ = await desk.executor.execute(desk.intent(side="BUY", quantity="0.001", reduce_only=True, leverage=9))

    assert [same.state, other.state, exit_.state] == [Terminal.FILLED] * 3
    desk.paper.release_held()
    assert (await held).state is Terminal.FILLED


async def test_a_cancelled_entry_keeps_its_turn_until_its_order_can_not_come_any_more(open_desk: OpenDesk) -> None:
    desk = await open_desk(replace(ROOMY, lock_ttl_ms=5_000))
    desk.paper.inject(Fault(kind=FaultKind.DELAY))
    low = asyncio.create_task(desk.executor.execute(desk.intent(leverage=2)))
    await asyncio.to_thread(desk.paper.wait_held)
    high = asyncio.create_task(desk.executor.execute(desk.intent(side="SELL", leverage=50)))
    await _waits(desk)

    low.cancel()
    with pytest.raises(asyncio.CancelledError):
        await low
    assert await leverage_there(desk) == 2, "or the order that is on its way would be placed at 50"
    desk.paper.release_held()

    assert (await high).reason == "DEADLINE", "its permit is hardly younger"
    assert await leverage_there(desk) == 2


@pytest.mark.parametrize("on_its_way", ["sent", "sets_leverage"])
async def test_a_cancelled_entry_keeps_its_turn_as_long_as_the_exchange_accepts_its_request(
    desk: Desk, on_its_way: str
) -> None:
    """Though its permit has run out: a request is accepted for so long after its signature."""
    turns, low = LeverageTurns(), desk.intent(leverage=2)
    verdict = await desk.gate.evaluate(low)
    assert verdict.permit is not None
    attempt = Attempt(low, verdict, structs.replace(verdict.permit, expires_ns=0), desk.gate.policy)
    setattr(attempt, on_its_way, True)

    with pytest.raises(asyncio.CancelledError):
        async with turns.turn(attempt, acceptable_ms=3_600_000):
            raise asyncio.CancelledError

    timers_due = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0, timers_due.set_result, None)
    await timers_due
    assert turns._turns["BTCUSDT"].under_way == 1


async def test_that_time_is_the_exchanges_where_a_permit_has_less_left(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    desk.exchange.recv_window_ms = desk.gate.policy.lock_ttl_ms
    desk.paper.inject(Fault(kind=FaultKind.DELAY, path="/fapi/v1/order"))
    low = asyncio.create_task(desk.executor.execute(desk.intent(leverage=2)))
    await asyncio.to_thread(desk.paper.wait_held)
    turn, call_later, kept_s = desk.executor._placer._turns._turns["BTCUSDT"], loop.call_later, list[float]()

    def noted(delay_s: float, callback: Callable[..., object], *words: Any, **more: Any) -> asyncio.TimerHandle:
        if callback == turn.end:
            kept_s.append(delay_s)
        return call_later(delay_s, callback, *words, **more)

    monkeypatch.setattr(loop, "call_later", noted)
    low.cancel()
    with pytest.raises(asyncio.CancelledError):
        await low
    desk.paper.release_held()

    assert kept_s == [(desk.exchange.recv_window_ms + CLOCK_LEAD_MS) / 1000]


@pytest.mark.parametrize("ends", ["cancelled", "failed"])
async def test_an_entry_that_sent_nothing_gives_its_turn_away(desk: Desk, ends: str) -> None:
    turns, low = desk.executor._placer._turns, desk.intent(leverage=2)
    verdict = await desk.gate.evaluate(low)
    assert verdict.permit is not None
    with pytest.raises(BaseException, match="ends"):
        async with turns.turn(Attempt(low, verdict, verdict.permit, desk.gate.policy), 0):
            raise asyncio.CancelledError("ends") if ends == "cancelled" else RuntimeError("ends")

    assert (await desk.executor.execute(desk.intent(side="SELL", leverage=50))).state is Terminal.FILLED


async def _waits(desk: Desk) -> None:
    """Returns when an entry waits for its turn."""
    turns = desk.executor._placer._turns._turns
    async with asyncio.timeout(30):
        while not turns["BTCUSDT"].waiting:  # noqa: ASYNC110  # the executor's own
            await asyncio.sleep(0)


async def test_what_was_read_before_another_entrys_turn_is_read_anew(desk: Desk) -> None:
    """It says that the exchange has the leverage that the second entry names: so it had, before the first one's."""
    await desk.exchange.set_leverage("BTCUSDT", 2)
    for path in ("/fapi/v1/leverage", "/fapi/v1/order"):
        desk.paper.inject(Fault(kind=FaultKind.DELAY, path=path))
    high = asyncio.create_task(desk.executor.execute(desk.intent(leverage=50)))
    await asyncio.to_thread(desk.paper.wait_held)
    low = asyncio.create_task(desk.executor.execute(desk.intent(side="SELL", leverage=2)))
    await _waits(desk)
    assert await leverage_there(desk) == 2, "and so low has read it"
    desk.paper.release_held()
    await asyncio.to_thread(desk.paper.wait_held)

    desk.paper.release_held()

    assert (await high).state is Terminal.FILLED
    assert (await low).state is Terminal.FILLED
    assert await leverage_there(desk) == 2


async def test_what_was_read_before_the_verdict_is_read_anew_after_another_entrys_turn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says 5, which the first entry names. Before its verdict, another one sets 20 and is sent."""
    monkeypatch.setattr("gate.executor.preflight._LONGEST_FIRST_READING_S", 30)
    await desk.exchange.set_leverage("BTCUSDT", 5)
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/premiumIndex"))
    low = asyncio.create_task(desk.executor.execute(desk.intent(side="SELL", quantity="0.002", leverage=5)))
    await asyncio.to_thread(desk.paper.wait_held)
    assert (await desk.executor.execute(desk.intent(leverage=20))).state is Terminal.FILLED

    desk.paper.release_held()

    assert (await low).state is Terminal.FILLED
    assert await leverage_there(desk) == 5, "or it went at 20"


async def test_what_was_read_beside_a_look_up_is_read_anew_after_another_entrys_turn(
    desk: Desk, redis_client: redis.Redis
) -> None:
    await desk.exchange.set_leverage("BTCUSDT", 5)
    assert (await desk.executor.execute(desk.intent(leverage=5))).state is Terminal.FILLED
    forget(redis_client)
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/order"))
    low = asyncio.create_task(desk.executor.execute(desk.intent(side="SELL", leverage=5)))
    await asyncio.to_thread(desk.paper.wait_held)
    assert (await desk.executor.execute(desk.intent(leverage=20))).state is Terminal.FILLED

    desk.paper.release_held()

    assert (await low).state is Terminal.FILLED
    assert await leverage_there(desk) == 5, "or it went at 20"


async def test_a_turn_of_the_same_leverage_hides_none_of_another_before_it(desk: Desk) -> None:
    """Read, then 20, then a third entry that is about to set 5 again: until it has, the exchange has 20."""
    turns, attempts = LeverageTurns(), []
    for side, leverage in (("BUY", 20), ("SELL", 5)):
        intent = desk.intent("ETHUSDT", side, leverage=leverage)
        verdict = await desk.gate.evaluate(intent)
        assert verdict.permit is not None
        attempts.append(Attempt(intent, verdict, verdict.permit, desk.gate.policy))
    high, low = attempts
    read_ns = time.monotonic_ns()

    async with turns.turn(high, 0, time.monotonic_ns()) as still_so:
        assert still_so
    async with turns.turn(low, 0, time.monotonic_ns()) as still_so:
        assert still_so
        async with turns.turn(low, 0, read_ns) as still_so:
            assert not still_so
