"""An order never goes out at a higher leverage than its intent names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import redis
import requests
from msgspec import structs

from gate.exchange.answers import decode_leverage_terms
from gate.exchange.port import CLOCK_LEAD_MS, LEAST_TO_SEND_MS, LeverageTerms
from gate.executor.attempt import Attempt
from gate.executor.execution import Terminal
from gate.executor.leverage import LeverageTurns
from gate.paper import Fault, FaultKind
from tests.executor.conftest import ROOMY, Desk, OpenDesk, forget

AT_FIRST = 20
"""What the paper exchange has set for a symbol."""
OTHERS = [1, 2, 19, 21, 125]


def setting(kind: FaultKind = FaultKind.ERROR, **more: Any) -> Fault:
    return Fault(kind=kind, path="/fapi/v1/leverage", **more)


def hits(desk: Desk) -> int:
    """How often the faults have struck."""
    faults = requests.get(f"{desk.paper.url}/paper/faults", timeout=5).json()["faults"]
    return sum(each["hits"] for each in faults)


async def leverage_there(desk: Desk, symbol: str = "BTCUSDT") -> int:
    return (await desk.exchange.symbol_config(symbol)).leverage


async def isolated(desk: Desk, symbol: str = "BTCUSDT") -> None:
    await desk.exchange._rest.client.futures_change_margin_type(symbol=symbol, marginType="ISOLATED")


@pytest.mark.parametrize("named", OTHERS)
async def test_the_leverage_that_an_intent_names_is_set_before_its_order(desk: Desk, named: int) -> None:
    execution = await desk.executor.execute(desk.intent(leverage=named))

    [position] = await desk.exchange._rest.client.futures_position_information(symbol="BTCUSDT")
    assert execution.state is Terminal.FILLED
    assert await leverage_there(desk) == named
    # The margin that the position takes, of 1,000 USDT.
    assert round(Decimal(position["notional"]) / Decimal(position["initialMargin"]), 5) == named


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
@pytest.mark.parametrize(("named", "notional"), [(1, "9000"), (2, "12000"), (25, "300000")])
async def test_an_order_that_the_margin_does_not_cover_sets_no_leverage(
    open_desk: OpenDesk, watched: tuple[str, ...], named: int, notional: str
) -> None:
    """It would be another for the position that is open."""
    desk = await open_desk(ROOMY, None, *watched)
    assert (await desk.executor.execute(desk.intent(id="held", notional="20000"))).state is Terminal.FILLED

    execution = await desk.executor.execute(desk.intent(leverage=named, notional=notional))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
    assert await leverage_there(desk) == AT_FIRST


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_an_order_beyond_the_bracket_of_its_leverage_does_not_set_it(
    open_desk: OpenDesk, watched: tuple[str, ...]
) -> None:
    """The next entry that names none would go out at it."""
    desk = await open_desk(ROOMY, None, *watched)

    refused = await desk.executor.execute(desk.intent(leverage=125, notional="400000"))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_ORDER, "MAX_NOTIONAL")
    assert "the most that leverage 125 allows" in refused.detail
    assert (await leverage_there(desk), desk.orders()) == (AT_FIRST, [])


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_a_higher_leverage_frees_nothing_of_an_isolated_position(
    open_desk: OpenDesk, watched: tuple[str, ...]
) -> None:
    desk = await open_desk(ROOMY, None, *watched)
    await isolated(desk)
    assert (await desk.executor.execute(desk.intent(id="held", notional="7500", leverage=1))).state is Terminal.FILLED

    refused = await desk.executor.execute(desk.intent(leverage=10, notional="30000"))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
    assert await leverage_there(desk) == 1


@pytest.mark.parametrize(
    ("margin_type", "brackets", "most", "isolated_then"),
    [
        ("CROSSED", [(125, 50_000), (100, 250_000), (20, 5_000_000)], 250_000, False),
        ("ISOLATED", [(125, 50_000), (100, 250_000)], 250_000, True),
        (None, [(125, 50_000)], 50_000, True),
        ("CROSSED", [(20, 5_000_000)], None, False),
        ("CROSSED", [(125, 5e4)], None, False),
        ("CROSSED", None, None, False),
    ],
)
def test_what_is_not_said_of_another_leverage_is_not_taken_for_granted(
    margin_type: str | None, brackets: list[tuple[int, float]] | None, most: int | None, isolated_then: bool
) -> None:
    config = [{"symbol": "ETHUSDT", "marginType": "CROSSED"}, {"symbol": "BTCUSDT", "marginType": margin_type}]
    rows = None if brackets is None else [{"initialLeverage": at, "notionalCap": cap} for at, cap in brackets]

    terms = decode_leverage_terms(config, [{"symbol": "BTCUSDT", "brackets": rows}], "BTCUSDT", 50)

    assert terms == LeverageTerms(None if most is None else Decimal(most), isolated_then)


RESTS = {"order_type": "LIMIT", "price": "90000", "notional": "1000"}
WAITS = {"order_type": "STOP_MARKET", "trigger_price": "110000", "notional": "1000"}


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
@pytest.mark.parametrize("rests", [RESTS, WAITS], ids=["limit", "stop"])
async def test_no_leverage_is_raised_over_an_isolated_entry_that_rests(
    open_desk: OpenDesk, watched: tuple[str, ...], rests: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It would fill with a fraction of the margin that it was sent with, close to its liquidation."""
    desk = await open_desk(ROOMY, None, *watched)
    await isolated(desk)
    assert (await desk.executor.execute(desk.intent(id="rests", leverage=2, **rests))).state is Terminal.PLACED

    refused = await desk.executor.execute(desk.intent(leverage=50))
    (order,) = await desk.exchange.resting_orders("BTCUSDT")
    lower = await desk.executor.execute(desk.intent(leverage=1))
    await desk.exchange.cancel(order)
    raised = await desk.executor.execute(desk.intent("BTCUSDT", "BUY", leverage=50))

    assert (refused.state, refused.reason, refused.retryable) == (Terminal.REJECTED_EXCHANGE, "LEVERAGE_DIFFERS", True)
    assert f"at leverage 2, and {order} rests there: it would fill at 50" in refused.detail
    assert f'LEVERAGE id={refused.intent_id} symbol=BTCUSDT side=BUY detail="{refused.detail}"' in caplog.messages
    assert (lower.state, raised.state) == (Terminal.FILLED, Terminal.FILLED)


