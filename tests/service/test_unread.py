"""An entry that can't be read: one dead letter, and a result for whoever waits for its id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gate import AsyncGate
from gate.service.intake import DeadLetter, IdTemplate, read_entry
from gate.service.results import Asked
from gate.service.service import Service
from gate.service.settings import read_settings
from gate.service.streams import Answer
from gate.values.stream_envelope import MOST_FIELDS
from tests.servers.store import PrivateStore
from tests.service.desk import DEAD, GROUP, RESULTS, STREAM, Desk, payload, until


def test_what_cant_be_read_goes_to_the_dead_letters_once_with_the_error(desk: Desk) -> None:
    worker = desk.worker()
    first = desk.send(data="{nonsense")
    desk.send(payload(quantity="many", intent_id="odd-1"))
    desk.idle()
    one, two = desk.results(DEAD)
    assert (one["entry"], one["data"]) == (first, "{nonsense")
    assert "is not JSON" in one["error"]
    assert (two["intent_id"], "quantity" in two["error"]) == ("odd-1", True)
    [result] = desk.results()  # whoever waits for it hears; of one without an id nobody can
    assert [result[name] for name in ("intent_id", "symbol", "action", "status")] == [
        "odd-1",
        "BTCUSDT",
        "BUY",
        "rejected",
    ]
    assert (result["state"], result["reason"], result["retryable"]) == ("DENIED", "INVALID", "0")
    assert "quantity" in result["detail"]
    assert worker.consumes().health()["last_result"] is not None
    assert 'gate_verdicts_total{reason="INVALID"} 2.0' in worker.get("/metrics")[1]


def test_an_entry_that_cant_be_read_is_answered_once_however_often_it_is_delivered(desk: Desk) -> None:
    desk.client.set(DEAD, "no stream")
    desk.send(payload(quantity="many", intent_id="odd-1"))
    first = desk.worker()
    desk.wait_results()
    until(lambda: "WRONGTYPE" in first.log, told=lambda: first.log)
    first.kill()
    desk.client.delete(DEAD)
    rest(desk)
    desk.worker()
    desk.idle()
    assert ([row["intent_id"] for row in desk.results()], len(desk.results(DEAD))) == (["odd-1"], 1)


def test_an_entry_that_cant_be_read_is_done_with_only_once_its_result_is_written(desk: Desk) -> None:
    desk.client.set(RESULTS, "no stream")
    desk.send(payload(quantity="many", intent_id="odd-1"))
    first = desk.worker()
    until(lambda: "WRONGTYPE" in first.log, told=lambda: first.log)
    assert (desk.pending(), first.health()["in_hand"]) == (1, 1)
    first.kill()
    desk.client.delete(RESULTS)
    rest(desk)
    desk.worker()
    desk.idle()
    assert ([row["intent_id"] for row in desk.results()], len(desk.results(DEAD))) == (["odd-1"], 1)


def test_what_cant_be_read_hides_no_result_of_an_intent_that_could(desk: Desk) -> None:
    desk.worker()
    desk.send(payload(intent_id="sig-1"))
    assert desk.result()["status"] == "filled"
    desk.send(payload(quantity="many", intent_id="sig-1"))
    desk.idle()
    assert [(row["intent_id"], row["status"]) for row in desk.results()] == [("sig-1", "filled")]
    assert len(desk.results(DEAD)) == 1


def test_what_cant_be_read_tells_nothing_of_an_intent_that_is_held(desk: Desk) -> None:
    """The store has no record of it yet."""
    worker = desk.worker("[policy]\nrate_symbol_window_ms = 4000\n")
    desk.send(payload(id="one"))
    desk.send(payload(id="two"))
    until(lambda: worker.health()["held"] == 1, told=lambda: worker.log)
    desk.send(payload(id="two", quantity="many"))
    desk.idle()
    assert [(row["intent_id"], row["status"]) for row in desk.results()] == [("one", "filled"), ("two", "filled")]
    assert len(desk.results(DEAD)) == 1


def rest(desk: Desk) -> None:
    """Lets the only entry rest for so long that another worker takes it over."""
    [row] = cast("list[Any]", desk.client.xpending_range(STREAM, GROUP, "-", "+", 10))
    desk.rest(row["message_id"], row["consumer"])


def test_half_a_surrogate_pair_ends_no_service(desk: Desk) -> None:
    """JSON may hold one; UTF-8 can't. One such entry ended every worker that took it, one after the other."""
    worker = desk.worker()
    desk.send(payload(symbol="\ud800", intent_id="odd-1"))
    desk.send(payload(intent_id="sig-1", working_type="\ud800"))
    desk.idle()
    odd, filled = sorted(desk.results(), key=lambda row: row["intent_id"])
    assert (odd["symbol"], odd["reason"]) == ("\\ud800", "INVALID")
    assert (filled["status"], "\\ud800 changes nothing" in filled["notes"]) == ("filled", True)
    assert (len(desk.results(DEAD)), worker.process.poll()) == (1, None)


