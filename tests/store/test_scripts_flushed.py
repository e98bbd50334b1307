"""The client loads the scripts again into a server that has lost them, unnoticed by the caller."""

from __future__ import annotations

import redis

from gate import Outcome, Policy, Reason, Settled
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.wire import Wire


def test_scripts_flushed_between_any_two_calls_go_unnoticed(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(Policy(rate_symbol_limit=9, rate_global_limit=9))
    redis_client.script_flush()
    assert gate.inspect(at.entry()).admitted
    redis_client.script_flush()
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.script_flush()
    assert gate.evaluate(at.entry()).reason is Reason.DUPLICATE
    redis_client.script_flush()
    assert gate.inspect(at.entry()).reason is Reason.DUPLICATE
    redis_client.script_flush()
    assert gate.settle(permit, Outcome.unknown()).status is Settled.SETTLED
    redis_client.script_flush()
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED
    redis_client.script_flush()
    assert gate.halt(by="ops", reason="CPI print").audited
    redis_client.script_flush()
    assert gate.resume(by="ops", reason="over").before == "entries"
    redis_client.script_flush()
    assert gate.reset("all", by="ops", reason="start over").audited
    redis_client.script_flush()
    assert gate.apply_policy(by="ops", reason="as deployed").audited
    redis_client.script_flush()
    assert at.admitted(gate.evaluate(at.entry("sig-2"))).fence == permit.fence + 1


def test_scripts_survive_being_lost_together_with_the_reply_to_loading_them(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(url=wire.url)
    lost = wire.lose_next_reply("SCRIPT")
    assert at.admitted(gate.evaluate(at.entry())).fence == 1
    lost.wait()


def test_a_reply_lost_before_scripts_are_flushed_leads_to_the_same_permit(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    gate = open_gate(url=wire.url, timeout_ms=400)
    gate.evaluate(at.entry("warm", "ETHUSDT"))
    for _ in range(2):
        wire.lose_next_reply("EVALSHA")
    assert not gate.evaluate(at.entry())
    redis_client.script_flush()
    assert at.admitted(gate.evaluate(at.entry())).fence == 2
