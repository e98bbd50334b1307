"""One run: an intent delivered to a worker that dies, and delivered again until all is quiet."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import redis.asyncio
import redis.exceptions

from gate import AsyncGate, Intent, Policy, Reason, StoreUnavailable
from gate.exchange.binance import BinanceFutures
from gate.exchange.port import CLOCK_LEAD_MS, OrderRequest
from gate.executor import Executor
from gate.executor.execution import Execution, Terminal
from gate.executor.reconcile import reconcile
from gate.protocol.keyspace import Keyspace
from gate.values.record import Phase, Record
from tests.crash.plan import LAPSING, POLICY, RECV_WINDOW_MS, KillPoint, Plan, Trade
from tests.crash.worker import STORE_TIMEOUT_MS, Job
from tests.crash.zygote import Zygote
from tests.exchange.told import told_by_streams

T = TypeVar("T")

_PATIENCE_S = 20  # far longer than a permit's life and what follows it
_DELIVERIES = 25
_RECALLS = 4


@dataclass(slots=True)
class Report:
    """The result of a run."""

    plan: Plan
    killed: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    order_id: str | None = None
    """Of a record in phase placed: at the end, or before it lapsed."""
    lapsed: bool = False
    """Its record lapsed while it was in doubt, so only the state's copy holds it."""
    conditional_orders: list[str] = field(default_factory=list)
    """The orders that the algo endpoint has accepted."""
    late: bool = False
    """Whether the machine was too busy for the run to prove anything."""
    started: float = field(default_factory=time.monotonic)

    def note(self, what: object) -> None:
        """Adds a line to the trace."""
        self.trace.append(f"{time.monotonic() - self.started:6.3f} {what}")

    def __str__(self) -> str:
        return "\n  ".join([f"{self.plan}", *(f"VIOLATION {each}" for each in self.violations), *self.trace])


