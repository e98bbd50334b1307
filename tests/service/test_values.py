"""From an entry to an intent, from what it came to to a result, and the settings: no store, no exchange."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from gate import Intent, Policy
from gate.config import InvalidConfig
from gate.executor import Terminal
from gate.service.intake import DeadLetter, Entry, IdTemplate, read_entry
from gate.service.pulse import Pulse
from gate.service.results import Asked, Ending, result_fields
from gate.service.settings import Listen, Settings, read_settings
from gate.service.systemd import Systemd
from tests.service.desk import payload

NOW_MS = 1_766_550_734_062


def entry(template: str | None = None, entry_id: str = f"{NOW_MS}-3", **fields: Any) -> Entry | DeadLetter:
    content = payload(**fields)
    packed = {b"event_type": b"trade.intent", b"payload": json.dumps(content).encode()}
    return read_entry(entry_id, packed, IdTemplate.read(template) if template else None)


def read(**fields: Any) -> Entry:
    found = entry(**fields)
    assert isinstance(found, Entry), found
    return found


# Intake.


def test_an_intent_without_a_time_has_that_of_its_entry_and_an_id_made_of_it() -> None:
    found = read(timestamp="")
    assert (found.intent.timestamp_ms, found.intent.id) == (NOW_MS, f"BTCUSDT_{NOW_MS}-3")
    assert read(timestamp="", trace_id="t-1").intent.id == "t-1"


def test_the_expected_price_is_the_strategys() -> None:
    assert read().expected_price == Decimal("1.465")
    assert read(entry_price="?").expected_price is None


@pytest.mark.parametrize(
    ("template", "fields", "made"),
    [
        ("{trace_id}:{side}", {"trace_id": "t-1"}, "t-1:BUY"),
        ("{traceId}-{Reduce_Only}", {"trace_id": "t-1", "reduce_only": False}, "t-1-False"),
        ("{symbol}-{entry_id}", {}, f"BTCUSDT-{NOW_MS}-3"),
        ("x {model}", {"model": "a b"}, "xTaTb"),
        ("{position_size_usd}", {"id": "own", "trace_id": "t-1"}, "300"),
    ],
)
def test_a_template_makes_the_id(template: str, fields: dict[str, Any], made: str) -> None:
    found = entry(template, **fields)
    assert isinstance(found, Entry), found
    assert found.intent.id == made


def test_a_field_that_the_id_is_made_of_and_that_is_missing_is_a_dead_letter() -> None:
    found = entry("{trace_id}:{leg}", trace_id="t-1")
    assert isinstance(found, DeadLetter)
    assert "leg: is missing, and the id is made of it" in found.error


@pytest.mark.parametrize("text", ["fixed", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{}", "{a", "a}", ""])
def test_a_template_is_names_in_braces_and_nothing_else_and_its_error_shows_it(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(repr(text))} "):
        IdTemplate.read(text)


def test_without_a_symbol_no_id_is_made_up() -> None:
    found = read_entry("1766550734000-0", {b"side": b"BUY", b"quantity": b"1"})
    assert isinstance(found, DeadLetter)
    assert (found.intent_id, found.error) == ("?", "symbol: is missing")


def test_the_id_of_symbol_and_entry_has_the_symbol_in_whatever_spelling() -> None:
    found = read_entry("1766550734000-0", {b"Symbol": b"BTCUSDT", b"side": b"BUY", b"quantity": b"1"})
    assert isinstance(found, Entry)
    assert found.intent.id == "BTCUSDT_1766550734000-0"


def test_a_dead_letter_keeps_what_came() -> None:
    found = read_entry("1-0", {b"payload": b"\xff\xfe"})
    assert isinstance(found, DeadLetter)
    assert (found.fields, found.intent_id) == ({b"payload": b"\xff\xfe"}, "?")


def test_px_is_the_price_that_is_expected_as_price_is() -> None:
    fields = {"id": "sig-1", "symbol": "BTCUSDT", "side": "BUY", "notional": "300", "timestamp": "2025-12-24 04:32:14"}
    for name in "px", "price", "entry_price":
        found = read_entry("1-0", {each.encode(): value.encode() for each, value in {**fields, name: "95000"}.items()})
        assert isinstance(found, Entry)
        assert found.expected_price == 95_000


def test_a_bug_in_reading_an_entry_makes_a_dead_letter_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end every worker that takes the entry, one after the other."""

    def broken(*_: object, **__: object) -> None:
        raise RecursionError

    monkeypatch.setattr(Intent, "from_mapping", broken)
    found = read_entry("1-0", {b"id": b"sig-1", b"symbol": b"BTCUSDT"})
    assert isinstance(found, DeadLetter)
    assert (found.error, found.intent_id) == ("entry: 'RecursionError' came of reading it; report it as a bug", "?")


