"""An inspection and a verdict hold their facts as fields, so nobody has to parse a sentence."""

from __future__ import annotations

import pytest
import redis

from gate import InvalidIntent, Policy, Reason
from tests.client import account as at
from tests.client.gates import OpenGate


def test_guards_that_leave_an_exit_alone_say_so(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    assert [report.guard for report in gate.inspect(at.entry()).guards if report.exempt] == []
    exempt = [report for report in gate.inspect(at.exit_()).guards if report.exempt]
    assert {report.guard for report in exempt} >= {"safe_mode", "failures", "rate_symbol", "rate_global"}
    assert all(report.passed for report in exempt)


def test_an_intent_may_come_as_a_mapping_as_in_a_verdict(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    intent = at.entry()
    told = {
        "id": intent.id,
        "symbol": intent.symbol,
        "side": intent.side,
        "notional": "100",
        "timestamp": intent.timestamp_ms,
    }
    assert gate.inspect(told).admitted
    with pytest.raises(InvalidIntent, match="symbol"):
        gate.inspect({**told, "symbol": ""})


@pytest.mark.parametrize("age_ms", [700_000, -60_000], ids=["old", "from the future"])
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_an_age_that_denies_is_a_number(age_ms: int, mode: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(mode=mode))
    asked = at.entry(timestamp=at.server_ms(redis_client) - age_ms)
    for told in (gate.inspect(asked).denial, gate.evaluate(asked)):
        assert told is not None
        assert told.reason is Reason.STALE
        assert told.age_ms is not None
        assert age_ms <= told.age_ms < age_ms + 30_000
    again = at.entry("sig-2", timestamp=asked.timestamp_ms)
    assert gate.evaluate(again).from_the_future is (age_ms < 0)


def test_another_denial_has_no_age(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    redis_client.set(at.SAFE_MODE, "in the future")
    verdict, denial = gate.evaluate(at.entry()), gate.inspect(at.entry()).denial
    assert (verdict.reason, verdict.age_ms, verdict.from_the_future) == (Reason.SAFE_MODE, None, False)
    assert denial is not None
    assert denial.age_ms is None
