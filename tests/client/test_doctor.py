"""The doctor says what is wrong with an account and its store, and proves on the spot that every guard denies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

import gate.client.doctor
import gate.client.proof
from gate import Check, Diagnosis, Gate, Grade, Policy, Reason, StoreUnavailable
from gate.client.caller import Caller
from gate.client.proof import prove
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Command, Pipeline
from gate.store.connect import connect
from gate.store.wire import Dialogue
from gate.values.guards import GUARDS, Exits, Guard
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.store import PrivateStore, Store
from tests.servers.store import connect as connect_to
from tests.servers.users import url_of_user

T = TypeVar("T")
WAIT = "; after that, entries wait as after a loss of memory"
ENDS = ". gate reset ends a trip whose cause is gone"
PROVEN = f"proven now: each of the {len(GUARDS)} denies, and an exit passes all that it must"


def carried(store: Store, dialogue: Dialogue[T]) -> T:
    """The result of a dialogue with the store."""
    wire, _ = connect(store.url, Keyspace())
    with closing(wire):
        message = next(dialogue)
        while True:
            try:
                message = dialogue.send(wire.round_trip(message))
            except StopIteration as done:
                result: T = done.value
                return result


@pytest.mark.parametrize(("sync", "told"), [("no", True), ("everysec", False), ("always", False)])
def test_a_disk_that_is_written_whenever_the_host_likes_is_a_warning(
    sync: str, told: bool, new_private_store: Callable[..., PrivateStore], open_sync_gate: OpenGate
) -> None:
    store = new_private_store("--appendonly", "yes", "--appendfsync", sync)
    found = of(open_sync_gate(url=store.url).diagnose(proof=False), "disk")
    assert [grade for grade, _ in found] == [Grade.WARNING] * told
    assert all("set appendfsync everysec or always" in says for _, says in found)


def test_who_may_not_ask_for_the_servers_settings_is_told_nothing_of_them(
    new_private_store: Callable[..., PrivateStore], open_sync_gate: OpenGate
) -> None:
    store = new_private_store("--appendonly", "yes", "--appendfsync", "no")
    found = open_sync_gate(url=url_of_user(store, "operator")).diagnose(proof=False)
    assert of(found, "disk") == []


@pytest.fixture
def user_without(store: Store, redis_client: redis.Redis) -> Iterator[Callable[[str], str]]:
    """Takes one command from a user with all rights, and gives that user's URL."""

    def take(command: str) -> str:
        redis_client.acl_setuser("short", enabled=True, reset=True, nopass=True, keys=["*"], categories=["+@all"])
        redis_client.execute_command("ACL", "SETUSER", "short", f"-{command}")
        parts = urlsplit(store.url)
        return urlunsplit(parts._replace(netloc=f"short:any@{parts.hostname}:{parts.port}"))

    yield take
    redis_client.acl_deluser("short")


def of(found: Diagnosis, what: str) -> list[tuple[Grade, str]]:
    return [(each.grade, each.says) for each in found.checks if each.what == what]


def one(found: Diagnosis, what: str) -> tuple[Grade, str]:
    [only] = of(found, what)
    return only


NO_POLICY = (
    "none is in force yet; the first admitted entry brings its caller's; "
    "one applied before a loss of memory is forgotten: gate policy apply"
)


def test_a_policy_that_a_loss_may_have_taken_is_a_warning(open_gate: OpenGate, redis_client: redis.Redis) -> None:
    gate_ = open_gate()
    gate_.apply_policy(Policy(after_memory_loss="halt"), by="ops", reason="test")
    assert one(gate_.diagnose(proof=False), "policy")[0] is Grade.OK
    redis_client.flushall()
    assert one(open_gate().diagnose(proof=False), "policy") == (Grade.WARNING, NO_POLICY)


