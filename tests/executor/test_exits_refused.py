"""What the exchange refuses an exit for is told, and put right where that can be done."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import redis

from gate import Intent, Phase
from gate.exchange.failures import failure_of_answer
from gate.exchange.port import LEAST_TO_SEND_MS, OrderAnswer, Position, RestingOrder
from gate.executor.execution import Terminal
from gate.executor.resting import CANCELS_TAKE_MS
from gate.paper import Fault, FaultKind
from tests.executor.conftest import ROOMY, Desk, OpenDesk, OpenWorker, forget
from tests.servers.store import PrivateStore

ORDER = "/fapi/v1/order"


async def _open(desk: Desk, side: str = "BUY", quantity: str = "0.1", **more: Any) -> None:
    await desk.exchange._rest.client.futures_create_order(
        symbol="BTCUSDT", side=side, type="MARKET", quantity=quantity, **more
    )


async def _rests(desk: Desk, quantity: str = "0.1", **more: Any) -> Mapping[str, Any]:
    """An exit of somebody's, which covers so much of the position."""
    terms = {"side": "SELL", "type": "LIMIT", "price": "200000", "timeInForce": "GTC", "reduceOnly": "true"} | more
    answer: Mapping[str, Any] = await desk.exchange._rest.client.futures_create_order(
        symbol="BTCUSDT", quantity=quantity, **terms
    )
    return answer


async def _stop_rests(desk: Desk) -> Mapping[str, Any]:
    answer: Mapping[str, Any] = await desk.exchange._rest.client.futures_create_order(
        symbol="BTCUSDT", side="SELL", type="STOP_MARKET", triggerPrice="50000", closePosition="true"
    )
    return answer


def _exit(desk: Desk, **more: Any) -> Intent:
    terms = {"quantity": "0.05", "order_type": "LIMIT", "price": "190000"} | more
    return desk.intent(side="SELL", reduce_only=True, **terms)


async def _open_ids(desk: Desk) -> tuple[set[int], set[int]]:
    client = desk.exchange._rest.client
    plain, algo = await client.futures_get_open_orders(), await client.futures_get_open_algo_orders()
    return {each["orderId"] for each in plain}, {each["algoId"] for each in algo}


async def test_an_exit_that_resting_exits_leave_nothing_is_told_what_they_are(desk: Desk) -> None:
    await _open(desk)
    taking_profit, stop = await _rests(desk), await _stop_rests(desk)
    await _rests(desk, "0.01", side="BUY", price="50000", reduceOnly="false")  # an entry is in nobody's way

    refused = await desk.executor.execute(_exit(desk))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_EXCHANGE, "-2022")
    assert f"SELL LIMIT 0.1 (order {taking_profit['orderId']})" in refused.detail
    assert f"SELL STOP_MARKET of all (order {stop['algoId']})" in refused.detail
    assert "BUY" not in refused.detail
    assert refused.still_open == {"BOTH": Decimal("0.1")}
    assert {taking_profit["orderId"]} < (await _open_ids(desk))[0], "nothing is cancelled unasked"


async def test_in_hedge_mode_the_position_side_tells_what_reduces(desk: Desk) -> None:
    await desk.exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
    await _open(desk, positionSide="LONG")
    answer = await desk.exchange._rest.client.futures_create_order(
        symbol="BTCUSDT", side="SELL", type="LIMIT", price="200000", timeInForce="GTC", quantity="0.1",
        positionSide="LONG",
    )  # fmt: skip

    refused = await desk.executor.execute(_exit(desk, position_side="LONG"))

    assert refused.reason == "-2022"
    assert f"(order {answer['orderId']})" in refused.detail
    assert refused.still_open == {"LONG": Decimal("0.1")}


