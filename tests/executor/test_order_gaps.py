"""What the streams have lost is asked for, until it is known, and nothing else is."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from binance import Client

from gate.exchange.failures import ExchangeFailure
from gate.executor import Execution, Executor, OrderState
from gate.paper import Fault, FaultKind
from tests.executor.conftest import Desk, ears
from tests.executor.listening import told
from tests.executor.test_fill_price import look_up_fault


async def closed(executor: Executor) -> None:
    """Nothing is left to ask for."""
    assert executor._news._gaps._closing is not None
    async with asyncio.timeout(10):
        await executor._news._gaps._closing


async def rest_and_fill_unheard(heard: Desk, *prices: str) -> list[Execution]:
    """Orders that rest, and of which those above 79999.9 fill without an event."""
    resting = [heard.intent(quantity="0.002", order_type="LIMIT", price=price) for price in prices]
    sent = [await heard.executor.execute(intent) for intent in resting]
    heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
    heard.paper.set_price("BTCUSDT", "79999.9")
    return sent


async def test_during_a_ban_no_gap_is_closed(heard: Desk, asked: list[str]) -> None:
    ban = Fault(kind=FaultKind.BANNED_418, method="GET", path="/fapi/v3/positionRisk", retry_after_s=3600)
    heard.paper.inject(ban)
    async with heard.executor:
        with pytest.raises(ExchangeFailure):
            await heard.exchange.positions("BTCUSDT")
        asked.clear()
        heard.executor._news._gaps.missed()
        for _ in range(3):
            await heard.exchange.positions("BTCUSDT")
    assert set(asked) == {"GET /fapi/v3/positionRisk"}


async def test_what_was_lost_at_a_gap_is_asked_for(heard: Desk) -> None:
    async with heard.executor as executor:
        updates = executor.updates()
        resting = [
            heard.intent(quantity="0.002", order_type="LIMIT", price=price) for price in ("90000", "80000", "70000")
        ]
        for intent in resting:
            await executor.execute(intent)
        heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
        heard.paper.set_price("BTCUSDT", "79999.9")
        ears(heard).gap()
        got = await told(updates, 2)
        ears(heard).gap()
        heard.paper.clear_faults()
        heard.paper.set_price("BTCUSDT", "69999.9")
        (last,) = await told(updates, 1)

    assert {each.intent_id for each in got} == {resting[0].id, resting[1].id}
    assert {(each.state, each.after_gap, each.average_price) for each in got} == {
        (OrderState.FILLED, True, Decimal(90_000)),
        (OrderState.FILLED, True, Decimal(80_000)),
    }
    assert (last.intent_id, last.after_gap) == (resting[2].id, False)


async def test_an_order_of_an_earlier_life_is_told_too(heard: Desk) -> None:
    execution = await Executor(heard.gate, heard.exchange).execute(
        heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
    )
    async with Executor(heard.gate, heard.exchange) as another:
        updates = another.updates()
        ears(heard).gap()
        assert another._news._gaps._closing is not None
        await another._news._gaps._closing
        heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
        heard.paper.set_price("BTCUSDT", "89999.9")
        ears(heard).gap()
        (filled,) = await told(updates, 1)

    assert (filled.client_order_id, filled.intent_id) == (execution.client_order_id, None)


async def test_an_order_that_has_ended_before_is_told_once_it_is_named(heard: Desk) -> None:
    intent = heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
    execution = await Executor(heard.gate, heard.exchange).execute(intent)
    assert execution.client_order_id is not None
    heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
    heard.paper.set_price("BTCUSDT", "89999.9")
    async with Executor(heard.gate, heard.exchange) as another:
        updates = another.updates()
        another.remember("BTCUSDT", execution.client_order_id, intent.id)
        (filled,) = await told(updates, 1)

    assert (filled.state, filled.intent_id, filled.after_gap) == (OrderState.FILLED, intent.id, True)


async def test_an_order_of_before_that_the_exchange_has_forgotten_is_asked_for_once(
    heard: Desk, asked: list[str]
) -> None:
    async with heard.executor as executor:
        executor.remember("BTCUSDT", f"g-{0:032}", "sig-1")
        for _ in range(2):
            assert executor._news._gaps._closing is not None
            await executor._news._gaps._closing
            ears(heard).gap()
    assert asked.count("GET /fapi/v1/order") == 1


async def test_what_a_closing_has_cut_off_is_asked_for_when_it_is_opened_again(
    heard: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
    asking = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        asking.set()
        await asyncio.Event().wait()

    async with heard.executor as executor:
        sent = await executor.execute(intent)
        order = executor._news._orders.known(str(sent.client_order_id))
        assert order is not None
        with monkeypatch.context() as patch:
            patch.setattr(heard.exchange, "find_order", never)
            executor._news._gaps.ask_alone(str(sent.client_order_id), order)
            await asking.wait()
            await executor._news.close()
            assert executor._news._gaps._gap
    heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
    heard.paper.set_price("BTCUSDT", "89999.9")
    async with heard.executor as executor:
        (filled,) = await told(executor.updates(), 1)
    assert (filled.state, filled.after_gap) == (OrderState.FILLED, True)


async def test_nothing_is_asked_of_an_order_that_is_known_or_has_ended(heard: Desk, asked: list[str]) -> None:
    async with heard.executor as executor:
        resting = heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
        sent = await executor.execute(resting)
        asked.clear()
        executor.remember("BTCUSDT", str(sent.client_order_id), resting.id)
        assert executor._news._gaps._closing is None
        heard.paper.set_price("BTCUSDT", "89999.9")
        (order,) = [executor._news._orders.known(each.client_order_id) for each in await told(executor.updates(), 1)]
        assert order is not None
        assert await executor._news._gaps._ask_for(str(sent.client_order_id), order) is None
    assert "GET /fapi/v1/order" not in asked


async def test_after_a_gap_orders_of_others_are_not_asked_for(heard: Desk, client: Client, asked: list[str]) -> None:
    client.futures_create_order(
        symbol="BTCUSDT",
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        price="90000",
        quantity="0.002",
        newClientOrderId="by-hand",
    )
    async with heard.executor as executor:
        asked.clear()
        ears(heard).gap()
        await closed(executor)
    assert "GET /fapi/v1/openOrders" in asked
    assert "GET /fapi/v1/order" not in asked


async def test_an_exchange_that_does_not_answer_at_once_is_asked_again_and_nobody_is_troubled(
    heard: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0,) * 5)
    async with heard.executor as executor:
        updates = executor.updates()
        await executor.execute(heard.intent(quantity="0.002", order_type="LIMIT", price="90000"))
        heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
        heard.paper.inject(Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/openOrders"))
        heard.paper.inject(look_up_fault(FaultKind.HTML_502))
        heard.paper.set_price("BTCUSDT", "89999.9")
        ears(heard).gap()
        assert [each.state for each in await told(updates, 1)] == [OrderState.FILLED]
    assert "isn't known yet" not in caplog.text


async def test_a_look_up_that_fails_keeps_back_no_other_and_only_it_is_asked_again(
    heard: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0,) * 5)
    monkeypatch.setattr("gate.executor.order_gaps._AT_ONCE", 1)
    async with heard.executor as executor:
        updates = executor.updates()
        sent = await rest_and_fill_unheard(heard, "90000", "85000", "80000")
        heard.paper.inject(look_up_fault(FaultKind.INTERNAL_503, times=3, client_order_id=sent[0].client_order_id))
        asked.clear()
        ears(heard).gap()
        got = await told(updates, 3)
        await closed(executor)

    assert [each.client_order_id for each in got] == [sent[number].client_order_id for number in (1, 2, 0)]
    assert (asked.count("GET /fapi/v1/openOrders"), asked.count("GET /fapi/v1/order")) == (1, 3 + 3)


async def test_an_exchange_that_fails_for_long_is_asked_until_it_tells_and_one_line_says_so(
    heard: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0,) * 5)
    async with heard.executor as executor:
        updates = executor.updates()
        await rest_and_fill_unheard(heard, "90000")
        heard.paper.inject(
            Fault(kind=FaultKind.INTERNAL_503, method="GET", path="/fapi/v1/openOrders", times=10),
        )
        heard.paper.inject(look_up_fault(FaultKind.INTERNAL_503, times=10))
        ears(heard).gap()
        (filled,) = await told(updates, 1)

    assert (filled.state, filled.after_gap) == (OrderState.FILLED, True)
    assert [record.levelname for record in caplog.records if "isn't known yet" in record.message] == ["WARNING"]


async def test_what_has_ended_is_asked_for_first_and_a_failure_that_says_stop_is_heeded(
    heard: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0, 3600.0))
    monkeypatch.setattr("gate.executor.order_gaps._AT_ONCE", 1)
    async with heard.executor as executor:
        updates = executor.updates()
        sent = await rest_and_fill_unheard(heard, "70000", "71000", "90000")
        heard.paper.inject(look_up_fault(FaultKind.ERROR, code=-1015, skip=1))
        asked.clear()
        ears(heard).gap()
        (filled,) = await told(updates, 1)
        for _ in range(3):
            await heard.exchange.positions("BTCUSDT")

    assert filled.client_order_id == sent[2].client_order_id
    assert asked.count("GET /fapi/v1/order") == 2


async def test_a_gap_that_an_executor_leaves_open_is_closed_by_its_next_block(
    heard: Desk, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.executor.order_gaps._PAUSES_S", (0.0, 3600.0))
    async with heard.executor:
        await rest_and_fill_unheard(heard, "90000")
        heard.paper.inject(look_up_fault(FaultKind.INTERNAL_503))
        asked.clear()
        ears(heard).gap()
        async with asyncio.timeout(10):
            while "GET /fapi/v1/order" not in asked:  # noqa: ASYNC110  # it is asked beside everything else
                await asyncio.sleep(0.01)
    async with heard.executor as executor:
        updates = executor.updates()
        await closed(executor)
        assert [each.state for each in await told(updates, 1)] == [OrderState.FILLED]


@pytest.mark.parametrize("damage", [{"X": "WHATEVER"}, {"z": "NaN"}, {"c": None}], ids=str)
async def test_an_event_that_cannot_be_read_is_a_gap(heard: Desk, damage: dict[str, Any]) -> None:
    async with heard.executor as executor:
        updates = executor.updates()
        intent = heard.intent(quantity="0.002", order_type="LIMIT", price="90000")
        execution = await executor.execute(intent)
        heard.paper.inject(Fault(kind=FaultKind.LOSE_EVENT, event="*", times=100))
        heard.paper.set_price("BTCUSDT", "89999.9")
        order = {"c": execution.client_order_id, "s": "BTCUSDT", "S": "BUY", "i": 7, "X": "FILLED", "z": "1", "ap": "1"}
        ears(heard).tell({"e": "ORDER_TRADE_UPDATE", "T": 1, "o": order | damage})
        (filled,) = await told(updates, 1)

    assert (filled.state, filled.order_id, filled.after_gap) == (OrderState.FILLED, execution.order_id, True)
