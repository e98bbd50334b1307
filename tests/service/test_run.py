"""`gate run` as operators start it: one result for each intent, and what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from binance import Client

from gate import Gate, Outcome, Policy, __version__
from gate.paper import Fault, FaultKind
from gate.protocol.scripts import scripts_digest
from tests.client import account as at
from tests.service.desk import ROOMY, Desk, payload, until

ORDER = "/fapi/v1/order"


def test_an_intent_becomes_an_order_and_a_result_that_the_old_programs_can_read(desk: Desk) -> None:
    desk.worker()
    sent = payload("NEARUSDT")
    desk.send(sent)
    result = desk.result()
    [order] = desk.paper.ledger()
    assert result["status"] == "filled"
    assert result["symbol"] == "NEARUSDT"
    assert result["action"] == "BUY"
    assert result["order_id"] == str(order["orderId"])
    assert float(result["entry_price"]) == float(result["average_price"]) > 0
    assert 290 < float(result["position_size_usd"]) <= 300
    assert float(result["fee_usd"]) > 0
    assert float(result["slippage_pct"]) != 0
    assert result["leverage"] == "1"
    assert result["timestamp"]
    assert (result["state"], result["intent_id"]) == ("FILLED", f"NEARUSDT_{sent['timestamp']}")
    desk.idle()


def test_every_envelope_of_the_replaced_system_gets_through(desk: Desk) -> None:
    desk.worker(ROOMY)
    desk.send(payload("BTCUSDT"))
    desk.send(data=json.dumps(payload("ETHUSDT")))
    desk.send(None, **{name: str(value) for name, value in payload("SOLUSDT").items()})
    results = desk.wait_results(3)
    assert {(row["symbol"], row["status"]) for row in results} == {
        ("BTCUSDT", "filled"),
        ("ETHUSDT", "filled"),
        ("SOLUSDT", "filled"),
    }


def test_an_intent_delivered_twice_has_one_order_and_one_result(desk: Desk) -> None:
    worker = desk.worker(ROOMY)
    sent = payload()
    for _ in range(3):
        desk.send(sent)
    desk.idle()
    assert len(desk.paper.ledger()) == 1
    assert [row["status"] for row in desk.results()] == ["filled"]
    assert "from its record" not in worker.log, "the exchange isn't asked for what is answered"


def test_another_intent_under_the_same_id_is_told_so(desk: Desk) -> None:
    """A ladder that sends several exits under one id: the second mustn't vanish."""
    desk.worker(ROOMY)
    desk.send(payload(id="ladder"))
    desk.send(payload(id="ladder", position_size_usd=400))
    desk.idle()
    filled, conflict = desk.results()
    assert [(row["state"], row["reason"]) for row in (filled, conflict)] == [
        ("FILLED", "FILLED"),
        ("DENIED", "CONFLICT"),
    ]
    assert filled["order_id"]
    assert conflict["order_id"] == "", "that is the other one's"


def test_a_template_gives_each_of_a_ladder_an_id_of_its_own(desk: Desk) -> None:
    desk.worker(ROOMY + '[service]\nid = "{trace_id}:{position_size_usd}"\n')
    desk.send(payload(trace_id="ladder"))
    desk.send(payload(trace_id="ladder", position_size_usd=400))
    desk.idle()
    assert [(row["intent_id"], row["state"]) for row in desk.results()] == [
        ("ladder:300", "FILLED"),
        ("ladder:400", "FILLED"),
    ]


def test_a_stale_intent_is_answered_without_a_trip_to_the_exchange(desk: Desk) -> None:
    worker = desk.worker().consumes()
    desk.send(payload(timestamp="2025-12-24T04:32:14.062679"))
    result = desk.result()
    assert (result["status"], result["reason"], result["order_id"]) == ("rejected", "STALE", "")
    assert desk.paper.ledger() == []
    assert "STALE_INTENT_DROP" in worker.log