@pytest.mark.parametrize("code", [-2022, -4118])
async def test_a_refusal_without_anything_that_rests_says_so(desk: Desk, code: int) -> None:
    desk.paper.inject(Fault(kind=FaultKind.ERROR, path=ORDER, code=code, msg="ReduceOnly Order is rejected."))

    refused = await desk.executor.execute(_exit(desk))

    assert refused.detail.endswith("nothing rests against the position")
    assert refused.still_open == {}


async def test_the_policy_may_have_them_cancelled_and_the_exit_sent_again(open_desk: OpenDesk) -> None:
    desk = await open_desk(replace(ROOMY, cancel_conflicting_exits=True))
    await _open(desk)
    taking_profit, stop = await _rests(desk), await _stop_rests(desk)
    entry = await _rests(desk, "0.01", side="BUY", price="50000", reduceOnly="false")
    intent = _exit(desk)

    placed = await desk.executor.execute(intent)

    [order] = desk.orders(intent)
    plain, algo = await _open_ids(desk)
    assert (placed.state, placed.order_id) == (Terminal.PLACED, str(order["orderId"]))
    assert plain == {entry["orderId"], order["orderId"]}
    assert algo == {stop["algoId"]}, "what may be the last protection stays, as it covers nothing"
    assert f"cancelled SELL LIMIT 0.1 (order {taking_profit['orderId']})" in placed.notes[-1]
    record = await desk.gate.lookup(intent.id)
    assert record is not None
    assert record.phase is Phase.PLACED


@pytest.mark.parametrize("cancels", [False, True])
async def test_an_entry_of_the_same_side_is_neither_told_nor_cancelled(open_desk: OpenDesk, cancels: bool) -> None:
    """It would open a short position, and takes nothing of what is open."""
    desk = await open_desk(replace(ROOMY, cancel_conflicting_exits=cancels))
    await _open(desk)
    entry = await _rests(desk, "0.01", reduceOnly="false")
    covering = await _rests(desk)

    execution = await desk.executor.execute(_exit(desk))

    said = " ".join((execution.detail, *execution.notes))
    assert execution.state is (Terminal.PLACED if cancels else Terminal.REJECTED_EXCHANGE)
    assert f"(order {covering['orderId']})" in said
    assert str(entry["orderId"]) not in said
    assert entry["orderId"] in (await _open_ids(desk))[0]


async def test_a_stop_is_never_cancelled(open_desk: OpenDesk) -> None:
    """Before it fires it covers nothing, and it may be the position's last protection."""
    desk = await open_desk(replace(ROOMY, cancel_conflicting_exits=True))
    await _open(desk)
    stop = await _stop_rests(desk)
    desk.paper.inject(Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, code=-2022, times=1))

    refused = await desk.executor.execute(_exit(desk))

    assert (refused.reason, refused.notes) == ("-2022", ())
    assert (await _open_ids(desk))[1] == {stop["algoId"]}


