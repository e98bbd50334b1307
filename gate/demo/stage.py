"""The stage of the demo: a store, a paper exchange with two accounts, and eight workers for each."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from gate.client.gates import AsyncGate
from gate.exchange.binance import BinanceFutures
from gate.executor import Executor
from gate.executor.execution import Execution
from gate.values.intent import Intent
from gate.values.policy import Policy

WORKERS: Final = 8


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account of the paper exchange."""

    name: str
    key: str
    secret: str = field(repr=False)


@dataclass(slots=True)
class Desk:
    """One account: its key prefix, its policy, and its workers, which share only the gate."""

    account: Credentials
    prefix: str
    policy: Policy
    gates: list[AsyncGate]
    executors: list[Executor]
    executions: list[Execution] = field(default_factory=list)
    intents: dict[str, Intent] = field(default_factory=dict)

    @property
    def gate(self) -> AsyncGate:
        """The gate for inspections and for the operator's acts."""
        return self.gates[0]

    def intent(self, intent_id: str, symbol: str, side: str, **size: Any) -> Intent:
        """An intent with the current time."""
        intent = Intent(id=intent_id, symbol=symbol, side=side, timestamp=int(time.time() * 1000), leverage=5, **size)
        self.intents[intent_id] = intent
        return intent

    async def deliver(self, intents: Sequence[Intent]) -> list[Execution]:
        """Gives each intent to its own worker, all at the same time."""
        from asyncio import gather

        executions = await gather(
            *(executor.execute(intent) for executor, intent in zip(self.executors, intents, strict=False))
        )
        self.executions.extend(executions)
        return list(executions)


@asynccontextmanager
async def open_desk(store_url: str, exchange_url: str, account: Credentials, policy: Policy) -> AsyncIterator[Desk]:
    """Opens an account's desk, and connects all its workers."""
    async with AsyncExitStack() as stack:
        prefix = f"demo:{account.name}"
        gates, executors = [], []
        for _ in range(WORKERS):
            # Patient, since a machine that is busy with other things must not deny what the story admits.
            patient = AsyncGate.from_url(store_url, prefix=prefix, policy=policy, timeout_ms=2_000)
            gate = await stack.enter_async_context(patient)
            exchange = BinanceFutures(account.key, account.secret, base_url=exchange_url)
            await stack.enter_async_context(exchange)
            await gate.lookup("warm-up")
            await exchange.filters("BTCUSDT")
            gates.append(gate)
            executors.append(Executor(gate, exchange))
        await gates[0].init(by="demo", reason="a new account")
        yield Desk(account, prefix, policy, gates, executors)