def test_an_entry_that_is_dated_far_ahead_takes_no_place_in_hand_and_one_a_little_ahead_is_held(desk: Desk) -> None:
    """Thousands of the former would keep exits from being read."""
    worker = desk.worker().consumes()
    now_ms = at.server_ms(desk.client)
    desk.send(payload("ETHUSDT", timestamp=now_ms + 60_000))
    desk.send(payload("BTCUSDT", timestamp=now_ms + 86_400_000))
    [result] = desk.wait_results(1)
    assert (result["symbol"], result["reason"], result["retryable"]) == ("BTCUSDT", "STALE", "1")
    until(lambda: worker.health()["in_hand"] == 1, told=lambda: worker.log)


def test_the_old_variable_for_the_age_binds_but_hides_no_order(desk: Desk) -> None:
    with Gate.from_url(desk.url) as gate:
        old = payload("BTCUSDT", timestamp=at.server_ms(desk.client) - 60_000)
        permit = at.admitted(gate.evaluate(old))
        assert gate.settle(permit, Outcome.placed("81"))
    desk.worker(INTENT_MAX_AGE_SEC="30")
    desk.send({**old, "symbol": "ETHUSDT"})
    desk.send(old)
    results = {row["symbol"]: (row["state"], row["reason"], row["order_id"]) for row in desk.wait_results(2)}
    assert results == {"ETHUSDT": ("DENIED", "STALE", ""), "BTCUSDT": ("PLACED", "PLACED", "81")}
    assert desk.paper.ledger() == []


def test_what_is_denied_for_now_is_held_and_tried_again_in_the_order_of_its_symbol(desk: Desk) -> None:
    desk.worker("[policy]\nrate_symbol_window_ms = 1000\nrate_global_limit = 1000\n")
    sent = [payload(id=f"sig-{number}") for number in range(3)]
    for each in sent:
        desk.send(each)
    results = desk.wait_results(3)
    assert [(row["intent_id"], row["status"]) for row in results] == [(each["id"], "filled") for each in sent]


def test_an_exit_passes_what_is_held(desk: Desk) -> None:
    worker = desk.worker()
    desk.send(payload(id="entry-1"))
    desk.send(payload(id="entry-2"))  # has to wait for half a minute
    until(lambda: worker.health()["held"] == 1, told=lambda: worker.log)
    desk.send(payload(side="SELL", id="exit", reduce_only=True))
    results = desk.wait_results(2)
    assert [(row["intent_id"], row["status"]) for row in results] == [("entry-1", "filled"), ("exit", "filled")]
    assert desk.pending() == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.UNAVAILABLE_503, method="POST", path=ORDER, times=2),
        Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, times=2, code=-1001),
        Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, times=2, code=-4131),
        Fault(kind=FaultKind.RATE_LIMITED_429, method="POST", path=ORDER, times=1, retry_after_s=1),
    ],
    ids=["503", "-1001", "-4131", "429"],
)
def test_an_exit_that_the_exchange_refuses_for_a_moment_goes_in_the_end(desk: Desk, fault: Fault) -> None:
    desk.worker(ROOMY)
    desk.send(payload(id="entry"))
    desk.wait_results(1)
    desk.paper.inject(fault)

    desk.send(payload(side="CLOSE", id="close", position_size_usd=None))

    assert [(row["intent_id"], row["status"]) for row in desk.wait_results(2)] == [
        ("entry", "filled"),
        ("close", "filled"),
    ]
    assert desk.paper.ledger()[-1]["status"] == "FILLED"


