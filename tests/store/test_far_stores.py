"""A time-out bounds each wait for the store, not all waits of a new connection: it may be far away."""

from __future__ import annotations

import asyncio

import redis

from gate import AsyncGate
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.wire import Wire


async def test_a_store_that_stands_still_in_a_handshake_costs_one_time_out_a_try(wire: Wire) -> None:
    wire.withhold_next_reply("EVALSHA_RO")
    wire.withhold_next_reply("EVALSHA_RO")
    async with AsyncGate.from_url(wire.url, timeout_ms=500) as gate:
        async with asyncio.timeout(4):  # ten time-outs are five seconds
            verdict = await gate.evaluate(at.entry())
    assert verdict.reason == "STORE_UNAVAILABLE"


def test_a_store_serves_whose_answers_are_each_in_time(
    redis_client: redis.Redis, wire: Wire, open_gate: OpenGate
) -> None:
    """A new connection waits for two answers at least before the verdict's own: three take longer than the time-out."""
    wire.answers_after_s = 0.4
    gate = open_gate(url=wire.url, timeout_ms=1_000)

    permit = at.admitted(gate.evaluate(at.entry()))

    assert permit.fence == 1
    assert gate.status().in_flight == 1