def test_an_account_that_is_well(open_gate: OpenGate) -> None:
    found = open_gate().diagnose()
    assert found
    assert one(found, "memory") == (Grade.OK, "whole")
    assert one(found, "policy") == (Grade.OK, NO_POLICY)
    assert one(found, "keys") == (Grade.OK, "1 looked at: each has its type, and no lock or switch lasts for ever")
    assert one(found, "rights") == (Grade.OK, "this user may do all that verdicts and settlements need")
    assert one(found, "guards") == (Grade.OK, PROVEN)
    assert one(found, "clock")[0] is Grade.OK
    assert one(found, "replicas") == (Grade.OK, "none is connected: what this server and its disk lose is lost")
    assert {each.what for each in found.of_grade(Grade.WARNING)} <= {"server"}


# The proof.

FIGURES = [
    Policy(),
    Policy(rate_symbol_limit=3, rate_global_limit=2, max_in_flight=1, failure_limit=1, lock_ttl_ms=2_000),
    Policy(rate_symbol_limit=100_000, rate_global_limit=100_000, max_in_flight=100_000, failure_limit=100_000),
    Policy(rate_symbol_window_ms=1, rate_global_window_ms=1, failure_window_ms=1, max_age_ms=1, skew_ms=0),
    Policy(max_age_ms=1, lock_ttl_ms=10, dedup_ttl_ms=11),
    Policy(skew_ms=0, max_age_ms=2_591_999_000, lock_ttl_ms=1_000, dedup_ttl_ms=2_592_000_000),
    Policy(lock_ttl_ms=2_591_999_999, max_age_ms=1, dedup_ttl_ms=2_592_000_000),
    Policy(mode="observe", after_memory_loss="halt"),
]


