"""A process with several executors, which does what it is told by lines and tells by lines what came of it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from msgspec import Struct

from gate import AsyncGate, Gate, Intent, Policy, StoreFailure, Verdict
from gate.exchange.binance import BinanceFutures
from gate.executor import Executor
from tests.failover.plan import POLICY_FIGURES, RECV_WINDOW_MS

_LOOK_EVERY_S = 0.05


class Place(Struct, frozen=True):
    """Where a worker works."""

    store_url: str
    prefix: str
    exchange_url: str
    key: str
    secret: str
    executors: int
    timeout_ms: int
    looks: bool
    """Whether it also looks into the store all the while, by a blocking gate in a thread."""


class Delivery(Struct, frozen=True):
    """An intent, once."""

    number: int
    intent: dict[str, Any]


class Said(Struct, frozen=True):
    """One verdict."""

    at: float
    """When it came, by the clock `time.time`."""
    took_ms: float
    reason: str
    detail: str
    is_exit: bool
    admitted_ms: int = 0
    deadline_ms: int = 0
    fence: int = 0
    verify: bool = False


class Answer(Struct, frozen=True):
    """What came of a delivery."""

    number: int
    intent_id: str
    state: str
    reason: str
    detail: str
    retryable: bool
    order_id: str | None
    settled: str | None
    began: float
    ended: float
    verdicts: list[Said]
    raised: str | None = None


class Look(Struct, frozen=True):
    """One look of the blocking gate into the store."""

    at: float
    took_ms: float
    failed: str | None


class Line(Struct, frozen=True, omit_defaults=True):
    """A line from a worker."""

    answer: Answer | None = None
    looks: list[Look] | None = None
    ready: bool = False


class _Listening:
    """A gate that keeps what it says of each intent."""

    def __init__(self, gate: AsyncGate) -> None:
        self._gate = gate
        self.verdicts: dict[str, list[Said]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gate, name)

    async def evaluate(self, intent: Intent, **named: Any) -> Verdict:
        began = time.monotonic()
        verdict = await self._gate.evaluate(intent, **named)
        permit = verdict.permit
        said = Said(
            time.time(),
            (time.monotonic() - began) * 1000,
            verdict.reason.value,
            verdict.detail[:200],
            intent.is_exit,
            *((_admitted_ms(permit.admission), permit.deadline_ms, permit.fence, permit.verify) if permit else ()),
        )
        self.verdicts.setdefault(intent.id, []).append(said)
        return verdict


def _admitted_ms(admission: str) -> int:
    return int(admission.split()[4])


async def _serve(place: Place, reader: asyncio.StreamReader) -> None:
    policy = Policy(**POLICY_FIGURES)
    async with AsyncExitStack() as stack:
        desks: list[tuple[_Listening, Executor]] = []
        for _ in range(place.executors):
            gate = AsyncGate.from_url(place.store_url, prefix=place.prefix, policy=policy, timeout_ms=place.timeout_ms)
            await stack.enter_async_context(gate)
            exchange = BinanceFutures(
                place.key, place.secret, base_url=place.exchange_url, recv_window_ms=RECV_WINDOW_MS
            )
            await stack.enter_async_context(exchange)
            listening: Any = _Listening(gate)
            desks.append((listening, await stack.enter_async_context(Executor(listening, exchange))))
        looking = threading.Event()
        looks: list[Look] = []
        thread = threading.Thread(target=_look, args=(place, looking, looks), daemon=True)
        if place.looks:
            thread.start()
        for listening, _ in desks:
            while not await _knows_store(listening):
                pass
        _tell(Line(ready=True))
        under_way: set[asyncio.Task[None]] = set()
        async for line in reader:
            delivery = msgspec.json.decode(line, type=Delivery)
            task = asyncio.create_task(_deliver(delivery, *desks[delivery.number % len(desks)]))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way)
        looking.set()
        if place.looks:
            await asyncio.to_thread(thread.join)
        _tell(Line(looks=looks))


async def _knows_store(gate: _Listening) -> bool:
    try:
        await gate.lookup("nobody")
    except StoreFailure:
        return False  # the machine is busy while so much is imported
    return True


async def _deliver(delivery: Delivery, gate: _Listening, executor: Executor) -> None:
    began, intent_id = time.time(), str(delivery.intent["id"])
    try:
        done = await executor.execute(delivery.intent)
    except BaseException as error:
        verdicts = gate.verdicts.pop(intent_id, [])
        said = Answer(
            delivery.number, intent_id, "", "", "", False, None, None, began, time.time(), verdicts, repr(error)
        )
    else:
        said = Answer(
            delivery.number,
            intent_id,
            done.state.value,
            done.reason,
            done.detail[:200],
            done.retryable,
            done.order_id,
            done.settlement.status.value if done.settlement else None,
            began,
            time.time(),
            gate.verdicts.pop(intent_id, []),
        )
    _tell(Line(answer=said))


def _look(place: Place, ended: threading.Event, looks: list[Look]) -> None:
    intent = Intent(
        id="look", symbol="BTCUSDT", side="BUY", notional="10", leverage=1, timestamp=time.time_ns() // 10**6
    )
    with Gate.from_url(place.store_url, prefix=place.prefix, timeout_ms=place.timeout_ms) as gate:
        while not ended.is_set():
            began, failed = time.monotonic(), None
            try:
                gate.inspect(intent)
            except StoreFailure as failure:
                failed = str(failure)
            looks.append(Look(time.time(), (time.monotonic() - began) * 1000, failed))
            ended.wait(_LOOK_EVERY_S)


def _tell(line: Line) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


async def _main() -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await _serve(msgspec.json.decode(await reader.readline(), type=Place), reader)


if __name__ == "__main__":
    logging.disable()
    asyncio.run(_main())
