"""`gate run` as operators start it: one result for each intent, through everything that ends a process."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Any

import pytest
from binance import Client

from gate import Gate, Intent, Outcome, Policy, __version__
from gate.paper import Fault, FaultKind
from gate.protocol.scripts import scripts_digest
from tests.client import account as at
from tests.service.desk import GROUP, STREAM, Desk, payload, until

ROOMY = "[policy]\nrate_symbol_limit = 1000\nrate_global_limit = 10000\nmax_in_flight = 1000\n"
ORDER = "/fapi/v1/order"
SHORT = ROOMY + "lock_ttl_ms = 5000\n"


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


def test_the_result_that_a_dead_worker_owes_is_told_though_another_delivery_was_denied(desk: Desk) -> None:
    sent = payload(id="sig-1")
    with Gate.from_url(desk.url) as gate:
        assert gate.settle(at.admitted(gate.evaluate(sent)), Outcome.placed("81"))
    desk.client.set(f"quantum:stream:answered:sig-1:{Intent.read(sent).fingerprint}", "no_order 1766550734000-0")
    desk.left_by_a_dead_worker(sent)
    desk.worker()
    assert (desk.result()["state"], desk.result()["order_id"]) == ("PLACED", "81")


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


# How a process ends.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_clean_stop_answers_what_is_at_work_and_removes_the_consumer(desk: Desk, number: signal.Signals) -> None:
    desk.paper.inject(Fault(kind=FaultKind.DELAY))
    worker = desk.worker().consumes()
    desk.send(payload())
    desk.paper.wait_held()
    worker.process.send_signal(number)
    worker.said(f"STOPPING by {number.name}")
    desk.paper.release_held()
    assert worker.process.wait(30) == 0
    assert desk.result()["status"] == "filled"
    assert desk.consumers() == []
    desk.idle()


def test_under_nohup_a_terminal_that_goes_ends_nothing(desk: Desk) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a child inherits it
    try:
        worker = desk.worker().consumes()
    finally:
        signal.signal(signal.SIGHUP, before)
    worker.process.send_signal(signal.SIGHUP)
    desk.send(payload())
    assert (desk.result()["status"], worker.process.poll()) == ("filled", None)


def test_the_first_line_tells_which_code_runs(desk: Desk) -> None:
    worker = desk.worker().consumes()
    assert f"version={__version__} scripts={scripts_digest()[:8]}" in worker.log


def test_what_is_held_at_a_clean_stop_goes_to_another_worker_at_once(desk: Desk) -> None:
    config = "[policy]\nrate_symbol_window_ms = 4000\n"
    worker = desk.worker(config)
    desk.send(payload(id="one"))
    desk.send(payload(id="two"))
    until(lambda: worker.health()["held"] == 1, told=lambda: worker.log)
    assert worker.stop() == 0
    assert desk.consumers() == ["handed-over"]
    assert desk.pending() == 1
    desk.worker(config).said("TAKEN OVER 1 entries")
    assert [row["intent_id"] for row in desk.wait_results(2)] == ["one", "two"]
    desk.idle()


def test_entries_that_were_trimmed_before_a_dead_worker_answered_them_are_named(desk: Desk) -> None:
    entry = desk.left_by_a_dead_worker(payload(id="lost"))
    desk.client.xtrim(STREAM, maxlen=0, approximate=False)
    desk.worker().said(f"ENTRIES GONE 1 were trimmed from the stream unanswered: {entry}")
    until(lambda: desk.pending() == 0)


def test_a_second_signal_ends_it_at_once(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.DELAY))
    worker = desk.worker().consumes()
    desk.send(payload())
    desk.paper.wait_held()
    worker.process.send_signal(signal.SIGTERM)
    worker.said("STOPPING")

    def ended() -> bool:
        worker.process.send_signal(signal.SIGTERM)
        return worker.process.poll() is not None

    until(ended, within_s=10)
    assert worker.process.returncode == 128 + signal.SIGTERM
    desk.paper.release_held()


def test_a_signal_that_is_sent_twice_over_is_one(desk: Desk) -> None:
    """As timeout(1) does: to the process, and to its group."""
    worker = desk.worker().consumes()
    for _ in range(2):
        worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(30) == 0


def test_killed_between_order_and_result_the_next_worker_tells_the_result(desk: Desk) -> None:
    desk.paper.inject(Fault(kind=FaultKind.DELAY))
    worker = desk.worker(SHORT)
    entry = desk.send(payload(id="sig-1"))
    desk.paper.wait_held()
    worker.kill()
    desk.paper.release_held()
    assert len(desk.paper.ledger()) == 1
    desk.rest(entry, worker.consumer)
    next_one = desk.worker(SHORT)
    next_one.said("TAKEN OVER 1 entries")
    result = desk.result()
    assert " failed" not in next_one.log
    assert (result["intent_id"], result["state"], result["status"]) == ("sig-1", "FILLED", "filled")
    assert result["order_id"] == str(desk.paper.ledger()[0]["orderId"])
    assert float(result["average_price"]) > 0
    desk.idle()
    assert len(desk.paper.ledger()) == 1
    assert len(desk.results()) == 1


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.placed("81"), ("PLACED", "pending_fill", "PLACED", "81")),
        (Outcome.rejected(-2019, "Margin is insufficient."), ("REJECTED_MARGIN", "rejected", "-2019", "")),
        (Outcome.rejected(-4164, "Too small."), ("REJECTED_EXCHANGE", "rejected", "-4164", "")),
        (Outcome.unsent("MIN_NOTIONAL", retryable=False), ("REJECTED_ORDER", "rejected", "MIN_NOTIONAL", "")),
        (Outcome.not_placed("asked"), ("REJECTED_EXCHANGE", "rejected", "NOT_PLACED", "")),
        (Outcome.unknown("no answer", code="-1007"), ("UNKNOWN", "pending_fill", "-1007", "")),
    ],
    ids=lambda value: value.code if isinstance(value, Outcome) else "",
)
def test_a_result_that_a_dead_worker_owes_is_that_of_the_record(
    desk: Desk, outcome: Outcome, told: tuple[str, ...]
) -> None:
    sent = payload(id="sig-1")
    with Gate.from_url(desk.url) as gate:
        assert gate.settle(at.admitted(gate.evaluate(sent)), outcome)
    desk.left_by_a_dead_worker(sent)
    desk.worker()
    result = desk.result()
    assert (result["state"], result["status"], result["reason"], result["order_id"]) == told
    desk.idle()


def test_an_exit_that_another_delivery_has_filled_without_the_store_is_told_as_filled(desk: Desk) -> None:
    """Both went without the store. The second found nothing to close, and its record came first."""
    sent = payload(id="sig-1", action="CLOSE", position_size_usd=None) | {"side": None}
    with Gate.from_url(desk.url) as gate:
        outcome = Outcome.unsent("NOTHING_TO_CLOSE", retryable=False)
        assert gate.settle(at.admitted(gate.evaluate(sent)), outcome)
        client = Client("key", "secret", ping=False)
        client.FUTURES_URL = desk.paper.futures_url
        order = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.002"}
        placed = client.futures_create_order(**order, newClientOrderId=gate.client_order_id("sig-1"))
    desk.left_by_a_dead_worker(sent)
    desk.worker()
    result = desk.result()
    assert (result["status"], result["order_id"]) == ("filled", str(placed["orderId"]))
    assert float(result["slippage_pct"]) < 0, "sold for more than was expected"


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


def test_a_slow_worker_isnt_robbed(desk: Desk) -> None:
    """Its heartbeat says that the entry is in hand, however long that takes."""
    desk.paper.inject(Fault(kind=FaultKind.DELAY))
    slow = desk.worker()
    entry = desk.send(payload())
    desk.paper.wait_held()
    desk.rest(entry, slow.consumer, for_ms=40_000)  # in twenty seconds another might take it

    def rests_ms() -> int:
        rows: Any = desk.client.xpending_range(STREAM, GROUP, entry, entry, 1)
        return int(rows[0]["time_since_delivered"])

    until(lambda: rests_ms() < 20_000, told=lambda: slow.log)
    desk.paper.release_held()
    assert desk.result()["by"] == slow.consumer


def test_two_workers_share_the_stream_and_answer_each_once(desk: Desk) -> None:
    workers = [desk.worker(ROOMY), desk.worker(ROOMY)]
    for worker in workers:
        worker.consumes()
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT")
    for number in range(40):
        sent = payload(symbols[number % 5], id=f"sig-{number}", position_size_usd=300)
        desk.send(sent)
        if number % 4 == 0:
            desk.send(sent)
    desk.wait_results(40)
    desk.idle()
    assert Counter(row["intent_id"] for row in desk.results()) == Counter(f"sig-{n}" for n in range(40))
    assert len(desk.paper.ledger()) == 40
    assert {row["status"] for row in desk.results()} == {"filled"}
    assert [worker.stop() for worker in workers] == [0, 0]


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