@pytest.mark.parametrize("policy", FIGURES, ids=str)
def test_every_guard_denies_with_any_figures_and_nothing_is_left_behind(
    policy: Policy, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(policy)
    held = at.contents(redis_client)
    assert one(gate.diagnose(), "guards") == (Grade.OK, PROVEN)
    assert at.contents(redis_client) == held


def test_a_proof_writes_a_hundred_entries_at_most() -> None:
    proven = gate.client.proof._as_proven(FIGURES[2])
    limits = (proven.rate_symbol_limit, proven.rate_global_limit, proven.failure_limit, proven.max_in_flight)
    assert limits == (100, 100, 100, 100)


def test_the_proof_asks_each_guard_and_exits_past_each_stop(store: Store, redis_client: redis.Redis) -> None:
    shown = carried(store, prove("quantum", Policy()))
    assert [(each.what, each.said) for each in shown] == [
        ("an entry, with nothing on", "ADMITTED"),
        *((guard.name, guard.reason.value) for guard in GUARDS),
        ("an exit, with every stop on", "ADMITTED"),
        ("an exit, halted too", "HALTED"),
    ]


def test_every_stop_is_on_when_the_exit_passes(store: Store, redis_client: redis.Redis) -> None:
    """The same state denies an entry by each guard that an exit needn't heed."""
    caller = Caller("quantum:doctor", Policy())
    state = gate.client.proof._State(caller, at.server_ms(redis_client), "")
    [stops] = [part for part in gate.client.proof._parts(state) if part[0] == "an exit, with every stop on"]

    def prepare() -> Dialogue[None]:
        yield Pipeline(stops[2])

    run_id = redis_client.info("server")["run_id"]
    redis_client.hset(caller.keyspace.state, mapping={"fence": 1, "since": 1, "run_id": run_id})
    carried(store, prepare())
    with Gate.from_url(store.url, prefix="quantum:doctor") as asked:
        guards = asked.inspect(at.entry("proof", timestamp=at.server_ms(redis_client))).guards
    needless = {guard.name for guard in GUARDS if guard.exits is not Exits.APPLY}
    assert {each.guard for each in guards if not each.passed} == needless


def test_a_guard_that_does_not_deny_is_wrong(open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tuple(
        Guard(each.name, Reason.RATE_GLOBAL, each.key, each.exits) if each.name == "lock" else each for each in GUARDS
    )
    monkeypatch.setattr(gate.client.proof, "GUARDS", other)
    found = open_gate().diagnose()
    assert of(found, "guards") == [
        (Grade.WRONG, "lock: RATE_GLOBAL was expected, and the verdict was LOCKED"),
    ]
    assert not found


def test_without_the_proof_nothing_is_written(redis_client: redis.Redis, open_sync_gate: OpenGate) -> None:
    gate = open_sync_gate()
    before = redis_client.info("commandstats")
    assert of(gate.diagnose(proof=False), "guards") == []
    written = set(redis_client.info("commandstats")) - set(before)
    assert not written & {"cmdstat_hset", "cmdstat_del", "cmdstat_set", "cmdstat_evalsha"}


@pytest.mark.parametrize("role", ["worker", "operator"])
def test_who_may_not_write_below_the_prefix_is_told_that(role: str, store: Store, open_sync_gate: OpenGate) -> None:
    found = open_sync_gate(url=url_of_user(store, role)).diagnose()
    grade, says = one(found, "guards")
    assert grade is Grade.WARNING
    assert says.startswith("not proven: ")
    assert says.endswith(". The proof writes below quantum:doctor-…, so it needs an administrator's user")


@pytest.mark.parametrize("command", ["del", "hset", "lpush"])
def test_a_user_that_may_not_delete_or_write_leaves_nothing_behind(
    command: str, user_without: Callable[[str], str], redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    held = at.contents(redis_client)
    grade, says = one(open_sync_gate(url=user_without(command)).diagnose(), "guards")
    assert (grade, at.contents(redis_client)) == (Grade.WARNING, held)
    assert "administrator" in says


def test_scripts_that_are_flushed_meanwhile_are_loaded_again(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gate.client.proof._State.whole

    def flushed_first(state: gate.client.proof._State) -> Command:
        redis_client.script_flush()
        return whole(state)

    monkeypatch.setattr(gate.client.proof._State, "whole", flushed_first)
    shown = carried(store, prove("quantum", Policy()))
    assert len(shown) == len(GUARDS) + 3
    assert all(each.holds for each in shown)


def test_a_server_that_refuses_writes_is_wrong_and_all_else_is_told(
    new_private_store: Callable[..., Store], open_sync_gate: OpenGate
) -> None:
    url = new_private_store("--min-replicas-to-write", "3").url
    found = open_sync_gate(url=url).diagnose()
    grade, says = one(found, "guards")
    assert grade is Grade.WRONG
    assert says.startswith("not proven, and an admission would fail alike: ")
    assert one(found, "clock")[0] is Grade.OK
    assert not found


def test_a_full_server_is_wrong_with_and_without_the_proof(
    new_private_store: Callable[..., Store], open_sync_gate: OpenGate
) -> None:
    doctor = open_sync_gate(url=new_private_store("--maxmemory", "1", "--maxmemory-policy", "noeviction").url)
    for proof in (True, False):
        found = doctor.diagnose(proof=proof)
        [says] = [says for grade, says in of(found, "server") if grade is Grade.WRONG]
        assert says.startswith("the server's memory is full: it takes no verdict")
        assert not found
    assert one(doctor.diagnose(), "guards")[0] is Grade.WRONG
    roomy = open_sync_gate(url=new_private_store("--maxmemory", "900mb", "--maxmemory-policy", "noeviction").url)
    assert roomy.diagnose(proof=False)


def test_a_damaged_halt_is_told_as_a_halt_and_as_a_key(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.set(at.HALT, "1")
    found = open_gate().diagnose(proof=False)
    assert one(found, "keys")[0] is Grade.WRONG
    assert one(found, "halt")[0] is Grade.WARNING
    assert of(found, "stops") == []


def test_the_clock_is_compared_with_the_middle_of_the_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1_000_000_000, 1_400_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    dialogue = gate.client.doctor._clock_apart()
    next(dialogue)
    with pytest.raises(StopIteration) as ended:
        dialogue.send([b"1", b"200000"])
    assert ended.value.value == 0


def test_a_replica_is_wrong(new_private_store: Callable[..., PrivateStore], open_sync_gate: OpenGate) -> None:
    primary, replica = new_private_store(), new_private_store()
    parts = urlsplit(primary.url)
    with connect_to(replica.url) as client:
        client.execute_command("REPLICAOF", parts.hostname, parts.port)
    found = open_sync_gate(url=replica.url).diagnose(proof=False)
    says = "the server is a replica, which takes no verdict; give the URL of its primary"
    assert (Grade.WRONG, says) in of(found, "server")
    assert not found


@pytest.mark.parametrize("command", ["type", "pttl"])
def test_a_key_that_cannot_be_looked_at_is_not_called_well(
    command: str, user_without: Callable[[str], str], redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    redis_client.set(at.RECORD, "1")
    grade, says = of(open_sync_gate(url=user_without(command)).diagnose(proof=False), "keys")[0]
    assert grade is Grade.WARNING
    assert says.startswith("the account's keys couldn't be looked through: ")


def test_a_server_that_says_nothing_of_itself_is_a_warning(
    user_without: Callable[[str], str], open_sync_gate: OpenGate
) -> None:
    grade, says = one(open_sync_gate(url=user_without("info")).diagnose(proof=False), "server")
    assert grade is Grade.WARNING
    assert says.endswith("its version, eviction and append-only file are unknown: grant INFO")


def test_a_prefix_without_room_for_another_is_told_so(open_gate: OpenGate) -> None:
    grade, says = one(open_gate(prefix="x" * 90).diagnose(), "guards")
    assert grade is Grade.WARNING
    assert says.startswith("not proven: prefix: ")
    assert "leaves no room for a prefix below it" in says


# What may be wrong.


def test_damage_and_what_stays_on_for_ever_are_wrong_and_named_once(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.set(at.RATE_GLOBAL, "1")
    redis_client.set(at.LOCK, "1")
    redis_client.set(at.RECORD, "1")
    redis_client.set(at.AUDIT, "1")
    found = open_gate().diagnose()
    said = of(found, "keys")
    assert [grade for grade, _ in said] == [Grade.WRONG] * 4
    for key in (at.RATE_GLOBAL, at.LOCK, at.RECORD, at.AUDIT):
        assert sum(says.startswith(key) for _, says in said) == 1
    assert not found


def test_a_switch_that_a_hand_has_set_without_a_time(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.set(at.COOLDOWN_SYMBOL, "a reason", px=100_000)
    assert one(open_gate().diagnose(proof=False), "keys")[0] is Grade.OK
    redis_client.persist(at.COOLDOWN_SYMBOL)
    grade, says = one(open_gate().diagnose(proof=False), "keys")
    assert says.startswith(at.COOLDOWN_SYMBOL)
    assert grade is not Grade.OK


def test_of_many_keys_ten_are_named(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    for number in range(14):
        redis_client.set(f"quantum:exec:processed:{number}", "1")
    said = of(open_gate().diagnose(proof=False), "keys")
    assert len(said) == 11
    assert said[-1] == (Grade.WRONG, "4 more; gate leftovers and gate status name them")


def test_a_key_of_a_name_that_the_gate_does_not_have_is_a_warning(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.set("quantum:exec:somebodys", "1")
    found = open_gate().diagnose(proof=False)
    assert one(found, "keys")[0] is Grade.WARNING
    assert found


def test_a_lock_of_the_replaced_system_that_lapses_by_itself_is_fine(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.set(at.LOCK, "1", px=20_000)
    assert one(open_gate().diagnose(proof=False), "keys")[0] is Grade.OK


def test_without_the_right_to_scan_it_says_what_a_look_at_single_keys_shows(
    store: Store, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    redis_client.zadd("quantum:symbols", {"BTCUSDT": at.server_ms(redis_client)})
    redis_client.set(at.RATE_GLOBAL, "1")
    redis_client.set(at.LOCK, "1")
    redis_client.set(at.SAFE_MODE, "1")
    redis_client.set(at.AUDIT, "1")
    found = open_sync_gate(url=url_of_user(store, "worker", more=("-scan",))).diagnose(proof=False)
    lasts = "has no time to live: it stays on until a person's DEL"
    assert of(found, "keys")[1:] == [
        (Grade.WARNING, f"{at.SAFE_MODE} {lasts}"),
        (Grade.WRONG, f"{at.LOCK} {lasts}"),
        (Grade.WRONG, f"{at.RATE_GLOBAL}: a string, where a list belongs; DEL clears it{WAIT}"),
        (Grade.WRONG, f"{at.AUDIT}: a string, where a stream belongs; DEL clears it"),
    ]


def test_who_may_not_scan_is_told_what_nobody_looked_at(store: Store, open_sync_gate: OpenGate) -> None:
    found = open_sync_gate(url=url_of_user(store, "worker", more=("-scan",))).diagnose()
    [(grade, says)] = of(found, "keys")
    assert grade is Grade.WARNING
    assert says.startswith("the account's keys couldn't be looked through: ")


def test_another_policy_is_wrong_and_figures_at_odds_are_a_warning(open_gate: OpenGate) -> None:
    gate = open_gate(Policy(lock_ttl_ms=4_000))
    assert gate.apply_policy(by="ops", reason="as deployed").audited
    found = gate.diagnose(proof=False)
    assert [grade for grade, _ in of(found, "policy")] == [Grade.OK, Grade.WARNING]
    assert "lock_ttl_ms 4000" in of(found, "policy")[1][1]
    found = open_gate(Policy()).diagnose(proof=False)
    assert of(found, "policy")[0][0] is Grade.WRONG
    assert "POLICY_MISMATCH: lock_ttl_ms 4000 in force, 30000 here" in of(found, "policy")[0][1]


def test_a_halt_a_stop_and_an_intent_in_doubt_are_warnings(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(lock_ttl_ms=30_000))
    at.admitted(gate.evaluate(at.entry()))
    [member] = at.in_flight(redis_client)
    redis_client.zadd(at.INFLIGHT, {f"250000000:{member}": 1})
    redis_client.set(at.SAFE_MODE, "a hand", px=100_000)
    gate.halt(by="ops", reason="CPI print", scope="all")
    found = gate.diagnose(proof=False)
    assert one(found, "halt") == (Grade.WARNING, "by ops: CPI print; exits too. gate resume ends it")
    assert one(found, "stops") == (Grade.WARNING, f"entries are stopped for the whole account: safe_mode a hand{ENDS}")
    assert one(found, "in doubt") == (
        Grade.WARNING,
        "an intent may have an order; gate reconcile asks the exchange",
    )
    assert found


def test_a_memory_that_is_new_says_for_how_long_and_one_of_nothing_asks_for_the_account(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.hset(at.STATE, "lost", at.server_ms(redis_client))
    grade, says = one(open_gate().diagnose(proof=False), "memory")
    assert grade is Grade.WARNING
    assert says.startswith("entries wait 60 s, exits pass: new: ")
    assert of(open_gate().diagnose(proof=False), "stops") == []
    redis_client.delete(at.STATE)
    grade, says = one(open_gate().diagnose(proof=False), "memory")
    assert grade is Grade.WARNING
    assert says.startswith("no gate has ever run under the prefix quantum here: is it the right account?")


def test_many_exits_without_an_outcome_are_a_warning(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    later_ms = at.server_ms(redis_client) + 60_000
    redis_client.zadd(at.EXITS, {f"0:exit-{number}": later_ms for number in range(1_000)})
    assert of(open_gate().diagnose(proof=False), "in doubt") == []
    redis_client.zadd(at.EXITS, {"0:one-more": later_ms})
    says = "1001 exits have no outcome; gate reconcile settles them"
    assert one(open_gate().diagnose(proof=False), "in doubt") == (Grade.WARNING, says)


def test_observers_are_a_warning(open_gate: OpenGate) -> None:
    open_gate(Policy(mode="observe")).evaluate(at.entry())
    grade, says = one(open_gate().diagnose(proof=False), "observers")
    assert (grade, says) == (Grade.WARNING, "a caller observes: nothing but a halt holds back what it sends")


@pytest.mark.parametrize(
    ("off_ms", "grade"), [(900, Grade.OK), (-2_500, Grade.WARNING), (2_500, Grade.WARNING), (-6_500, Grade.WRONG)]
)
def test_a_clock_that_is_off(
    off_ms: int, grade: Grade, open_sync_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor = open_sync_gate()
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() - off_ms * 1_000_000)
    assert one(doctor.diagnose(proof=False), "clock")[0] is grade


def test_a_server_that_evicts_or_keeps_nothing(
    new_private_store: Callable[..., Store], open_sync_gate: OpenGate
) -> None:
    url = new_private_store(*("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no")).url
    found = open_sync_gate(url=url).diagnose()
    assert [grade for grade, _ in of(found, "server")][:3] == [Grade.OK, Grade.WRONG, Grade.WARNING]
    assert "set maxmemory-policy noeviction" in of(found, "server")[1][1]
    assert one(found, "guards") == (Grade.OK, PROVEN)
    assert not found


def test_a_user_that_lacks_a_right_of_a_worker(user_without: Callable[[str], str], open_sync_gate: OpenGate) -> None:
    found = open_sync_gate(url=user_without("zadd")).diagnose()
    grade, says = one(found, "rights")
    assert grade is Grade.WARNING
    assert says == "this user lacks ZADD quantum:exec:inflight: a worker with it gets no entry admitted"
    assert one(found, "guards")[0] is Grade.WARNING


@pytest.mark.parametrize(
    ("rules", "lacks"),
    [
        ([f"(+hset ~{at.TRIP})", "-renamenx"], f"RENAMENX {at.TRIP}"),
        ([f"(+hset ~{at.TRIP})", "-del", "(+del ~quantum:exec:processed:* ~quantum:exec:lock:*)"], f"DEL {at.TRIP}"),
        ([], f"HSET {at.TRIP}"),
    ],
    ids=["RENAMENX", "DEL", "HSET"],
)
def test_a_user_that_can_not_halt_after_a_loss_though_the_policy_wants_that(
    rules: list[str],
    lacks: str,
    user_without: Callable[[str], str],
    redis_client: redis.Redis,
    open_sync_gate: OpenGate,
) -> None:
    url = user_without("hset")
    redis_client.execute_command("ACL", "SETUSER", "short", f"(+hset ~{at.STATE} ~{at.REASONS})", *rules)

    def told(after_memory_loss: str) -> tuple[Grade, str]:
        policy = Policy(after_memory_loss=after_memory_loss)
        return one(open_sync_gate(policy, url=url).diagnose(proof=False), "rights")

    grade, says = told("halt")
    assert grade is Grade.WARNING
    assert says.startswith(f"this user lacks {lacks}, by which after_memory_loss = halt halts")
    assert told("verify")[0] is Grade.OK


def test_who_may_write_the_halt_needs_no_other_right_to_halt_after_a_loss(
    user_without: Callable[[str], str], open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate(Policy(after_memory_loss="halt"), url=user_without("renamenx"))
    assert one(gate.diagnose(proof=False), "rights")[0] is Grade.OK


def test_the_clause_of_worker_acl_is_all_that_halting_after_a_loss_takes(store: Store, open_gate: OpenGate) -> None:
    halting = Policy(after_memory_loss="halt")
    clause = f"(+renamenx ~{at.TRIP} %W~{at.HALT})"
    urls = url_of_user(store, "worker"), url_of_user(store, "worker", name="halting", more=(clause,))
    without, with_it = (one(open_gate(halting, url=url).diagnose(proof=False), "rights")[0] for url in urls)
    assert (without, with_it) == (Grade.WARNING, Grade.OK)


def test_a_server_that_does_not_say_which_one_it_is_admits_no_entry(
    user_without: Callable[[str], str], open_sync_gate: OpenGate
) -> None:
    found = open_sync_gate(url=user_without("evalsha_ro")).diagnose()
    grade, says = one(found, "rights")
    assert grade is Grade.WRONG
    assert says.startswith("the server doesn't say which one it is, so it admits no entry: may not ask")
    assert not found


def test_without_a_store_it_raises(open_gate: OpenGate) -> None:
    with pytest.raises(StoreUnavailable):
        open_gate(url="redis://127.0.0.1:1/0").diagnose()


def test_it_tells_how_many_keys_it_has_looked_at(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    told: list[int] = []
    open_gate().diagnose(told.append, proof=False)
    assert told[-1] == 1


def test_a_diagnosis_is_true_where_nothing_is_wrong() -> None:
    well, known = Check("a", Grade.OK, ""), Check("b", Grade.WARNING, "")
    assert Diagnosis((well, known))
    assert not Diagnosis((well, Check("c", Grade.WRONG, "")))
    assert Diagnosis((well, known)).of_grade(Grade.WARNING) == (known,)
