"""A guard lets go at the very millisecond: not one later, and not one earlier."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from gate import GuardReport
from tests.client import account as at
from tests.client.gates import OpenGate

Arrange = Callable[[redis.Redis, int], object]

# Each makes its guard deny until `moment`, a time on the server's clock in ms.
UNTIL: dict[str, Arrange] = {
    "rate_symbol": lambda client, moment: client.lset(at.RATE_SYMBOL, 0, str(moment - 30_000)),
    "rate_global": lambda client, moment: client.lset(at.RATE_GLOBAL, 4, str(moment - 60_000)),
    "failures": lambda client, moment: client.lset(at.FAILURES, 4, str(moment - 300_000)),
    "in_flight": lambda client, moment: client.zadd(at.INFLIGHT, {"1:last": moment}),
}
_TRIES = 3_000  # one in a few meets the moment


@pytest.mark.parametrize("guard", UNTIL)
def test_a_guard_lets_go_at_the_very_millisecond(
    guard: str, redis_client: redis.Redis, open_sync_gate: OpenGate
) -> None:
    gate = open_sync_gate()
    later = at.server_ms(redis_client) + 3_600_000
    for key in (at.RATE_SYMBOL, at.RATE_GLOBAL, at.FAILURES):
        redis_client.rpush(key, *[later] * 4, 0)
    redis_client.delete(at.RATE_SYMBOL)
    redis_client.rpush(at.RATE_SYMBOL, 0)
    redis_client.zadd(at.INFLIGHT, {f"1:{number}": later for number in range(63)})

    def ask() -> tuple[int, GuardReport]:
        inspection = gate.inspect(at.entry())
        return inspection.now_ms, next(report for report in inspection.guards if report.guard == guard)

    met = set[int]()
    for _ in range(_TRIES):
        moment = at.server_ms(redis_client) + 2
        UNTIL[guard](redis_client, moment)
        now = moment - 1
        while now < moment:
            now, report = ask()
            if now == moment - 1:
                assert not report.passed
            if now == moment:
                assert report.passed
            met.add(now - moment)
        if {-1, 0} <= met:
            return
    pytest.fail(f"never asked at the moment itself, only at {sorted(met)}")
