"""A denial's wait is one that a caller can go by: who comes back then isn't denied for the same cause without need."""

from __future__ import annotations

import pytest
import redis

from gate import Outcome, Policy, Reason
from tests.client import account as at
from tests.client.gates import OpenGate


def test_the_second_order_of_a_bracket_is_told_to_ask_again_soon(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(policy=Policy(rate_symbol_limit=10))
    first = at.admitted(gate.evaluate(at.entry("entry")))
    denied = gate.evaluate(at.entry("second"))
    held_ms = 30_000 - redis_client.pttl(at.LOCK)
    assert denied.reason is Reason.LOCKED
    assert denied.retry_after_ms is not None
    assert 250 <= denied.retry_after_ms <= max(250, held_ms)
    assert " s at most; free once its order is settled" in denied.detail
    assert gate.settle(first, Outcome.placed("1"))
    assert gate.evaluate(at.entry("second"))


@pytest.mark.parametrize(
    ("left_ms", "least", "most"), [(29_999, 250, 250), (20_000, 10_000, 10_000), (400, 1, 400), (900_000, 250, 250)]
)
def test_a_lock_that_is_held_for_long_is_asked_for_less_and_less_often(
    redis_client: redis.Redis, open_gate: OpenGate, left_ms: int, least: int, most: int
) -> None:
    """The last one is a lock of other making, with a longer life than those of this policy."""
    until = at.server_ms(redis_client) + left_ms
    redis_client.set(at.LOCK, "somebody", pxat=until)
    denied = open_gate().evaluate(at.entry())
    passed = at.server_ms(redis_client) + left_ms - until
    assert denied.reason is Reason.LOCKED
    assert denied.retry_after_ms is not None
    assert least <= denied.retry_after_ms <= most + passed


@pytest.mark.parametrize(("cooldown_ms", "longer"), [(300_000, "trip"), (1_000, "window")])
def test_a_full_window_of_the_account_tells_the_longer_of_window_and_trip(
    redis_client: redis.Redis, open_gate: OpenGate, cooldown_ms: int, longer: str
) -> None:
    gate = open_gate(policy=Policy(rate_global_limit=1, cooldown_global_ms=cooldown_ms))
    at.admitted(gate.evaluate(at.entry("one")))
    filled_ms = int(redis_client.lindex(at.RATE_GLOBAL, 0))  # type: ignore[arg-type]  # redis-py's stub
    before = at.server_ms(redis_client)
    denied = gate.evaluate(at.entry("two", "ETHUSDT"))
    assert (denied.reason, redis_client.exists(at.COOLDOWN_GLOBAL)) == (Reason.RATE_GLOBAL, 1)
    assert denied.retry_after_ms is not None
    if longer == "trip":
        assert denied.retry_after_ms == cooldown_ms
    else:
        assert filled_ms + 60_000 - at.server_ms(redis_client) <= denied.retry_after_ms <= filled_ms + 60_000 - before
