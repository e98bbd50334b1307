"""Whatever ends a worker, each intent has one order and one result: told by it, or by another worker."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

import pytest
from binance import Client

from gate import Gate, Intent, Outcome
from gate.paper import Fault, FaultKind
from tests.client import account as at
from tests.service.desk import GROUP, ROOMY, STREAM, Desk, payload, until

SHORT = ROOMY + "lock_ttl_ms = 5000\n"


def test_the_result_that_a_dead_worker_owes_is_told_though_another_delivery_was_denied(desk: Desk) -> None:
    sent = payload(id="sig-1")
    with Gate.from_url(desk.url) as gate:
        assert gate.settle(at.admitted(gate.evaluate(sent)), Outcome.placed("81"))
    desk.client.set(f"quantum:stream:answered:sig-1:{Intent.read(sent).fingerprint}", "no_order 1766550734000-0")
    desk.left_by_a_dead_worker(sent)
    desk.worker()
    assert (desk.result()["state"], desk.result()["order_id"]) == ("PLACED", "81")


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
