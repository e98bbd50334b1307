"""What is news of an order, in whatever order its events are heard."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from msgspec import structs

from gate.exchange.port import OrderAnswer
from gate.executor import Execution, OrderState, OrderUpdate, Terminal
from gate.service.results import Asked, Ending, ending_of, ending_of_record, result_fields
from gate.service.told import ToldOrder, of_nobody, told_by, update_fields
from gate.values.guards import Reason
from gate.values.outcome import Outcome
from gate.values.record import decode_record
from gate.values.verdict import Mode, Verdict
from tests.service.test_values import NOW_MS, read

ASKED = Asked("sig-1", "BTCUSDT", "SELL", 3, Decimal(300), Decimal(100))
NEW = ToldOrder(ASKED, state="NEW", order_id="81")


def update(state: str, filled: str = "0", order_id: str = "81", price: str | None = None) -> OrderUpdate:
    return OrderUpdate(
        client_order_id="g-1",
        symbol="BTCUSDT",
        side="SELL",
        state=OrderState(state),
        order_id=order_id,
        filled_quantity=Decimal(filled),
        average_price=None if price is None else Decimal(price),
        time_ms=NOW_MS,
        detail=state,
    )


def told(first: ToldOrder, *updates: OrderUpdate) -> list[tuple[str, str]]:
    """What is told of these, in turn."""
    found = []
    for each in updates:
        if (now := first.after(each)) is not None:
            first = now
            found.append((now.state, str(now.filled)))
    assert first.updates == len(found)
    return found


def test_each_step_is_told_once_and_what_is_filled_never_gets_less() -> None:
    heard = [
        update("TRIGGERED"),
        update("PARTIALLY_FILLED", "1"),
        update("PARTIALLY_FILLED", "2"),
        update("FILLED", "3"),
    ]
    steps = [("TRIGGERED", "0"), ("PARTIALLY_FILLED", "1"), ("PARTIALLY_FILLED", "2"), ("FILLED", "3")]
    assert told(NEW, *(each for each in heard for _ in range(2)), *heard) == steps
    assert told(NEW, *reversed(heard)) == steps[-1:]
    assert told(NEW, heard[2], heard[1], update("CANCELLED", "1"), update("CANCELLED", "2"), heard[3]) == [
        ("PARTIALLY_FILLED", "2"),
        ("CANCELLED", "2"),
    ]


def test_of_an_order_that_had_ended_before_its_result_nothing_is_awaited() -> None:
    """A worker died before the answer, and another tells the order's end. No event of it comes any more."""
    record = decode_record("sig-1", f"placed {'t' * 8} 7 {'f' * 8} 1 BTCUSDT SELL 30000 0 x 81")
    order = OrderAnswer("81", "g-1", "EXPIRED", Decimal("0.1"), Decimal(100), 1, side="SELL", reduces=True)
    ending = ending_of_record(record, "g-1", order, Mode.ENFORCE)
    assert ending is not None
    now = told_by(read(), ending)
    assert now is not None
    assert (now.open, now.status) == (False, "filled")
    result = result_fields(Asked.by(read()), ending, by="me", now_ms=0, fee_rate=None)
    assert (result["state"], result["status"], result["filled_quantity"]) == ("PLACED", "filled", "0.1")


def test_whatever_comes_of_an_order_in_doubt_is_news() -> None:
    unknown = ToldOrder(ASKED)
    assert unknown.open
    assert told(unknown, update("PARTIALLY_FILLED", "1"), update("FILLED", "3")) == [
        ("PARTIALLY_FILLED", "1"),
        ("FILLED", "3"),
    ]


def test_a_younger_order_under_the_same_client_order_id_is_told_and_an_older_one_isnt() -> None:
    expired = replace_state(NEW, "EXPIRED")
    assert told(expired, update("FILLED", "3", "82"), update("CANCELLED", "0", "81")) == [("FILLED", "3")]


def test_what_an_older_order_under_the_id_has_filled_takes_nothing_from_the_younger() -> None:
    older = structs.replace(NEW, state="CANCELLED", filled=Decimal(2))
    assert told(older, update("PARTIALLY_FILLED", "1", "82")) == [("PARTIALLY_FILLED", "1")]


@pytest.mark.parametrize(
    "ended",
    [structs.replace(NEW, state="FILLED", conditional=True), ToldOrder(ASKED, state="EXPIRED")],
    ids=["its order has another number", "without a number"],
)
def test_where_the_numbers_say_nothing_an_end_is_the_end(ended: ToldOrder) -> None:
    assert told(ended, update("FILLED", "3", "82")) == []


def replace_state(of: ToldOrder, state: str) -> ToldOrder:
    return ToldOrder(of.asked, state=state, order_id=of.order_id)