def test_a_dead_letter_without_an_id_has_the_one_that_its_symbol_and_time_make() -> None:
    fields = {"symbol": "BTCUSDT", "timestamp": "2025-12-24 04:32:14", "action": "CLOSE", "close_pct": 50}
    found = read_entry("1-0", {b"payload": json.dumps(fields).encode()})
    assert isinstance(found, DeadLetter)
    assert (found.intent_id, found.symbol, found.action) == ("BTCUSDT_2025-12-24T04:32:14", "BTCUSDT", "CLOSE")


# Results.


def told(ending: Ending, **fields: Any) -> dict[str, str]:
    return result_fields(Asked.by(read(**fields)), ending, by="me", now_ms=NOW_MS, fee_rate=Decimal("0.0005"))


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (Terminal.FILLED, "filled"),
        (Terminal.PLACED, "pending_fill"),
        (Terminal.UNKNOWN, "pending_fill"),
        (Terminal.DENIED, "rejected"),
        (Terminal.REJECTED_MARGIN, "rejected"),
        (Terminal.REJECTED_ORDER, "rejected"),
        (Terminal.REJECTED_EXCHANGE, "rejected"),
    ],
)
def test_the_old_status_of_every_state(state: Terminal, status: str) -> None:
    """What may exist is never `rejected`: who reads that sends it again. A new order is never `filled`."""
    assert told(Ending(state, "X"))["status"] == status


@pytest.mark.parametrize(
    ("ending", "no_order"),
    [
        (Ending(Terminal.DENIED, "RATE_SYMBOL", retryable=True), True),
        (Ending(Terminal.DENIED, "STALE"), True),
        (Ending(Terminal.REJECTED_MARGIN, "-2019", retryable=True, fence=7), True),
        (Ending(Terminal.REJECTED_EXCHANGE, "-4164", fence=7), True),
        (Ending(Terminal.REJECTED_EXCHANGE, "EXPIRED", retryable=True, order_id="81", fence=7), False),
        (Ending(Terminal.UNKNOWN, "-1007", fence=7), False),
        (Ending(Terminal.FILLED, "FILLED", order_id="81", fence=7), False),
    ],
    ids=lambda value: value.reason if isinstance(value, Ending) else "",
)
def test_which_results_tell_of_no_order(ending: Ending, no_order: bool) -> None:
    assert ending.no_order is no_order


def test_an_order_that_ended_unfilled_keeps_no_other_deliverys_result_back() -> None:
    """Two deliveries of an exit without the store: one's order expires, the other's is filled."""
    expired = Ending(Terminal.REJECTED_EXCHANGE, "EXPIRED", order_id="81", client_order_id="g-1")
    assert (expired.no_order, expired.nothing_came) == (False, True)
    assert not Ending(Terminal.PLACED, "EXPIRED", order_id="81", filled_quantity=Decimal(1)).nothing_came
    assert not Ending(Terminal.FILLED, "FILLED", order_id="81", filled_quantity=Decimal(1)).nothing_came