async def test_nothing_is_cancelled_for_an_exit_that_is_halted_meanwhile(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The position would have lost its protection, and the exit not gone."""
    desk = await open_desk(replace(ROOMY, cancel_conflicting_exits=True))
    await _open(desk)
    protection, resting_orders = await _rests(desk), desk.exchange.resting_orders

    async def then_halt(symbol: str) -> tuple[RestingOrder, ...]:
        resting = await resting_orders(symbol)
        await desk.gate.halt(by="ops", reason="a test", scope="all")
        return resting

    monkeypatch.setattr(desk.exchange, "resting_orders", then_halt)
    refused = await desk.executor.execute(_exit(desk))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_EXCHANGE, "-2022")
    assert (await _open_ids(desk))[0] == {protection["orderId"]}


async def test_nothing_is_cancelled_for_an_exit_whose_permit_may_end_before_it_goes(
    private_store: PrivateStore, open_worker: OpenWorker
) -> None:
    """Without a store to ask, its own clock tells."""
    desk = await open_worker(cancel_conflicting_exits=True, lock_ttl_ms=LEAST_TO_SEND_MS + CANCELS_TAKE_MS)
    protection = await _rests(desk)
    private_store.stop()

    refused = await desk.executor.execute(_exit(desk))

    assert (refused.reason, refused.without_store) == ("-2022", True)
    assert (await _open_ids(desk))[0] == {protection["orderId"]}


async def test_an_order_that_another_has_cancelled_first_is_gone_too(open_desk: OpenDesk) -> None:
    desk = await open_desk(replace(ROOMY, cancel_conflicting_exits=True))
    await _open(desk)
    await _rests(desk)
    desk.paper.inject(Fault(kind=FaultKind.SLOW_BODY, method="GET", path="/fapi/v1/openOrders", times=1))
    exit_ = asyncio.create_task(desk.executor.execute(_exit(desk)))
    await asyncio.to_thread(desk.paper.wait_held)
    await desk.exchange._rest.client.futures_cancel_all_open_orders(symbol="BTCUSDT")
    desk.paper.release_held()

    assert (await exit_).state is Terminal.PLACED


@pytest.mark.parametrize("by", ["quantity", "notional"])
async def test_an_exit_larger_than_the_position_is_cut_to_it(desk: Desk, by: str) -> None:
    """As after a stop that has closed a part. In hedge mode, and with a limit, the exchange refuses it."""
    await desk.exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
    await _open(desk, positionSide="LONG")
    size = Decimal("0.15") * (await desk.exchange.mark_price("BTCUSDT") if by == "notional" else 1)
    terms = {"quantity": None, "order_type": "MARKET", "price": None, "position_side": "LONG", by: f"{size:.2f}"}

    closed = await desk.executor.execute(_exit(desk, **terms))

    assert (closed.state, closed.filled_quantity) == (Terminal.FILLED, Decimal("0.1"))
    assert closed.notes[-1].endswith("to 0.1: no more is open")


async def test_a_position_that_shrinks_before_a_close_is_sent_is_closed_all_the_same(desk: Desk) -> None:
    await desk.exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
    await _open(desk, positionSide="LONG")
    desk.paper.inject(Fault(kind=FaultKind.SLOW_BODY, method="GET", path="/fapi/v3/positionRisk", times=1))
    intent = Intent(
        id="close-1", symbol="BTCUSDT", side="CLOSE", timestamp=time.time_ns() // 1_000_000, reduce_only=True,
        close_position=True, position_side="LONG",
    )  # fmt: skip
    close = asyncio.create_task(desk.executor.execute(intent))
    await asyncio.to_thread(desk.paper.wait_held)
    await desk.exchange._rest.client.futures_create_order(
        symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.04", positionSide="LONG"
    )
    desk.paper.release_held()

    closed = await close
    assert (closed.state, closed.filled_quantity) == (Terminal.FILLED, Decimal("0.06"))
    assert await desk.exchange.positions("BTCUSDT") == ()


async def test_it_is_sent_again_once(open_desk: OpenDesk) -> None:
    desk = await open_desk(replace(ROOMY, cancel_conflicting_exits=True))
    await _open(desk)
    await _rests(desk)
    desk.paper.inject(Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, code=-2022, times=2))

    refused = await desk.executor.execute(_exit(desk))

    assert (refused.reason, refused.still_open) == ("-2022", {"BOTH": Decimal("0.1")})
    assert (await desk.executor.execute(_exit(desk))).state is Terminal.PLACED, "the third request was none of it"


async def test_nothing_is_cancelled_where_nothing_is_open(open_desk: OpenDesk) -> None:
    desk = await open_desk(replace(ROOMY, cancel_conflicting_exits=True))
    await _open(desk)
    stop = await _stop_rests(desk)
    await _open(desk, "SELL")

    refused = await desk.executor.execute(_exit(desk, order_type="MARKET", price=None))

    assert (refused.reason, refused.still_open) == ("-2022", {})
    assert (await _open_ids(desk))[1] <= {stop["algoId"]}
    assert refused.notes == ()


def _overloaded(desk: Desk, times: int) -> None:
    desk.paper.inject(Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, code=-1008, times=times))


async def test_an_overloaded_exchange_gets_an_exit_again_at_once(desk: Desk) -> None:
    await _open(desk)
    _overloaded(desk, 3)
    intent = _exit(desk, order_type="MARKET", price=None)

    assert (await desk.executor.execute(intent)).state is Terminal.FILLED
    assert len(desk.orders(intent)) == 1
    assert not any(each.on for each in (await desk.gate.status()).standing)


async def test_it_is_not_tried_for_ever_and_may_come_again(desk: Desk) -> None:
    await _open(desk)
    _overloaded(desk, 4)

    refused = await desk.executor.execute(_exit(desk))

    assert (refused.reason, refused.retryable) == ("-1008", True)
    assert refused.still_open == {"BOTH": Decimal("0.1")}


async def test_an_exit_that_is_cancelled_between_its_tries_comes_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was refused, so there is no order of it."""
    await _open(desk)
    monkeypatch.setattr("gate.executor.placing._PAUSES_WHILE_OVERLOADED_S", (3_600.0,))
    place, refused, intent = desk.exchange.place, asyncio.Event(), _exit(desk)

    async def then_tell(*words: Any, **more: Any) -> OrderAnswer:
        try:
            return await place(*words, **more)
        finally:
            refused.set()

    monkeypatch.setattr(desk.exchange, "place", then_tell)
    _overloaded(desk, 1)
    broken_off = asyncio.create_task(desk.executor.execute(intent))
    await refused.wait()
    broken_off.cancel()
    with pytest.raises(asyncio.CancelledError):
        await broken_off

    assert await desk.gate.lookup(intent.id) is None
    assert (await desk.executor.execute(intent)).state is Terminal.PLACED


@pytest.mark.parametrize(
    ("fault", "wait_ms"),
    [
        (Fault(kind=FaultKind.ERROR, method="POST", code=-4131, times=2), None),
        (Fault(kind=FaultKind.ERROR, method="POST", code=-2019, times=2), None),
        (Fault(kind=FaultKind.ERROR, method="POST", code=-1021, times=2), None),
        (Fault(kind=FaultKind.RATE_LIMITED_429, method="POST", retry_after_s=7, times=2), 7_000),
    ],
    ids=["-4131", "-2019", "-1021", "429"],
)
async def test_an_exit_waits_for_what_the_exchange_asks_and_not_for_the_rest_of_entries(
    desk: Desk, fault: Fault, wait_ms: int | None
) -> None:
    await _open(desk)
    desk.paper.inject(fault)

    refused = await desk.executor.execute(_exit(desk))

    assert (refused.retryable, refused.retry_after_ms) == (True, wait_ms)


async def test_an_overloaded_exchange_gives_entries_a_rest(desk: Desk) -> None:
    _overloaded(desk, 1)

    refused = await desk.executor.execute(desk.intent())

    assert (refused.reason, refused.retryable, refused.retry_after_ms) == ("-1008", True, 5_000)
    assert (await desk.executor.execute(desk.intent("ETHUSDT"))).reason == "COOLDOWN_GLOBAL"


async def test_a_denied_exit_tells_what_is_still_open_too(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await _open(desk)
    await desk.gate.halt(by="ops", reason="a test", scope="all")
    intent = _exit(desk)

    with caplog.at_level(logging.WARNING, "gate.executor"):
        denied = await desk.executor.execute(intent)

    assert (denied.reason, denied.still_open) == ("HALTED", {"BOTH": Decimal("0.1")})
    assert f"STILL OPEN id={intent.id} symbol=BTCUSDT side=SELL position=LONG size=0.1" in caplog.text


@pytest.mark.parametrize("why", ["entry", "placed", "duplicate", "banned"])
async def test_what_is_still_open_is_asked_only_of_an_exit_that_ended_without_an_order(
    desk: Desk, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _open(desk)
    intent = _exit(desk) if why != "entry" else desk.intent(notional="1")
    if why == "duplicate":
        await desk.executor.execute(intent)
    if why == "banned":
        desk.paper.inject(Fault(kind=FaultKind.BANNED_418, method="POST", path=ORDER, times=1))
    asked: list[str] = []
    monkeypatch.setattr(desk.exchange, "positions", asked.append)

    execution = await desk.executor.execute(intent)

    assert bool(execution) is (why == "placed")
    assert (execution.still_open, asked) == (None, [])


async def test_what_was_open_before_an_exit_is_not_told_as_what_it_leaves(desk: Desk) -> None:
    await _open(desk)
    await desk.gate.halt(by="ops", reason="a test", scope="all")
    assert (await desk.executor.execute(_exit(desk))).still_open == {"BOTH": Decimal("0.1")}
    await desk.gate.resume(by="ops", reason="a test")
    await desk.executor.execute(_exit(desk, quantity="0.1", order_type="MARKET", price=None))

    nothing = await desk.executor.execute(desk.intent(side="CLOSE", close_position=True, quantity=None, notional=None))

    assert (nothing.reason, nothing.still_open) == ("NOTHING_TO_CLOSE", {})


async def test_deliveries_of_one_denied_exit_share_a_reading(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await _open(desk)
    await desk.gate.halt(by="ops", reason="a test", scope="all")
    asked, positions = [], desk.exchange.positions

    async def counted(symbol: str) -> tuple[Position, ...]:
        asked.append(symbol)
        return await positions(symbol)

    monkeypatch.setattr(desk.exchange, "positions", counted)
    for _ in range(5):
        assert (await desk.executor.execute(_exit(desk))).still_open == {"BOTH": Decimal("0.1")}
    assert len(asked) < 5


async def test_a_reading_that_hangs_holds_neither_the_settlement_nor_the_answer_up_for_long(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.still_open._LONGEST_S", 0.05)
    desk.paper.inject(Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, code=-2021))
    phases = []
    intent = _exit(desk)

    async def hang(symbol: str) -> None:
        record = await desk.gate.lookup(intent.id)
        phases.append(record and record.phase)
        await asyncio.Event().wait()

    monkeypatch.setattr(desk.exchange, "positions", hang)

    refused = await desk.executor.execute(intent)

    assert (refused.reason, refused.still_open) == ("-2021", None)
    assert phases == [Phase.REJECTED]


async def test_a_reading_that_hangs_after_a_refusal_ends_by_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in "still_open", "closing":
        monkeypatch.setattr(f"gate.executor.{module}._LONGEST_S", 0.05)

    async def hang(symbol: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(desk.exchange, "positions", hang)

    assert (await desk.executor.execute(_exit(desk))).reason == "-2022"


async def test_in_the_verify_hour_an_exit_without_an_answer_to_its_look_up_may_come_again(
    open_desk: OpenDesk, redis_client: redis.Redis
) -> None:
    """Nothing was sent. It is looked up again when it comes again."""
    desk = await open_desk(replace(ROOMY, lock_ttl_ms=3_500))
    await _open(desk)
    intent = _exit(desk)
    forget(redis_client, "quantum:exec:state")
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path=ORDER, times=1000))

    refused = await desk.executor.execute(intent)

    desk.paper.clear_faults()
    assert (refused.state, refused.reason, refused.retryable) == (Terminal.REJECTED_EXCHANGE, "MEMORY_LOST", True)
    assert await desk.gate.lookup(intent.id) is None
    again = await desk.executor.execute(intent)
    assert again.verdict.permit is not None
    assert again.verdict.permit.verify
    assert again.state is Terminal.PLACED


def test_an_overloaded_exchange_is_still_asked() -> None:
    """A look-up would wait for seconds, and the exit with it."""
    assert not failure_of_answer(503, -1008, "Request throttled.", None).stops_asking
    assert failure_of_answer(429, -1003, "Too many requests.", None).stops_asking
