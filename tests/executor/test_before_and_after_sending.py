"""Cases in which the last look sends nothing, and what absence proves while an order may still arrive."""

from __future__ import annotations

import asyncio

import pytest
import redis

from gate.exchange.failures import ExchangeFailure, OrderNotFound, failure_of
from gate.exchange.port import AccountFigures, OrderAnswer, OrderRequest, Validity
from gate.executor.execution import Terminal
from tests.executor.conftest import Desk, OpenDesk, forget
from tests.servers.wire import Wire


def heard_of_absence(desk: Desk) -> asyncio.Event:
    """Set once the exchange has told this desk that it has no such order."""
    absent, find_order = asyncio.Event(), desk.exchange.find_order

    async def find(symbol: str, client_order_id: str, *, conditional: bool) -> OrderAnswer:
        try:
            return await find_order(symbol, client_order_id, conditional=conditional)
        except OrderNotFound:
            absent.set()
            raise

    desk.exchange.find_order = find  # type: ignore[method-assign]  # the real question, and a word that it was asked
    return absent


async def test_an_order_that_arrives_after_the_first_look_up_is_found(desk: Desk) -> None:
    """The request fails without an answer, and reaches the exchange only when a look-up has found nothing."""
    absent, place, late = heard_of_absence(desk), desk.exchange.place, []

    async def arrive(order: OrderRequest, validity: Validity, timeout_ms: int) -> OrderAnswer:
        await absent.wait()
        return await place(order, validity, timeout_ms=timeout_ms)

    async def no_answer(order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        late.append(asyncio.create_task(arrive(order, validity, timeout_ms)))
        raise ExchangeFailure(failure_of(TimeoutError()))

    desk.exchange.place = no_answer  # type: ignore[method-assign]  # a request that takes its time on the way
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    assert execution.state is Terminal.FILLED
    assert execution.order_id == (await late[0]).order_id
    assert len(desk.orders(intent)) == 1


async def test_after_a_loss_of_memory_absence_counts_only_once_nothing_can_be_on_its_way(
    open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    """A's order reaches the exchange after the memory has gone, and after B's first look-up has found nothing."""
    a, b = await open_desk(), await open_desk()
    intent = a.intent()
    absent, place, about_to_arrive = heard_of_absence(b), a.exchange.place, asyncio.Event()

    async def on_its_way(order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        about_to_arrive.set()
        await absent.wait()
        return await place(order, validity, timeout_ms=timeout_ms)

    a.exchange.place = on_its_way  # type: ignore[method-assign]  # a request that takes its time on the way
    first = asyncio.create_task(a.executor.execute(intent))
    await about_to_arrive.wait()
    forget(redis_client, ago_ms=0)

    second = await b.executor.execute(intent)

    [order] = a.orders(intent)
    assert second.order_id == (await first).order_id == str(order["orderId"])


async def test_a_store_that_does_not_answer_the_last_look_sends_nothing(open_desk: OpenDesk, wire: Wire) -> None:
    desk = await open_desk(url=wire.url)
    account = desk.exchange.account

    async def then_lose_the_look() -> AccountFigures:
        figures = await account()
        for _ in range(2):  # it is asked twice
            wire.lose_next_reply("EVALSHA_RO")
        return figures

    desk.exchange.account = then_lose_the_look  # type: ignore[method-assign]  # the moment before the last look
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "STORE_LOST")
    assert execution.retryable
    assert desk.orders(intent) == []


async def test_a_fault_of_our_own_before_sending_is_answered_and_gives_the_intent_back(desk: Desk) -> None:
    async def broken() -> AccountFigures:
        raise RuntimeError("a bug")

    desk.exchange.account = broken  # type: ignore[method-assign]  # a fault that nobody has foreseen
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "RuntimeError")
    assert await desk.gate.lookup(intent.id) is None, "so that a later delivery can be admitted"
    assert desk.orders(intent) == []


async def test_an_exit_whose_permit_the_store_forgot_may_come_again(
    open_desk: OpenDesk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = await open_desk()
    await desk.executor.execute(desk.intent(quantity="0.01"))
    hedge_mode = desk.exchange.hedge_mode

    async def then_forget() -> bool:
        redis_client.flushall()
        await asyncio.sleep(0)  # without a wait, the verdict itself is the last look
        return await hedge_mode()

    desk.exchange.hedge_mode = then_forget  # type: ignore[method-assign]  # between the verdict and the last look
    monkeypatch.setattr(desk.exchange, "known_hedge_mode", lambda: None)
    leaving = desk.intent(side="SELL", quantity="0.01", reduce_only=True)

    lost = await desk.executor.execute(leaving)
    desk.exchange.hedge_mode = hedge_mode  # type: ignore[method-assign]
    again = await desk.executor.execute(leaving)

    assert (lost.reason, lost.retryable) == ("PERMIT_LOST", True)
    assert again.state is Terminal.FILLED