def test_a_fill_is_told_in_figures_that_are_right() -> None:
    filled = Ending(Terminal.FILLED, "FILLED", filled_quantity=Decimal(200), average_price=Decimal("1.5"), fence=7)
    fields = told(filled)
    assert fields["entry_price"] == fields["average_price"] == "1.5"
    assert (fields["position_size_usd"], fields["fee_usd"]) == ("300", "0.15")
    assert fields["slippage_pct"] == "2.38907850"[:-1]
    assert told(filled, side="SELL")["slippage_pct"] == "-2.3890785"
    assert (fields["fence"], fields["by"], fields["mode"]) == ("7", "me", "enforce")
    assert fields["timestamp"] == "2025-12-24T04:32:14.062000"


@pytest.mark.parametrize(
    ("side", "slippage"), [("BUY", "1"), ("SELL", "-1"), ("", "0")], ids=["of a short", "of a long", "unknown"]
)
def test_whether_the_fill_of_a_close_is_worse_depends_on_the_side_of_its_order(side: str, slippage: str) -> None:
    filled = Ending(
        Terminal.FILLED, "FILLED", filled_quantity=Decimal(2), average_price=Decimal(101), fence=7, side=side
    )
    assert told(filled, side="CLOSE", entry_price=100, position_size_usd=None)["slippage_pct"] == slippage


def test_every_old_figure_is_a_number_whatever_is_known() -> None:
    fields = told(Ending(Terminal.DENIED, "STALE"), entry_price=None, position_size_usd=None, quantity="1e-7")
    for name in ("entry_price", "position_size_usd", "leverage", "slippage_pct", "fee_usd"):
        assert float(fields[name]) >= 0


@pytest.mark.parametrize("price", ["1e-15", "1e15"])
@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_no_figure_is_too_large_or_too_small_to_tell(side: str, price: str) -> None:
    filled = Ending(Terminal.FILLED, "FILLED", filled_quantity=Decimal("1e15"), average_price=Decimal("1e10"))
    fields = told(filled, side=side, entry_price=price, position_size_usd=None, quantity="1e15")
    assert abs(float(fields["slippage_pct"])) > 0
    denied = told(Ending(Terminal.DENIED, "STALE"), entry_price=price, position_size_usd=None, quantity="1e15")
    assert float(denied["position_size_usd"]) > 0


# Settings.


def settings(table: Any = None, listen: str | None = None, **environ: str) -> Settings:
    return read_settings(table or {}, environ, "quantum", host="host", pid=7, listen=listen)


def test_the_names_are_those_of_the_replaced_system() -> None:
    found = settings()
    assert (found.stream, found.group) == ("quantum:stream:trade.intent", "quantum:group:execution:trade.intent")
    assert (found.consumer, found.results) == ("execution-host-7", "quantum:stream:execution.result")
    assert found.listen == Listen("127.0.0.1", 9109)


def test_the_old_variables_go_before_the_file() -> None:
    table = {"concurrency": 3, "read_count": 4, "max_age_s": 5}
    found = settings(table, EXEC_CONCURRENCY="13", XREADGROUP_COUNT="14", INTENT_MAX_AGE_SEC="15")
    assert (found.concurrency, found.read_count, found.max_age_s) == (13, 14, 15)
    assert settings(table).concurrency == 3


@pytest.mark.parametrize("spelled", ["9" * 5_000, "²", "1_0", "-1", "0", "1001", "many"], ids=lambda text: text[:9])
def test_a_variable_that_is_no_such_number_is_a_fault_by_its_name(spelled: str) -> None:
    with pytest.raises(InvalidConfig, match=r"^EXEC_CONCURRENCY: .{1,90} is not a whole number from 1 to 1000$"):
        settings(EXEC_CONCURRENCY=spelled)


