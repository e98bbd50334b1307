"""The table of guards: names, reasons and order that people and programs rely on."""

from __future__ import annotations

from gate import Reason
from gate.values.guards import GUARDS, Exits

# As `gate eval --json` lists them.
NAMES = (
    "conflict duplicate stale policy memory halt safe_mode failures cooldown_global cooldown_symbol lock in_flight "
    "rate_symbol rate_global"
)


def test_the_guards_have_the_names_that_reports_list_in_their_order() -> None:
    assert [guard.name for guard in GUARDS] == NAMES.split()


def test_every_reason_but_those_that_the_client_adds_is_a_guards_and_in_the_same_order() -> None:
    client = {Reason.ADMITTED, Reason.INVALID, Reason.STORE_UNAVAILABLE, Reason.STORE_ERROR}
    assert [guard.reason for guard in GUARDS] == [reason for reason in Reason if reason not in client]


def test_reasons_are_words_that_programs_know() -> None:
    known = (
        "CONFLICT DUPLICATE STALE POLICY_MISMATCH MEMORY_YOUNG HALTED SAFE_MODE FAILURE_LIMIT COOLDOWN_GLOBAL "
        "COOLDOWN_SYMBOL LOCKED IN_FLIGHT_LIMIT RATE_SYMBOL RATE_GLOBAL"
    )
    assert [guard.reason.value for guard in GUARDS] == known.split()
    assert all(reason.value == reason.name for reason in Reason)


def test_what_exits_are_held_to() -> None:
    held = {guard.name for guard in GUARDS if not guard.exempts_exits}
    assert held == {"conflict", "duplicate", "stale", "halt"}
    assert [guard.name for guard in GUARDS if guard.exits is Exits.HALT_ALL] == ["halt"]
    assert [guard.name for guard in GUARDS if guard.exits is Exits.EXEMPT_BUT_COUNTED] == ["rate_global"]
