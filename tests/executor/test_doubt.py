"""After a lost, wrong or late answer, the executor finds the order's outcome out, and never guesses it."""

from __future__ import annotations

import asyncio
import logging
import re
from decimal import Decimal
from typing import Any

import pytest
import redis
from msgspec import structs

from gate import Intent, InvalidField, Outcome, Penalty, Permit, Phase, Policy, Settled, Settlement, Verdict
from gate.exchange.binance import BinanceFutures
from gate.exchange.failures import ExchangeFailure, Failure, OrderNotFound
from gate.exchange.port import SIGNER_AHEAD_MS, Filters, OrderAnswer, OrderRequest, Validity
from gate.executor.attempt import Attempt
from gate.executor.execution import Terminal
from gate.executor.look_up import look_up
from gate.paper import Fault, FaultKind
from tests.client.account import server_ms, text
from tests.executor.conftest import ROOMY, Desk, OpenDesk, waits_before_sending

ACCEPTED = [
    Fault(kind=FaultKind.ACCEPT_THEN_DROP, times=1),
    Fault(kind=FaultKind.UNKNOWN_503, times=1, accept=True),
    Fault(kind=FaultKind.TIMEOUT_1007, times=1, accept=True),
    Fault(kind=FaultKind.HTML_502, times=1, accept=True),
    Fault(kind=FaultKind.EMPTY_200, times=1, accept=True),
    Fault(kind=FaultKind.JSON_LIST, times=1, accept=True),
    Fault(kind=FaultKind.RESET, times=1, accept=True),
    Fault(kind=FaultKind.ERROR, times=1, accept=True, status=400, code=-1006),
    Fault(kind=FaultKind.ERROR, times=1, accept=True, status=408, code=-1000),
]
LOST = [
    Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, times=1),
    Fault(kind=FaultKind.UNKNOWN_503, times=1, accept=False),
    Fault(kind=FaultKind.TIMEOUT_1007, times=1, accept=False),
    Fault(kind=FaultKind.REDIRECT_302, times=1),
]
REFUSED = [Fault(kind=FaultKind.UNAVAILABLE_503, times=1), Fault(kind=FaultKind.INTERNAL_503, times=1)]


def _name(fault: Fault) -> str:
    return f"{fault.kind}{fault.code if fault.kind is FaultKind.ERROR else ''}"


@pytest.mark.parametrize("fault", ACCEPTED, ids=_name)
async def test_an_order_whose_answer_is_lost_is_found_by_its_client_order_id(desk: Desk, fault: Fault) -> None:
    desk.paper.inject(fault)
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    [order] = desk.orders(intent)
    assert execution.state is Terminal.FILLED
    assert execution.order_id == str(order["orderId"])
    assert order["requestCount"] == 1, "a request is never repeated blindly"


async def test_a_look_up_tells_only_of_its_own_failures(desk: Desk) -> None:
    intent = desk.intent()
    verdict = await desk.gate.evaluate(intent)
    assert verdict.permit
    earlier = Failure(may_exist=True, code="HTTP_429")
    attempt = Attempt(intent, verdict, verdict.permit, desk.gate.policy, stopped_by=earlier, unanswered=earlier)

    with pytest.raises(OrderNotFound):
        await look_up(desk.exchange, attempt, acceptable_for_ms=0)

    assert earlier not in (attempt.stopped_by, attempt.unanswered)


@pytest.mark.parametrize("fault", LOST, ids=_name)
async def test_a_lost_request_counts_as_absent_once_it_can_no_longer_be_accepted(desk: Desk, fault: Fault) -> None:
    desk.paper.inject(fault)
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    assert (execution.state, execution.retryable) == (Terminal.REJECTED_EXCHANGE, False)
    record = await desk.gate.lookup(intent.id)
    assert record is not None
    assert record.code == "NOT_PLACED"
    again = await desk.executor.execute(intent)
    assert (again.state, again.reason) == (Terminal.DENIED, "DUPLICATE"), "absence only says what to report"
    assert desk.orders(intent) == []


