"""Users with the rights of scripts/deploy: a worker can't do a person's acts, an operator can't claim an intent.

With GATE_TEST_ROLES=1 the other tests run by these rights, as .ci/run does once.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
import redis
from redis.exceptions import NoPermissionError

from gate import Outcome, Penalty, Policy, Reason, Settled, StoreError
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.servers.store import PrivateStore, Store, connect
from tests.servers.users import DEPLOY, line_of, url_of_user

ROLES = sorted(file.stem for file in DEPLOY.glob("*.acl"))
ROOMY = Policy(rate_symbol_limit=99, rate_global_limit=99)
ACTS: dict[str, Callable[[AnyGate], object]] = {
    "halt": lambda gate: gate.halt(by="ops", reason="test"),
    "halt all": lambda gate: gate.halt(by="ops", reason="test", scope="all"),
    "resume": lambda gate: gate.resume(by="ops", reason="test"),
    "reset": lambda gate: gate.reset("safe_mode", by="ops", reason="test"),
    "reset failures": lambda gate: gate.reset("failures", by="ops", reason="test"),
    "apply": lambda gate: gate.apply_policy(Policy(rate_global_limit=1_000), by="ops", reason="test"),
    "init": lambda gate: gate.init(by="ops", reason="test"),
}


@pytest.fixture
def halted(redis_client: redis.Redis, open_sync_gate: OpenGate) -> redis.Redis:
    """An account with a policy, a record, a halt, safe mode and a failure."""
    gate = open_sync_gate(ROOMY)
    assert gate.settle(at.admitted(gate.evaluate(at.entry("before", "ETHUSDT"))), Outcome.placed(1))
    gate.halt(by="alice", reason="CPI print")
    redis_client.set(at.SAFE_MODE, "1", ex=900)
    redis_client.lpush(at.FAILURES, 1)
    return redis_client


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("role", ["worker", "observer"])
def test_who_is_no_operator_can_do_no_act(
    role: str, act: str, halted: redis.Redis, store: Store, open_sync_gate: OpenGate
) -> None:
    held = at.contents(halted)
    gate = open_sync_gate(ROOMY, url=url_of_user(store, role))
    with pytest.raises(StoreError, match=r"DEL|permission"):
        ACTS[act](gate)
    assert at.contents(halted) == held


RAW: tuple[tuple[str, ...], ...] = (
    ("DEL", at.HALT),
    ("UNLINK", at.HALT),
    ("HSET", at.HALT, "scope", "entries"),
    ("HDEL", at.HALT, "scope"),
    ("SET", at.HALT, "1"),
    ("PEXPIRE", at.HALT, "1"),
    ("RENAME", at.HALT, "quantum:exec:lock:x"),
    ("COPY", "quantum:exec:state", at.HALT, "REPLACE"),
    ("SORT", at.FAILURES, "STORE", at.HALT),
    ("DEL", at.SAFE_MODE),
    ("PEXPIRE", at.SAFE_MODE, "1"),
    ("SET", at.SAFE_MODE, "0"),
    ("SET", at.COOLDOWN_GLOBAL, "0"),
    ("SET", at.COOLDOWN_SYMBOL, "0"),
    ("GETEX", at.SAFE_MODE, "PX", "1"),
    ("INCRBY", at.SAFE_MODE, "-1"),
    ("RENAMENX", at.SAFE_MODE, at.TRIP),
    ("RENAME", at.TRIP, at.SAFE_MODE),
    ("SET", at.APPLIED, "none"),
    ("DEL", at.APPLIED),
    ("RENAMENX", at.TRIP, at.APPLIED),
    ("RENAMENX", at.TRIP, at.HALT),
    ("XADD", at.AUDIT, "*", "what", "x"),
    ("XADD", at.AUDIT, "MAXLEN", "0", "*", "what", "x"),
    ("DEL", at.STATE),
    ("DEL", at.FAILURES),
    ("DEL", at.RATE_GLOBAL),
    ("DEL", at.AUDIT),
    ("XTRIM", at.AUDIT, "MAXLEN", "0"),
    ("HDEL", "quantum:safety:reasons", "safe_mode"),
    ("SET", "other:exec:processed:x", "1"),
    ("GET", "other:exec:state"),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("SWAPDB", "0", "1"),
    ("KEYS", "*"),
    ("EVAL", "return redis.call('DEL', KEYS[1])", "1", at.HALT),
    ("FUNCTION", "LOAD", "#!lua name=x\nredis.register_function('x', function() end)"),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "KILL"),
    ("CONFIG", "SET", "maxmemory", "1mb"),
    ("ACL", "SETUSER", "gate-worker-quantum", "allkeys"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "LIST"),
    ("MONITOR",),
    ("REPLICAOF", "NO", "ONE"),
    ("SHUTDOWN", "NOSAVE"),
)


@pytest.mark.parametrize("command", RAW, ids=" ".join)
@pytest.mark.parametrize("role", ["worker", "observer"])
def test_a_worker_can_not_by_a_command_of_its_own(
    role: str, command: tuple[str, ...], halted: redis.Redis, store: Store
) -> None:
    held = at.contents(halted)
    with connect(url_of_user(store, role)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)
    assert at.contents(halted) == held


@pytest.mark.parametrize(
    "does",
    [
        "redis.call('DEL', KEYS[1])",
        "redis.call('HSET', KEYS[1], 'scope', 'none')",
        "redis.call('SET', KEYS[1], '')",
        "redis.call('RENAME', KEYS[2], KEYS[1])",
        "redis.setresp(3); redis.call('UNLINK', KEYS[1])",
        "redis.call('COPY', KEYS[2], KEYS[1], 'REPLACE')",
    ],
)
@pytest.mark.parametrize("role", ["worker", "observer"])
def test_a_worker_can_not_by_a_script_of_its_own(role: str, does: str, halted: redis.Redis, store: Store) -> None:
    """The clause that lets it call scripts on all keys grants nothing to the commands in them."""
    held = at.contents(halted)
    with connect(url_of_user(store, role)) as client:
        sha = client.execute_command("SCRIPT", "LOAD", f"#!lua flags=\n{does} return 1")
        with pytest.raises(redis.ResponseError, match=r"ACL|permission|can't access|can't run"):
            client.execute_command("EVALSHA", sha, 2, at.HALT, at.STATE)
    assert at.contents(halted) == held


FORGED = " ".join(("", *(f"{name}={text}" for name, text in Policy(rate_global_limit=1_000).texts().items()), ""))


@pytest.mark.parametrize("exits", [False, True])
def test_a_worker_can_not_replace_the_policy_that_a_person_has_applied(
    exits: bool, redis_client: redis.Redis, store: Store, open_sync_gate: OpenGate
) -> None:
    applied = Policy(rate_global_limit=1, rate_global_window_ms=120_000)
    open_sync_gate(url=url_of_user(store, "operator")).apply_policy(applied, by="ann", reason="test")
    wide = Policy(rate_global_limit=1_000)
    with connect(url_of_user(store, "worker")) as client:
        client.hset(at.STATE, mapping={"policy": wide.fingerprint, "figures": FORGED})
        client.hdel(at.STATE, "policy_by")
    following, pinned = (open_sync_gate(each, url=url_of_user(store, "worker")) for each in (None, wide))
    assert pinned.evaluate(at.entry()).reason is Reason.POLICY_MISMATCH
    at.admitted(following.evaluate(at.intent(exits)))
    assert following.policy == applied
    assert following.evaluate(at.entry("sig-2", "ETHUSDT")).reason is Reason.RATE_GLOBAL
    in_force, status = following.policy_in_force(), following.status()
    assert in_force is not None
    assert (in_force.policy, in_force.by) == (applied, "ann")
    assert (status.policy, status.policy_in_force) == (applied, applied.fingerprint)


def test_the_first_admission_of_a_worker_puts_a_policy_in_force_until_a_person_applies_one(
    redis_client: redis.Redis, store: Store, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY, url=url_of_user(store, "worker"))
    at.admitted(gate.evaluate(at.entry()))
    assert open_sync_gate(Policy()).evaluate(at.entry("sig-2")).reason is Reason.POLICY_MISMATCH
    open_sync_gate(url=url_of_user(store, "operator")).apply_policy(Policy(), by="ann", reason="test")
    assert gate.evaluate(at.entry("sig-2", "ETHUSDT")).reason is Reason.POLICY_MISMATCH


def test_the_trips_of_a_worker_bind_and_are_noted_where_it_may_write(
    redis_client: redis.Redis, store: Store, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY, url=url_of_user(store, "worker"))
    penalty = Penalty(cooldown_symbol_ms=60_000, cooldown_global_ms=70_000, safe_mode=True)
    permit = at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(permit, Outcome.rejected(-2019, "Margin", penalty=penalty)).tripped_safe_mode
    for key, longest_ms in ((at.SAFE_MODE, 900_000), (at.COOLDOWN_SYMBOL, 60_000), (at.COOLDOWN_GLOBAL, 70_000)):
        assert redis_client.get(key) == b"1"
        assert longest_ms - 20_000 < redis_client.pttl(key) <= longest_ms
    assert not redis_client.exists(at.TRIP)
    denied = gate.evaluate(at.entry("sig-2"))
    assert (denied.reason, "BTCUSDT: -2019 Margin" in denied.detail) == (Reason.SAFE_MODE, True)
    assert [each["what"] for each in at.audit(redis_client)] == [
        *("trip safe_mode", "trip cooldown_symbol BTCUSDT", "trip cooldown_global"),
    ]
    assert not redis_client.exists(at.AUDIT)


def test_a_worker_trips_what_a_person_has_set_to_0_and_leaves_a_shorter_stop_as_it_is(
    redis_client: redis.Redis, store: Store, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY, url=url_of_user(store, "worker"))
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.set(at.COOLDOWN_SYMBOL, "0")
    redis_client.set(at.SAFE_MODE, "by hand", ex=100)
    redis_client.lpush(at.FAILURES, 1)
    penalty = Penalty(cooldown_symbol_ms=60_000, safe_mode=True)
    assert not gate.settle(permit, Outcome.rejected(-2019, "Margin", penalty=penalty)).tripped_safe_mode
    assert (redis_client.get(at.COOLDOWN_SYMBOL), redis_client.get(at.SAFE_MODE)) == (b"1", b"by hand")
    assert redis_client.ttl(at.SAFE_MODE) <= 100
    assert redis_client.exists(at.FAILURES), "they trip safe mode again once the shorter one has ended"


def test_a_worker_that_trips_a_0_which_soon_ends_counts_its_failures_until_a_trip_lasts(
    redis_client: redis.Redis, store: Store, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY, url=url_of_user(store, "worker"))
    failed = Outcome.rejected(-2019, "Margin", penalty=Penalty(count_failure=True))
    redis_client.set(at.SAFE_MODE, "0", px=100_000)
    permits = [at.admitted(gate.evaluate(at.entry(f"sig-{number}", f"C{number}USDT"))) for number in range(6)]
    assert [gate.settle(each, failed).tripped_safe_mode for each in permits[:5]] == [False] * 4 + [True]
    assert redis_client.get(at.SAFE_MODE) == b"1"
    assert redis_client.pttl(at.SAFE_MODE) <= 100_000, "a worker can't make it longer"
    assert redis_client.llen(at.FAILURES) == 4
    redis_client.delete(at.SAFE_MODE)  # its short time is over
    assert gate.settle(permits[5], failed).tripped_safe_mode
    assert redis_client.pttl(at.SAFE_MODE) > 800_000
    assert not redis_client.exists(at.FAILURES)


def test_who_looks_for_what_was_settled_as_absent_reads_what_workers_note(
    redis_client: redis.Redis, store: Store, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(ROOMY, url=url_of_user(store, "worker"))
    assert gate.settle(at.admitted(gate.evaluate(at.entry())), Outcome.rejected("NOT_PLACED", "absent"))
    [absence] = gate.absences(60_000)
    assert absence.permit is not None
    assert absence.permit.intent_id == "sig-1"


def test_an_operator_does_every_act_and_the_audit_names_who_it_was(
    halted: redis.Redis, store: Store, open_gate: OpenGate
) -> None:
    gate = open_gate(url=url_of_user(store, "operator", name="alice"))
    assert gate.status().halt is not None
    for act in ACTS.values():
        act(gate)
    entries = at.audit(halted)[-len(ACTS) :]
    assert {each["by"] for each in entries} == {"ops"}, "the name that was claimed"
    assert {each["user"] for each in entries} == {"alice"}, "the name that the server knows"
    copies = gate.halt(by="bob", reason="another name").copies
    assert copies is not None
    assert not copies.doubt, "the waits for replicas and disk are among an operator's rights"


@pytest.mark.outside_roles("a halt by a user of the role is in the audit by that name")
def test_the_audit_names_the_user_that_every_connection_has_by_default(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    open_gate().halt(by="ops", reason="test")
    assert at.audit(redis_client)[-1]["user"] == "default"


def test_an_operator_whose_name_the_server_does_not_tell_can_halt_all_the_same(
    redis_client: redis.Redis, store: Store, open_gate: OpenGate
) -> None:
    url = url_of_user(store, "operator", name="nameless", more=("-acl|whoami", "-wait", "-info"))
    assert open_gate(url=url).halt(by="ops", reason="test").changed == ("entries",)
    assert at.audit(redis_client)[-1]["user"] == ""


def test_an_operator_can_not_claim_an_intent(redis_client: redis.Redis, store: Store, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY, url=url_of_user(store, "operator"))
    held = at.contents(redis_client)
    assert gate.evaluate(at.entry()).reason is Reason.STORE_ERROR
    assert at.contents(redis_client) == held
    verdict = gate.evaluate(at.exit_())
    assert (verdict.admitted, verdict.reason) == (False, Reason.STORE_ERROR)
    assert not redis_client.exists(at.RECORD)


def test_what_an_observer_does_changes_nothing_for_others(
    redis_client: redis.Redis, store: Store, open_gate: OpenGate
) -> None:
    held = at.contents(redis_client)
    observing = Policy(mode="observe")
    gate = open_gate(observing, url=url_of_user(store, "observer"))
    verdict = gate.evaluate(at.entry())
    assert verdict.permit is not None, verdict
    assert gate.settle(verdict.permit, Outcome.placed(1)).status in (Settled.SETTLED, Settled.OBSERVED)
    now = at.contents(redis_client)
    assert {name: now[name] for name in held} == held
    assert all(name.startswith("quantum:observe:") for name in now.keys() - held.keys())
    with connect(url_of_user(store, "observer")) as client, pytest.raises(NoPermissionError):
        client.set(at.RECORD, "1")


def test_with_one_clause_more_a_workers_loss_of_memory_halts(
    redis_client: redis.Redis, store: Store, open_gate: OpenGate
) -> None:
    """What `after_memory_loss = "halt"` needs."""
    policy = Policy(after_memory_loss="halt")
    url = url_of_user(store, "worker", name="halting", more=(f"(+renamenx ~{at.TRIP} %W~{at.HALT})",))
    gate = open_gate(policy, url=url)
    assert gate.settle(at.admitted(gate.evaluate(at.entry())), Outcome.placed(1))
    redis_client.hset(at.STATE, "run_id", "f" * 40)
    assert gate.evaluate(at.entry("next")).reason is Reason.MEMORY_YOUNG
    assert gate.evaluate(at.entry("after", "ETHUSDT")).reason in (Reason.HALTED, Reason.MEMORY_YOUNG)
    assert redis_client.hget(at.HALT, "by") == b"gate"
    with pytest.raises(StoreError):
        gate.resume(by="ops", reason="test")


def test_without_that_clause_no_entry_passes_after_a_loss(
    redis_client: redis.Redis, store: Store, open_gate: OpenGate
) -> None:
    gate = open_gate(Policy(after_memory_loss="halt"), url=url_of_user(store, "worker"))
    assert gate.settle(at.admitted(gate.evaluate(at.entry())), Outcome.placed(1))
    redis_client.hset(at.STATE, "run_id", "f" * 40)
    for number in range(3):
        assert not gate.evaluate(at.entry(f"next-{number}", "ETHUSDT")).admitted


def test_a_producer_appends_intents_and_nothing_else(halted: redis.Redis, store: Store) -> None:
    stream = "quantum:stream:trade.intent"
    held = at.contents(halted)
    with connect(url_of_user(store, "producer")) as client:
        for command in (*RAW, ("GET", at.RECORD), ("XADD", at.AUDIT, "*", "what", "x"), ("XRANGE", stream, "-", "+")):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)
        with pytest.raises(NoPermissionError):
            client.execute_command("EVALSHA", "0" * 40, 1, at.HALT)
        assert at.contents(halted) == held
        assert client.xadd(stream, {"id": "sig-1"})


def test_a_worker_serves_a_stream_and_leaves_others_alone(redis_client: redis.Redis, store: Store) -> None:
    stream, answers = "quantum:stream:trade.intent", "quantum:stream:execution.result"
    with connect(url_of_user(store, "producer")) as producer:
        sent = producer.xadd(stream, {"id": "sig-1"})
    with connect(url_of_user(store, "worker")) as client:
        client.xgroup_create(stream, "gate", id="0", mkstream=True)
        assert client.xreadgroup("gate", "one", {stream: ">"})
        assert client.xpending_range(stream, "gate", "-", "+", 10)
        client.xautoclaim(stream, "gate", "two", min_idle_time=0)
        client.xclaim(stream, "gate", "one", 0, [sent], justid=True)
        client.xadd(answers, {"id": "sig-1"}, maxlen=10)
        client.set("quantum:stream:answered:sig-1", "1", px=1_000)
        client.zadd("quantum:stream:order:open", {"g-1": 1})
        client.zremrangebyrank("quantum:stream:order:open", 0, -2_001)
        client.pexpire("quantum:stream:order:open", 1_000)
        client.zrem("quantum:stream:order:open", "g-1")
        assert client.xack(stream, "gate", sent) == 1
        assert client.xinfo_groups(stream)
        client.xgroup_delconsumer(stream, "gate", "one")
        with pytest.raises(NoPermissionError):
            client.xadd("other:stream:trade.intent", {"id": "sig-1"})
        with pytest.raises(NoPermissionError):
            client.delete(stream)


def test_a_server_starts_with_these_lines(new_private_store: Callable[..., PrivateStore]) -> None:
    lines = [line_of(role, "{acct7}", f"gate-{role}") for role in ROLES]
    # As arguments, not as a file: a server in a container doesn't see one.
    store = new_private_store(*(word for line in lines for word in ("--user", *line.split()[1:])))
    with store.client() as client:
        assert {each.split()[1] for each in client.acl_list()} == {"default", *(f"gate-{role}" for role in ROLES)}


@pytest.mark.parametrize(
    ("words", "word", "said"),
    [
        (("worker", "quantum*"), "x" * 32, "the prefix may have letters"),
        (("worker", "a) +@all ~*"), "x" * 32, "the prefix may have letters"),
        (("worker", "quantum", "a b"), "x" * 32, "the name may have letters"),
        (("root",), "x" * 32, "there is no role root"),
        (("../acl",), "x" * 32, "there is no role"),
        (("worker",), "short", "fewer than 16 characters"),
        (("worker",), "", "no password"),
    ],
)
def test_a_line_that_would_grant_more_is_not_made(words: tuple[str, ...], word: str, said: str) -> None:
    done = subprocess.run([str(DEPLOY / "acl"), *words], input=word, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_password_stands_in_the_line_as_its_hash_alone() -> None:
    done = subprocess.run(
        [str(DEPLOY / "acl"), "worker"], input="QXZQ" * 8, capture_output=True, text=True, timeout=30, check=True
    )
    assert "QXZQ" not in done.stdout + done.stderr