def test_the_result_of_an_order_that_ended_unfilled_keeps_no_other_deliverys_back(desk: Desk) -> None:
    desk.worker(ROOMY)
    desk.send(payload(id="entry"))
    desk.wait_results(1)
    desk.paper.inject(Fault(kind=FaultKind.EXPIRED_IN_MATCH, method="POST", path=ORDER, times=1))

    desk.send(payload(side="CLOSE", id="close", position_size_usd=None))

    expired = desk.wait_results(2)[1]
    assert (expired["reason"], expired["status"], bool(expired["order_id"])) == ("EXPIRED_IN_MATCH", "rejected", True)
    [mark] = desk.client.keys("quantum:stream:answered:close:*")
    told: Any = desk.client.get(mark)
    assert told.startswith(b"no_order ")


def test_an_exit_that_is_refused_for_longer_is_answered(desk: Desk) -> None:
    worker = desk.worker(ROOMY)
    desk.send(payload(id="entry"))
    desk.wait_results(1)
    desk.paper.inject(Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, code=-4131, times=1_000))

    desk.send(payload(side="CLOSE", id="close", position_size_usd=None))

    refused = desk.wait_results(2)[1]
    assert (refused["reason"], refused["retryable"]) == ("-4131", "1")
    assert refused["still_open"].startswith("BOTH 0.00")
    assert worker.log.count("REJECTED_EXCHANGE id=close") == 5


@pytest.mark.parametrize(
    ("fault", "more"),
    [
        (Fault(kind=FaultKind.BANNED_418, method="POST", retry_after_s=1, times=1_000), {"side": "CLOSE"}),
        (Fault(kind=FaultKind.RATE_LIMITED_429, method="POST", retry_after_s=30, times=1), {"side": "CLOSE"}),
        (Fault(kind=FaultKind.ERROR, method="POST", status=401, code=-2015, times=1_000), {"side": "CLOSE"}),
        (
            Fault(kind=FaultKind.ERROR, method="POST", path="/fapi/v1/algoOrder", code=-4131, times=1_000),
            {"side": "SELL", "type": "STOP_MARKET", "stopPrice": 95_000, "closePosition": True, "entry_price": None},
        ),
    ],
    ids=["a ban", "a long rest", "keys that do not work", "a stop"],
)
def test_what_a_second_try_makes_worse_is_answered_at_once(desk: Desk, fault: Fault, more: dict[str, Any]) -> None:
    worker = desk.worker(ROOMY)
    desk.send(payload(id="entry"))
    desk.wait_results(1)
    desk.paper.inject(fault)

    desk.send(payload(id="exit", position_size_usd=None, **more))

    assert desk.wait_results(2)[1]["state"] == "REJECTED_EXCHANGE"
    assert worker.log.count("REJECTED_EXCHANGE id=exit") == 1


def test_a_close_that_is_tried_again_closes_nothing_that_came_after_it(desk: Desk) -> None:
    worker = desk.worker(ROOMY)
    desk.send(payload(id="entry"))
    desk.wait_results(1)
    desk.paper.inject(Fault(kind=FaultKind.UNAVAILABLE_503, method="POST", path=ORDER, times=2))
    desk.send(payload(side="CLOSE", id="close", position_size_usd=None))
    worker.said("REJECTED_EXCHANGE id=close")

    desk.send(payload(id="after"))

    done = desk.wait_results(3)
    assert [(row["intent_id"], row["status"]) for row in done] == [
        ("entry", "filled"),
        ("close", "filled"),
        ("after", "filled"),
    ]
    assert done[1]["filled_quantity"] == done[0]["filled_quantity"]


def test_a_close_that_leaves_something_says_so_in_its_result(desk: Desk) -> None:
    desk.worker(ROOMY)
    desk.send(payload(id="entry", position_size_usd=1_000))
    assert desk.result()["still_open"] == ""
    desk.paper.set_price("BTCUSDT", "100000", depth="0.004")

    desk.send(payload(side="CLOSE", id="close", position_size_usd=None))
    closed = desk.wait_results(2)[1]

    assert (closed["intent_id"], closed["filled_quantity"]) == ("close", "0.004")
    assert closed["still_open"].startswith("BOTH 0.00")


