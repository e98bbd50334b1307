"""The demo's story, scene by scene. Each scene acts through the real executor, and tells what it proves."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gate.demo.books import Line, hold_together
from gate.demo.stage import WORKERS, Credentials, Desk, open_desk
from gate.executor.execution import Execution, Terminal
from gate.paper import Account, PaperExchange
from gate.store.embedded import EmbeddedStore
from gate.values.guards import Reason
from gate.values.policy import Policy

ALICE: Final = Credentials("alice", "demo-key-a", "demo-secret-a")
BOB: Final = Credentials("bob", "demo-key-b", "demo-secret-b")


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise that the demo checks, and whether it was kept."""

    said: str
    kept: bool
    seen: str


@dataclass(slots=True)
class Story:
    """The story so far. It calls `on_scene` and `on_promise` for each scene and promise."""

    on_scene: Callable[[str], None]
    on_promise: Callable[[Promise], None]
    promises: list[Promise] = field(default_factory=list)
    books: list[Line] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def true(self) -> bool:
        """Whether every promise was kept, and the exchange's books agree with the gate's records."""
        return all(promise.kept for promise in self.promises) and all(line.agrees for line in self.books)

    def scene(self, title: str) -> None:
        """Opens a scene."""
        self.on_scene(title)

    def promise(self, said: str, kept: bool, seen: str) -> None:
        """Notes a promise, whether it was kept, and what was seen."""
        promise = Promise(said, kept, seen)
        self.promises.append(promise)
        self.on_promise(promise)


async def tell(story: Story) -> None:
    """Runs the whole story on its own store and exchange, and leaves nothing behind."""
    started = time.monotonic()
    accounts = [Account(key=each.key, secret=each.secret, balance="10000", name=each.name) for each in (ALICE, BOB)]
    with (
        tempfile.TemporaryDirectory(prefix="gate-demo-") as directory,
        PaperExchange(accounts=accounts) as exchange,
        EmbeddedStore.open(Path(directory), durable=False) as store,
    ):
        async with (
            open_desk(store.url, exchange.url, ALICE, Policy()) as alice,
            # Bob sends six intents in one minute. The fifth failure must stop him, so his rate limit is higher.
            open_desk(store.url, exchange.url, BOB, Policy(rate_global_limit=20)) as bob,
        ):
            await _one_order(story, alice)
            await _one_intent_to_eight_workers(story, alice, exchange)
            await _eight_intents_on_one_symbol(story, alice)
            await _sixth_order_in_a_minute(story, alice)
            await _empty_balance(story, bob, exchange)
            await _exit_while_stopped(story, bob)
            await _operator_resets(story, bob, exchange)
            ledger = exchange.ledger()
            story.books = [*await hold_together(alice, ledger), *await hold_together(bob, ledger)]
    story.seconds = time.monotonic() - started


async def _one_order(story: Story, desk: Desk) -> None:
    story.scene("An intent is admitted, its margin is checked, its order is filled")
    [execution] = await desk.deliver([desk.intent("alice-1", "BTCUSDT", "BUY", notional="1000")])
    seen = f"{execution.state}: {execution.filled_quantity} BTC at {execution.average_price}, margin {execution.margin}"
    story.promise("an admitted intent becomes one filled order", execution.state is Terminal.FILLED, seen)


async def _one_intent_to_eight_workers(story: Story, desk: Desk, exchange: PaperExchange) -> None:
    story.scene(f"One intent is delivered to {WORKERS} workers at once")
    intent = desk.intent("alice-2", "ETHUSDT", "BUY", notional="400")
    executions = await desk.deliver([intent] * WORKERS)
    client_order_id = desk.gate.client_order_id(intent.id)
    orders = [row for row in exchange.ledger() if row["clientOrderId"] == client_order_id]
    duplicates = sum(each.reason == Reason.DUPLICATE for each in executions)
    kept = len(orders) == 1 and duplicates == WORKERS - 1
    story.promise("one intent, one order", kept, f"{len(orders)} order on the exchange, {duplicates} duplicates denied")


async def _eight_intents_on_one_symbol(story: Story, desk: Desk) -> None:
    story.scene(f"{WORKERS} different intents want the same symbol and side at once")
    intents = [desk.intent(f"alice-3{letter}", "SOLUSDT", "BUY", notional="300") for letter in "abcdefgh"]
    executions = await desk.deliver(intents)
    admitted = sum(each.verdict.admitted for each in executions)
    story.promise("one permit per symbol and side", admitted == 1, _reasons(executions))


