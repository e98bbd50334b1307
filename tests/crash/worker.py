"""A worker that executes one intent and is killed on the way: around the real gate and exchange, not inside them."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, NoReturn

from msgspec import Struct

from gate import AsyncGate, Intent, Policy
from gate.exchange.binance import BinanceFutures
from gate.executor import Executor
from tests.crash.plan import RECV_WINDOW_MS, STEPS, KillPoint
from tests.exchange.told import told_by_streams

STORE_TIMEOUT_MS = 2_000  # the store isn't what fails here, and the machine may be busy


class Job(Struct, frozen=True):
    """A delivery: its intent, and the account of its worker."""

    store_url: str
    prefix: str
    exchange_url: str
    key: str
    secret: str
    intent: dict[str, Any]
    policy: dict[str, Any]
    kill: KillPoint | None = None
    streams: bool = False
    """Whether it goes by what the exchange's streams tell."""


async def deliver(job: Job) -> str:
    """Executes the intent, or dies on the way. Returns what became of it."""
    gate = AsyncGate.from_url(
        job.store_url, prefix=job.prefix, policy=Policy.from_mapping(job.policy), timeout_ms=STORE_TIMEOUT_MS
    )
    exchange = BinanceFutures(
        job.key, job.secret, base_url=job.exchange_url, recv_window_ms=RECV_WINDOW_MS, streams=job.streams
    )
    async with gate, exchange:
        if job.streams:
            await told_by_streams(exchange, str(job.intent["symbol"]))
        targets: dict[str, Any] = {"gate": gate, "exchange": exchange}
        if job.kill is not None and job.kill.when == "anytime":
            asyncio.get_running_loop().call_later(job.kill.after_ms / 1000, _die)
        elif job.kill is not None:
            target, method = STEPS[job.kill.step]
            targets[target] = _Deadly(targets[target], method, job.kill)
        execution = await Executor(targets["gate"], targets["exchange"]).execute(Intent.from_mapping(job.intent))
        return f"{execution.state} {execution.reason} {execution.detail}"


class _Deadly:
    """Wraps a gate or an exchange; one call of one method kills the process."""

    def __init__(self, target: Any, method: str, kill: KillPoint) -> None:
        self._target = target
        self._method = method
        self._kill = kill
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name != self._method:
            return found

        async def deadly(*arguments: Any, **named: Any) -> Any:
            self._calls += 1
            if self._calls != self._kill.nth:
                return await found(*arguments, **named)
            if self._kill.when == "before":
                _die()
            if self._kill.when == "stalled":
                await asyncio.sleep(self._kill.after_ms / 1000)
            if self._kill.when == "during":
                asyncio.get_running_loop().call_later(self._kill.after_ms / 1000, _die)
            try:
                return await found(*arguments, **named)
            finally:
                if self._kill.when == "after":
                    _die()

        return deadly


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL returned")
