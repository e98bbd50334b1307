"""What comes of an order after its result follows in the same stream: once, in its order, whoever hears of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from binance import Client
from click.testing import Result

from gate import Gate
from tests.cli.conftest import bare  # noqa: F401  # a fixture
from tests.paper.arrivals import hear_arrivals
from tests.service.desk import RESULTS, ROOMY, Desk, Worker, payload, until

ORDERS = "quantum:stream:order:"
OPEN = ORDERS + "open"
RESTING: dict[str, Any] = {
    "type": "LIMIT",
    "price": 90000,
    "quantity": 0.002,
    "position_size_usd": None,
    "entry_price": 90000,
}


@pytest.fixture
def by_hand(desk: Desk) -> Client:
    """Another program of the account's owner."""
    client = Client("key", "secret", ping=False)
    client.FUTURES_URL = f"{desk.paper.url}/fapi"
    return client


def listening(desk: Desk, count: int = 1) -> list[Worker]:
    workers = [desk.worker(ROOMY) for _ in range(count)]
    for worker in workers:
        until(partial(hears, worker), told=partial(getattr, worker, "log"))
    return workers


def hears(worker: Worker) -> bool:
    told = worker.health()
    return bool(told["ok"]) and told["streams"] == "ok"


def rests(desk: Desk, **more: Any) -> dict[str, str]:
    """An order that waits at the exchange: its result."""
    before = len(desk.results())
    desk.send(payload(**{**RESTING, "id": "sig-1", **more}))
    result = desk.wait_results(before + 1)[-1]
    assert (result["state"], result["status"]) == ("PLACED", "pending_fill"), result
    return result


