"""People and programs rely on the exact keys; and an intent's client order id never changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate import InvalidField
from gate.protocol.keyspace import Keyspace


def test_the_keys_of_an_intent() -> None:
    assert Keyspace().of_intent("sig-81", "BTCUSDT", "BUY") == {
        "record": "quantum:exec:processed:sig-81",
        "lock": "quantum:exec:lock:BTCUSDT:BUY",
        "rate_symbol": "quantum:exec:rate:symbol:BTCUSDT",
        "cooldown_symbol": "quantum:safety:cooldown_symbol:BTCUSDT",
    }


def test_the_keys_that_an_account_has_one_of() -> None:
    assert Keyspace("{acct7}").of_account() == {
        "rate_global": "{acct7}:exec:rate:global",
        "failures": "{acct7}:exec:failures",
        "inflight": "{acct7}:exec:inflight",
        "state": "{acct7}:exec:state",
        "halt": "{acct7}:safety:halt",
        "safe_mode": "{acct7}:safety:safe_mode",
        "cooldown_global": "{acct7}:safety:cooldown_global",
        "audit": "{acct7}:safety:audit",
        "reasons": "{acct7}:safety:reasons",
        "applied": "{acct7}:safety:policy",
        "exits": "{acct7}:exec:inflight:exits",
        "placed": "{acct7}:exec:placed",
        "journal": "{acct7}:exec:audit",
        "trip": "{acct7}:exec:trip",
    }


def test_a_caller_that_observes_has_keys_of_its_own_in_the_same_slot_and_the_accounts_halt_and_order_ids() -> None:
    own, observed = Keyspace("{acct7}"), Keyspace("{acct7}", observing=True)
    keys = {**observed.of_account(), **observed.of_intent("sig-81", "BTCUSDT", "BUY"), "callers": observed.observers}
    assert keys.pop("halt") == own.halt
    assert all(key.startswith("{acct7}:observe:") for key in keys.values())
    assert observed.client_order_id("sig-81") == own.client_order_id("sig-81")


@pytest.mark.parametrize("prefix", ["", "a b", "a*", "a?", "a[b]", "a\\", "a\n", "x" * 101, "a\x00", "a:observe"])
def test_a_prefix_that_would_match_or_hide_other_keys_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidField, match=r"^prefix: "):
        Keyspace(prefix)


@pytest.mark.parametrize(
    ("prefix", "tagged"),
    [
        ("quantum", False),
        ("{quantum}", True),
        ("a:{acct7}:b", True),
        ("{}", False),
        ("{}{acct7}", False),
        ("a{b", False),
        ("a}b{", False),
    ],
)
def test_a_hash_tag_is_what_a_cluster_takes_for_one(prefix: str, tagged: bool) -> None:
    assert Keyspace(prefix).has_hash_tag is tagged


@settings(deadline=None)
@given(st.text(min_size=1, max_size=128), st.text("abcXYZ019:{}", min_size=1, max_size=100))
def test_a_client_order_id_is_what_the_exchange_accepts(intent_id: str, prefix: str) -> None:
    identifier = Keyspace(prefix).client_order_id(_encodable(intent_id))
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,36}", identifier)
    assert identifier == Keyspace(prefix).client_order_id(_encodable(intent_id))


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def test_a_client_order_id_is_the_same_in_every_version() -> None:
    assert Keyspace().client_order_id("sig-81") == "g-eNdvJq6wfUJ353_1XbwE8o5C5lz_Q124"


def test_client_order_ids_differ_by_intent_and_by_account() -> None:
    assert Keyspace().client_order_id("sig-81") != Keyspace().client_order_id("sig-82")
    assert Keyspace("a").client_order_id("b:c") != Keyspace("a:b").client_order_id("c")
    assert Keyspace("quantum").client_order_id("sig-81") != Keyspace("other").client_order_id("sig-81")
