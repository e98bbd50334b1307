"""Workers in a process of their own, which a test stops and continues by signals.

Reads a line of jobs, executes them all at once, and answers with a line of what each came to.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from gate import Intent, Permit, Policy
from tests.exchange.told import told_by_streams
from tests.faults.desk import STORE_TIMEOUT_MS, TellingExchange, TellingGate, Told, Worker, given_back, told
from tests.faults.stalls import stalled

_ROOT = Path(__file__).resolve().parents[2]


class Job(Struct, frozen=True):
    """A delivery."""

    store_url: str
    prefix: str
    exchange_url: str
    key: str
    secret: str
    recv_window_ms: int
    policy: dict[str, str | int | bool]
    intent: dict[str, str | int | bool]
    after_ms: int
    stop_at: str = ""
    """The point of tests/faults/stalls.py at which the process stops itself by SIGSTOP; `` for none."""
    stop_nth: int = 1
    """Which of its deliveries that come so far stops it."""
    stop_after_ms: int = 0
    """Goes on from there, and the process stops so much later."""
    streams: bool = False
    """Goes by what the exchange's streams tell."""


class Came(Struct, frozen=True):
    """What a delivery came to."""

    permit: Permit | None
    until_ms: float
    told: Told
    given_back: bool
    by_streams: bool | None = None
    """Whether the streams told of its symbol when it began; None where they are off."""
    raised: str | None = None


_come_so_far: list[str] = []


def _stop_now() -> None:
    sys.stdout.buffer.write(b"stopped\n")
    sys.stdout.buffer.flush()
    os.kill(os.getpid(), signal.SIGSTOP)


async def _open(job: Job, stack: AsyncExitStack) -> Worker:
    exchange = TellingExchange(
        job.key, job.secret, base_url=job.exchange_url, recv_window_ms=job.recv_window_ms, streams=job.streams
    )
    await stack.enter_async_context(exchange)
    if job.streams:
        await told_by_streams(exchange, str(job.intent["symbol"]))
    gate = await stack.enter_async_context(
        TellingGate.from_url(
            job.store_url, prefix=job.prefix, policy=Policy.from_mapping(job.policy), timeout_ms=STORE_TIMEOUT_MS
        )
    )
    return Worker(gate, exchange)


async def _deliver(job: Job, worker: Worker) -> Came:
    await asyncio.sleep(job.after_ms / 1000)

    async def stop() -> None:
        _come_so_far.append(job.prefix)
        if len(_come_so_far) != job.stop_nth:
            return
        if job.stop_after_ms:
            asyncio.get_running_loop().call_later(job.stop_after_ms / 1000, _stop_now)
        else:
            _stop_now()

    told_of = worker.exchange.live(str(job.intent["symbol"])) is not None
    by_streams = None if worker.exchange.streams() == "off" else told_of
    try:
        with stalled(worker, job.stop_at, stop) if job.stop_at else nullcontext():
            execution, tells = await told(worker.executor.execute(Intent.from_mapping(job.intent)))
    except Exception as error:
        return Came(None, 0, Told(), False, by_streams, repr(error))
    permit, now_ns = execution.verdict.permit, time.monotonic_ns()
    until_ms = time.time() * 1000 + (permit.expires_ns - now_ns) / 1e6 if permit else 0
    return Came(permit, until_ms, tells, given_back(execution), by_streams)


async def _serve() -> None:
    async with AsyncExitStack() as stack:
        jobs = msgspec.json.decode(sys.stdin.buffer.readline(), type=list[Job])
        # All are open before any begins: else a stop would meet most of them on their way to a verdict.
        workers = await asyncio.gather(*(_open(job, stack) for job in jobs))
        sys.stdout.buffer.write(b"ready\n")
        sys.stdout.buffer.flush()
        came = await asyncio.gather(*(_deliver(*each) for each in zip(jobs, workers, strict=True)))
        sys.stdout.buffer.write(msgspec.json.encode(came) + b"\n")
        sys.stdout.buffer.flush()
        await asyncio.to_thread(sys.stdin.buffer.readline)  # a signal may be on its way still


class Hand:
    """The process. It ends with the block."""

    _said: bytes = b""
    """A line that was read too early."""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.hand"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            limit=1 << 24,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def begin(self, jobs: list[Job]) -> None:
        """Hands the jobs over. Returns when the workers, which are open then, set about them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(jobs) + b"\n")
        assert await self._process.stdout.readline() == b"ready\n"

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def stopped(self) -> bool:
        """Waits until the process stops itself. False: it has ended its jobs, and none has come so far."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if line == b"stopped\n":
            return True
        self._said = line
        return False

    async def end(self) -> list[Came]:
        """What all came to."""
        assert self._process.stdout is not None
        return msgspec.json.decode(self._said or await self._process.stdout.readline(), type=list[Came])


if __name__ == "__main__":
    logging.disable()
    asyncio.run(_serve())