async def _sixth_order_in_a_minute(story: Story, desk: Desk) -> None:
    limit = desk.policy.rate_global_limit
    story.scene(f"{limit} orders a minute are allowed; a sixth is one too many")
    await desk.deliver([desk.intent("alice-4", "BNBUSDT", "BUY", notional="300")])
    await desk.deliver([desk.intent("alice-5", "XRPUSDT", "BUY", notional="300")])
    [sixth] = await desk.deliver([desk.intent("alice-6", "ADAUSDT", "BUY", notional="300")])
    wait_s = (sixth.retry_after_ms or 0) / 1000
    story.promise(
        "the window is exact, and says when entries pass again",
        sixth.reason == Reason.RATE_GLOBAL and 60 < wait_s <= 300,
        f"{sixth.reason}: {sixth.detail}; again in {wait_s:.1f} s",
    )
    [seventh] = await desk.deliver([desk.intent("alice-7", "LTCUSDT", "BUY", notional="300")])
    rest_s = (seventh.retry_after_ms or 0) / 1000
    story.promise(
        "exceeding it starts a cooldown of the whole account",
        seventh.reason == Reason.COOLDOWN_GLOBAL and rest_s > 0,
        f"{seventh.reason} for another {rest_s:.0f} s: {seventh.detail}",
    )


async def _empty_balance(story: Story, desk: Desk, exchange: PaperExchange) -> None:
    story.scene("Bob opens a position; then his balance is withdrawn, and five more intents arrive at once")
    await desk.deliver([desk.intent("bob-1", "OPUSDT", "BUY", notional="500")])
    exchange.set_balance("0", account=desk.account.name)
    before = len(exchange.ledger())
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "NEARUSDT")
    executions = await desk.deliver(
        [
            desk.intent(f"bob-2{letter}", symbol, "BUY", notional="500")
            for letter, symbol in zip("abcde", symbols, strict=True)
        ]
    )
    rejected = sum(each.state is Terminal.REJECTED_MARGIN for each in executions)
    sent = len(exchange.ledger()) - before
    story.promise(
        "no order is sent without margin", rejected == 5 and sent == 0, f"{rejected} rejected: {executions[0].detail}"
    )
    [entry] = await desk.deliver([desk.intent("bob-3", "DOGEUSDT", "BUY", notional="100")])
    tripped = any(each.settlement and each.settlement.tripped_safe_mode for each in executions)
    story.promise(
        "five failures trip safe mode, and safe mode stops entries",
        tripped and entry.reason == Reason.SAFE_MODE,
        f"{entry.reason} for {(entry.retry_after_ms or 0) / 1000:.0f} s: {entry.detail}",
    )


async def _exit_while_stopped(story: Story, desk: Desk) -> None:
    story.scene("Safe mode and the global cooldown are on. The position can still be closed")
    opened = next(each for each in desk.executions if each.intent_id == "bob-1")
    intent = desk.intent("bob-4-exit", "OPUSDT", "SELL", quantity=opened.filled_quantity, reduce_only=True)
    [execution] = await desk.deliver([intent])
    story.promise(
        "exits stay open",
        execution.state is Terminal.FILLED,
        f"{execution.state}: {execution.filled_quantity} OP at {execution.average_price}",
    )


async def _operator_resets(story: Story, desk: Desk, exchange: PaperExchange) -> None:
    story.scene("The balance is back; an operator resets what has tripped")
    exchange.set_balance("10000", account=desk.account.name)
    act = await desk.gate.reset("all", by="ops", reason="balance restored")
    [execution] = await desk.deliver([desk.intent("bob-5", "LINKUSDT", "BUY", notional="200")])
    story.promise(
        "a named operator lets entries pass again, and the audit has the act",
        execution.state is Terminal.FILLED and act.audited,
        f"reset {len(act.changed)} switches by ops; {execution.state}: {execution.filled_quantity} LINK",
    )


def _reasons(executions: Sequence[Execution]) -> str:
    counted = Counter(str(each.reason) for each in executions)
    return ", ".join(f"{count} {reason}" for reason, count in counted.most_common())


def run(story: Story) -> None:
    """Tells the story from a synchronous program."""
    asyncio.run(tell(story))
