"""The calls, word for word: every value stands where the script's header expects it."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest

from gate import Intent, LastLook, Outcome, Penalty, Permit, PlacedOrder, PlacedOrders, Policy, StoreError
from gate.protocol.codec import Protocol, identify
from gate.protocol.keyspace import Keyspace
from gate.protocol.last_look import decode_last_look
from gate.protocol.scripts import SERVER, Encoded, script

PROTOCOL = Protocol(Keyspace("{acct7}"), Policy(failure_limit=7))
INTENT = Intent(id="sig-81", symbol="BTCUSDT", side="BUY", notional="200", leverage=5, timestamp=1_766_550_734_000)
KEYS = (
    "{acct7}:exec:processed:sig-81",
    "{acct7}:exec:lock:BTCUSDT:BUY",
    "{acct7}:exec:rate:symbol:BTCUSDT",
    "{acct7}:safety:cooldown_symbol:BTCUSDT",
    "{acct7}:exec:rate:global",
    "{acct7}:exec:failures",
    "{acct7}:exec:inflight",
    "{acct7}:exec:state",
    "{acct7}:safety:halt",
    "{acct7}:safety:safe_mode",
    "{acct7}:safety:cooldown_global",
    "{acct7}:safety:audit",
    "{acct7}:safety:reasons",
    "{acct7}:safety:policy",
    "{acct7}:exec:audit",
    "{acct7}:exec:trip",
)
EXITS = "{acct7}:exec:inflight:exits"
PLACED = "{acct7}:exec:placed"
FIGURES_TEXT = (
    " rate_symbol_limit=1 rate_symbol_window_ms=30000 rate_global_limit=5 rate_global_window_ms=60000"
    " lock_ttl_ms=30000 dedup_ttl_ms=3600000 max_age_ms=600000 skew_ms=5000 failure_limit=7"
    " failure_window_ms=300000 safe_mode_ttl_ms=900000 cooldown_symbol_ms=300000 cooldown_global_ms=300000"
    " unknown_cooldown_ms=300000 margin_buffer=0.25 max_in_flight=64 leverage=set after_memory_loss=verify"
    " exits_without_store=True cancel_conflicting_exits=False "
)
FIGURES = struct.pack(">9d", 1, 30_000, 5, 60_000, 30_000, 3_600_000, 600_000, 5_000, 64)
FINGERPRINT = PROTOCOL.policy.fingerprint


def asks(begin: bytes, token: str, reserve: int, fence_seen: int = 41) -> bytes:
    """What a verdict on INTENT is asked, written out."""

    def packed(*texts: str) -> bytes:
        return b"".join(text.encode() + b"\0" for text in texts)

    numbers = struct.pack(">2d", 1_766_550_734_000, fence_seen) + FIGURES
    written = packed("BTCUSDT", "BUY", str(reserve), "30000", "30000", "3600000")
    return begin + packed("sig-81", token, INTENT.fingerprint, FINGERPRINT) + numbers + written


def words(call: Encoded) -> tuple[str | bytes, ...]:
    """As texts, but for what is packed."""
    return tuple(word if b"\0" in word else word.decode() for word in map(bytes, call.words("run id")))  # type: ignore[arg-type]


PERMIT = Permit(
    intent_id="sig-81",
    symbol="BTCUSDT",
    side="BUY",
    token="t0ken",  # noqa: S106  # of a permit
    fence=7,
    client_order_id="g-1",
    deadline_ms=0,
    expires_ns=0,
    admission="admitted …",
)


def test_evaluate() -> None:
    assert words(PROTOCOL.evaluate(INTENT, "t0ken", 41, Decimal("50.0000001"))) == (
        *("EVALSHA", script("evaluate").sha, "16", *KEYS, asks(b"\0\0", "t0ken", 50_000_001)),
        *(FIGURES_TEXT, "run id"),
    )


def test_an_exit_s_permit_stands_in_a_set_of_its_own() -> None:
    exit_ = Intent(
        id="sig-81", symbol="BTCUSDT", side="BUY", quantity="1", reduce_only=True, timestamp=INTENT.timestamp_ms
    )
    own = tuple(EXITS if key.endswith(":inflight") else key for key in KEYS)
    asked = words(PROTOCOL.evaluate(exit_, "t0ken", 41, Decimal(0)))
    assert asked[3:19] == PROTOCOL.inspect(exit_)[3:19] == own
    assert bytes(asked[19])[:2] == b"\1\0"  # type: ignore[arg-type]  # what is packed


def test_a_caller_that_observes_says_so_and_has_keys_of_its_own_but_for_the_halt() -> None:
    observing = Protocol(Keyspace("{acct7}", observing=True), Policy(failure_limit=7, mode="observe"))
    own = tuple(key if key.endswith(":halt") else key.replace("{acct7}:", "{acct7}:observe:") for key in KEYS)
    assert words(observing.evaluate(INTENT, "t0ken", 41, Decimal(50)))[:20] == (
        *("EVALSHA", script("evaluate").sha, "16", *own, asks(b"\0\1", "t0ken", 50_000_000)),
    )
    assert words(observing.last_look(PERMIT, 6_500))[-2] == "1"
    for act, prefix in (("halt", "{acct7}:"), ("resume", "{acct7}:"), ("reset", "{acct7}:observe:")):
        assert observing.control(act, "ops", "why", "t0ken", "all")[8] == f"{prefix}safety:audit"


def test_inspect() -> None:
    assert PROTOCOL.inspect(INTENT) == (
        *("EVALSHA_RO", script("inspect").sha, 16, *KEYS, asks(b"\0\0", "-", 50_000_000, fence_seen=0)),
        *(FIGURES_TEXT, SERVER),
    )


def test_settle() -> None:
    penalty = Penalty(True, 11, 22, safe_mode=False, reason="margin")
    assert words(PROTOCOL.settle(PERMIT, Outcome.rejected(-2019, "Margin", retryable=True, penalty=penalty))) == (
        *("EVALSHA", script("settle").sha, "18", *KEYS, EXITS, PLACED),
        *("sig-81", "t0ken", "rejected", "1", "-2019 Margin", "1", "11", "22", "0"),
        *("7", "300000", "900000", "3600000", "margin", "admitted …"),
    )
    assert words(PROTOCOL.settle(PERMIT, Outcome.placed(81)))[21:] == (
        *("sig-81", "t0ken", "placed", "0", "81", "0", "0", "0", "0"),
        *("7", "300000", "900000", "3600000", "", "admitted …"),
    )


def test_last_look() -> None:
    assert words(PROTOCOL.last_look(PERMIT, 6_500)) == (
        *("EVALSHA_RO", script("last_look").sha, "6", *KEYS[:2], *KEYS[8:10], KEYS[12], PLACED),
        *("sig-81", "t0ken", "0", "6500", "0", ""),
    )
    newest = "7 1800000000000 40000000 sig-80"
    assert words(PROTOCOL.last_look(PERMIT, 6_500, ""))[-1] == "-", "of all that are kept"
    assert words(PROTOCOL.last_look(PERMIT, 6_500, newest))[-1] == newest


def test_what_was_placed_since() -> None:
    first, second = "7 1800000000000 40000000 sig-80", "9 1800000000500 1 a b"
    sig_80 = PlacedOrder("sig-80", 1_800_000_000_000, Decimal(40))
    a_b = PlacedOrder("a b", 1_800_000_000_500, Decimal("0.000001"))
    for reply, placed_after, placed in (
        ("", "", PlacedOrders(1_800_000_001_000, (), True, "")),
        (f"{first}\n", "", PlacedOrders(1_800_000_001_000, (sig_80,), True, first)),
        (f"{first}\n", first, PlacedOrders(1_800_000_001_000, (), True, first)),
        (f"{second}\n{first}\n", first, PlacedOrders(1_800_000_001_000, (a_b,), True, second)),
        (f"{second}\n-", first, PlacedOrders(1_800_000_001_000, (a_b,), False, second)),
        ("-", first, PlacedOrders(1_800_000_001_000, (), False, "?")),
    ):
        look = decode_last_look(f"HOLDS 1800000001000\n{reply}".encode(), placed_after)
        assert look == LastLook(True, "HOLDS", placed=placed)


@pytest.mark.parametrize(
    "reply",
    [
        "HOLDS ",
        "HOLDS x\n",
        "HOLDS 1800000001000\nnonsense\n",
        "HOLDS 1\n7 x 4 i\n",
        "HOLDS 1\n7 1 -4.5 i\n",
        "HOLDS 1\n7 1 4\n",
    ],
)
def test_a_list_of_what_was_placed_that_can_not_be_read_is_an_error(reply: str) -> None:
    with pytest.raises(StoreError):
        decode_last_look(reply.encode(), "")


def test_a_list_that_was_not_asked_for_or_has_no_end_is_an_error() -> None:
    with pytest.raises(StoreError):
        decode_last_look(b"HOLDS 1\n")
    with pytest.raises(StoreError):
        decode_last_look(b"HOLDS 1\n" + b"7 1 4 i\n" * 5_000, "")


def test_takes_writes() -> None:
    assert PROTOCOL.takes_writes() == ("EVALSHA", script("takes_writes").sha, 1, PROTOCOL.keyspace.state)


def test_still_out() -> None:
    keyspace = PROTOCOL.keyspace
    assert PROTOCOL.still_out(1_800_000_000_000, exits_too=False) == (
        *("EVALSHA_RO", script("still_out").sha, 5, keyspace.inflight, keyspace.state, keyspace.halt),
        *(keyspace.applied, keyspace.exits, 1_800_000_000_000, 0, SERVER),
    )
    observing = PROTOCOL.still_out(0, exits_too=True, observing=True)
    own = f"{keyspace.prefix}:observe"
    keys = (f"{own}:exec:inflight", f"{own}:exec:state", keyspace.halt)
    assert observing[2:] == (5, *keys, f"{own}:safety:policy", f"{own}:exec:inflight:exits", 0, 1, SERVER)


def test_control() -> None:
    account = tuple(
        "{acct7}:" + name
        for name in (
            *("safety:halt", "safety:safe_mode", "safety:cooldown_global"),
            *("exec:failures", "exec:state", "safety:audit", "safety:reasons", "safety:policy"),
        )
    )
    cooldown = "{acct7}:safety:cooldown_symbol:BTCUSDT"
    assert PROTOCOL.control("reset", "ops", "why", "t0ken", "all", (cooldown,)) == (
        *("EVALSHA", script("control").sha, 9, *account, cooldown),
        *("reset", "ops", "why", "t0ken", "all", "", "", "", ""),
    )
    assert PROTOCOL.control("policy", "ops", "why", "t0ken", FINGERPRINT, (), "-", "alice")[-4:] == (
        FIGURES_TEXT,
        "-",
        "alice",
        "",
    )
    assert PROTOCOL.control("init", "ops", "why", "t0ken", "")[-1] is SERVER


def test_identify() -> None:
    keys = (*(key.replace("sig-81", "-").replace("BTCUSDT:BUY", "-:-").replace("BTCUSDT", "-") for key in KEYS),)
    asked = "EVALSHA_RO", script("identify").sha, 18, *keys, EXITS, PLACED
    assert identify(Keyspace("{acct7}")) == (*asked, 0)
    assert identify(Keyspace("{acct7}"), halts=True) == (*asked, 1)