def shown(rows: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    return [(row["reason"], row["status"], row["filled_quantity"]) for row in rows]


def test_later_fills_are_told_once_though_three_services_hear_of_them(desk: Desk) -> None:
    workers = listening(desk, 3)
    result = rests(desk)
    desk.paper.set_price("BTCUSDT", "89999.9", depth="0.001")
    desk.wait_updates(1)
    desk.paper.set_price("BTCUSDT", "89999.9")
    desk.wait_updates(2)
    for worker in workers:
        worker.said("ORDER UPDATE .*state=FILLED")
        assert worker.stop() == 0, worker.log
    part, whole = desk.wait_updates(2)

    assert shown([part, whole]) == [("PARTIALLY_FILLED", "pending_fill", "0.001"), ("FILLED", "filled", "0.002")]
    for name in ("intent_id", "symbol", "action", "leverage", "order_id", "client_order_id", "fence", "mode"):
        assert part[name] == whole[name] == result[name], name
    assert list(whole)[: len(result)] == list(result), "the fields of a result, and then more"
    assert (whole["order_status"], part["update"], whole["update"]) == ("FILLED", "1", "2")
    assert (whole["average_price"], whole["entry_price"], whole["slippage_pct"]) == ("90000", "90000", "0")
    assert float(whole["position_size_usd"]) == 180
    assert float(whole["fee_usd"]) > 0
    assert whole["by"] in [each.consumer for each in workers]
    assert int(whole["order_time_ms"]) > 0
    assert desk.told()[0] == result, "an update never comes before its result"


def test_a_cancellation_by_hand_is_told_and_counts_as_filled_where_a_part_is(desk: Desk, by_hand: Client) -> None:
    """The old programs read `filled` as: there is a position; and `rejected` as: there is none."""
    [worker] = listening(desk)
    unfilled, partly = rests(desk, price=80000), rests(desk, id="sig-2")
    desk.paper.set_price("BTCUSDT", "89999.9", depth="0.001")
    desk.wait_updates(1)
    for result in (unfilled, partly):
        by_hand.futures_cancel_order(symbol="BTCUSDT", origClientOrderId=result["client_order_id"])
    updates = desk.wait_updates(3)[1:]
    assert {row["intent_id"]: shown([row])[0] for row in updates} == {
        "sig-1": ("CANCELLED", "rejected", "0"),
        "sig-2": ("CANCELLED", "filled", "0.001"),
    }
    assert {row["order_status"] for row in updates} == {"CANCELED"}
    assert 'gate_order_updates_total{event="CANCELLED"} 2.0' in worker.get("/metrics")[1]


def test_an_exit_that_expires_with_its_position_is_told(desk: Desk) -> None:
    listening(desk)
    desk.send(payload(id="entry", position_size_usd=300))
    desk.wait_results()
    rests(desk, side="SELL", price=110000, reduce_only=True)
    desk.send(payload(id="exit", side="CLOSE", position_size_usd=None))
    desk.wait_results(3)
    [update] = desk.wait_updates()
    assert (update["intent_id"], *shown([update])[0]) == ("sig-1", "EXPIRED", "rejected", "0")


def test_a_stop_is_told_when_it_fires_and_when_it_is_filled(desk: Desk) -> None:
    listening(desk)
    desk.send(payload(id="entry", position_size_usd=300))
    desk.wait_results()
    stop = {"side": "SELL", "type": "STOP_MARKET", "stop_price": 95000, "price": None, "reduce_only": True}
    result = rests(desk, **stop)
    desk.paper.set_price("BTCUSDT", "94000")
    fired, filled = desk.wait_updates(2)
    assert shown([fired, filled]) == [("TRIGGERED", "pending_fill", "0"), ("FILLED", "filled", "0.002")]
    assert fired["order_id"] == filled["order_id"] == result["order_id"]
    assert filled["average_price"] == "94000"


def test_a_stop_that_is_refused_when_it_fires_is_told(desk: Desk) -> None:
    listening(desk)
    rests(desk, type="STOP_MARKET", stop_price=105000, price=None, quantity=0.01)
    desk.paper.set_balance("1")
    desk.paper.set_price("BTCUSDT", "106000")
    fired, refused = desk.wait_updates(2)
    assert shown([fired, refused]) == [("TRIGGERED", "pending_fill", "0"), ("REJECTED", "rejected", "0")]
    assert "argin" in refused["detail"]


def test_a_liquidation_is_told_once_of_no_intent(desk: Desk) -> None:
    workers = listening(desk, 2)
    desk.paper.set_balance("150")
    desk.send(payload(id="entry", position_size_usd=900, leverage=10))
    assert desk.wait_results()[0]["state"] == "FILLED"
    desk.paper.set_price("BTCUSDT", "80000", mark="80000")
    desk.wait_updates()
    for worker in workers:
        worker.said("LIQUIDATED")
        assert worker.stop() == 0
    [update] = desk.wait_updates()
    assert (update["intent_id"], update["action"], *shown([update])[0][:2]) == ("", "SELL", "LIQUIDATED", "filled")
    assert float(update["filled_quantity"]) > 0


def test_a_fill_is_told_though_the_service_that_sent_the_order_has_died(desk: Desk) -> None:
    workers = listening(desk, 2)
    result = rests(desk)
    sender = next(each for each in workers if each.consumer == result["by"])
    sender.kill()
    desk.paper.set_price("BTCUSDT", "89999.9")
    [update] = desk.wait_updates()
    assert (update["intent_id"], *shown([update])[0]) == ("sig-1", "FILLED", "filled", "0.002")
    assert update["by"] != sender.consumer


def test_a_fill_that_no_service_was_there_to_hear_is_told_by_the_next_one(desk: Desk) -> None:
    [worker] = listening(desk)
    rests(desk)
    rests(desk, id="sig-2", price=80000)
    assert worker.stop() == 0
    desk.paper.set_price("BTCUSDT", "89999.9")
    listening(desk)
    [update] = desk.wait_updates()
    assert (update["intent_id"], *shown([update])[0]) == ("sig-1", "FILLED", "filled", "0.002")
    open_orders: Any = desk.client.zrange(OPEN, 0, -1)
    with Gate.from_url(desk.url) as gate:
        assert open_orders == [gate.client_order_id("sig-2").encode()], "of this one more may come"


def test_what_a_result_has_told_is_not_told_again(desk: Desk) -> None:
    workers = listening(desk, 2)
    desk.send(payload(id="entry"))
    result = desk.result()
    assert result["state"] == "FILLED"
    for worker in workers:
        worker.said("ORDER UPDATE .*state=FILLED")
    rests(desk, id="sig-2")
    desk.paper.set_price("BTCUSDT", "89999.9")
    [update] = desk.wait_updates()
    for worker in workers:
        assert worker.stop() == 0
    assert [row["intent_id"] for row in desk.updates()] == [update["intent_id"]] == ["sig-2"]


def test_an_update_waits_for_the_result_of_its_intent(harmed: Desk) -> None:
    """Where results can't be written, the stream never tells of a fill first. And a damaged key stops nothing else."""
    desk = harmed
    desk.client.set(OPEN, "not a set")
    [worker] = listening(desk)
    worker.said("OPEN ORDERS NOT READ .*WRONGTYPE")
    desk.client.set(RESULTS, "not a stream")
    desk.send(payload(**{**RESTING, "id": "sig-1"}))
    worker.said("RESULTS WAIT")
    desk.paper.set_price("BTCUSDT", "89999.9")
    worker.said("ORDER UPDATE .*state=FILLED")
    desk.client.delete(RESULTS)
    desk.wait_updates()
    assert [row["state"] for row in desk.told()] == ["PLACED", "ORDER_UPDATE"]


def test_without_streams_it_says_once_that_no_updates_follow(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of what happens while it runs, nor of what has happened before."""
    config = "[service]\nstreams = false\n" + ROOMY
    worker = desk.worker(config).consumes()
    assert worker.health()["streams"] == "off"
    assert "gate_streams_up NaN" in worker.get("/metrics")[1]
    result = rests(desk)
    desk.paper.set_price("BTCUSDT", "89999.9")
    desk.send(payload(id="meanwhile"))
    desk.wait_results(2)
    assert worker.stop() == 0
    assert worker.log.count("NO ORDER UPDATES") == 1
    asked = list[str | None]()
    hear_arrivals(monkeypatch, lambda _, arrival: asked.append(arrival.params.text("origClientOrderId")))
    again = desk.worker(config).consumes()
    for number in (3, 4):  # with updates, it asks for the open orders before these are filled
        desk.send(payload(id=f"later-{number}"))
        desk.wait_results(number)
    assert again.stop() == 0
    assert result["client_order_id"] not in asked
    assert not desk.updates()


def test_a_person_is_told_what_an_order_has_come_to(desk: Desk, bare: Callable[..., Result]) -> None:  # noqa: F811
    listening(desk)
    rests(desk)
    show = ("--url", desk.url, "show", "sig-1")
    assert re.search(r"^heard of it +NEW, by its result$", bare(*show).stdout, re.MULTILINE)
    desk.paper.set_price("BTCUSDT", "89999.9", depth="0.001")
    desk.wait_updates()
    assert re.search(r"^heard of it +PARTIALLY_FILLED, 0.001 filled at 90000, ", bare(*show).stdout, re.MULTILINE)
    heard = json.loads(bare(*show, "--json").stdout)["heard"]
    assert (heard["state"], heard["filled_quantity"], heard["average_price"], heard["update"]) == (
        "PARTIALLY_FILLED",
        "0.001",
        "90000",
        1,
    )
