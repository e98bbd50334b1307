"""After Redis loses its memory, permits say verify until the memory is whole again, and no fence is given twice."""

from __future__ import annotations

import pytest
import redis

from gate import Outcome, Policy
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100)
LONG_AGO = 1_700_000_000_000
_numbers = iter(range(1_000_000))


def admit(gate: AnyGate, exits: bool = False) -> tuple[int, bool]:
    """Fence and verify of one more permit."""
    permit = at.admitted(gate.evaluate(at.intent(exits, f"next-{next(_numbers)}")))
    assert gate.settle(permit, Outcome.placed(1))
    return permit.fence, permit.verify


def made_whole(client: redis.Redis) -> None:
    """Sets the memory as whole for years."""
    assert client.hset(at.STATE, "since", LONG_AGO) == 0


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
def test_an_empty_memory_is_not_trusted_until_dedup_ttl_has_passed(
    exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    assert admit(gate, exits)[1]
    now = at.server_ms(redis_client)
    redis_client.hset(at.STATE, "since", now - ROOMY.dedup_ttl_ms + 100_000)
    assert admit(gate, exits)[1]
    redis_client.hset(at.STATE, "since", now - ROOMY.dedup_ttl_ms)
    assert not admit(gate, exits)[1]


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
def test_a_flush_makes_the_next_permits_say_verify(exits: bool, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    admit(gate)
    made_whole(redis_client)
    fence, verify = admit(gate)
    assert not verify
    redis_client.flushall()
    later = [admit(gate, exits), admit(open_gate(ROOMY), exits), admit(gate, exits)]
    assert [verify for _, verify in later] == [True, True, True]
    assert [each for each, _ in later] == [fence + 1, fence + 2, fence + 3]
    made_whole(redis_client)
    assert not admit(gate, exits)[1]


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
def test_a_fence_set_back_makes_the_next_permits_say_verify(
    exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    for _ in range(5):
        fence, _ = admit(gate)
    made_whole(redis_client)
    redis_client.hset(at.STATE, "fence", fence - 2)
    assert admit(gate, exits) == (fence + 1, True)
    assert admit(open_gate(ROOMY), exits) == (fence + 2, True)
    assert at.server_ms(redis_client) - int(redis_client.hget(at.STATE, "since") or 0) < 60_000


@pytest.mark.parametrize("field", ["since", "fence"])
def test_a_lost_field_makes_the_next_permits_say_verify(
    field: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    fence, _ = admit(gate)
    made_whole(redis_client)
    redis_client.hdel(at.STATE, field)
    assert admit(gate) == (fence + 1, True)


def test_a_gate_that_has_only_looked_knows_the_fence_too(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    writer, reader = open_gate(ROOMY), open_gate(ROOMY)
    permit = at.admitted(writer.evaluate(at.entry()))
    made_whole(redis_client)
    reader.lookup("sig-1")
    redis_client.hset(at.STATE, "fence", 0)
    later = at.admitted(reader.evaluate(at.entry("sig-2", "ETHUSDT")))
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
    admit(gate)
    assert redis_client.hget(at.STATE, "policy") == ROOMY.fingerprint.encode()