def test_a_close_of_two_positions_is_answered_at_once(desk: Desk) -> None:
    """Waiting wouldn't cure it."""
    client = Client(desk.paper.key, desk.paper.secret, ping=False)
    client.FUTURES_URL = desk.paper.futures_url
    client.futures_change_position_mode(dualSidePosition="true")
    for side, position_side in (("BUY", "LONG"), ("SELL", "SHORT")):
        client.futures_create_order(
            symbol="BTCUSDT", side=side, positionSide=position_side, type="MARKET", quantity="0.01"
        )
    desk.worker(ROOMY)

    desk.send(payload(side="CLOSE", id="close", position_size_usd=None))

    assert (desk.result()["reason"], desk.result()["retryable"]) == ("TWO_POSITIONS", "1")
    assert desk.result()["still_open"] == "LONG 0.01, SHORT -0.01"


def test_an_exit_that_is_cut_says_so_in_its_result(desk: Desk) -> None:
    desk.worker(ROOMY)
    desk.send(payload(id="entry", position_size_usd=1_000))
    desk.wait_results(1)

    desk.send(payload(side="SELL", id="exit", position_size_usd=None, quantity=100_000, reduce_only=True))

    closed = desk.wait_results(2)[1]
    assert closed["status"] == "filled"
    assert closed["notes"].endswith("of 100000, the largest order: send a new intent for the rest")


def test_an_entry_that_the_exchange_refuses_for_a_moment_is_answered(desk: Desk) -> None:
    desk.worker(ROOMY)
    desk.paper.inject(Fault(kind=FaultKind.ERROR, method="POST", path=ORDER, times=1, code=-1001))
    desk.send(payload())
    assert (desk.result()["reason"], desk.result()["retryable"]) == ("-1001", "1")
    desk.idle()
    assert desk.paper.ledger() == []


def test_without_retries_it_answers_at_once_and_tells_when(desk: Desk) -> None:
    desk.worker("[service]\nretries = false\n")
    desk.send(payload())
    desk.send(payload())
    _, denied = desk.wait_results(2)
    assert (denied["status"], denied["reason"], denied["retryable"]) == ("rejected", "RATE_SYMBOL", "1")
    assert 0 < int(denied["retry_after_ms"]) <= 30_000
    desk.idle()


def test_an_intent_that_was_denied_and_is_sent_again_has_the_result_of_its_order_too(desk: Desk) -> None:
    desk.worker("[service]\nretries = false\n")
    desk.send(payload(id="first"))
    again = payload(id="again")
    desk.send(again)
    assert [row["reason"] for row in desk.wait_results(2)] == ["FILLED", "RATE_SYMBOL"]
    desk.client.delete("quantum:exec:rate:symbol:BTCUSDT")
    for _ in range(2):
        desk.send(again)
    told = [(row["intent_id"], row["status"], row["retryable"]) for row in desk.wait_results(3)[1:]]
    assert told == [("again", "rejected", "1"), ("again", "filled", "0")]
    desk.idle()
    assert len(desk.results()) == 3


def test_a_halt_holds_entries_and_health_says_so_and_stays_well(desk: Desk) -> None:
    with Gate.from_url(desk.url) as gate:
        gate.halt(by="ops", reason="CPI print")
        worker = desk.worker()
        desk.send(payload())
        until(lambda: worker.health()["held"] == 1 and worker.health()["stopped_by"], told=lambda: worker.log)
        code, _ = worker.get("/healthz")
        assert code == 200
        assert "CPI print" in worker.health()["stopped_by"][0]
        assert worker.health()["last_verdict"] == "HALTED"
        gate.resume(by="ops", reason="over")
    assert desk.result()["status"] == "filled"


