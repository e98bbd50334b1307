"""The verdict in place of a last look: two trips to the store for an order that waits for nothing, else three."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gate import Intent, LastLook, Permit, Policy, Verdict
from gate.exchange.port import OrderAnswer, OrderRequest, Validity
from gate.executor import verdict_look
from gate.executor.execution import Terminal
from tests.executor.conftest import ROOMY, Desk, OpenDesk, until, waits_before_sending
from tests.servers.wire import Wire


@pytest.fixture
async def warm(open_desk: OpenDesk) -> Desk:
    """A desk whose streams tell all that an entry needs, and that holds a position."""
    desk = await open_desk(ROOMY, None, "BTCUSDT")
    assert (await desk.executor.execute(desk.intent(quantity="0.01"))).state is Terminal.FILLED
    # The streams show the position that the entry has made, so that a close goes by them.
    await until(lambda: desk.executor._placer.preflight.live(_close(desk)) is not None)
    return desk


def _looks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The intents for which a last look is asked, from now on."""
    gate = desk.executor._gate
    look, asked = gate.last_look, list[str]()

    async def noted(permit: Permit, **more: Any) -> LastLook:
        asked.append(permit.intent_id)
        return await look(permit, **more)

    monkeypatch.setattr(gate, "last_look", noted)
    return asked


def _entry(desk: Desk) -> Intent:
    return desk.intent(quantity="0.01")


def _exit(desk: Desk) -> Intent:
    return desk.intent(side="SELL", quantity="0.01", reduce_only=True)


def _close(desk: Desk) -> Intent:
    return desk.intent(side="CLOSE", notional=None, close_position=True)


INTENTS = {"entry": _entry, "exit": _exit, "close": _close}


@pytest.mark.parametrize("what", INTENTS)
async def test_what_waits_for_nothing_asks_for_no_last_look(
    warm: Desk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    asked = _looks(warm, monkeypatch)
    assert (await warm.executor.execute(INTENTS[what](warm))).state is Terminal.FILLED
    assert asked == []


async def test_an_exit_asks_for_none_without_streams_either(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.executor.execute(_entry(desk))
    asked = _looks(desk, monkeypatch)
    assert (await desk.executor.execute(_exit(desk))).state is Terminal.FILLED
    assert asked == []


@pytest.mark.parametrize("what", INTENTS)
async def test_what_waits_for_anything_asks_again(warm: Desk, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    asked = _looks(warm, monkeypatch)
    waits_before_sending(warm, monkeypatch)
    intent = INTENTS[what](warm)
    assert (await warm.executor.execute(intent)).state is Terminal.FILLED
    assert asked == [intent.id]


@pytest.mark.parametrize("what", INTENTS)
async def test_after_a_slow_verdict_it_asks_again(warm: Desk, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Its order would be signed by a moment that is long past."""
    monkeypatch.setattr(verdict_look, "_SLOWEST_MS", -1)
    asked = _looks(warm, monkeypatch)
    intent = INTENTS[what](warm)
    assert (await warm.executor.execute(intent)).state is Terminal.FILLED
    assert asked == [intent.id]


async def test_a_permit_that_ends_before_its_order_is_refused_is_asked_for_again(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order then gets as much time as the permit has."""
    desk = await open_desk(Policy(lock_ttl_ms=1_900, rate_symbol_limit=100, rate_global_limit=1000))
    await desk.executor.execute(_entry(desk))
    desk.exchange.recv_window_ms = 5_000
    asked = _looks(desk, monkeypatch)
    intent = _exit(desk)
    assert (await desk.executor.execute(intent)).state is Terminal.FILLED
    assert asked == [intent.id]


async def test_after_a_lost_reply_it_asks_again(
    open_desk: OpenDesk, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call may have been admitted a while ago."""
    desk = await open_desk(url=wire.url)
    await desk.executor.execute(_entry(desk))
    asked = _looks(desk, monkeypatch)
    wire.lose_next_reply("EVALSHA")
    intent = _exit(desk)
    assert (await desk.executor.execute(intent)).state is Terminal.FILLED
    assert asked == [intent.id]


async def test_a_process_that_stops_after_its_verdict_sends_nothing_that_the_exchange_accepts(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is signed by the moment before the verdict. The pause outlasts its recvWindow."""
    desk = await open_desk(Policy(lock_ttl_ms=2_500, rate_symbol_limit=100, rate_global_limit=1000))
    await desk.executor.execute(_entry(desk))
    asked, place = _looks(desk, monkeypatch), desk.exchange.place

    async def stop_then_place(order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        time.sleep(2.6)  # noqa: ASYNC251  # stops the whole process, as SIGSTOP does
        return await place(order, validity, timeout_ms=timeout_ms)

    monkeypatch.setattr(desk.exchange, "place", stop_then_place)
    intent = _exit(desk)

    execution = await desk.executor.execute(intent)

    assert desk.orders(intent) == []
    assert execution.state is Terminal.REJECTED_EXCHANGE
    assert asked == [intent.id], "before a second request, which the permit's end forbids"


@pytest.mark.parametrize("what", INTENTS)
async def test_an_order_is_signed_by_the_moment_before_its_verdict(
    warm: Desk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Between the two nothing is certain: a process may stand still there, too."""
    gate, place = warm.executor._gate, warm.exchange.place
    evaluate, moments = gate.evaluate, dict[str, int]()

    async def slow(intent: Intent, **more: Any) -> Verdict:
        moments["asked"] = warm.exchange.valid_for(200).from_ms
        verdict = await evaluate(intent, **more)
        time.sleep(0.02)  # noqa: ASYNC251  # the process stands still
        return verdict

    async def noted(order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        moments["signed"] = validity.from_ms
        return await place(order, validity, timeout_ms=timeout_ms)

    monkeypatch.setattr(gate, "evaluate", slow)
    monkeypatch.setattr(warm.exchange, "place", noted)
    assert (await warm.executor.execute(INTENTS[what](warm))).state is Terminal.FILLED
    assert moments["signed"] <= moments["asked"]


@pytest.mark.parametrize(("what", "streams"), [("entry", True), ("close", True), ("exit", True), ("entry", False)])
async def test_a_verdict_tells_the_orders_only_to_what_goes_by_the_streams(
    warm: Desk, monkeypatch: pytest.MonkeyPatch, what: str, streams: bool
) -> None:
    gate = warm.executor._gate
    evaluate, asked = gate.evaluate, list[str | None]()

    async def noted(intent: Intent, *, placed_after: str | None, **more: Any) -> Verdict:
        asked.append(placed_after)
        return await evaluate(intent, placed_after=placed_after, **more)

    monkeypatch.setattr(gate, "evaluate", noted)
    if not streams:
        monkeypatch.setattr(warm.exchange, "live", lambda symbol: None)
    assert await warm.executor.execute(INTENTS[what](warm))
    assert [placed_after is not None for placed_after in asked] == [streams and what != "exit"]
