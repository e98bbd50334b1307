"""Reconciling settles the intents in doubt, from any number of places at once."""

from __future__ import annotations

import asyncio
import json
import logging
from decimal import Decimal

import pytest
import redis
from click.testing import CliRunner

import gate.executor.reconcile as reconciling
from gate import InDoubt, Outcome, Phase, Policy, StoreUnavailable
from gate.cli.program import program
from gate.exchange.port import OrderAnswer, OrderRequest
from gate.executor.execution import Terminal
from gate.executor.reconcile import Finding, reconcile
from gate.paper import Fault, FaultKind
from gate.values.found_order import CLOCKS_APART_MS
from tests.executor.conftest import ROOMY, Desk, OpenDesk, abandoned
from tests.servers.store import Store


async def test_an_order_that_a_dead_worker_placed_is_recorded(desk: Desk, redis_client: redis.Redis) -> None:
    intent = await abandoned(desk, redis_client, sent=True)

    [found] = await reconcile(desk.gate, desk.exchange)

    [order] = desk.orders(intent)
    record = await desk.gate.lookup(intent.id)
    assert (found.intent_id, found.finding, found.done) == (intent.id, Finding.PLACED, True)
    assert record is not None
    assert (record.phase, record.order_id) == (Phase.PLACED, str(order["orderId"]))
    assert (await desk.gate.status()).in_doubt == 0


