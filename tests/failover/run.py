"""One run: executors under load, a fault, redeliveries, and the judgement."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import ROUND_DOWN
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from gate import AsyncGate, StoreFailure
from gate.exchange.binance import BinanceFutures
from gate.exchange.port import OrderRequest
from gate.executor.reconcile import reconcile
from gate.paper import Account, PaperExchange
from tests.failover.deployments import Deployment, until
from tests.failover.judge import Report, judge
from tests.failover.plan import LONG, POLICY, POSITION, PREFIX, RECV_WINDOW_MS, SHORT, draw
from tests.failover.worker import Answer, Delivery, Line, Look, Place

T = TypeVar("T")

_ROOT: Final = Path(__file__).resolve().parents[2]
_ACCOUNT: Final = Account(balance="100000000")
_PATIENCE_S: Final = 60
_SPARE_S: Final = 10
TIMEOUT_MS: Final = 250


class Worker:
    """A process with executors."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.answers: list[Answer] = []
        self.looks: list[Look] = []
        self._heard: dict[int, asyncio.Future[Answer]] = {}

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.failover.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            limit=1 << 26,
        )
        self._write(self._place)
        self._ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    def _write(self, what: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(what) + b"\n")

    async def ready(self) -> None:
        """Waits until it has imported everything and knows the store."""
        async with asyncio.timeout(2 * _PATIENCE_S):
            await self._ready.wait()

    def deliver(self, delivery: Delivery) -> asyncio.Future[Answer]:
        """Sends it; the future has the answer."""
        self._heard[delivery.number] = asyncio.get_running_loop().create_future()
        self._write(delivery)
        return self._heard[delivery.number]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            line = msgspec.json.decode(text, type=Line)
            self.looks += line.looks or []
            if line.ready:
                self._ready.set()
            if line.answer is not None:
                self.answers.append(line.answer)
                self._heard[line.answer.number].set_result(line.answer)

    async def end(self) -> None:
        """Waits for what is under way, for so long as is reasonable."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._process.wait()
                await self._reading
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()


@dataclass
class Run:
    """Use it in an `async with` block: workers and exchange live as long."""

    deployment: Deployment
    seed: str
    fault: str
    processes: int = 3
    executors: int = 2
    rate: float = 16.0
    """Intents a second."""
    apart: dict[int, str] = field(default_factory=dict)
    """URLs of those workers, by number, that see the store another way."""

    async def __aenter__(self) -> Self:
        self.chance = random.Random(f"{self.fault} {self.seed}")
        self.report = Report(self.fault, self.seed)
        self.paper = PaperExchange(accounts=[_ACCOUNT], limits=None).start()
        self.struck, self.takeover = time.time(), None  # type: float, float | None
        self.quiet: set[int] = set()
        self._intents: dict[str, dict[str, Any]] = {}
        self._delivered: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: asyncio.Task[None] | None = None
        self._exchange = BinanceFutures(
            _ACCOUNT.key, _ACCOUNT.secret, base_url=self.paper.url, recv_window_ms=RECV_WINDOW_MS
        )
        self._gate = AsyncGate.from_url(self.deployment.url, prefix=PREFIX, policy=POLICY, timeout_ms=1_000)
        await self._patiently(lambda: self._gate.init(by="test", reason="a new account"))
        await self._open_positions()
        self.workers = [
            Worker(
                Place(
                    self.apart.get(number, self.deployment.url),
                    PREFIX,
                    self.paper.url,
                    _ACCOUNT.key,
                    _ACCOUNT.secret,
                    self.executors,
                    TIMEOUT_MS,
                    looks=number == 0,
                )
            )
            for number in range(self.processes)
        ]
        for worker in self.workers:
            await worker.start()
        for worker in self.workers:
            await worker.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in [*self._tasks, self._loading]:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(worker.end() for worker in self.workers), return_exceptions=True)
        await self._exchange.__aexit__(None, None, None)
        await self._gate.close()
        self.paper.stop()

    async def _open_positions(self) -> None:
        for symbol in LONG + SHORT:
            filters, mark = await self._exchange.filters(symbol), await self._exchange.mark_price(symbol)
            assert filters is not None
            step = filters.market_lot.step
            quantity = (POSITION / mark / step).to_integral_value(ROUND_DOWN) * step
            side = "BUY" if symbol in LONG else "SELL"
            order = OrderRequest(symbol, side, quantity, f"setup-{symbol}", False, None)
            await self._exchange.place(order, self._exchange.valid_for(5_000), timeout_ms=10_000)

    def begin(self) -> None:
        """Starts the load."""
        self._loading = asyncio.create_task(self._load())

    async def _load(self) -> None:
        while True:
            self._deliver_anew()
            await asyncio.sleep(self.chance.expovariate(self.rate))

    def _deliver_anew(self) -> None:
        sent = draw(self.chance, len(self._intents))
        intent = {**sent.intent, "timestamp": time.time_ns() // 1_000_000}
        self._intents[str(intent["id"])] = intent
        self.deliver(intent)
        for after_s in sent.again_after_s:
            task = asyncio.create_task(self._later(intent, after_s))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _later(self, intent: dict[str, Any], after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.deliver(intent)

    def deliver(self, intent: dict[str, Any], to: int | None = None) -> asyncio.Future[Answer]:
        """To one of the workers that aren't quiet just now, or to the one of that number."""
        number = len(self._delivered)
        self._delivered[number] = str(intent["id"])
        if to is None:
            to = self.chance.choice([each for each in range(self.processes) if each not in self.quiet])
        return self.workers[to].deliver(Delivery(number, intent))

    async def heard(self, wanted: Callable[[Answer], bool]) -> None:
        """Waits until a worker has given such an answer."""

        def given() -> bool:
            return any(wanted(answer) for worker in self.workers for answer in worker.answers)

        await until(given, "an answer")

    def strike(self) -> None:
        """Notes that the fault comes now."""
        self.struck = time.time()

    def of_late(self, within_s: float) -> list[dict[str, Any]]:
        """The intents whose time isn't older than that."""
        since_ms = (time.time() - within_s) * 1000
        return [each for each in self._intents.values() if each["timestamp"] >= since_ms]

    async def finish(self) -> Report:
        """Ends the load, delivers every intent once more, settles what is in doubt, and judges."""
        assert self._loading is not None
        self._loading.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._once_more()
        await self._until_quiet()
        for worker in self.workers:
            await worker.end()
        records = {each: await self._patiently(lambda e=each: self._gate.lookup(e)) for each in self._intents}  # type: ignore[misc]
        answers = [answer for worker in self.workers for answer in worker.answers]
        self.report.found_by_look_up = _found(answers)
        judge(
            self.report,
            intents=self._intents,
            delivered=self._delivered,
            answers=answers,
            looks=[worker.looks for worker in self.workers if worker.looks],
            ledger=self.paper.ledger(),
            records=records,
            takeover=self.takeover,
            struck=self.struck,
        )
        return self.report

    async def _once_more(self) -> None:
        """Every intent, and those whose order isn't recorded until it is."""
        in_ledger = {str(row["clientOrderId"]) for row in self.paper.ledger()}
        waiting = []
        for intent in self._intents.values():
            waiting.append(self.deliver(intent))
            await asyncio.sleep(0.005)
        await asyncio.wait(waiting, timeout=_PATIENCE_S)
        for intent_id, intent in self._intents.items():
            if self._gate.client_order_id(intent_id) not in in_ledger:
                continue
            lost, deadline = False, time.monotonic() + POLICY.memory_wait_ms / 1000 + _SPARE_S
            while await self._patiently(lambda e=intent_id: self._gate.lookup(e)) is None:  # type: ignore[misc]
                lost = True
                answer = await asyncio.wait_for(self.deliver(intent), _PATIENCE_S)
                if time.monotonic() > deadline:
                    break
                if answer.retryable:
                    await asyncio.sleep(0.5)
            self.report.found_in_the_end += lost

    async def _until_quiet(self) -> None:
        async def done() -> bool:
            await reconcile(self._gate, self._exchange)
            status = await self._gate.status()
            return not status.in_doubt and not status.in_flight

        deadline = time.monotonic() + _PATIENCE_S
        while not await self._patiently(done):
            if time.monotonic() > deadline:
                self.report.violations.append("something stays in doubt")
                return
            await asyncio.sleep(0.2)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return await ask()
            except StoreFailure:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)


def _found(answers: list[Answer]) -> int:
    """Deliveries that were admitted and found an order of an earlier one."""
    first: dict[str, float] = {}
    told = defaultdict(list)
    for answer in answers:
        if answer.order_id and answer.verdicts and answer.verdicts[-1].admitted_ms:
            told[answer.intent_id].append(answer.ended)
            first[answer.intent_id] = min(first.get(answer.intent_id, answer.ended), answer.ended)
    return sum(len(times) - 1 for times in told.values())