@pytest.mark.parametrize("rests", [{}, {"reduce_only": True, "side": "SELL", "price": "110000", "quantity": "0.005"}])
async def test_a_leverage_is_raised_over_what_rests_in_cross_margin_or_only_reduces(
    desk: Desk, rests: dict[str, Any]
) -> None:
    if rests:
        await isolated(desk)
        assert (await desk.executor.execute(desk.intent(id="held", leverage=2))).state is Terminal.FILLED
    resting = {**RESTS, **rests, "leverage": 2, "id": "rests"}
    if rests:
        del resting["notional"]
    assert (await desk.executor.execute(desk.intent(**resting))).state is Terminal.PLACED

    assert (await desk.executor.execute(desk.intent(leverage=50))).state is Terminal.FILLED


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_what_a_higher_leverage_frees_counts(open_desk: OpenDesk, watched: tuple[str, ...]) -> None:
    desk = await open_desk(ROOMY, None, *watched)
    assert (await desk.executor.execute(desk.intent(id="held", notional="7500", leverage=1))).state is Terminal.FILLED

    execution = await desk.executor.execute(desk.intent(leverage=10, notional="30000"))

    assert (execution.state, await leverage_there(desk)) == (Terminal.FILLED, 10)


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_a_position_of_another_symbol_frees_nothing(open_desk: OpenDesk, watched: tuple[str, ...]) -> None:
    desk = await open_desk(ROOMY, None, *watched)
    assert (await desk.executor.execute(desk.intent("ETHUSDT", id="held", notional="100000"))).state is Terminal.FILLED
    await desk.exchange.set_leverage("BTCUSDT", 1)

    execution = await desk.executor.execute(desk.intent(leverage=10, notional="60000"))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_MARGIN, "INSUFFICIENT_MARGIN")
    assert await leverage_there(desk) == 1


async def test_the_same_leverage_costs_no_request(desk: Desk) -> None:
    desk.paper.inject(setting())

    execution = await desk.executor.execute(desk.intent(leverage=AT_FIRST))

    assert (execution.state, hits(desk)) == (Terminal.FILLED, 0)


async def test_an_intent_without_a_leverage_takes_what_is_there(desk: Desk) -> None:
    desk.paper.inject(setting())

    execution = await desk.executor.execute(desk.intent())

    assert (execution.state, hits(desk)) == (Terminal.FILLED, 0)


@pytest.mark.parametrize("policy", ["set", "match", "exchange"])
async def test_an_exit_is_not_held_up_by_any_leverage(open_desk: OpenDesk, policy: str) -> None:
    desk = await open_desk(replace(ROOMY, leverage=policy))
    await desk.executor.execute(desk.intent(quantity="0.01"))
    desk.paper.inject(setting())

    closed = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True, leverage=2))

    assert (closed.state, hits(desk)) == (Terminal.FILLED, 0)
    assert await leverage_there(desk) == AT_FIRST


