"""The policy has the documented defaults, names every fault at once, and warns of figures that defeat each other."""

from __future__ import annotations

import dataclasses
from base64 import urlsafe_b64encode
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import pytest

from gate import InvalidPolicy, Policy
from gate.values.policy import MODES, policy_of_figures, read_setting

# Written out again, so that a changed default fails.
DEFAULTS: dict[str, Any] = {
    "rate_symbol_limit": 1,
    "rate_symbol_window_ms": 30_000,
    "rate_global_limit": 5,
    "rate_global_window_ms": 60_000,
    "lock_ttl_ms": 30_000,
    "dedup_ttl_ms": 3_600_000,
    "max_age_ms": 600_000,
    "skew_ms": 5_000,
    "failure_limit": 5,
    "failure_window_ms": 300_000,
    "safe_mode_ttl_ms": 900_000,
    "cooldown_symbol_ms": 300_000,
    "cooldown_global_ms": 300_000,
    "unknown_cooldown_ms": 300_000,
    "margin_buffer": Decimal("0.25"),
    "max_in_flight": 64,
    "leverage": "set",
    "after_memory_loss": "verify",
    "exits_without_store": True,
    "cancel_conflicting_exits": False,
    "mode": "enforce",
}


def test_names_and_defaults_are_the_documented_ones() -> None:
    assert dataclasses.asdict(Policy()) == DEFAULTS
    assert list(DEFAULTS) == [field.name for field in dataclasses.fields(Policy)]


SWITCHES = [name for name, value in DEFAULTS.items() if isinstance(value, bool)]
LIMITS = [name for name, value in DEFAULTS.items() if isinstance(value, int) and name not in SWITCHES]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "5", None, True, float("nan"), float("inf"), 10**18])
def test_an_invalid_figure_is_a_fault_that_names_it(name: str, value: Any) -> None:
    if name == "skew_ms" and value == 0:
        value = -5
    with pytest.raises(InvalidPolicy) as caught:
        dataclasses.replace(Policy(), **{name: value})
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"{name}: {value!r}")


@pytest.mark.parametrize(
    "value", [Decimal("NaN"), Decimal("Infinity"), Decimal("-0.1"), Decimal(11), 0.25, "0.25", None]
)
def test_an_invalid_margin_buffer_is_a_fault(value: Any) -> None:
    with pytest.raises(InvalidPolicy, match="margin_buffer"):
        Policy(margin_buffer=value)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(InvalidPolicy) as caught:
        Policy(rate_symbol_limit=0, rate_global_window_ms=-1, mode="off", margin_buffer=Decimal("NaN"), max_in_flight=0)
    named = [fault.partition(":")[0] for fault in caught.value.faults]
    assert named == ["rate_symbol_limit", "rate_global_window_ms", "margin_buffer", "max_in_flight", "mode"]
    for name in named:
        assert name in str(caught.value)


def test_every_fault_of_a_table_is_named_at_once() -> None:
    table = {"rate_symbol_limt": 1, "lock_ttl_ms": "30 s", "margin_buffer": "much", "mode": "maybe"}
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_mapping(table)
    assert sorted(fault.partition(":")[0] for fault in caught.value.faults) == sorted(table)


def test_a_record_outlives_the_freshness_of_its_intent() -> None:
    with pytest.raises(InvalidPolicy, match="dedup_ttl_ms"):
        Policy(max_age_ms=600_000, lock_ttl_ms=30_000, dedup_ttl_ms=629_999)
    assert Policy(max_age_ms=600_000, lock_ttl_ms=30_000, dedup_ttl_ms=630_000)


@pytest.mark.parametrize("lock_ttl_ms", [1, 2, 1_000, 30_000, 2_500_000])
def test_an_order_has_its_answer_within_the_lock(lock_ttl_ms: int) -> None:
    policy = Policy(lock_ttl_ms=lock_ttl_ms)
    assert 0 < policy.order_timeout_ms <= lock_ttl_ms