def test_what_is_held_is_tried_soon_after_a_person_has_ended_what_stops_it(desk: Desk) -> None:
    worker = desk.worker().consumes()
    desk.client.set(at.SAFE_MODE, "1", px=300_000)
    desk.send(payload(id="entry"))
    until(lambda: worker.health()["held"] == 1, told=lambda: worker.log)
    with Gate.from_url(desk.url) as gate:
        gate.reset("safe_mode", by="ops", reason="test")
        assert desk.result()["status"] == "filled"

        gate.apply_policy(Policy(rate_symbol_window_ms=300_000), by="ops", reason="test")
        desk.client.delete(at.COOLDOWN_GLOBAL)  # which a longer window begins with
        desk.send(payload(id="second"))
        until(lambda: worker.health()["held"] == 1, told=lambda: worker.log)
        gate.apply_policy(Policy(rate_symbol_limit=5), by="ops", reason="test")
    assert desk.wait_results(2)[1]["status"] == "filled"


def test_what_would_be_stale_before_its_wait_is_over_is_answered_at_once(desk: Desk) -> None:
    desk.worker("[policy]\nrate_symbol_window_ms = 900000\n")
    desk.send(payload())
    desk.send(payload())
    _, denied = desk.wait_results(2)
    assert (denied["reason"], denied["retryable"]) == ("RATE_SYMBOL", "1")
    assert int(denied["retry_after_ms"]) > 600_000


def test_a_hand_full_of_what_waits_is_emptied_so_that_exits_get_through(desk: Desk) -> None:
    worker = desk.worker("[service]\nin_hand = 4\n")
    for number in range(3):
        desk.send(payload(id=f"entry-{number}"))
    until(lambda: worker.health()["held"] == worker.health()["in_hand"] == 2, told=lambda: worker.log)
    for number in range(3, 6):
        desk.send(payload(id=f"entry-{number}"))
    desk.send(payload(side="SELL", id="exit", reduce_only=True))
    until(lambda: [row for row in desk.results() if row["intent_id"] == "exit"], told=lambda: worker.log)
    told = {row["intent_id"]: row["reason"] for row in desk.results()}
    assert (told["entry-0"], told["exit"]) == ("FILLED", "FILLED")
    assert {told[name] for name in told.keys() - {"entry-0", "exit"}} == {"RATE_SYMBOL"}


def test_the_first_line_tells_which_code_runs(desk: Desk) -> None:
    worker = desk.worker().consumes()
    assert f"version={__version__} scripts={scripts_digest()[:8]}" in worker.log


def test_a_short_that_is_closed_for_more_than_was_expected_has_slipped(desk: Desk) -> None:
    desk.worker()
    desk.send(payload(id="entry", side="SELL"))
    desk.wait_results()
    desk.send(payload(id="exit", side="CLOSE", position_size_usd=None))
    _, result = desk.wait_results(2)
    assert (result["action"], result["status"]) == ("CLOSE", "filled")
    assert float(result["slippage_pct"]) > 0


def test_what_the_replaced_service_has_sent_is_a_duplicate(desk: Desk) -> None:
    sent = payload(id="sig-1")
    desk.client.set("quantum:exec:processed:sig-1", "1", ex=60)
    desk.worker()
    desk.send(sent)
    assert (desk.result()["state"], desk.result()["reason"]) == ("DENIED", "DUPLICATE")
    assert desk.paper.ledger() == []


# Its log.


def test_each_line_of_the_log_stands_there_once(desk: Desk) -> None:
    worker = desk.worker()
    desk.send(payload())
    desk.result()
    assert worker.stop() == 0
    lines = worker.log.splitlines()
    assert len(lines) == len(set(lines))
    assert sum("TERMINAL STATE: FILLED" in line for line in lines) == 1


def test_as_json_each_line_is_an_object(desk: Desk) -> None:
    worker = desk.worker('[service]\nlog = "json"\n')
    until(lambda: f"exchange={desk.paper.url}" in worker.log, told=lambda: worker.log)
    assert worker.stop() == 0
    told = [json.loads(line) for line in worker.log.splitlines()]
    assert {"time", "level", "logger", "message"} <= told[0].keys()