async def test_a_look_up_pauses_also_for_an_order_that_is_not_followed_any_more(
    desk: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.followed_orders._MOST_OPEN", 0)
    desk.paper.inject(LOST[0])

    execution = await desk.executor.execute(desk.intent())

    assert execution.state is Terminal.REJECTED_EXCHANGE
    assert 2 <= asked.count("GET /fapi/v1/order") <= 10, "its pauses double until no order can come any more"


@pytest.mark.parametrize("fault", REFUSED, ids=_name)
async def test_a_certain_refusal_is_settled_at_once_and_may_come_again(desk: Desk, fault: Fault) -> None:
    desk.paper.inject(fault)
    intent = desk.intent()
    refused = await desk.executor.execute(intent)

    assert (refused.state, refused.retryable) == (Terminal.REJECTED_EXCHANGE, True)
    assert (await desk.executor.execute(intent)).state is Terminal.FILLED
    assert len(desk.orders(intent)) == 1


async def test_an_order_not_found_within_the_permit_stays_in_doubt(open_desk: OpenDesk) -> None:
    desk = await open_desk(Policy(lock_ttl_ms=2500, rate_global_limit=100))
    desk.paper.inject(
        Fault(kind=FaultKind.DROP_BEFORE_ACCEPT),
        Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=1000),
    )
    intent = desk.intent()

    execution = await desk.executor.execute(intent)
    again = await desk.executor.execute(intent)

    record = await desk.gate.lookup(intent.id)
    assert execution.state is Terminal.UNKNOWN
    assert record is not None
    assert record.phase is Phase.UNKNOWN
    assert (again.state, again.reason) == (Terminal.DENIED, "DUPLICATE")
    assert (await desk.gate.status()).in_doubt == 1
    assert "cooldown_symbol" in {each.name for each in (await desk.gate.status()).standing}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"api_key": ""}, "api_key: is missing"),
        ({"api_secret": ""}, "api_secret: is missing"),
        ({"base_url": "127.0.0.1:8000"}, "base_url: '127.0.0.1:8000' is not an address"),
        ({"base_url": "ftp://x"}, "base_url: 'ftp://x' is not an address"),
    ],
)
async def test_an_exchange_that_can_not_be_asked_is_refused_by_name(settings: dict[str, str], said: str) -> None:
    arguments = {"api_key": "k", "api_secret": "s", **settings}

    with pytest.raises(InvalidField, match=re.escape(said)):
        BinanceFutures(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_nothing_is_sent_when_the_permit_is_about_to_run_out(
    open_desk: OpenDesk, watched: tuple[str, ...]
) -> None:
    desk = await open_desk(Policy(lock_ttl_ms=1400), None, *watched)
    await desk.exchange.filters("BTCUSDT")

    execution = await desk.executor.execute(desk.intent())

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "DEADLINE")
    assert desk.orders() == []


