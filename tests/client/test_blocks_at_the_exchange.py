"""`with gate.guard(intent)` around python-binance's own clients: its failures are understood, its answers taken."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import redis
import requests
from aiohttp import ClientConnectorError
from binance import AsyncClient, Client
from binance.exceptions import BinanceAPIException

from gate import AsyncGate, Gate, OutcomeKind, Phase, Reason
from gate.paper import Fault, FaultKind, PaperExchange
from gate.values.errors import InvalidField
from tests.client import account as at
from tests.client.blocks import on, place, place_async, stop, terms


def test_an_insufficient_margin_is_a_rejection_with_its_penalty_and_goes_on_up(
    gate: Gate, client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.ERROR, code=-2019, msg="Margin is insufficient."))

    with pytest.raises(BinanceAPIException) as caught:
        place(gate, client, at.entry())

    assert caught.value.code == -2019
    assert {"failures", "cooldown_symbol"} <= on(gate)
    assert place(gate, client, at.entry()) == Reason.DUPLICATE, "its order may have been sent by an earlier try"


async def test_async_an_insufficient_margin_is_a_rejection_with_its_penalty_and_goes_on_up(
    async_gate: AsyncGate, async_client: AsyncClient, gate: Gate, paper_exchange: PaperExchange
) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.ERROR, code=-2019, msg="Margin is insufficient."))

    with pytest.raises(BinanceAPIException):
        await place_async(async_gate, async_client, at.entry())

    assert {"failures", "cooldown_symbol"} <= on(gate)
    assert await place_async(async_gate, async_client, at.entry()) == Reason.DUPLICATE


def test_a_time_out_is_unknown(gate: Gate, client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP))

    with pytest.raises(requests.RequestException):
        place(gate, client, at.entry())

    record = gate.lookup("sig-1")
    assert record is not None
    assert record.phase is Phase.UNKNOWN
    assert "cooldown_symbol" in on(gate)
    assert place(gate, client, at.entry()) == Reason.DUPLICATE
    assert len(paper_exchange.ledger()) == 1


def test_an_exchange_that_was_never_reached_lets_an_exit_come_again(
    gate: Gate, client: Client, paper_exchange: PaperExchange
) -> None:
    assert place(gate, client, at.entry("opens")) == "PLACED"
    there, client.FUTURES_URL = client.FUTURES_URL, "http://127.0.0.1:1/fapi"
    with pytest.raises(requests.ConnectionError):
        place(gate, client, at.exit_("sig-2", side="SELL"))
    client.FUTURES_URL = there

    assert place(gate, client, at.exit_("sig-2", side="SELL")) == "PLACED"


async def test_async_an_exchange_that_was_never_reached_lets_an_exit_come_again(
    async_gate: AsyncGate, async_client: AsyncClient
) -> None:
    assert await place_async(async_gate, async_client, at.entry("opens")) == "PLACED"
    there, async_client.FUTURES_URL = async_client.FUTURES_URL, "http://127.0.0.1:1/fapi"
    with pytest.raises(ClientConnectorError):
        await place_async(async_gate, async_client, at.exit_("sig-2", side="SELL"))
    async_client.FUTURES_URL = there

    assert await place_async(async_gate, async_client, at.exit_("sig-2", side="SELL")) == "PLACED"


def test_an_entry_whose_second_try_was_refused_does_not_come_again(
    gate: Gate, client: Client, paper_exchange: PaperExchange
) -> None:
    """The answer to the first try was unclear, but its order is in the books."""
    intent = at.entry()
    paper_exchange.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP))

    def twice() -> None:
        with gate.guard(intent) as permit:
            order = terms(intent, newClientOrderId=permit.client_order_id)
            with suppress(requests.RequestException):
                client.futures_create_order(**order)
            paper_exchange.inject(Fault(kind=FaultKind.ERROR, code=-2019, msg="Margin is insufficient."))
            client.futures_create_order(**order)

    with pytest.raises(BinanceAPIException):
        twice()

    assert place(gate, client, intent) == Reason.DUPLICATE
    assert len(paper_exchange.ledger()) == 1


def test_a_stop_that_is_named_after_its_entry_is_another_request(
    gate: Gate, client: Client, paper_exchange: PaperExchange
) -> None:
    intent = at.entry()
    paper_exchange.inject(Fault(kind=FaultKind.ERROR, code=-1008, path="/fapi/v1/algoOrder"))

    def bracket() -> None:
        with gate.guard(intent) as permit:
            client.futures_create_order(**terms(intent, newClientOrderId=permit.client_order_id))
            client.futures_create_order(**stop(intent, clientAlgoId=f"{permit.client_order_id}-s"))

    with pytest.raises(BinanceAPIException):
        bracket()

    assert place(gate, client, intent) == Reason.DUPLICATE
    assert len(paper_exchange.ledger()) == 1


@pytest.mark.parametrize("fault", [-2019, -1008, None], ids=["refused", "overloaded", "not reached"])
def test_the_failure_of_another_request_says_nothing_of_the_order(
    gate: Gate, client: Client, paper_exchange: PaperExchange, fault: int | None
) -> None:
    """A bracket: the entry is placed, its stop fails, and the block hasn't reported the entry yet."""
    intent = at.entry()

    def bracket() -> None:
        with gate.guard(intent) as permit:
            client.futures_create_order(**terms(intent, newClientOrderId=permit.client_order_id))
            if fault is None:
                client.FUTURES_URL = "http://127.0.0.1:1/fapi"
            else:
                paper_exchange.inject(Fault(kind=FaultKind.ERROR, code=fault, path="/fapi/v1/algoOrder"))
            client.futures_create_order(**stop(intent))

    with pytest.raises((BinanceAPIException, requests.ConnectionError)):
        bracket()

    record = gate.lookup(intent.id)
    assert record is not None
    assert record.phase is Phase.UNKNOWN
    assert place(gate, client, intent) == Reason.DUPLICATE