@pytest.mark.parametrize("buffer", ["0.3", 0.3, Decimal("0.30")])
def test_a_table_may_hold_the_buffer_in_any_notation(buffer: Any) -> None:
    policy = Policy.from_mapping({"margin_buffer": buffer, "rate_global_limit": 7})
    assert policy.margin_buffer == Decimal("0.3")
    assert policy == Policy(margin_buffer=Decimal("0.3"), rate_global_limit=7)
    assert policy.fingerprint == Policy(margin_buffer=Decimal("0.300"), rate_global_limit=7).fingerprint


@pytest.mark.parametrize("word", ["set", "match", "exchange"])
def test_a_table_says_what_becomes_of_a_leverage_that_differs(word: str) -> None:
    assert Policy.from_mapping({"leverage": word}).leverage == word


@pytest.mark.parametrize("word", ["", "SET", "lower", 20, None, True])
def test_an_unknown_word_for_leverage_is_a_fault_that_names_it(word: Any) -> None:
    with pytest.raises(InvalidPolicy, match=r"leverage: .* is not one of set, match, exchange"):
        Policy.from_mapping({"leverage": word})


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", [0, 1, "true", "no", None])
def test_a_switch_is_true_or_false(name: str, value: Any) -> None:
    with pytest.raises(InvalidPolicy, match=f"{name}: .* is neither true nor false; write one, without"):
        Policy.from_mapping({name: value})
    assert Policy.from_mapping({name: True}).texts()[name] == "True"


def test_the_fingerprint_depends_on_every_figure() -> None:
    fingerprints = {
        Policy().fingerprint,
        Policy(after_memory_loss="halt").fingerprint,
        Policy(leverage="match").fingerprint,
        Policy(margin_buffer=Decimal(1)).fingerprint,
    }
    for name in SWITCHES:
        fingerprints.add(Policy.from_mapping({name: not DEFAULTS[name]}).fingerprint)
    for name in LIMITS:
        fingerprints.add(dataclasses.replace(Policy(), **{name: DEFAULTS[name] + 1}).fingerprint)
    assert len(fingerprints) == len(DEFAULTS)


def test_the_mode_is_the_callers_own_and_no_figure() -> None:
    assert Policy(mode="observe").fingerprint == Policy().fingerprint
    assert "mode" not in Policy().texts()
    assert {mode: Policy(mode=mode).observes for mode in MODES} == {"enforce": False, "observe": True}


def test_the_fingerprint_is_the_same_in_every_version() -> None:
    assert Policy().fingerprint == "DQq-73q73Ys7"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate_symbol_limit": 5}, "rate_symbol_limit"),
        ({"lock_ttl_ms": 1_000}, "lock_ttl_ms"),
        ({"lock_ttl_ms": 9_999}, "lock_ttl_ms"),
        ({"mode": "observe"}, "observe"),
        ({"dedup_ttl_ms": 1_799_999}, "dedup_ttl_ms 1799999 is below three times max_age_ms 600000"),
        ({"dedup_ttl_ms": 700_000, "rate_global_window_ms": 100_000}, "dedup_ttl_ms 700000 is below three times"),
        ({"rate_global_window_ms": 1_500_001, "after_memory_loss": "halt"}, "of dedup_ttl_ms - max_age_ms, 1500000"),
        ({"rate_global_window_ms": 300_001}, "a window of 300001 ms is longer than the 300000 that entries wait"),
        ({"rate_symbol_window_ms": 300_001}, "a window of 300001 ms is longer than the 300000 that entries wait"),
    ],
)
def test_figures_that_defeat_each_other_are_warned_of(changes: dict[str, Any], words: str) -> None:
    warnings = dataclasses.replace(Policy(), **changes).warnings
    assert len(warnings) == 1
    assert words in warnings[0]


def test_the_defaults_do_not_warn_about_themselves() -> None:
    assert Policy().warnings == ()


