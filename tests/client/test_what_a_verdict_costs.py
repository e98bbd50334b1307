"""What a verdict asks of the server: how many commands, arguments and bytes, and that none of them grows; and that the
caller keeps nothing of it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

import gate as package
from gate import Intent, Outcome, Policy, Reason
from gate.protocol.codec import Protocol
from gate.protocol.keyspace import Keyspace
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.servers.store import Store

DEEP = Policy(rate_symbol_limit=3, rate_global_limit=1000, max_in_flight=1000)
NARROW = Policy(rate_symbol_limit=3, rate_global_limit=5)
ONCE_EACH = ("mget", "time", "exists", "hmget", "lindex", "zadd", "hset", "pexpire")
OF_AN_ADMISSION = dict.fromkeys(ONCE_EACH, 1) | {"lpush": 2, "set": 2}


def commands(client: redis.Redis, gate: AnyGate, number: int) -> dict[str, int]:
    """The commands that the script calls for one admission."""
    client.config_resetstat()
    at.admitted(gate.evaluate(at.entry(f"sig-{number}", f"S{number}USDT")))
    told = client.info("commandstats")
    names = {name.removeprefix("cmdstat_"): row["calls"] for name, row in told.items()}
    return {name: calls for name, calls in names.items() if name not in ("evalsha", "info", "config|resetstat")}


def test_an_admission_calls_thirteen_commands_in_one_trip(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(DEEP)
    at.admitted(gate.evaluate(at.entry("sig-0", "S0USDT")))
    # One question more: whether the account's list is there, which its entry at the limit answers where it has one.
    assert commands(redis_client, gate, 1) == OF_AN_ADMISSION | {"exists": 2}
    assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1


def test_it_calls_no_more_beside_a_hundred_live_permits(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(DEEP)
    for number in range(100):
        at.admitted(gate.evaluate(at.entry(f"sig-{number}", f"S{number}USDT")))
    assert commands(redis_client, gate, 100) == OF_AN_ADMISSION | {"exists": 2}


def test_beside_a_window_of_old_entries_it_calls_twelve_but_once_in_sixteen_times(
    redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(NARROW)
    old = at.server_ms(redis_client) - 1_000_000
    seen = []
    for number in range(40):
        redis_client.delete(at.RATE_GLOBAL)
        redis_client.rpush(at.RATE_GLOBAL, *[old] * (5 + number % 16))
        seen.append(commands(redis_client, gate, number))
    trimmed = [each for each in seen if "ltrim" in each]
    assert len(trimmed) == 2
    assert all(each == OF_AN_ADMISSION | {"ltrim": 1} for each in trimmed)
    assert all(each == OF_AN_ADMISSION for each in seen[1:] if "ltrim" not in each), "the first one finds a policy"


def test_both_windows_stay_short(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(NARROW)
    old = at.server_ms(redis_client) - 1_000_000
    redis_client.rpush(at.RATE_SYMBOL, *[old] * 100)
    redis_client.rpush(at.RATE_GLOBAL, *[old] * 100)
    for number, side in enumerate(("BUY", "SELL")):
        at.admitted(gate.evaluate(at.entry(f"sig-{number}", side=side)))
        assert redis_client.llen(at.RATE_SYMBOL) < 3 + 16
        assert redis_client.llen(at.RATE_GLOBAL) < 5 + 16
    assert redis_client.lrange(at.RATE_SYMBOL, 2, 2) == [b"%d" % old], "an entry up to the limit may count"


def test_it_takes_nineteen_arguments_of_which_one_tells_who_asks_for_what() -> None:
    """From seventeen of one kind on, Lua makes room for thirty-two."""
    words = Protocol(Keyspace("quantum"), DEEP).evaluate(at.entry(), "t0ken", 0, Decimal(50)).words("run id")
    keys = int(words[2])
    assert (keys, len(words) - 3 - keys) == (16, 3)


def test_a_switch_of_megabytes_costs_no_megabytes(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(DEEP)
    at.admitted(gate.evaluate(at.entry("sig-0", "S0USDT")))
    redis_client.set(at.SAFE_MODE, "x" * 20_000_000)
    redis_client.config_resetstat()
    verdict = gate.evaluate(at.entry())
    assert (verdict.reason, verdict.detail.startswith("xxx")) == (Reason.SAFE_MODE, True)
    assert redis_client.info("stats")["total_net_output_bytes"] < 10_000


def test_an_empty_switch_is_on_and_a_missing_one_is_off(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate(DEEP)
    redis_client.set(at.COOLDOWN_SYMBOL, "")
    assert gate.evaluate(at.entry()).reason is Reason.COOLDOWN_SYMBOL
    at.admitted(gate.evaluate(at.entry("sig-2", "ETHUSDT")))


STRICT = Policy(rate_symbol_limit=1, rate_global_limit=1000, max_in_flight=1000)
PLACED = Outcome.placed("83897651234")
FROM_THE_STREAM = "NEARUSDT_2025-12-24T04:32:14.{:06}"
READ = {"mget": 1, "time": 1, "exists": 2, "hmget": 1}
"""What a verdict reads that isn't a duplicate's."""


def near(number: int, *, exits: bool = False) -> Intent:
    return at.intent(exits, FROM_THE_STREAM.format(number), symbol="NEARUSDT")


def settled(gate: AnyGate, intent: Intent) -> None:
    assert gate.settle(at.admitted(gate.evaluate(intent)), PLACED)


def cost(store: Store, call: Callable[[], object]) -> tuple[dict[str, int], int, int]:
    """Every command that the server was sent or a script called, the bytes that it got, and those that it sent."""
    with store.client(protocol=2) as client:
        client.response_callbacks.clear()

        def asked(section: str) -> tuple[dict[str, str], int]:
            raw: Any = client.execute_command("INFO", section)
            rows = dict(line.split(":", 1) for line in raw.decode().splitlines() if ":" in line)
            return rows, len(b"$%d\r\n" % len(raw)) + len(raw) + 2

        client.execute_command("CONFIG", "RESETSTAT")
        before, reply_bytes = asked("stats")
        call()
        after, _ = asked("stats")
        told, _ = asked("commandstats")
    question_bytes = len(b"*2\r\n$4\r\nINFO\r\n$5\r\nstats\r\n")
    got, sent = (int(after[name]) - int(before[name]) for name in ("total_net_input_bytes", "total_net_output_bytes"))
    counts = {
        name.removeprefix("cmdstat_"): int(row.partition("calls=")[2].partition(",")[0]) for name, row in told.items()
    }
    own = ("info", "config|resetstat")
    return {name: count for name, count in counts.items() if name not in own}, got - question_bytes, sent - reply_bytes


# Commands within the script, bytes to the server, and the most from it: a slow settlement's time has more digits.
OF_EACH = {
    "admission": (OF_AN_ADMISSION | {"exists": 2}, 1320, 93),
    "admission and look": (OF_AN_ADMISSION | {"exists": 2, "lrange": 1}, 1375, 150),
    "duplicate": ({"mget": 1}, 1320, 106),
    "locked": (READ | {"pttl": 1}, 1320, 20),
    "rate_symbol": (READ | {"lindex": 1}, 1320, 25),
    "exit": (READ | {"zadd": 1, "lpush": 1, "hset": 1, "set": 1}, 1319, 88),
    "last look": ({"get": 2, "time": 1, "exists": 2, "pttl": 1, "getrange": 1, "lrange": 1}, 416, 88),
    "settlement": (
        {"get": 2, "hmget": 1, "time": 1, "set": 1, "del": 1, "zrem": 1, "hdel": 1, "hset": 1, "lpush": 1},
        933,
        103,
    ),
}


@pytest.mark.parametrize("name", [*OF_EACH])
def test_each_call_is_one_trip_of_so_many_commands_and_bytes(
    redis_client: redis.Redis, store: Store, open_gate: OpenGate, name: str
) -> None:
    gate = open_gate(STRICT)
    settled(gate, at.entry("sig-0", "NEARUSDT", "SELL"))  # connected, the policy in force, the symbol noted
    redis_client.delete("quantum:exec:rate:symbol:NEARUSDT")
    intent = near(2, exits=name == "exit")
    if name == "duplicate":
        settled(gate, intent)
    elif name == "locked":
        at.admitted(gate.evaluate(near(1)))
    elif name == "rate_symbol":
        settled(gate, near(1))
    permit = at.admitted(gate.evaluate(intent)) if name in ("settlement", "last look") else None
    known = gate.last_look(permit, needed_ms=6_500, placed_after="").placed if permit is not None else None
    placed_after = "1 1764172800000 1000000 sig-0" if name == "admission and look" else None

    def call() -> None:
        if permit is None:
            gate.evaluate(intent, placed_after=placed_after)
        elif name == "settlement":
            gate.settle(permit, PLACED)
        elif known is not None:
            assert gate.last_look(permit, needed_ms=6_500, placed_after=known.newest).holds

    seen, got, sent = cost(store, call)

    of_script, bytes_got, most_sent = OF_EACH[name]
    assert seen == of_script | {"evalsha_ro" if name == "last look" else "evalsha": 1}, (
        "one trip, and in it what the script calls"
    )
    assert got == bytes_got
    assert sent <= most_sent


def test_a_caller_keeps_nothing_of_the_intents_that_it_has_settled(open_gate: OpenGate) -> None:
    gate = open_gate(Policy(rate_symbol_limit=1000, rate_global_limit=1000))

    def calls(first: int) -> None:
        for number in range(first, first + 50):
            intent = at.entry(f"sig-{number:04}", f"S{number % 5}USDT")
            permit = at.admitted(gate.evaluate(intent))
            assert gate.evaluate(intent).reason is Reason.DUPLICATE
            assert gate.evaluate(at.entry(f"sig-x{number:04}", intent.symbol)).reason is Reason.LOCKED
            assert gate.settle(permit, PLACED)

    def kept() -> tracemalloc.Snapshot:
        gc.collect()
        home = f"{Path(package.__file__).parent}/*"
        return tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, home, all_frames=True)])

    calls(0)
    tracemalloc.start(8)
    try:
        calls(100)
        before = kept()
        calls(200)
        after = kept()
    finally:
        tracemalloc.stop()
    # A block for each intent would be fifty more; the event loop may hold one or two in passing.
    assert sum(each.count_diff for each in after.compare_to(before, "lineno")) < 10
