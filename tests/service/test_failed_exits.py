"""An exit that failed is told with what is open, once, and one that leaves nothing open isn't."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from gate import Gate, Outcome
from gate.executor import Terminal
from gate.paper import Fault, FaultKind
from gate.service.alerts import FailedExits
from gate.service.results import Ending
from gate.service.streams import is_for_good
from gate.values.intent import Intent
from tests.service.desk import RESULTS, Desk, Worker, payload, until
from tests.service.test_drills import EXIT, two_services
from tests.service.webhooks import Receiver


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (FaultKind.UNAVAILABLE_503, r"; still open is BOTH 0\.\d+; the same intent may be sent again"),
        (FaultKind.BANNED_418, r"; what is open isn't known: look at the exchange; "),
    ],
)
def test_an_exit_that_is_given_up_is_told_with_what_is_open(
    desk: Desk, receiver: Receiver, fault: FaultKind, says: str
) -> None:
    with Gate.from_url(desk.url) as operator:
        operator.init(by="ops", reason="new")
    worker = desk.worker(GATE_ALERT_URL=receiver.url).consumes()
    desk.send(payload(id="in", position_size_usd=10_000))
    assert desk.wait_results(1)[0]["state"] == "FILLED"
    desk.paper.inject(Fault(kind=fault, method="POST", path="/fapi/v1/order", probability=Decimal(1), retry_after_s=60))
    desk.send(payload(id="out", **EXIT))
    assert desk.wait_results(2)[1]["state"] == "REJECTED_EXCHANGE"

    def failed() -> list[str]:
        return [each["says"] for each in receiver.posted if each["kind"] == "exit_failed"]

    [said] = until(failed, told=lambda: (receiver.texts(), worker.log))
    assert said.startswith("BTCUSDT SELL, out: REJECTED_EXCHANGE, ")
    assert re.search(says, said), said


def test_a_second_delivery_of_an_exit_that_had_nothing_to_close_alarms_nobody(desk: Desk, receiver: Receiver) -> None:
    with Gate.from_url(desk.url) as operator:
        operator.init(by="ops", reason="new")
    worker = desk.worker(GATE_ALERT_URL=receiver.url).consumes()
    out = payload(id="out", **EXIT)
    for _ in range(2):
        desk.send(out)
        worker.said("TERMINAL STATE: ")
        desk.idle()
    worker.said("reason=-2022 .*from its record")
    assert [each["reason"] for each in desk.results()] == ["-2022"]
    assert worker.stop() == 0
    assert receiver.texts() == []


@pytest.mark.parametrize(
    ("mark", "for_good"), [(None, False), ("no_order retryable 1-0", False), ("no_order 1-0", True), ("1-0", True)]
)
def test_a_failure_for_good_after_one_for_now_is_not_told_before(mark: str | None, for_good: bool) -> None:
    assert is_for_good(mark) is for_good


def test_an_exit_whose_worker_died_before_its_answer_is_told_from_its_record(desk: Desk, receiver: Receiver) -> None:
    with Gate.from_url(desk.url) as operator:
        operator.init(by="ops", reason="new")
        out = payload(id="out", **EXIT)
        permit = operator.evaluate(out).permit
        assert permit
        operator.settle(permit, Outcome.rejected("-2015", "Invalid API-key"))
    worker = desk.worker(GATE_ALERT_URL=receiver.url).consumes()
    desk.send(out)
    until(receiver.texts, told=lambda: worker.log)
    assert receiver.texts()[0].startswith("[quantum] EXIT FAILED: BTCUSDT SELL, out: REJECTED_EXCHANGE, -2015 ")


def an_exit(intent_id: str, position_side: str = "BOTH") -> Intent:
    asked: dict[str, Any] = {"side": "SELL", "reduce_only": True, "quantity": "1", "position_side": position_side}
    return Intent(id=intent_id, symbol="BTCUSDT", timestamp=1_700_000_000_000, **asked)


def test_of_each_position_one_failed_exit_is_told_a_minute() -> None:
    of, ending = FailedExits(), Ending(Terminal.REJECTED_EXCHANGE, "HTTP_503", "busy", still_open="BOTH 1", looked=True)
    assert of.ended(an_exit("a"), ending, 0) is not None
    assert of.ended(an_exit("b"), ending, 59) is None
    assert of.ended(an_exit("c"), ending, 60) is not None
    assert of.ended(an_exit("d", "LONG"), ending, 60) is not None, "the other side is another position"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (Terminal.UNKNOWN, "its order may exist, and still open is BOTH 1"),
        (Terminal.REJECTED_EXCHANGE, "still open is BOTH 1; another try needs a new id"),
    ],
)
def test_of_an_exit_whose_order_may_exist_no_other_try_is_asked_for(state: Terminal, says: str) -> None:
    alert = FailedExits().ended(an_exit("a"), Ending(state, "-1007", "late", still_open="BOTH 1", looked=True), 0)
    assert alert
    assert alert.says == f"BTCUSDT SELL, a: {state}, -1007 late; {says}"


async def test_an_exit_that_fails_anew_and_for_good_is_told_and_hides_no_other(desk: Desk, receiver: Receiver) -> None:
    busy = Ending(Terminal.REJECTED_EXCHANGE, "HTTP_503", "busy", retryable=True)
    refused = Ending(Terminal.REJECTED_EXCHANGE, "-2015", "Invalid API-key")
    async with two_services(desk, receiver) as (one, other):
        for service, name, ending in (
            (one, "first", busy),
            (one, "first", refused),
            (other, "first", refused),
            (other, "second", refused),
        ):
            service.exit_ended(an_exit(name), ending)
            await service._teller._idle.wait()
    assert [re.sub(".*, (.*): REJECTED_EXCHANGE, ([^ ]+) .*", r"\1 \2", each) for each in receiver.texts()] == [
        "first HTTP_503",
        "first -2015",
        "second -2015",
    ]


@pytest.mark.parametrize(
    "ending",
    [
        Ending(Terminal.FILLED, "FILLED"),
        Ending(Terminal.REJECTED_ORDER, "NOTHING_TO_CLOSE"),
        Ending(Terminal.DENIED, "DUPLICATE"),
        Ending(Terminal.UNKNOWN, "TimeoutError", looked=True),
        Ending(Terminal.REJECTED_EXCHANGE, "-2022", told_before=True),
    ],
    ids=lambda each: each.reason,
)
def test_an_exit_that_leaves_nothing_open_fails_nobody(ending: Ending) -> None:
    assert FailedExits().ended(an_exit("a"), ending, 0) is None


def test_a_second_delivery_that_turns_final_has_its_result(desk: Desk) -> None:
    with Gate.from_url(desk.url) as operator:
        operator.init(by="ops", reason="new")
    desk.worker().consumes()
    desk.send(payload(id="in", position_size_usd=10_000))
    desk.wait_results(1)
    busy = Fault(kind=FaultKind.UNAVAILABLE_503, method="POST", path="/fapi/v1/order", probability=Decimal(1))
    desk.paper.inject(busy)
    exits = [payload(id=name, **EXIT) for name in ("out", "whole")]
    desk.send(exits[0])
    first = desk.wait_results(2)[1]
    assert (first["intent_id"], first["retryable"]) == ("out", "1")
    desk.paper.clear_faults()
    desk.send({**exits[1], "side": "CLOSE", "position_size_usd": None})
    desk.wait_results(3)
    desk.send(exits[0])
    last = desk.wait_results(4)[3]
    assert (last["intent_id"], last["status"], last["retryable"]) == ("out", "rejected", "0")
    desk.send(exits[0])
    desk.idle()
    assert len(desk.results()) == 4


def test_a_delivery_that_comes_while_the_order_s_result_waits_tells_no_denial(desk: Desk) -> None:
    """It was written before that, where the results could be written again and the waiting one wasn't due yet."""
    with Gate.from_url(desk.url) as operator:
        operator.init(by="ops", reason="new")
    worker = desk.worker().consumes()
    desk.client.set(RESULTS, "not a stream")
    sent = payload(id="in")
    desk.send(sent)
    until(lambda: worker.health()["unwritten"] == 1, told=lambda: worker.log)
    until(lambda: failures(worker) >= 6, told=lambda: worker.log)
    desk.client.delete(RESULTS)
    desk.send(sent)
    desk.idle()
    assert [each["state"] for each in desk.results()] == ["FILLED"]


def failures(worker: Worker) -> float:
    """How often its answers were refused."""
    return sum(map(float, re.findall(r'gate_failures_total\{what="answer"\} (\S+)', worker.get("/metrics")[1])))


def test_an_exit_under_an_id_that_another_order_has_is_told() -> None:
    """No delivery of it can get through."""
    alert = FailedExits().ended(an_exit("a"), Ending(Terminal.DENIED, "CONFLICT", "another intent has this id"), 0)
    assert alert is not None
    assert "CONFLICT" in alert.says
