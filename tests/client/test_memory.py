"""After Redis loses its memory, entries wait, permits say verify for a while, and no fence comes twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from gate import Intent, Outcome, Policy, Reason, Settled, Status
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.servers.store import PrivateStore

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100)
BEYOND = 1_000_000
"""How far above all fences that were seen a new memory goes on."""
LONG_AGO = 1_700_000_000_000
_numbers = iter(range(1_000_000))
both = pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])


def fresh(exits: bool = False) -> Intent:
    return at.intent(exits, f"next-{next(_numbers)}")


def admit(gate: AnyGate, exits: bool = False) -> tuple[int, bool]:
    """Fence and verify of one more permit."""
    permit = at.admitted(gate.evaluate(fresh(exits)))
    assert gate.settle(permit, Outcome.placed(1))
    return permit.fence, permit.verify


def made_whole(client: redis.Redis) -> None:
    """Sets the memory as whole for years."""
    assert client.hset(at.STATE, "since", LONG_AGO) == 0
    client.hdel(at.STATE, "lost")


LOSSES: dict[str, Callable[[redis.Redis], object]] = {
    "a flush": lambda client: client.flushall(),
    "a fence set back": lambda client: client.hset(at.STATE, "fence", 1),
    "a lost fence": lambda client: client.hdel(at.STATE, "fence"),
    "a lost since": lambda client: client.hdel(at.STATE, "since"),
    "another server": lambda client: client.hset(at.STATE, "run_id", "f" * 40),
    "a memory that knows no server": lambda client: client.hdel(at.STATE, "run_id"),
}
losses = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@losses
def test_after_a_loss_entries_wait_exactly_until_no_permit_of_before_can_be_alive(
    loss: Callable[[redis.Redis], object], redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    for _ in range(3):
        admit(gate)
    assert admit(gate) == (4, False)
    loss(redis_client)
    before = at.server_ms(redis_client)
    verdict = gate.evaluate(fresh())
    after = at.server_ms(redis_client)
    assert (verdict.reason, verdict.retryable) == (Reason.MEMORY_YOUNG, True)
    assert verdict.retry_after_ms == 60_000
    assert before <= int(redis_client.hget(at.STATE, "lost") or 0) <= after

    # Other workers, which saw nothing of the loss, wait too.
    again = open_gate(ROOMY).evaluate(fresh())
    assert again.reason is Reason.MEMORY_YOUNG
    assert again.retry_after_ms is not None
    assert 60_000 - (at.server_ms(redis_client) - before) <= again.retry_after_ms <= 60_000

    at.wait_out(redis_client)
    assert admit(gate) == (5 + BEYOND, True)
    assert admit(open_gate(ROOMY)) == (6 + BEYOND, True)
    made_whole(redis_client)
    assert admit(gate) == (7 + BEYOND, False)


@losses
def test_after_a_loss_exits_go_at_once_and_say_verify(
    loss: Callable[[redis.Redis], object], redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    for _ in range(4):
        admit(gate)
    loss(redis_client)
    assert admit(gate, exits=True) == (5 + BEYOND, True)
    assert admit(open_gate(ROOMY), exits=True) == (6 + BEYOND, True)
    assert gate.evaluate(fresh()).reason is Reason.MEMORY_YOUNG, "an exit has noticed the loss for all"


@losses
def test_a_loss_is_noted_once_and_audited(
    loss: Callable[[redis.Redis], object], redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    for _ in range(4):
        admit(gate)
    loss(redis_client)
    gate.evaluate(fresh())
    held = at.contents(redis_client)
    gate.evaluate(fresh())
    open_gate(ROOMY).evaluate(fresh())
    assert at.contents(redis_client) == held, "a denial leaves no trace"
    (entry,) = at.audit(redis_client)
    assert (entry["what"], entry["by"]) == ("memory lost", "gate")
    assert entry["reason"].endswith("; halts, switches, windows and records of before may be lost")


def test_a_fence_that_others_brought_back_to_its_height_does_not_hide_another_server(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """A failover loses the last admission, and one of another intent follows: the fence shows nothing."""
    gate, other = open_gate(ROOMY), open_gate(ROOMY)
    admit(gate)
    held = redis_client.hgetall(at.STATE)
    lost = at.admitted(gate.evaluate(at.entry()))
    assert gate.settle(lost, Outcome.placed(1))
    redis_client.flushall()
    for field, value in held.items():  # a replica that lagged by one admission
        redis_client.hset(at.STATE, at.text(field), value)
    redis_client.hset(at.STATE, "run_id", "f" * 40)
    assert other.evaluate(fresh()).reason is Reason.MEMORY_YOUNG
    at.wait_out(redis_client)
    assert admit(other) == (lost.fence + BEYOND, True)
    again = at.admitted(gate.evaluate(at.entry()))
    assert again.verify, "the redelivered intent isn't sent without a look"


@pytest.mark.parametrize(
    ("figures", "wait_ms"),
    [
        ({}, 60_000),
        ({"lock_ttl_ms": 100_000}, 106_500),
        ({"rate_symbol_window_ms": 200_000}, 200_000),
        ({"rate_global_window_ms": 86_400_000}, 300_000),
    ],
    ids=str,
)
def test_the_wait_covers_a_permits_life_acceptance_and_the_windows(
    figures: dict[str, int], wait_ms: int, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    redis_client.flushall()
    gate = open_sync_gate(Policy(**figures))  # type: ignore[arg-type]  # all are whole numbers
    assert gate.evaluate(fresh()).retry_after_ms == wait_ms
    at.wait_out(redis_client, wait_ms - 5_000)
    assert gate.evaluate(fresh()).reason is Reason.MEMORY_YOUNG
    at.wait_out(redis_client, 5_000)
    assert gate.evaluate(fresh()).admitted


@both
def test_a_memory_is_not_trusted_until_dedup_ttl_has_passed(
    exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.flushall()
    gate = open_gate(ROOMY)
    gate.evaluate(fresh())
    at.wait_out(redis_client)
    assert admit(gate, exits)[1]
    now = at.server_ms(redis_client)
    redis_client.hset(at.STATE, "since", now - ROOMY.dedup_ttl_ms + 100_000)
    assert admit(gate, exits)[1]
    redis_client.hset(at.STATE, "since", now - ROOMY.dedup_ttl_ms)
    assert not admit(gate, exits)[1]


def test_a_gate_that_has_only_looked_knows_the_fence_too(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    writer, reader = open_gate(ROOMY), open_gate(ROOMY)
    permit = at.admitted(writer.evaluate(at.entry()))
    reader.lookup("sig-1")
    redis_client.hset(at.STATE, "fence", 0)
    later = at.admitted(reader.evaluate(at.exit_("sig-2", "ETHUSDT")))
    assert later.fence > permit.fence
    assert later.verify


def test_a_memory_from_the_future_is_not_trusted(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    admit(gate)
    redis_client.hset(at.STATE, "since", at.server_ms(redis_client) + 10_000_000)
    assert admit(gate)[1]


def test_the_policy_in_force_survives_a_fence_set_back(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    admit(gate)
    admit(gate)
    redis_client.hset(at.STATE, "fence", 0)
    admit(gate, exits=True)
    assert redis_client.hget(at.STATE, "policy") == ROOMY.fingerprint.encode()


def test_a_persons_word_makes_an_account_whole(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.flushall()
    gate = open_gate(ROOMY)
    assert gate.evaluate(fresh()).reason is Reason.MEMORY_YOUNG
    act = gate.init(by="ops", reason="a new account")
    assert act.audited
    assert act.before is not None, "it was new since then"
    assert admit(gate) == (1, False)
    assert at.audit(redis_client)[-1]["what"] == "init"
    assert open_gate(prefix="acct7").init(by="ops", reason="another").before is None


def test_a_persons_word_after_a_loss_keeps_the_fence(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    for _ in range(3):
        admit(gate)
    redis_client.hset(at.STATE, "run_id", "f" * 40)
    assert not gate.evaluate(fresh())
    gate.init(by="ops", reason="looked at the exchange: no orders")
    assert admit(gate) == (4 + BEYOND, False)


def test_a_persons_word_can_be_said_before_a_loss_is_noticed(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.hset(at.STATE, "run_id", "f" * 40)
    gate = open_gate(ROOMY)
    gate.init(by="ops", reason="the planned move of tonight")
    assert admit(gate) == (1, False)


def test_a_restart_of_the_server_is_a_loss(new_private_store: Callable[..., PrivateStore], open_gate: OpenGate) -> None:
    """Its log may have been cut short. Nothing else tells it from a server that has forgotten nothing."""
    store = new_private_store("--appendonly", "yes", "--appendfsync", "always")
    gate = open_gate(ROOMY, url=store.url)
    gate.init(by="ops", reason="new")
    assert admit(gate) == (1, False)
    store.stop()
    store.start()
    assert gate.evaluate(fresh()).reason is Reason.MEMORY_YOUNG
    with store.client() as client:
        at.wait_out(client)
    assert admit(gate) == (2 + BEYOND, True)


def memory_of(status: Status) -> str:
    [memory] = [each for each in status.standing if each.name == "memory"]
    return memory.detail


@pytest.mark.outside_roles("a worker of the role can't halt")
def test_a_policy_may_want_a_person_to_look_after_a_loss(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(rate_symbol_limit=100, rate_global_limit=100, after_memory_loss="halt"))
    admit(gate)
    redis_client.flushall()
    assert gate.evaluate(fresh()).reason is Reason.MEMORY_YOUNG
    halt = gate.halt_in_force()
    assert halt is not None
    assert (halt.scope, halt.by) == ("entries", "gate")
    assert halt.reason == "memory lost: nothing is known of this account"
    acts = [(entry["what"], entry["by"]) for entry in at.audit(redis_client)]
    assert acts == [("halt entries", "gate"), ("memory lost", "gate")]
    assert "halt again" not in memory_of(gate.status()), "it is halted"
    gate.resume(by="ops", reason="looked")
    assert "halt again if you want it" in memory_of(gate.status())
    gate.halt(by="gate", reason=halt.reason)
    at.wait_out(redis_client)
    assert gate.evaluate(fresh()).reason is Reason.HALTED
    assert admit(gate, exits=True)[1]
    gate.resume(by="ops", reason="looked")
    assert admit(gate)[1]


def test_a_persons_halt_is_not_replaced_by_that_of_a_loss(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(after_memory_loss="halt"))
    admit(gate)
    gate.halt(by="ops", reason="CPI print", scope="all")
    redis_client.hset(at.STATE, "run_id", "f" * 40)
    assert gate.evaluate(fresh()).reason is Reason.MEMORY_YOUNG
    halt = gate.halt_in_force()
    assert halt is not None
    assert (halt.scope, halt.by) == ("all", "ops")


def test_a_store_that_may_evict_is_never_whole(
    new_private_store: Callable[..., PrivateStore], open_gate: OpenGate
) -> None:
    store = new_private_store("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    gate = open_gate(ROOMY, url=store.url)
    gate.init(by="ops", reason="new")
    assert admit(gate) == (1, True)
    assert admit(gate, exits=True) == (2, True)
    with store.client() as client:
        client.config_set("maxmemory", 0)
    assert admit(open_gate(ROOMY, url=store.url)) == (3, False), "asked on each new connection"


def test_a_failed_settlement_proves_a_loss_to_all(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(at.RECORD)
    redis_client.hdel(at.STATE, "permit:sig-1")
    settlement = gate.settle(permit, Outcome.placed(1))
    assert (settlement.status, settlement.memory_lost) == (Settled.SETTLED, True)
    assert open_gate(ROOMY).evaluate(fresh()).reason is Reason.MEMORY_YOUNG


def test_one_loss_is_one_loss_for_every_process(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """Each has seen another fence. The next process must not take the loss for one more."""
    gates = [open_gate(ROOMY) for _ in range(4)]
    for gate in gates:
        admit(gate)
    redis_client.hset(at.STATE, mapping={"fence": 1, "run_id": "f" * 40})
    for gate in gates:
        assert gate.evaluate(fresh()).reason is Reason.MEMORY_YOUNG
    assert [entry["what"] for entry in at.audit(redis_client)] == ["memory lost"]
    gates[0].init(by="ops", reason="looked")
    for gate in gates:
        assert admit(gate)[1] is False


def test_a_loss_that_lies_in_the_future_is_one_of_now(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    admit(gate)
    redis_client.hset(at.STATE, "lost", at.server_ms(redis_client) + 86_400_000)
    assert gate.evaluate(fresh()).retry_after_ms == 60_000
    redis_client.hset(at.STATE, "lost", 9 * 10**15)
    assert gate.inspect(fresh()).reason is Reason.MEMORY_YOUNG


def test_an_exit_puts_no_policy_in_force(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """After a loss it would be that of any caller, a looser one too."""
    redis_client.flushall()
    admit(open_gate(Policy(rate_global_limit=50)), exits=True)
    assert redis_client.hget(at.STATE, "policy") is None
    assert open_gate(ROOMY).evaluate(fresh()).reason is Reason.MEMORY_YOUNG


@pytest.mark.outside_roles("a worker of the role can't halt")
def test_the_word_in_force_decides_what_follows_a_loss(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    halting = open_gate(Policy(rate_symbol_limit=100, rate_global_limit=100, after_memory_loss="halt"))
    permit = at.admitted(halting.evaluate(at.entry()))
    redis_client.hset(at.STATE, "run_id", "f" * 40)
    admit(open_gate(ROOMY), exits=True)
    assert halting.halt_in_force() is not None, "though another's exit has noticed it"

    halting.resume(by="ops", reason="looked")
    redis_client.delete(at.RECORD)
    redis_client.hdel(at.STATE, "permit:sig-1")
    assert halting.settle(permit, Outcome.placed(1)).memory_lost
    assert halting.halt_in_force() is not None, "though a settlement has found it"


def test_an_exit_dated_ahead_always_says_verify(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    ahead = at.exit_("ahead", timestamp=at.server_ms(redis_client) + 7_200_000)
    assert at.admitted(gate.evaluate(ahead)).verify
    assert not at.admitted(gate.evaluate(at.exit_("now"))).verify