@pytest.mark.parametrize(
    ("fault", "switches"),
    [
        (Fault(kind=FaultKind.ERROR, method="GET", status=401, code=-2015), {"safe_mode"}),
        (Fault(kind=FaultKind.BANNED_418, method="GET", retry_after_s=600), {"safe_mode", "cooldown_global"}),
    ],
    ids=["keys", "ban"],
)
def test_keys_or_a_ban_that_meet_the_blocks_own_look_up_stop_entries(
    gate: Gate, client: Client, paper_exchange: PaperExchange, fault: Fault, switches: set[str]
) -> None:
    """The order stays in doubt by that; but every further request would meet the same."""
    intent = at.entry()
    paper_exchange.inject(fault)

    with pytest.raises(BinanceAPIException), gate.guard(intent) as permit:
        client.futures_get_order(symbol=intent.symbol, origClientOrderId=permit.client_order_id)

    record = gate.lookup(intent.id)
    assert record is not None
    assert record.phase is Phase.UNKNOWN
    assert on(gate) >= {"cooldown_symbol", *switches}


async def test_async_the_failure_of_a_look_up_says_nothing_of_the_order(
    async_gate: AsyncGate, async_client: AsyncClient, paper_exchange: PaperExchange
) -> None:
    """Sent, no answer, looked up by the block itself: and that can't connect."""
    intent = at.entry()

    async def unsure() -> None:
        async with async_gate.guard(intent) as permit:
            name = permit.client_order_id
            await async_client.futures_create_order(**terms(intent, newClientOrderId=name))
            async_client.FUTURES_URL = "http://127.0.0.1:1/fapi"
            await async_client.futures_get_order(symbol=intent.symbol, origClientOrderId=name)

    with pytest.raises(ClientConnectorError):
        await unsure()

    record = await async_gate.lookup(intent.id)
    assert record is not None
    assert record.phase is Phase.UNKNOWN


def test_a_failure_whose_request_is_not_to_be_seen_does_not_let_the_intent_come_again(gate: Gate) -> None:
    with pytest.raises(requests.ConnectTimeout), gate.guard(at.entry()):
        raise requests.ConnectTimeout

    record = gate.lookup("sig-1")
    assert record is not None
    assert record.phase is Phase.REJECTED


def test_a_permit_says_whether_its_order_only_reduces(
    gate: Gate, client: Client, paper_exchange: PaperExchange
) -> None:
    place(gate, client, at.entry("in"))
    place(gate, client, at.exit_("out", side="SELL"))

    assert [order["reduceOnly"] for order in paper_exchange.ledger()] == [False, True]
    with gate.guard(at.entry("in")) as permit, pytest.raises(LookupError):
        _ = permit.is_exit


@pytest.mark.parametrize("kind", ["MARKET", "STOP_MARKET"])
def test_an_order_goes_under_the_permits_id_whatever_its_type(
    kind: str, gate: Gate, client: Client, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    intent = at.entry()
    client.futures_create_order(**terms(intent))
    with gate.guard(intent) as permit:
        order = stop(intent, side="SELL") if kind == "STOP_MARKET" else terms(intent)
        answer = client.futures_create_order(**order, **permit.id_parameter(kind))
        assert permit.placed(answer).record is not None
    assert permit.client_order_id in (answer.get("clientOrderId"), answer.get("clientAlgoId"))
    record = gate.lookup(intent.id)
    assert record is not None
    assert record.order_id == str(answer.get("orderId", answer.get("algoId")))
    assert "ANOTHER ID" not in caplog.text


@pytest.mark.parametrize("kind", ["stop_market", "FOO", "", None])
def test_a_type_that_is_none_of_the_exchanges_is_refused_before_it_hides_the_order(
    kind: Any, gate: Gate, redis_client: redis.Redis
) -> None:
    permit = at.admitted(gate.evaluate(at.entry()))
    with pytest.raises(InvalidField, match=r"order_type: .* is no type of the exchange's; give one of MARKET"):
        permit.id_parameter(kind)


def test_an_order_under_another_id_is_an_error_in_the_log(
    gate: Gate, client: Client, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    intent = at.exit_(side="SELL")
    client.futures_create_order(**terms(at.entry()))
    with gate.guard(intent) as permit:
        answer = client.futures_create_order(**stop(intent), newClientOrderId=permit.client_order_id)
        permit.placed(answer)
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said.startswith(f"ANOTHER ID id={intent.id} ")
    assert answer["clientAlgoId"] in said
    assert "permit.id_parameter(type)" in said
    record = gate.lookup(intent.id)
    assert record is not None
    assert (record.phase, record.order_id) == (Phase.PLACED, str(answer["algoId"]))


def test_an_answer_without_an_id_is_a_doubt(gate: Gate, redis_client: redis.Redis) -> None:
    with pytest.raises(InvalidField, match="no orderId, and no algoId"), gate.guard(at.entry()) as permit:
        permit.placed({"code": "200", "msg": "success"})
    assert permit.outcome is not None
    assert permit.outcome.kind is OutcomeKind.UNKNOWN


async def test_an_order_of_asyncio_goes_under_the_permits_id(
    async_gate: AsyncGate, async_client: AsyncClient, redis_client: redis.Redis
) -> None:
    intent = at.entry()
    async with async_gate.guard(intent) as permit:
        answer = await async_client.futures_create_order(**terms(intent), **permit.id_parameter("MARKET"))
        await permit.placed(answer)
    record = await async_gate.lookup(intent.id)
    assert record is not None
    assert record.order_id == str(answer["orderId"])
