"""One account under a fault: workers that trade through it, and the judge of what they did."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from gate import AsyncGate, Intent, Permit, Policy
from gate.exchange.binance import BinanceFutures
from gate.exchange.port import OrderRequest
from gate.executor import Executor
from gate.executor.execution import Execution, Terminal
from gate.executor.reconcile import reconcile_all
from gate.paper import Account
from gate.values.outcome import OutcomeKind

POLICY: Final = Policy(
    lock_ttl_ms=2_500,
    rate_symbol_limit=3,
    rate_symbol_window_ms=4_000,
    rate_global_limit=9,
    rate_global_window_ms=5_000,
    cooldown_symbol_ms=200,
    cooldown_global_ms=200,
    unknown_cooldown_ms=200,
    failure_limit=100,
)
"""Short, so that a fault and all that follows fit into seconds. The wait after a loss of memory is 9 s."""
RECV_WINDOW_MS: Final = 200
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "BNBUSDT")


@dataclass(slots=True)
class Admitted:
    """A permit, in the exchange's time."""

    intent: Intent
    permit: Permit
    policy: Policy
    until_ms: float
    """The end of the permit by the host's clock, which is the exchange's."""
    given_back: bool = False

    @property
    def at_ms(self) -> float:
        return self.until_ms - self.policy.lock_ttl_ms


@dataclass(slots=True)
class Findings:
    """What a run has counted, and what it must not have done."""

    intents: int = 0
    deliveries: int = 0
    orders: int = 0
    verified: int = 0
    denied_young: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        self.intents += other.intents
        self.deliveries += other.deliveries
        self.orders += other.orders
        self.verified += other.verified
        self.denied_young += other.denied_young
        self.violations += other.violations


class Desk:
    """An account with workers. Each worker is a gate of its own, which has seen what it has seen."""

    def __init__(self, name: str, account: Account, exchange_url: str, chance: random.Random) -> None:
        self.name: Final = name
        self.chance: Final = chance
        self.intents: list[Intent] = []
        self.admitted: list[Admitted] = []
        self.deliveries = self.denied_young = 0
        self.workers: list[Executor] = []
        self._stack = AsyncExitStack()
        self.exchange = BinanceFutures(
            account.key, account.secret, base_url=exchange_url, recv_window_ms=RECV_WINDOW_MS
        )
        self.client_order_id = ""

    async def open(self, urls: Iterable[str], policies: Iterable[Policy] = (POLICY, POLICY, POLICY)) -> None:
        """Opens a worker at each address. Begins with a position, so that exits have something to reduce."""
        await self._stack.enter_async_context(self.exchange)
        for url, policy in zip(urls, policies, strict=False):
            gate = await self._stack.enter_async_context(
                AsyncGate.from_url(url, prefix=self.name, policy=policy, timeout_ms=1_000)
            )
            self.workers.append(Executor(gate, self.exchange))
        await self.gate(0).init(by="tests", reason="a new account")
        for symbol in SYMBOLS[:2]:
            position = OrderRequest(symbol, "BUY", Decimal("1"), f"{self.name}-opens-{symbol}", False, None)
            await self.exchange.place(position, self.exchange.valid_for(5_000), timeout_ms=10_000)

    async def close(self) -> None:
        await self._stack.aclose()

    def gate(self, worker: int) -> AsyncGate:
        return self.workers[worker]._gate

    def new_intent(self, *, exits: bool | None = None) -> Intent:
        """An entry or an exit, decided now."""
        exits = self.chance.random() < 0.4 if exits is None else exits
        symbol = self.chance.choice(SYMBOLS[:2] if exits else SYMBOLS)
        size: dict[str, Any] = {"quantity": "0.001"} if exits else {"notional": "60"}
        intent = Intent(
            id=f"{self.name}-{len(self.intents)}",
            symbol=symbol,
            side="SELL" if exits else "BUY",
            reduce_only=exits,
            timestamp=time.time_ns() // 1_000_000,
            **size,
        )
        self.intents.append(intent)
        return intent

    async def deliver(self, intent: Intent, worker: int) -> Execution:
        """Gives an intent to a worker."""
        self.deliveries += 1
        executor = self.workers[worker]
        execution = await executor.execute(intent)
        self._note(intent, execution, executor._policy)
        return execution

    async def deliver_to_all(self, intents: Iterable[Intent]) -> None:
        """Gives intents to every worker, in any order, some at once."""
        tasks = [(intent, worker) for intent in intents for worker in range(len(self.workers))]
        self.chance.shuffle(tasks)
        await asyncio.gather(*(self.deliver(intent, worker) for intent, worker in tasks))

    def _note(self, intent: Intent, execution: Execution, policy: Policy) -> None:
        permit = execution.verdict.permit
        if permit is None:
            self.denied_young += execution.reason == "MEMORY_YOUNG"
            return
        now_ms, now_ns = time.time() * 1000, time.monotonic_ns()
        until_ms = now_ms + (permit.expires_ns - now_ns) / 1e6
        settled = execution.settlement
        given_back = (
            execution.outcome is not None
            and execution.outcome.kind is OutcomeKind.UNSENT
            and settled is not None
            and bool(settled)
        )
        self.admitted.append(Admitted(intent, permit, policy, until_ms, given_back))

    async def until_quiet(self, worker: int = 0) -> None:
        """Reconciles until nothing is in doubt."""
        for _ in range(60):
            status = await self.gate(worker).status()
            if not status.in_doubt and not status.in_flight:
                return
            await reconcile_all(self.gate(worker), self.exchange)
            await asyncio.sleep(0.2)

    def judge(self, ledger: Mapping[str, list[Mapping[str, Any]]], *, windows: bool) -> Findings:
        """Compares what the exchange has with what one may expect. `ledger`: its orders by client order id."""
        found = Findings(
            intents=len(self.intents),
            deliveries=self.deliveries,
            verified=sum(each.permit.verify for each in self.admitted),
            denied_young=self.denied_young,
        )
        for intent in self.intents:
            orders = ledger.get(self.gate(0).client_order_id(intent.id), [])
            found.orders += len(orders)
            if len(orders) > 1:
                found.violations.append(f"{intent.id}: {len(orders)} orders")
            until_ms = max((each.until_ms for each in self.admitted if each.intent.id == intent.id), default=None)
            for order in orders:
                if until_ms is None:
                    found.violations.append(f"{intent.id}: an order without a permit")
                elif float(order["time"]) > until_ms + 1:
                    late_ms = float(order["time"]) - until_ms
                    found.violations.append(f"{intent.id}: accepted {late_ms:.0f} ms after its deadline")
        if windows:
            found.violations += self._exceeded()
        return found

    def _exceeded(self) -> list[str]:
        counted = [each for each in self.admitted if not each.intent.is_exit and not each.given_back]
        said = []
        for last in counted:
            policy = last.policy
            # A millisecond is lost between the server's clock and ours at each end.
            within = [each for each in counted if -2 <= last.at_ms - each.at_ms < policy.rate_global_window_ms - 50]
            of_symbol = [
                each
                for each in counted
                if each.intent.symbol == last.intent.symbol
                and -2 <= last.at_ms - each.at_ms < policy.rate_symbol_window_ms - 50
            ]
            if len(within) > policy.rate_global_limit:
                said.append(f"{last.intent.id}: {len(within)} in the account's window")
            if len(of_symbol) > policy.rate_symbol_limit:
                said.append(f"{last.intent.id}: {len(of_symbol)} in the window of {last.intent.symbol}")
        return said


def done(execution: Execution) -> bool:
    """Whether an order came of it."""
    return execution.state in (Terminal.FILLED, Terminal.PLACED)