@pytest.mark.parametrize(
    ("finding", "past_ms", "fault"),
    [
        (Finding.PLACED, 10_000, None),
        (Finding.NOT_PLACED, 10_000, None),
        (Finding.WAIT, 500, None),
        (Finding.UNREADABLE, 10_000, FaultKind.INTERNAL_503),
    ],
)
async def test_the_log_has_symbol_and_side_of_whatever_is_found(
    finding: Finding,
    past_ms: int,
    fault: FaultKind | None,
    desk: Desk,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gate.reconcile")
    intent = await abandoned(desk, redis_client, sent=finding is Finding.PLACED, past_ms=past_ms)
    if fault is not None:
        desk.paper.inject(Fault(kind=fault, method="GET", path="/fapi/v1/order"))

    await reconcile(desk.gate, desk.exchange)

    [line] = [each.getMessage() for each in caplog.records if each.name == "gate.reconcile"]
    word = "RECONCILED" if finding in (Finding.PLACED, Finding.NOT_PLACED) else "NOT RECONCILED"
    assert line.startswith(f"{word} id={intent.id} symbol=BTCUSDT side=BUY finding={finding.value}")


async def test_what_may_have_been_sent_is_never_admitted_again(desk: Desk, redis_client: redis.Redis) -> None:
    """The worker that held the permit may only be stopped: when it goes on, a second order would join its own."""
    intent = await abandoned(desk, redis_client, sent=False)

    [found] = await reconcile(desk.gate, desk.exchange)

    assert (found.finding, found.done) == (Finding.NOT_PLACED, True)
    again = await desk.executor.execute(intent)
    assert (again.state, again.reason) == (Terminal.DENIED, "DUPLICATE")
    assert desk.orders(intent) == []


async def test_an_order_that_reconciling_finds_is_remembered_though_the_store_loses_the_record_meanwhile(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = await abandoned(desk, redis_client, sent=True)
    find_order = desk.exchange.find_order

    async def then_forget(symbol: str, client_order_id: str, *, conditional: bool) -> OrderAnswer:
        found = await find_order(symbol, client_order_id, conditional=conditional)
        redis_client.delete(f"quantum:exec:processed:{intent.id}")
        redis_client.hdel("quantum:exec:state", f"permit:{intent.id}")
        return found

    desk.exchange.find_order = then_forget  # type: ignore[method-assign]  # a failover between the answer and its record

    [found] = await reconcile(desk.gate, desk.exchange)

    assert (found.finding, found.done) == (Finding.PLACED, True)
    again = await desk.executor.execute(intent)
    assert (again.state, again.reason) == (Terminal.DENIED, "DUPLICATE")
    assert len(desk.orders(intent)) == 1


async def test_an_order_that_shows_up_after_its_absence_was_settled_is_recorded(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = desk.intent()
    permit = (await desk.gate.evaluate(intent)).permit
    assert permit is not None
    await desk.gate.settle(permit, Outcome.not_placed("looked up"))
    order = OrderRequest(intent.symbol, intent.side, Decimal("0.01"), permit.client_order_id, False, None)
    placed = await desk.exchange.place(order, desk.exchange.valid_for(5000), timeout_ms=5000)

    settlement = await desk.gate.settle(permit, Outcome.placed(placed.order_id))

    assert settlement.late
    record = await desk.gate.lookup(intent.id)
    assert record is not None
    assert record.order_id == placed.order_id


async def test_absence_proves_nothing_while_a_request_may_still_be_accepted(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = await abandoned(desk, redis_client, sent=False, past_ms=500)

    [found] = await reconcile(desk.gate, desk.exchange)

    record = await desk.gate.lookup(intent.id)
    assert (found.finding, found.done) == (Finding.WAIT, False)
    assert record is not None
    assert record.phase is Phase.ADMITTED


async def test_an_unknown_outcome_is_reconciled_too(open_desk: OpenDesk, redis_client: redis.Redis) -> None:
    desk = await open_desk(ROOMY)
    intent = await abandoned(desk, redis_client, sent=True)
    [doubtful] = (await desk.gate.in_doubt()).permits
    await desk.gate.settle(doubtful.permit, Outcome.unknown("who knows"))

    [found] = await reconcile(desk.gate, desk.exchange)

    settled = await desk.gate.lookup(intent.id)
    assert found.finding is Finding.PLACED
    assert settled is not None
    assert settled.phase is Phase.PLACED


async def test_an_order_much_older_than_the_admission_belongs_to_another_intent(
    desk: Desk, redis_client: redis.Redis
) -> None:
    desk.paper.move_clock(-2 * CLOCKS_APART_MS - desk.gate.policy.max_age_ms)
    await desk.exchange.hedge_mode()  # requests are signed with that clock from here on
    intent = await abandoned(desk, redis_client, sent=True)
    desk.paper.reset_clock()
    desk.exchange._rest.client.timestamp_offset = 0

    [found] = await reconcile(desk.gate, desk.exchange)

    assert len(desk.orders(intent)) == 1
    assert found.finding is Finding.NOT_PLACED


async def test_a_live_permit_is_left_alone(desk: Desk) -> None:
    await desk.gate.evaluate(desk.intent())

    assert await reconcile(desk.gate, desk.exchange) == []


async def test_an_exchange_that_does_not_answer_settles_nothing(desk: Desk, redis_client: redis.Redis) -> None:
    await abandoned(desk, redis_client, sent=True)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order"))

    [found] = await reconcile(desk.gate, desk.exchange)

    assert (found.finding, found.done) == (Finding.UNREADABLE, False)
    assert (await desk.gate.status()).in_doubt == 1


async def test_what_somebody_else_has_settled_meanwhile_is_told_so(desk: Desk, redis_client: redis.Redis) -> None:
    intent = await abandoned(desk, redis_client, sent=True)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order"))
    in_doubt = desk.gate.in_doubt

    async def settled_by_another(at_most: int, skip: int) -> InDoubt:
        read = await in_doubt(at_most, skip)
        for each in read.permits:
            await desk.gate.settle(each.permit, Outcome.placed("4711"))
        return read

    desk.gate.in_doubt = settled_by_another  # type: ignore[method-assign, assignment]

    [found] = await reconciling.reconcile_all(desk.gate, desk.exchange)

    assert (found.intent_id, found.finding, found.done) == (intent.id, Finding.SETTLED, True)
    assert "order 4711" in found.detail


async def test_a_store_that_fails_in_the_middle_takes_away_nothing_that_was_found(
    desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = await abandoned(desk, redis_client, sent=True)
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order"))

    async def fails(intent_id: str) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(desk.gate, "lookup", fails)
    [found] = await reconciling.reconcile_all(desk.gate, desk.exchange)
    assert (found.intent_id, found.finding, found.done) == (intent.id, Finding.UNREADABLE, False)


@pytest.mark.parametrize("sent", [True, False])
async def test_an_intent_in_doubt_is_reconciled_after_its_record_has_lapsed(
    desk: Desk, redis_client: redis.Redis, sent: bool
) -> None:
    intent = await abandoned(desk, redis_client, sent=sent)
    redis_client.delete(f"quantum:exec:processed:{intent.id}")

    [found] = await reconcile(desk.gate, desk.exchange)

    record = await desk.gate.lookup(intent.id)
    assert (found.finding, found.done) == (Finding.PLACED if sent else Finding.NOT_PLACED, True)
    assert record is not None
    assert record.order_id == (str(desk.orders(intent)[0]["orderId"]) if sent else None)
    assert (await desk.gate.status()).in_doubt == 0


async def test_an_intent_that_the_store_has_forgotten_is_shown_and_not_guessed(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = await abandoned(desk, redis_client, sent=True)
    redis_client.delete(f"quantum:exec:processed:{intent.id}")
    redis_client.hdel("quantum:exec:state", f"permit:{intent.id}")

    [found] = await reconcile(desk.gate, desk.exchange)

    assert (found.finding, found.done) == (Finding.LAPSED, False)


async def test_many_at_once_come_to_the_same_end(open_desk: OpenDesk, redis_client: redis.Redis) -> None:
    desks = [await open_desk(Policy(rate_symbol_limit=100, rate_global_limit=1000)) for _ in range(4)]
    placed = [await abandoned(desks[0], redis_client, sent=True) for _ in range(3)]
    missing = [await abandoned(desks[0], redis_client, sent=False) for _ in range(3)]

    findings = await asyncio.gather(*(reconcile(each.gate, each.exchange) for each in desks))

    for intent in placed:
        record = await desks[0].gate.lookup(intent.id)
        assert record is not None
        assert record.order_id == str(desks[0].orders(intent)[0]["orderId"])
    for intent in missing:
        absent = await desks[0].gate.lookup(intent.id)
        assert absent is not None
        assert absent.code == "NOT_PLACED"
    assert (await desks[0].gate.status()).in_doubt == 0
    assert sum(len(each) for each in findings) >= 6


async def test_reconciling_ends_when_the_exchange_wants_no_more_requests(desk: Desk, redis_client: redis.Redis) -> None:
    for _ in range(3):
        await abandoned(desk, redis_client, sent=True)
    desk.paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v1/order", times=1, retry_after_s=120))

    found = await reconcile(desk.gate, desk.exchange)

    assert [each.finding for each in found] == [Finding.UNREADABLE] * 3
    assert [each.detail for each in found][1:] == ["not asked: the exchange answers -1003, for 120000 ms"] * 2


async def test_every_intent_in_doubt_is_looked_up_once(
    desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    intents = [await abandoned(desk, redis_client, sent=False) for _ in range(3)]
    monkeypatch.setattr(reconciling.reconcile, "__kwdefaults__", {"at_most": 2, "skip": 0})
    desk.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/order", times=1))

    found = await reconciling.reconcile_all(desk.gate, desk.exchange)

    assert sorted(each.intent_id for each in found) == sorted(intent.id for intent in intents)
    assert [each.finding for each in found].count(Finding.UNREADABLE) == 1


async def test_reconciling_all_ends_when_the_exchange_wants_no_more_requests(
    desk: Desk, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await abandoned(desk, redis_client, sent=False)
    monkeypatch.setattr(reconciling.reconcile, "__kwdefaults__", {"at_most": 1, "skip": 0})
    desk.paper.inject(Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v1/order", times=1, retry_after_s=120))

    found = await reconciling.reconcile_all(desk.gate, desk.exchange)

    assert [each.retry_after_ms for each in found] == [120_000]
    assert (await desk.gate.status()).in_doubt == 3


async def test_an_order_is_found_though_its_fill_can_not_be_read(desk: Desk, redis_client: redis.Redis) -> None:
    await abandoned(desk, redis_client, sent=True)
    read = desk.exchange._rest.read

    async def odd(method: str, **parameters: object) -> object:
        answer = await read(method, **parameters)
        return {**answer, "avgPrice": "NaN", "executedQty": None} if method == "futures_get_order" else answer

    desk.exchange._rest.read = odd  # type: ignore[method-assign]

    [found] = await reconcile(desk.gate, desk.exchange)

    assert found.finding is Finding.PLACED


async def test_the_command_settles_and_says_so(
    desk: Desk, redis_client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = await abandoned(desk, redis_client, sent=True)
    monkeypatch.setenv("BINANCE_API_KEY", desk.paper.key)
    monkeypatch.setenv("BINANCE_API_SECRET", desk.paper.secret)
    arguments = ["--url", store.url, "reconcile", "--base-url", desk.paper.url, "--json"]

    result = await asyncio.to_thread(CliRunner().invoke, program, arguments)

    [found] = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (found["id"], found["finding"], found["settled"]) == (intent.id, "PLACED", "SETTLED")


async def test_the_command_says_that_a_key_is_wrong(
    desk: Desk, redis_client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await abandoned(desk, redis_client, sent=True)
    monkeypatch.setenv("BINANCE_API_KEY", "k" * 64)
    monkeypatch.setenv("BINANCE_API_SECRET", desk.paper.secret)
    arguments = ["--url", store.url, "reconcile", "--base-url", desk.paper.url, "--json"]

    result = await asyncio.to_thread(CliRunner().invoke, program, arguments)

    [found] = json.loads(result.stdout)
    assert (result.exit_code, found["finding"]) == (1, "UNREADABLE")
    assert "; the API key is wrong here: check key and secret, its rights, its list of IPs" in found["detail"]


def test_the_command_names_the_keys_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET"):
        monkeypatch.delenv(name, raising=False)

    result = CliRunner().invoke(program, ["--url", "redis://127.0.0.1:1/0", "reconcile"])

    assert result.exit_code == 2
    assert "BINANCE_API_KEY" in result.output


def test_the_command_names_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", "k")
    monkeypatch.setenv("BINANCE_API_SECRET", "s")
    arguments = ["--url", "redis://127.0.0.1:1/0", "reconcile", "--base-url", "127.0.0.1:8000"]

    result = CliRunner().invoke(program, arguments)

    assert result.exit_code == 2
    assert "base_url: '127.0.0.1:8000' is not an address" in result.output


async def test_an_intent_that_its_holder_has_just_given_back_is_no_loss_of_memory(
    desk: Desk, redis_client: redis.Redis
) -> None:
    intent = await abandoned(desk, redis_client, sent=False)
    [doubtful] = (await desk.gate.in_doubt()).permits
    in_doubt = desk.gate.in_doubt

    async def then_given_back(at_most: int = 100, skip: int = 0) -> InDoubt:
        found = await in_doubt(at_most, skip)
        assert await desk.gate.settle(doubtful.permit, Outcome.unsent("STOPPED"))
        return found

    desk.gate.in_doubt = then_given_back  # type: ignore[method-assign]
    await reconcile(desk.gate, desk.exchange)
    assert not redis_client.hexists("quantum:exec:state", "lost")
    assert (await desk.gate.evaluate(desk.intent(id=intent.id, quantity="0.01"))).admitted
