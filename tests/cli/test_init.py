"""`gate init`: what a store that was never used says, and how a person's word ends that."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result

from gate import Gate, Outcome
from gate.store.embedded import EmbeddedStore
from tests.client import account as at
from tests.servers.store import PrivateStore, Store
from tests.servers.wire import Wire

Run = Callable[..., Result]
RunJson = Callable[..., Any]
WHO = ("--by", "ops", "--reason", "a new account")
EVAL = ("eval", "--id", "sig-81", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200")
WHOLE = "counts as whole: entries go at once, without a look-up. Before, "


@pytest.fixture
def unused(redis_client: redis.Redis) -> redis.Redis:
    """The shared store, which knows nothing of the account."""
    redis_client.flushall()
    return redis_client


def test_a_store_that_was_never_used_denies_and_names_the_remedy(gate: Run, unused: redis.Redis) -> None:
    denied = gate(*EVAL)
    headline = denied.stdout.splitlines()[0]
    assert denied.exit_code == 1
    assert headline.startswith("DENY MEMORY_YOUNG: the memory is new since ")
    assert headline.endswith("if none can, as on a new account, `gate init` says so. Retry in 1m 0s.")
    assert unused.keys("*") == [], "a look leaves no trace"
    assert json.loads(gate(*EVAL, "--json").stdout)["retry_after_ms"] == 60_000
    assert gate(*EVAL, "--reduce-only").exit_code == 0


def test_after_init_the_first_entry_goes(gate: Run, unused: redis.Redis, store: Store) -> None:
    assert gate(*EVAL, "--commit").exit_code == 1
    said = gate("init", *WHO)
    assert said.exit_code == 0
    assert f"The memory of quantum at {store.url} {WHOLE}it was new since 2" in said.stdout
    assert re.search(r"Z, and entries had to wait (1m 0|\d+) ?s more\.\n", said.stdout)
    admitted = gate(*EVAL, "--commit")
    assert admitted.exit_code == 0
    assert "First ask the exchange" not in admitted.stdout
    assert [entry["what"] for entry in at.audit(unused)] == ["memory lost", "init"]
    assert at.audit(unused)[-1]["by"] == "ops"


def test_a_policy_that_was_applied_before_is_said_to_be_forgotten(gate: Run, unused: redis.Redis) -> None:
    forgotten = "one applied before a loss of memory is forgotten: gate policy apply.\n"
    gate("policy", "apply", "--defaults", "--set", "after_memory_loss=halt", *WHO)
    assert "No policy is in force" not in gate("init", *WHO).stdout
    unused.flushall()
    assert f"; {forgotten}" in gate("status").stdout
    assert gate("init", *WHO).stdout.endswith(f"No policy is in force yet; {forgotten}")
    assert f"; {forgotten}" in gate("status").stdout


def test_it_says_what_was_known_before(gate: Run, unused: redis.Redis) -> None:
    assert f"{WHOLE}nothing was known of it.\n" in gate("init", *WHO).stdout
    assert f"{WHOLE}it was whole already, by a person's word.\n" in gate("init", *WHO).stdout
    unused.hset(at.STATE, "since", 1_700_000_000_000)
    assert f"{WHOLE}it was whole since 2023-11-14T22:13:20.000Z.\n" in gate("init", *WHO).stdout
    unused.hset(at.STATE, mapping={"since": 1_700_000_000_000, "run_id": "f" * 40})
    elsewhere = "it was whole since 2023-11-14T22:13:20.000Z, but on another server, or before a restart.\n"
    assert WHOLE + elsewhere in gate("init", *WHO).stdout
    unused.hset(at.STATE, "since", "yesterday")
    assert f"{WHOLE}it was damaged.\n" in gate("init", *WHO).stdout
    unused.hset(at.STATE, "since", "9" * 5_000)
    assert f"{WHOLE}it was damaged.\n" in gate("init", *WHO).stdout
    assert gate(*EVAL).exit_code == 0


def test_the_answer_as_json(gate_json: RunJson, unused: redis.Redis, store: Store) -> None:
    answer = gate_json("init", *WHO)
    assert (answer["act"], answer["by"], answer["reason"]) == ("init", "ops", "a new account")
    assert (answer["before"], answer["audited"], answer["store"]) == (None, True, store.url)
    unused.hset(at.STATE, "since", 1_700_000_000_000)
    assert gate_json("init", *WHO)["before"] == "1700000000000"


def test_it_warns_of_permits_whose_orders_may_be_on_their_way(gate: Run, store: Store, unused: redis.Redis) -> None:
    assert "permits are live" not in gate("init", *WHO).stderr
    with Gate.from_url(store.url) as other:
        live = at.admitted(other.evaluate(at.entry()))
        assert "permits are live (1) or in doubt (0)" in gate("init", *WHO).stderr
        assert other.settle(live, Outcome.unknown("TIMEOUT"))
        assert "or in doubt (1): their orders may be on their way; gate status names" in gate("init", *WHO).stderr
    assert "permits are live (1) or in doubt (1)" in gate("init", *WHO, "--json").stderr


def test_it_ends_no_halt_and_says_so(gate: Run, unused: redis.Redis) -> None:
    gate("halt", "--no-wait", *WHO)
    assert "the halt by ops stays on; gate resume ends it\n" in gate("init", *WHO).stderr
    assert unused.exists("quantum:safety:halt")


def test_it_goes_through_where_the_look_before_it_fails(bare: Run, unused: redis.Redis, wire: Wire) -> None:
    lost = wire.lose_next_reply("TIME")
    done = bare("--url", wire.url, "init", *WHO)
    assert lost.happened
    assert done.exit_code == 0
    assert unused.hget(at.STATE, "since") == b"0"


def test_on_an_embedded_store_it_says_how_long_that_holds(bare: Run, tmp_path: Path) -> None:
    url = f"embedded:{tmp_path}"
    with EmbeddedStore.open(tmp_path):
        said = bare("--url", url, "init", *WHO)
        assert (said.exit_code, said.stderr.count("until the process that started the embedded store ends")) == (0, 1)
        assert bare("--url", url, *EVAL).exit_code == 0
    assert "MEMORY_YOUNG" in bare("--url", url, *EVAL).stdout, "the next server isn't the one that was meant"


def test_on_a_server_that_may_evict_nobody_calls_the_memory_whole(
    bare: Run, new_private_store: Callable[..., PrivateStore]
) -> None:
    url = new_private_store("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru").url
    said = bare("--url", url, "init", *WHO)
    assert said.exit_code == 0
    assert "the server may evict keys, so its memory is never whole; set maxmemory-policy noeviction" in said.stderr
    assert "is no longer new: entries go at once, each after a look at the exchange. Before, nothing" in said.stdout
    assert bare("--url", url, *EVAL, "--commit").stdout.endswith("the store may have lost records.\n")
    out = bare("--url", url, "status").stdout
    assert "Memory: never whole, since the server may evict keys; every permit says verify.\n" in out
    assert json.loads(bare("--url", url, "status", "--json").stdout)["evicts"] is True


@pytest.mark.parametrize("limits", [(), ("--maxmemory", "50mb", "--maxmemory-policy", "noeviction")], ids=str)
def test_a_server_that_keeps_its_keys_needs_no_warning(
    bare: Run, new_private_store: Callable[..., PrivateStore], limits: tuple[str, ...]
) -> None:
    url = new_private_store("--maxmemory-policy", "allkeys-lru", *limits).url
    assert "evict" not in bare("--url", url, "init", *WHO).stderr
    assert json.loads(bare("--url", url, "status", "--json").stdout)["evicts"] is False


def test_its_help_teaches_what_one_says_by_it(gate: Run) -> None:
    told = " ".join(gate("init", "--help").stdout.split())
    assert "no order of before can be on its way" in told
    assert "no intent whose order was sent before comes again" in told
    assert "it is audited" in told


def test_status_tells_how_long_entries_wait(gate: Run, gate_json: RunJson, unused: redis.Redis) -> None:
    out = gate("status").stdout
    assert out.startswith("NOTHING IS KNOWN of the prefix quantum here; entries wait, exits pass\n")
    assert (
        "nothing is known of this account. If it isn't new, its orders may still be on their way, and a halt and a "
        "policy of before are forgotten. If it is, `gate init` says so" in out
    )
    assert (
        "Memory: new; entries wait 1m 0s from the next verdict on; exits pass, once no order of before can arrive.\n"
        in out
    )
    answer = gate_json("status")
    assert (answer["memory_since_ms"], answer["memory_lost_ms"], answer["memory_wait_ms"]) == (None, None, 60_000)
    assert answer["stopped"]

    gate(*EVAL, "--commit")
    unused.hincrby(at.STATE, "lost", -20_000)
    out = gate("status").stdout
    assert "Memory: new since 2" in out
    assert re.search(r" ago\); entries wait [1-4]?\d s more; exits pass", out)
    answer = gate_json("status")
    assert answer["memory_lost_ms"] + 60_000 == answer["now_ms"] + answer["memory_wait_ms"]

    unused.hincrby(at.STATE, "lost", -40_000)
    out = gate("status").stdout
    assert out.startswith("OPEN\n")
    assert "; permits say verify until 2" in out
    answer = gate_json("status")
    assert (answer["memory_lost_ms"], answer["memory_wait_ms"], answer["stopped"]) == (None, None, False)
    assert answer["verifying_until_ms"] == answer["memory_since_ms"] + 3_600_000
    assert "First ask the exchange whether it has this order" in gate(*EVAL, "--commit").stdout

    gate("init", *WHO)
    assert "Memory: whole, by a person's word (gate init).\n" in gate("status").stdout


def test_status_sees_a_server_that_nobody_has_asked_yet(
    gate: Run, gate_json: RunJson, redis_client: redis.Redis
) -> None:
    redis_client.hset(at.STATE, "run_id", "f" * 40)
    assert "another server answers than before, or it has restarted" in gate("status").stdout
    answer = gate_json("status")
    assert (answer["memory_lost_ms"], answer["memory_wait_ms"], answer["stopped"]) == (None, 60_000, True)