@pytest.mark.parametrize("named", OTHERS)
async def test_match_sends_nothing_where_the_two_differ_and_says_so(
    open_desk: OpenDesk, named: int, caplog: pytest.LogCaptureFixture
) -> None:
    desk = await open_desk(replace(ROOMY, leverage="match"))

    refused = await desk.executor.execute(desk.intent(leverage=named))
    matches = await desk.executor.execute(desk.intent(leverage=AT_FIRST))

    assert (refused.state, refused.reason) == (Terminal.REJECTED_EXCHANGE, "LEVERAGE_DIFFERS")
    assert refused.detail.startswith(f"the exchange has leverage 20 for BTCUSDT, the intent names {named};")
    assert refused.retryable
    assert f'LEVERAGE id={refused.intent_id} symbol=BTCUSDT side=BUY detail="{refused.detail}"' in caplog.messages
    assert matches.state is Terminal.FILLED
    assert len(desk.orders()) == 1
    assert await leverage_there(desk) == AT_FIRST


@pytest.mark.parametrize("named", OTHERS)
async def test_the_exchanges_own_is_taken_unless_it_is_higher(open_desk: OpenDesk, named: int) -> None:
    desk = await open_desk(replace(ROOMY, leverage="exchange"))

    execution = await desk.executor.execute(desk.intent(leverage=named))

    assert await leverage_there(desk) == AT_FIRST
    if named > AT_FIRST:
        assert execution.state is Terminal.FILLED
    else:
        assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "LEVERAGE_TOO_HIGH")
        assert desk.orders() == []


@pytest.mark.parametrize(
    "fault",
    [
        setting(code=-4161),
        setting(code=-9999),
        setting(FaultKind.RATE_LIMITED_429),
        setting(FaultKind.ACCEPT_THEN_DROP),
        setting(FaultKind.DROP_BEFORE_ACCEPT),
        setting(FaultKind.UNKNOWN_503),
        setting(FaultKind.EMPTY_200),
        setting(FaultKind.JSON_LIST),
    ],
    ids=lambda fault: f"{fault.kind.value} {fault.code}",
)
async def test_where_it_cannot_be_set_nothing_is_sent(desk: Desk, fault: Fault) -> None:
    desk.paper.inject(fault)

    execution = await desk.executor.execute(desk.intent(leverage=2))

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "LEVERAGE_NOT_SET")
    assert "the exchange has leverage 20 for BTCUSDT, the intent names 2; it wasn't set: " in execution.detail
    assert desk.orders() == []


async def test_a_leverage_that_the_symbol_does_not_have_is_told_by_the_exchange(desk: Desk) -> None:
    execution = await desk.executor.execute(desk.intent("OPUSDT", leverage=125))
    other = await desk.executor.execute(desk.intent("OPUSDT", leverage=75))

    assert execution.reason == "LEVERAGE_NOT_SET"
    assert execution.detail.endswith(
        "-4028 Leverage 125 is not valid; symbol or account don't have this leverage: name a lower one"
    )
    assert not execution.retryable, "it would hold later entries of its symbol up"
    assert other.state is Terminal.FILLED, "the symbol doesn't rest: the next intent may name another"


async def test_a_limit_of_the_exchange_that_meets_the_setting_rests_the_account(desk: Desk) -> None:
    desk.paper.inject(setting(FaultKind.RATE_LIMITED_429))

    await desk.executor.execute(desk.intent(leverage=2))

    assert (await desk.executor.execute(desk.intent("ETHUSDT"))).reason == "COOLDOWN_GLOBAL"


async def test_an_answer_with_another_leverage_sends_nothing(desk: Desk) -> None:
    change = desk.exchange._rest.client.futures_change_leverage

    async def odd(**parameters: Any) -> Any:
        return {**await change(**parameters), "leverage": 20}

    desk.exchange._rest.client.futures_change_leverage = odd

    execution = await desk.executor.execute(desk.intent(leverage=2))

    assert execution.reason == "LEVERAGE_NOT_SET"
    assert desk.orders() == []


async def test_margin_and_bracket_are_those_of_the_leverage_that_was_set(desk: Desk) -> None:
    desk.balance("400")

    short = await desk.executor.execute(desk.intent(leverage=2))  # 1,000 at 2x is 500, and a quarter more
    await desk.gate.reset("all", by="test", reason="go on")
    fits = await desk.executor.execute(desk.intent(leverage=10))
    desk.balance("100000")
    too_large = await desk.executor.execute(desk.intent(notional="60000", leverage=125))

    assert short.reason == "INSUFFICIENT_MARGIN"
    assert fits.state is Terminal.FILLED
    assert (too_large.state, too_large.reason) == (Terminal.REJECTED_ORDER, "MAX_NOTIONAL")


async def test_what_is_reserved_is_reckoned_at_the_leverage_that_will_be_set(desk: Desk) -> None:
    first = (await desk.executor.execute(desk.intent(leverage=10))).verdict.permit

    execution = await desk.executor.execute(desk.intent(leverage=5))

    permit = execution.verdict.permit
    assert first is not None
    assert permit is not None
    assert permit.fence == first.fence + 1, "at once, not after a first permit that reserved too little"
    assert execution.margin is not None
    assert permit.reserved == execution.margin.need


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