def test_what_is_at_the_border_is_not_warned_of() -> None:
    assert Policy(dedup_ttl_ms=1_800_000, rate_global_window_ms=300_000).warnings == ()
    assert Policy(rate_global_window_ms=1_500_000, after_memory_loss="halt").warnings == ()


def test_records_that_lapse_too_early_are_named_beside_other_faults() -> None:
    with pytest.raises(InvalidPolicy) as caught:
        Policy(dedup_ttl_ms=100, rate_symbol_limit=0, margin_buffer=Decimal("nan"))
    assert [each.partition(":")[0] for each in caught.value.faults] == [
        "rate_symbol_limit",
        "margin_buffer",
        "dedup_ttl_ms",
    ]
    with pytest.raises(InvalidPolicy) as caught:
        Policy(dedup_ttl_ms=100, lock_ttl_ms=0)
    assert len(caught.value.faults) == 1, "it can't be told from a figure that is none"


OTHER = Policy(rate_global_limit=9, margin_buffer=Decimal("0.5"), leverage="match", after_memory_loss="halt")


def figures(policy: Policy, **changes: str | None) -> str:
    texts = {**policy.texts(), **changes}
    return " " + "".join(f"{name}={text} " for name, text in texts.items() if text is not None)


@pytest.mark.parametrize("policy", [Policy(), OTHER], ids=["defaults", "other"])
def test_a_policy_can_be_read_back_from_the_state(policy: Policy) -> None:
    assert policy_of_figures(policy.fingerprint, figures(policy)) == policy
    backwards = " " + " ".join(reversed(figures(policy).split())) + " "
    assert policy_of_figures(policy.fingerprint, backwards) == policy, "in any order"


def test_a_policy_of_a_version_with_fewer_figures_has_the_defaults_for_the_others() -> None:
    texts = {name: text for name, text in OTHER.texts().items() if name not in ("leverage", "skew_ms")}
    older = " ".join(f"{name}={text}" for name, text in texts.items())
    digest = urlsafe_b64encode(blake2b(older.encode(), digest_size=9).digest()).decode()
    assert policy_of_figures(digest, f" {older} ") == dataclasses.replace(OTHER, leverage="set")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "missing or damaged"),
        ("damaged", "damaged: is unknown"),
        (figures(OTHER, rate_global_limit="8"), "missing or damaged"),
        (figures(OTHER, leverage=None), "missing or damaged"),
        (figures(OTHER, dark_pool="1"), "dark_pool: is unknown to this version"),
    ],
)
def test_nobody_guesses_figures_that_cannot_be_read(text: str, problem: str) -> None:
    with pytest.raises(InvalidPolicy, match=problem):
        policy_of_figures(OTHER.fingerprint, text)


def test_differences_name_every_figure_that_differs() -> None:
    assert Policy().differences(Policy()) == ()
    assert Policy().differences(OTHER) == (
        ("rate_global_limit", "5", "9"),
        ("margin_buffer", "0.25", "0.5"),
        ("leverage", "set", "match"),
        ("after_memory_loss", "verify", "halt"),
    )


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("rate_global_limit=8", ("rate_global_limit", 8)),
        (" max_age_ms = 600_000 ", ("max_age_ms", 600_000)),
        ("margin_buffer=0.3", ("margin_buffer", "0.3")),
        ("leverage=match", ("leverage", "match")),
    ],
)
def test_a_setting_is_read_as_a_file_would_hold_it(setting: str, read: tuple[str, object]) -> None:
    assert read_setting(setting) == read


@pytest.mark.parametrize("setting", ["rate_globl_limit=8", "=8", "", "rate_global_limit", "rate_global_limit="])
def test_a_setting_that_cannot_be_read_is_a_fault(setting: str) -> None:
    with pytest.raises(InvalidPolicy, match=r"is not a figure|has no value"):
        read_setting(setting)
