"""What a verdict asks of the server: how many commands, how many arguments, and that neither grows."""

from __future__ import annotations

from decimal import Decimal

import redis

from gate import Policy, Reason
from gate.protocol.codec import Protocol
from gate.protocol.keyspace import Keyspace
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate

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


def test_it_takes_thirty_one_arguments_of_which_the_figures_are_one() -> None:
    """From seventeen of one kind on, Lua makes room for thirty-two."""
    command = Protocol(Keyspace("quantum"), DEEP).evaluate(at.entry(), "t0ken", 0, Decimal(50))
    keys = int(command[2])
    assert (keys, len(command) - 3 - keys) == (16, 15)


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