@pytest.mark.parametrize(
    ("spelled", "watchdog_s"),
    [("3000000", 3.0), ("", None), ("0", None), ("²", None), ("many", None), ("-1", None), ("9" * 5_000, None)],
    ids=lambda value: str(value)[:9],
)
def test_a_watchdogs_time_that_is_none_is_ignored(spelled: str, watchdog_s: float | None) -> None:
    assert Systemd({"WATCHDOG_USEC": spelled}).watchdog_s == watchdog_s


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("none", None),
        ("0.0.0.0:1", Listen("0.0.0.0", 1)),
        ("[::1]:80", Listen("::1", 80)),
        ("localhost:0", Listen("localhost", 0)),
    ],
)
def test_the_flag_goes_before_the_setting(text: str, at: Listen | None) -> None:
    assert settings({"listen": "127.0.0.1:1"}, listen=text).listen == at


def test_every_fault_is_named_at_once() -> None:
    table = {"concurrency": True, "retries": "yes", "stream": "", "log": "xml", "listen": "here:1", "tempo": 1}
    with pytest.raises(InvalidConfig) as caught:
        settings(table, XREADGROUP_COUNT="-1")
    said = str(caught.value)
    assert all(f"service.{name}:" in said for name in table)
    assert "XREADGROUP_COUNT:" in said


@pytest.mark.parametrize("name", ["stream", "results", "dead_letters"])
@pytest.mark.parametrize("key", ["quantum:safety:halt", "quantum:exec:state"])
def test_no_stream_is_one_of_the_gates_own_keys(name: str, key: str) -> None:
    with pytest.raises(InvalidConfig, match=f"service.{name}: '{key}' is among the gate's own keys"):
        settings({name: key})


def test_a_service_is_well_only_while_it_has_read_of_late() -> None:
    pulse = Pulse("me", "quantum", "s", "g", phase="consuming")
    assert pulse.told()["ok"] is False
    pulse.read_s = pulse.turned_s
    assert pulse.told()["ok"] is True
    pulse.read_s -= 16
    assert "nothing read" in str(pulse.told()["why"])
    assert pulse.alive
    pulse.turned_s -= 16
    assert not pulse.alive


@pytest.mark.parametrize(
    ("table", "figures", "warned"),
    [
        ({"takeover_ms": 40_000}, {}, ""),
        ({"takeover_ms": 39_999}, {}, "service.takeover_ms: 39999 is below the policy's lock_ttl_ms and ten seconds"),
        ({"takeover_ms": 599_999}, {}, ""),
        ({"takeover_ms": 600_000}, {}, "service.takeover_ms: 600000 is not below the 600000 ms for which an intent"),
        ({"takeover_ms": 60_000, "max_age_s": 60}, {}, "60000 is not below the 60000 ms for which an intent is fresh"),
        ({"takeover_ms": 60_000, "max_age_s": 61}, {}, ""),
        ({"takeover_ms": 300_000}, {"max_age_ms": 300_000}, "300000 is not below the 300000 ms"),
        ({"max_age_s": 600}, {}, ""),
        ({"max_age_s": 601}, {}, "601 s is above the policy's max_age_ms 600000, and that counts; write 600 at most"),
        ({"max_age_s": 61}, {"max_age_ms": 60_999}, "write 60 at most"),
        ({"concurrency": 64}, {}, ""),
        ({"concurrency": 65}, {}, "concurrency or EXEC_CONCURRENCY: 65 is above the policy's max_in_flight 64"),
        ({"concurrency": 32, "in_hand": 32}, {}, ""),
        ({"concurrency": 33, "in_hand": 32}, {}, "service.in_hand: 32 is below the concurrency 33, which is never"),
    ],
)
def test_a_setting_that_works_against_another_is_warned_of_from_its_border_on(
    table: dict[str, int], figures: dict[str, int], warned: str
) -> None:
    found = settings(table).at_odds(Policy.from_mapping(figures))
    assert len(found) == (1 if warned else 0), found
    assert warned in "".join(found)