async def test_no_request_can_be_accepted_after_the_deadline(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed by a clock that is ahead by as much as the exchange allows, it would be accepted a second longer."""
    monkeypatch.setattr(Policy, "order_timeout_ms", 10_000)  # so that only the permit's life bounds it
    desk = await open_desk(Policy(lock_ttl_ms=2500, rate_global_limit=100))
    desk.exchange.recv_window_ms = 5000
    place, windows = desk.exchange.place, []

    async def measured(order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        answer = await place(order, validity, timeout_ms=timeout_ms)
        windows.append((timeout_ms, desk.exchange._rest.client.REQUEST_RECVWINDOW))
        return answer

    desk.exchange.place = measured  # type: ignore[method-assign]
    assert (await desk.executor.execute(desk.intent())).state is Terminal.FILLED

    [(timeout_ms, recv_window_ms)] = windows
    assert recv_window_ms <= 2500 - 1000
    assert timeout_ms <= 2500 - 1000


@pytest.mark.parametrize("watched", [(), ("BTCUSDT",)], ids=["readings", "streams"])
async def test_no_request_can_be_accepted_after_the_deadline_by_the_stores_clock_either(
    open_desk: OpenDesk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, watched: tuple[str, ...]
) -> None:
    """Our own may have stood still. The signer's second comes on top of the order's validity here, too."""
    desk = await open_desk(ROOMY, None, *watched)
    intent, filters = desk.intent(), desk.exchange.filters
    key = f"quantum:exec:processed:{intent.id}"

    async def then_find_little_left(symbol: str, **more: Any) -> Filters | None:
        words = text(redis_client.get(key)).split(" ")
        passed_ms = server_ms(redis_client) - int(words[4])
        words[7] = str(passed_ms + desk.exchange.recv_window_ms + SIGNER_AHEAD_MS // 2)
        redis_client.set(key, " ".join(words), keepttl=True)
        return await filters(symbol, **more)

    monkeypatch.setattr(desk.exchange, "filters", then_find_little_left)
    waits_before_sending(desk, monkeypatch)
    execution = await desk.executor.execute(intent)

    assert (execution.state, execution.reason) == (Terminal.REJECTED_EXCHANGE, "DEADLINE")
    assert desk.orders() == []


async def test_a_task_cancelled_after_sending_leaves_the_intent_in_doubt(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.SLOW_BODY, times=1))
    intent = desk.intent()
    task = asyncio.create_task(desk.executor.execute(intent))
    while not desk.orders(intent):  # noqa: ASYNC110  # the exchange is another thread
        await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    settled = await desk.gate.lookup(intent.id)
    desk.paper.release_held()
    assert settled is not None
    assert settled.phase is Phase.UNKNOWN


async def test_a_task_cancelled_while_its_order_is_on_its_way_rests_the_symbol(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.DELAY))
    task = asyncio.create_task(desk.executor.execute(desk.intent()))
    await asyncio.to_thread(desk.paper.wait_held)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    desk.paper.release_held()

    assert (await desk.executor.execute(desk.intent())).reason == "COOLDOWN_SYMBOL"
    assert (await desk.executor.execute(desk.intent("ETHUSDT"))).state is Terminal.FILLED


async def test_too_many_requests_rest_the_account_as_long_as_the_exchange_says(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.RATE_LIMITED_429, times=1, retry_after_s=77))
    await desk.executor.execute(desk.intent())

    denied = await desk.executor.execute(desk.intent("ETHUSDT"))

    assert denied.reason == "COOLDOWN_GLOBAL"
    assert denied.retry_after_ms is not None
    assert 70_000 < denied.retry_after_ms <= 77_000


async def test_a_ban_during_a_look_up_ends_the_look_up(desk: Desk) -> None:
    desk.paper.inject(
        Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, times=1),
        Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v1/order", times=1, retry_after_s=600),
    )
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    denied = await desk.executor.execute(desk.intent("ETHUSDT"))
    record = await desk.gate.lookup(intent.id)
    assert execution.state is Terminal.UNKNOWN
    assert execution.verdict.permit is not None
    assert execution.verdict.permit.live, "it didn't wait for its permit to run out"
    assert record is not None
    assert record.phase is Phase.UNKNOWN
    assert denied.reason == "SAFE_MODE"


async def test_what_the_exchange_has_said_to_a_look_up_counts_though_the_order_is_absent(desk: Desk) -> None:
    desk.paper.inject(
        Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, times=1),
        Fault(kind=FaultKind.RATE_LIMITED_429, method="GET", path="/fapi/v1/order", times=1, retry_after_s=1),
    )

    execution = await desk.executor.execute(desk.intent())

    assert execution.outcome is not None
    assert execution.outcome.is_absence
    assert execution.outcome.penalty == Penalty(cooldown_global_ms=1_000)


async def test_a_look_up_that_is_told_to_wait_waits_and_asks_again(desk: Desk) -> None:
    desk.paper.inject(
        Fault(kind=FaultKind.ACCEPT_THEN_DROP, times=1),
        Fault(kind=FaultKind.RATE_LIMITED_429, method="GET", path="/fapi/v1/order", times=1, retry_after_s=1),
    )
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    assert execution.state is Terminal.FILLED
    assert execution.order_id == str(desk.orders(intent)[0]["orderId"])


async def test_an_exit_that_did_not_get_through_is_a_warning(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    refused = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))
    assert not refused
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    names = f"id={refused.intent_id} symbol=BTCUSDT side=SELL"
    assert [line for line in said if line.startswith(f"TERMINAL STATE: {refused.state} {names} reason=")]


async def test_words_that_operators_grep_for_and_no_secrets(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gate")
    intent = desk.intent()
    filled = await desk.executor.execute(intent)
    await desk.executor.execute(intent)
    desk.paper.inject(Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, times=1))
    lost = await desk.executor.execute(desk.intent("ETHUSDT"))
    desk.balance("0")
    await desk.executor.execute(desk.intent("SOLUSDT"))
    await desk.gate.reset("all", by="test", reason="go on")
    await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    said = caplog.text
    for word in (
        f"TERMINAL STATE: FILLED id={intent.id} symbol=BTCUSDT side=BUY reason=",
        f"TERMINAL STATE: DENIED id={intent.id} symbol=BTCUSDT side=BUY reason=DUPLICATE IDEMPOTENCY_SKIP",
        "filled=0.01 price=",
        "IDEMPOTENCY_SKIP",
        "MARGIN CHECK",
        "INSUFFICIENT MARGIN",
        "TERMINAL STATE: REJECTED_MARGIN",
        "CLOSE_EXECUTED",
    ):
        assert word in said
    for told in (said, repr(filled), repr(lost)):
        for secret in (desk.paper.key, desk.paper.secret, "signature"):
            assert secret not in told


async def _cancelled_at_its_verdict(desk: Desk, intent: Intent) -> None:
    """Executes it, and gives up between the verdict and what follows it."""
    evaluate, claimed, cancelled = desk.gate.evaluate, asyncio.Event(), asyncio.Event()

    async def slowly(*asked: Any, **more: Any) -> Verdict:
        verdict = await evaluate(*asked, **more)
        claimed.set()
        await cancelled.wait()
        return verdict

    desk.gate.evaluate = slowly  # type: ignore[method-assign]
    task = asyncio.create_task(desk.executor.execute(intent))
    await claimed.wait()
    task.cancel()
    await asyncio.sleep(0)  # until the pass knows of it
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    desk.gate.evaluate = evaluate  # type: ignore[method-assign]


async def test_an_exit_cancelled_at_its_verdict_comes_again_though_the_store_was_away_then(desk: Desk) -> None:
    intent, settle = desk.intent(quantity="0.01", reduce_only=True), desk.gate.settle
    told: list[Outcome] = []

    async def away_once(permit: Permit, outcome: Outcome) -> Settlement:
        told.append(outcome)
        return Settlement(Settled.STORE_UNAVAILABLE) if len(told) == 1 else await settle(permit, outcome)

    desk.gate.settle = away_once  # type: ignore[method-assign]
    await _cancelled_at_its_verdict(desk, intent)

    assert await desk.gate.lookup(intent.id) is None
    assert (await desk.executor.execute(intent)).verdict.admitted


@pytest.mark.parametrize("reduce_only", [False, True], ids=["entry", "exit"])
async def test_a_task_cancelled_while_it_waits_for_its_verdict_holds_up_nothing(desk: Desk, reduce_only: bool) -> None:
    intent = desk.intent(quantity="0.01", reduce_only=reduce_only)
    await _cancelled_at_its_verdict(desk, intent)

    status = await desk.gate.status()
    assert await desk.gate.lookup(intent.id) is None
    assert (status.in_flight, status.in_doubt) == (0, 0)
    assert "lock" not in {each.name for each in status.standing}


async def test_an_outcome_is_reported_though_the_task_is_cancelled_while_settling(desk: Desk) -> None:
    intent = desk.intent()
    settling = asyncio.Event()
    settle = desk.gate.settle

    async def slowly(permit: Permit, outcome: Outcome) -> Settlement:
        settling.set()
        await asyncio.sleep(0)
        return await settle(permit, outcome)

    desk.gate.settle = slowly  # type: ignore[method-assign]
    task = asyncio.create_task(desk.executor.execute(intent))
    await settling.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    record = await desk.gate.lookup(intent.id)
    assert record is not None
    assert record.phase is Phase.PLACED


async def test_a_clock_that_is_off_is_set_by_the_exchange_and_the_order_signed_anew(desk: Desk) -> None:
    desk.paper.move_clock(-30_000)

    execution = await desk.executor.execute(desk.intent())

    assert execution.state is Terminal.FILLED


async def test_observing_one_intent_is_still_one_order(open_desk: OpenDesk) -> None:
    desk = await open_desk(Policy(mode="observe", rate_global_limit=1000))
    intent = desk.intent()

    states = [(await desk.executor.execute(intent)).state for _ in range(3)]

    assert states == [Terminal.FILLED, Terminal.DENIED, Terminal.DENIED]
    assert len(desk.orders()) == 1


async def test_an_order_that_ended_unfilled_is_no_success(desk: Desk) -> None:
    answer = OrderAnswer("1", "c", "EXPIRED", Decimal(0), None, 0)

    assert answer.ended_unfilled
    assert not structs.replace(answer, status="NEW").ended_unfilled
    assert not structs.replace(answer, filled_quantity=Decimal(1)).ended_unfilled


async def test_a_second_signature_stays_within_the_one_time_out(desk: Desk) -> None:
    """The clock is off, and asking the time takes as long as the order may take: it isn't sent again afterwards."""
    desk.paper.move_clock(-30_000)
    desk.paper.inject(Fault(kind=FaultKind.DELAY, method="GET", path="/fapi/v1/time"))
    order = OrderRequest("BTCUSDT", "BUY", Decimal("0.01"), "once", False, None)

    with pytest.raises(ExchangeFailure) as refused:
        await desk.exchange.place(order, desk.exchange.valid_for(300), timeout_ms=300)

    desk.paper.release_held()
    assert refused.value.failure.code == "-1021"
    assert desk.orders() == []