class Course:
    """Runs a plan on a store of its own: `store_url` names a database that nobody else uses."""

    def __init__(self, plan: Plan, store_url: str, exchange_url: str, zygote: Zygote, *, streams: bool) -> None:
        self.report = Report(plan)
        self._plan = plan
        self._store_url = store_url
        self._exchange_url = exchange_url
        self._zygote = zygote
        self._streams = streams
        self._policy = LAPSING if plan.lapses else POLICY

    async def run(self) -> Report:
        """Returns the report; what the exchange's books say is for the caller to check."""
        account = self._plan.account
        self._store = redis.asyncio.Redis.from_url(self._store_url)
        self._gate = self._new_gate()
        self._keys = Keyspace(self._plan.prefix)
        self._exchange = BinanceFutures(
            account.key,
            account.secret,
            base_url=self._exchange_url,
            recv_window_ms=RECV_WINDOW_MS,
            streams=self._streams,
        )
        async with self._store, self._gate, self._exchange:
            await self._patiently(lambda: self._gate.init(by="tests", reason="a new account"))
            # Without a policy in force the record of an exit would live for a day.
            await self._patiently(lambda: self._gate.apply_policy(by="tests", reason="a new account"))
            if self._streams:
                await told_by_streams(self._exchange, self._plan.symbol)
            try:
                async with asyncio.timeout(6 * _PATIENCE_S):
                    self._intent = {
                        "id": self._plan.intent_id,
                        "symbol": self._plan.symbol,
                        **await self._asked(),
                        "timestamp": time.time_ns() // 1_000_000,
                    }
                    await self._deliveries()
                    await self._recall()
                    await self._patiently(self._judge)
            except Exception as error:
                self.report.violations.append(f"broke off: {error!r}")
        return self.report

    async def _asked(self) -> dict[str, Any]:
        """Prepares the account for the intent, and returns the intent's terms."""
        plan = self._plan
        if plan.hedge:
            await self._exchange._rest.client.futures_change_position_mode(dualSidePosition="true")
        mark = await self._exchange.mark_price(plan.symbol)
        match plan.trade:
            case Trade.MARKET:
                return {"side": plan.side, "notional": "500", "leverage": plan.leverage}
            case Trade.LIMIT:
                away = Decimal("0.97") if plan.side == "BUY" else Decimal("1.03")
                terms = {"order_type": "LIMIT", "price": str(mark * away), "leverage": plan.leverage}
                return {"side": plan.side, "quantity": "0.01", **terms}
            case Trade.STOP:
                away = Decimal("1.1") if plan.side == "BUY" else Decimal("0.9")
                terms = {"order_type": "STOP_MARKET", "trigger_price": str(mark * away)}
                return {"side": plan.side, "quantity": "0.01", "reduce_only": True, **terms}
            case Trade.EXIT:
                opens = "SELL" if plan.side == "BUY" else "BUY"
                position_side = ("LONG" if opens == "BUY" else "SHORT") if plan.hedge else None
                setup = OrderRequest(plan.symbol, opens, Decimal("0.05"), plan.setup_id, False, position_side)
                await self._exchange.place(setup, self._exchange.valid_for(5000), timeout_ms=10_000)
                return {"side": plan.side, "quantity": "0.01", "reduce_only": True}

    async def _deliveries(self) -> None:
        plan = self._plan
        first = asyncio.create_task(self._worker("first", plan.kill))
        forgetting = asyncio.create_task(self._forget_during()) if "during the first" in plan.forgets else None
        if plan.overlap_ms is None:
            await first
        else:
            await asyncio.wait([first], timeout=plan.overlap_ms / 1000)
        if forgetting and plan.overlap_ms is None:
            await forgetting

        await self._forget("before the second")
        if plan.second_kill is not None:
            await self._worker("second", plan.second_kill)
        else:
            await self._deliver("second")
        await first
        if forgetting:
            await forgetting

        if plan.lapses:
            self._remembered(await self._lookup())
            await self._until_gone(self._keys.record(plan.intent_id))
            self.report.lapsed = bool(await self._held())
        await self._until_gone(self._keys.lock(plan.symbol, plan.side))
        await self._wait_out()
        await self._forget("before the third")
        if plan.reconciled_meanwhile:
            await asyncio.gather(self._deliver("third"), self._deliver("beside it"), self._reconcile())
        else:
            await self._deliver("third")
        await self._until_quiet()

        await self._forget("before the last")
        for _ in range(_DELIVERIES):
            execution = await self._deliver("last")
            if execution is None or not execution.retryable:
                break
            if execution.reason == Reason.MEMORY_YOUNG:
                await self._wait_out()
            else:
                await asyncio.sleep((execution.retry_after_ms or 100) / 1000)
        await self._until_quiet()

    async def _worker(self, which: str, kill: KillPoint) -> None:
        account = self._plan.account
        ended = await self._zygote.run(
            Job(
                store_url=self._store_url,
                prefix=self._plan.prefix,
                exchange_url=self._exchange_url,
                key=account.key,
                secret=account.secret,
                intent=self._intent,
                policy=self._figures(),
                kill=kill,
                streams=self._streams,
            )
        )
        self.report.note(f"{which} worker " + (f"killed {kill}" if ended.killed else f"ended: {ended.said}"))
        if ended.killed:
            self.report.killed.append("anytime" if kill.when == "anytime" else f"{kill.when} {kill.step}")
        elif ended.said.startswith("RAISED"):
            self.report.violations.append(f"a worker raised: {ended.said}")

    def _figures(self) -> dict[str, int]:
        default = Policy()
        return {
            each.name: getattr(self._policy, each.name)
            for each in dataclasses.fields(Policy)
            if getattr(self._policy, each.name) != getattr(default, each.name)
        }

    async def _deliver(self, which: str) -> Execution | None:
        """Delivers the intent to a worker that lives."""
        async with self._new_gate() as gate:
            execution = await Executor(gate, self._exchange).execute(Intent.from_mapping(self._intent))
        permit = execution.verdict.permit
        verify = f" verify at {permit.memory_age_ms} ms" if permit and permit.verify else ""
        order = f" order {execution.order_id}" if execution.order_id else ""
        self.report.note(f"{which} delivery{verify}: {execution.state} {execution.reason} {execution.detail}{order}")
        return None if execution.state is Terminal.DENIED and not execution.retryable else execution

    async def _forget_during(self) -> None:
        await asyncio.sleep(self._plan.forgets_after_ms / 1000)
        await self._forget("during the first")

    async def _forget(self, when: str) -> None:
        if when in self._plan.forgets:
            await self._patiently(self._store.flushdb)
            self.report.note(f"memory lost {when}")

    async def _wait_out(self) -> None:
        """After a loss of memory, makes the memory as old as entries have to wait.

        No worker of before lives by now. What it has sent may still be accepted, for so long this really waits.
        """
        state = self._keys.state
        if await self._patiently(lambda: self._store.exists(state)) and not await self._patiently(
            lambda: self._store.hexists(state, "lost")
        ):
            return
        await asyncio.sleep((RECV_WINDOW_MS + CLOCK_LEAD_MS) / 1000)
        times = await self._patiently(lambda: self._store.hmget(state, ["since", "lost"]))
        if all(times):
            older: dict[Any, Any] = {
                name: int(held) - self._policy.memory_wait_ms
                for name, held in zip(("since", "lost"), times, strict=True)
                if held
            }
            await self._patiently(lambda: self._store.hset(state, mapping=older))

    async def _until_gone(self, key: str) -> None:
        """Waits for a key to run out; one that can't is a violation."""
        async with asyncio.timeout(_PATIENCE_S):
            while (left_ms := await self._patiently(lambda: self._store.pttl(key))) != -2:
                if left_ms == -1:
                    self.report.violations.append(f"{key} has no TTL")
                    return
                await asyncio.sleep((left_ms + 2) / 1000)

    async def _reconcile(self) -> None:
        for each in await self._patiently(lambda: reconcile(self._gate, self._exchange)):
            self.report.note(f"reconciled {each.intent_id}: {each.finding} {each.detail} {each.settlement or ''}")
            if each.settlement is not None:
                self._remembered(each.settlement.record)

    async def _until_quiet(self) -> None:
        """Reconciles until nothing is left."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while True:
                    await self._reconcile()
                    held = await self._held()
                    if not held:
                        return
                    now_ms = (await self._patiently(lambda: self._gate.in_doubt(1))).now_ms
                    due = [int(until) + (CLOCK_LEAD_MS if until <= now_ms else 0) + 2 - now_ms for _, until in held]
                    await asyncio.sleep(max(min(due), 100) / 1000)
        self.report.note("not quiet")

    async def _held(self) -> list[Any]:
        """The permits without a final outcome, of entries and of exits, with their deadlines."""
        held: list[Any] = []
        for key in (self._keys.inflight, self._keys.exits):
            held += await self._patiently(partial(self._store.zrange, key, 0, -1, withscores=True))
        return held

    async def _recall(self) -> None:
        """Delivers once more after a restart of the store, to find the order of the last delivery again."""
        for _ in range(_RECALLS):
            self._remembered(record := await self._lookup())
            if self.report.order_id is not None or record is not None:
                return
            await self._wait_out()
            await self._deliver("recalling")
            await self._until_quiet()

    async def _lookup(self) -> Record | None:
        return await self._patiently(lambda: self._gate.lookup(self._plan.intent_id))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Repeats the call while the store may be restarting."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return await ask()
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, StoreUnavailable):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.05)

    async def _judge(self) -> None:
        """Checks the gate's own reports at the end."""
        report, plan = self.report, self._plan
        status = await self._gate.status()
        record = await self._gate.lookup(plan.intent_id)
        report.note(f"in the end: {record}")
        if plan.trade is Trade.STOP:
            waiting = await self._exchange._rest.client._request_futures_api(
                "get", "allAlgoOrders", True, data={"symbol": plan.symbol}
            )
            report.conditional_orders = [str(row["algoId"]) for row in waiting]
        if status.in_doubt or status.in_flight:
            report.violations.append(f"in doubt {status.in_doubt}, in flight {status.in_flight}: {status.doubtful}")
        for each in status.standing:
            if each.name == "lock" and each.ttl_ms is None:
                report.violations.append(f"{each.key} has no TTL")
        self._remembered(record)
        placed = record is not None and record.phase is Phase.PLACED
        if placed and plan.leverage and plan.trade in (Trade.MARKET, Trade.LIMIT):
            there = (await self._exchange.symbol_config(plan.symbol)).leverage
            if there != plan.leverage:
                report.violations.append(f"an order at leverage {there}, where {plan.leverage} was named")
        if record is not None and record.phase not in (Phase.PLACED, Phase.REJECTED):
            report.violations.append(f"the record says {record}")

    def _remembered(self, record: Record | None) -> None:
        """Keeps the order id of the record; where a record lapses, that of its last days."""
        if record is not None and record.phase is Phase.PLACED:
            self.report.order_id = record.order_id

    def _new_gate(self) -> AsyncGate:
        return AsyncGate.from_url(
            self._store_url, prefix=self._plan.prefix, policy=self._policy, timeout_ms=STORE_TIMEOUT_MS
        )