def test_of_an_entry_of_too_many_fields_the_dead_letter_has_the_first_ones(desk: Desk) -> None:
    """A script passes on no more."""
    desk.worker()
    entry: Any = desk.client.xadd(STREAM, {f"f{number}": "x" for number in range(4_100)})
    desk.idle()
    [letter] = desk.results(DEAD)
    assert (letter["entry"], letter["f0"], letter["f999"]) == (entry.decode(), "x", "x")
    assert letter["left_out"] == f"3100 more fields; the entry is {letter['entry']} of {STREAM}"


def letter(**fields: str) -> DeadLetter:
    found = read_entry("1-0", {name.encode(): value.encode() for name, value in fields.items()})
    assert isinstance(found, DeadLetter)
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": "{nonsense"},
        {"payload": "[" * 1_000_001},
        {f"note{number}": "1" for number in range(MOST_FIELDS)},
    ],
    ids=["no JSON", "too long a text", "too many fields"],
)
def test_what_cant_even_be_opened_tells_whose_it_is_where_that_stands_beside(fields: dict[str, str]) -> None:
    """An exit's waiter must hear that it was refused."""
    seen = {"id": "exit-7", "symbol": "BTCUSDT", "side": "CLOSE"}
    letter = read_entry("1-0", {name.encode(): text.encode() for name, text in {**seen, **fields}.items()})
    assert isinstance(letter, DeadLetter)
    assert (letter.intent_id, letter.symbol, letter.action) == ("exit-7", "BTCUSDT", "CLOSE")
    letter = read_entry("1-0", {name.encode(): text.encode() for name, text in fields.items()})
    assert isinstance(letter, DeadLetter)
    assert (letter.intent_id, letter.symbol) == ("?", "")


def test_an_id_that_may_be_another_ones_is_not_told() -> None:
    """Where a template makes the ids, none stands there; and of what is no text, two look alike."""
    fields = {b"trace_id": b"T1", b"symbol": b"BTCUSDT", b"payload": b"{nonsense"}

    def told(template: str | None = None, **others: bytes) -> str:
        given = {**fields, **{name.encode(): value for name, value in others.items()}}
        found = read_entry("1-0", given, IdTemplate.read(template) if template else None)
        assert isinstance(found, DeadLetter)
        return found.intent_id

    assert [told(), told("{trace_id}:{side}"), told(trace_id=b"m\xfcnze")] == ["T1", "?", "?"]


def test_its_result_has_of_its_fields_what_a_program_can_take() -> None:
    asked = Asked.by_what_is_left(letter(id="sig-1", symbol="B" * 100, action="buy", quantity="many"))
    assert (asked.symbol, asked.action) == ("B" * 29 + "…", "BUY")
    assert Asked.by_what_is_left(letter(id="sig-1", symbol="BTCUSDT", action="LONGISH")).action == ""


async def test_whether_its_id_is_known_is_asked_until_the_store_answers(
    new_private_store: Callable[..., PrivateStore],
) -> None:
    store = new_private_store()
    async with AsyncGate.from_url(store.url, timeout_ms=100) as gate:
        lookup, asked = gate.lookup, 0

        async def counted(intent_id: str) -> Any:
            nonlocal asked
            asked += 1
            if asked == 2:
                store.resume()
            return await lookup(intent_id)

        gate.lookup = counted  # type: ignore[method-assign]
        store.pause()
        service = cast("Any", SimpleNamespace(_in_hand={}, _gate=gate))
        async with asyncio.timeout(30):
            assert await Service._is_known(service, "sig-1") is False
    assert asked >= 2


async def test_where_that_cant_be_told_it_has_a_dead_letter_and_no_result(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: str) -> bool:
        raise RuntimeError("odd")

    added = list[Answer]()
    settings = read_settings({}, {}, "quantum", host="here", pid=1)
    answering = SimpleNamespace(add=lambda answer, _: added.append(answer))
    service = cast("Any", SimpleNamespace(_is_known=broken, _of=settings, _answering=answering))
    await Service._answer_unread(service, letter(id="sig-1", symbol="BTCUSDT", quantity="many"), 0.0)
    assert [each.stream for each in added] == [DEAD]
    assert "no result for what can't be read, id=sig-1: odd" in caplog.text
