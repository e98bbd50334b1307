"""One process with 64 callers at once: AsyncGate against the plain asyncio client."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from benchmarks.figure import Figure, of_rounds, ratios
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from benchmarks.workload import WITHOUT_LIMITS, Account
from gate import AsyncGate, Outcome

_CALLERS: Final = 64
_AT_LEAST: Final = 1.8


def measure(server: Server, sizes: Sizes) -> list[Figure]:
    """Bursts of 64 calls, alternately of both sides."""
    ours, theirs = asyncio.run(_rounds(server, sizes))
    return [
        of_rounds(
            "async_rate",
            f"AsyncGate.evaluate, {_CALLERS} callers, rate against {_CALLERS} SET NX PX",
            ratios(ours, theirs),
            detail=f"{statistics.median(ours):,.0f} against {statistics.median(theirs):,.0f} a second",
            at_least=_AT_LEAST,
        )
    ]


async def _rounds(server: Server, sizes: Sizes) -> tuple[list[float], list[float]]:
    """Calls a second in each round. The first round opens the connections and doesn't count."""
    account = Account()
    ours: list[float] = []
    theirs: list[float] = []
    async with (
        AsyncGate.from_url(server.url(), policy=WITHOUT_LIMITS, timeout_ms=5_000) as gate,
        redis.asyncio.Redis(host="127.0.0.1", port=server.port, retry=Retry(NoBackoff(), 0)) as client,
    ):
        await gate.init(by="bench", reason="a new account")
        for _ in range(sizes.burst_rounds + 1):
            gate_s = set_s = 0.0
            for _ in range(sizes.bursts):
                gate_s += await _evaluations(gate, account)
                set_s += await _sets(client, account)
            ours.append(sizes.bursts * _CALLERS / gate_s)
            theirs.append(sizes.bursts * _CALLERS / set_s)
    return ours[1:], theirs[1:]


async def _evaluations(gate: AsyncGate, account: Account) -> float:
    intents = [account.intent() for _ in range(_CALLERS)]
    verdicts, took_s = await _at_once([lambda intent=intent: gate.evaluate(intent) for intent in intents])  # type: ignore[misc]
    for verdict in verdicts:
        if not await gate.settle(verdict.permit, Outcome.placed("83897651234")):
            raise RuntimeError(f"not admitted, or not settled: {verdict}")
    return took_s


async def _sets(client: redis.asyncio.Redis, account: Account) -> float:
    keys = [f"single:exec:processed:{account.intent().id}" for _ in range(_CALLERS)]
    _, took_s = await _at_once([lambda key=key: client.set(key, "1", nx=True, px=3_600_000) for key in keys])  # type: ignore[misc]
    return took_s


async def _at_once(calls: list[Callable[[], Awaitable[Any]]]) -> tuple[list[Any], float]:
    started_s = perf_counter()
    replies = await asyncio.gather(*(call() for call in calls))
    return replies, perf_counter() - started_s