@pytest.mark.parametrize(
    ("ending", "state", "is_open"),
    [
        (Ending(Terminal.FILLED, "FILLED", order_id="81", filled_quantity=Decimal(3)), "FILLED", False),
        (Ending(Terminal.PLACED, "NEW", order_id="81"), "NEW", True),
        (Ending(Terminal.PLACED, "EXPIRED", order_id="81", filled_quantity=Decimal(1)), "PARTIALLY_FILLED", True),
        (Ending(Terminal.REJECTED_EXCHANGE, "EXPIRED", order_id="81"), "EXPIRED", False),
        (Ending(Terminal.UNKNOWN, "-1007"), "", True),
        (Ending(Terminal.REJECTED_EXCHANGE, "-1007", absent=True), "", False),
    ],
    ids=str,
)
def test_what_a_result_has_told_of_its_order(ending: Ending, state: str, is_open: bool) -> None:
    found = told_by(read(), replace(ending, client_order_id="g-1"))
    assert found is not None
    assert (found.state, found.open, found.filled) == (state, is_open, ending.filled_quantity)
    assert ToldOrder.read(found.packed()) == found


def test_a_result_that_tells_an_absence_lets_a_late_order_be_told() -> None:
    intent = read().intent
    execution = Execution(
        Terminal.REJECTED_EXCHANGE,
        intent.id,
        Verdict(True, Reason.ADMITTED),
        "-1007",
        client_order_id="g-1",
        outcome=Outcome.not_placed(),
    )
    record = decode_record(intent.id, "rejected tok 7 fp 1000 BTCUSDT BUY 5 0 - NOT_PLACED -1007")
    for ending in (ending_of(execution), ending_of_record(record, "g-1", None, Mode.ENFORCE)):
        assert ending is not None
        assert ending.no_order, "another delivery may still become one"
        absent = told_by(read(), ending)
        assert absent is not None
        assert told(absent, update("FILLED", "3", "82")) == [("FILLED", "3")]


@pytest.mark.parametrize(
    "ending",
    [
        Ending(Terminal.DENIED, "DUPLICATE", order_id="81", client_order_id="g-1"),
        Ending(Terminal.REJECTED_EXCHANGE, "-1001", client_order_id="g-1"),
        Ending(Terminal.UNKNOWN, "SERVICE_FAILED"),
    ],
    ids=str,
)
def test_a_result_without_an_order_of_its_own_tells_of_none(ending: Ending) -> None:
    assert told_by(read(), ending) is None


@pytest.mark.parametrize(
    "packed",
    [
        *(b"", b"{", b"{}", b"1", b"\xff", NEW.packed().replace(b"NEW", b"OLD")),
        ToldOrder(replace(ASKED, expected_price=Decimal(0))).packed(),
        ToldOrder(ASKED, filled=Decimal("NaN")).packed(),
        ToldOrder(ASKED, price=Decimal("Infinity")).packed(),
    ],
)
def test_what_nobody_can_read_is_an_error(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        ToldOrder.read(packed)


@pytest.mark.parametrize(
    ("of", "status"),
    [
        (update("TRIGGERED"), "pending_fill"),
        (update("PARTIALLY_FILLED", "1"), "pending_fill"),
        (update("FILLED", "3"), "filled"),
        (update("CANCELLED"), "rejected"),
        (update("CANCELLED", "1"), "filled"),
        (update("EXPIRED"), "rejected"),
        (update("REJECTED"), "rejected"),
        (update("LIQUIDATED", "1"), "filled"),
    ],
    ids=str,
)
def test_the_old_programs_read_of_each_order_one_end(of: OrderUpdate, status: str) -> None:
    now = NEW.after(of)
    assert now is not None
    assert update_fields(now, of, by="me", fee_rate=None)["status"] == status


def test_an_update_has_the_fields_of_a_result_and_its_figures_are_of_the_whole_order() -> None:
    of = update("PARTIALLY_FILLED", "2", price="99")
    now = NEW.after(of)
    assert now is not None
    fields = update_fields(now, of, by="me", fee_rate=Decimal("0.0005"), now_ms=NOW_MS)
    result = result_fields(Asked.by(read()), Ending(Terminal.DENIED, "STALE"), by="me", now_ms=0, fee_rate=None)
    assert list(fields) == [*result, "order_status", "order_time_ms", "update"]
    assert (fields["position_size_usd"], fields["fee_usd"], fields["slippage_pct"]) == ("198", "0.099", "1")
    assert (fields["leverage"], fields["action"], fields["update"], fields["by"]) == ("3", "SELL", "1", "me")


@pytest.mark.parametrize(("side", "slippage"), [("BUY", "-1"), ("SELL", "1"), ("", "0")])
def test_an_update_of_a_close_is_worse_or_better_by_the_side_of_its_order(side: str, slippage: str) -> None:
    of = structs.replace(update("PARTIALLY_FILLED", "2", price="99"), side=side)
    now = ToldOrder(replace(ASKED, action="CLOSE"), state="NEW", order_id="81").after(of)
    assert now is not None
    assert update_fields(now, of, by="me", fee_rate=None)["slippage_pct"] == slippage


def test_what_the_exchange_does_by_itself_is_of_no_intent() -> None:
    of = update("LIQUIDATED", "2", price="99")
    now = of_nobody(of).after(of)
    assert now is not None
    fields = update_fields(now, of, by="me", fee_rate=None)
    assert (fields["intent_id"], fields["symbol"], fields["action"]) == ("", "BTCUSDT", "SELL")
    assert now.after(of) is None
