"""One account under a fault: workers that trade through it, and the judge of what they did."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from gate import AsyncGate, Intent, Permit, Policy, StoreFailure, Verdict
from gate.exchange.binance import BinanceFutures
from gate.exchange.port import OrderAnswer, OrderRequest, Validity
from gate.executor import Executor
from gate.executor.execution import Execution
from gate.executor.late_orders import LateOrders
from gate.executor.reconcile import reconcile_all
from gate.paper import Account
from gate.values.last_look import LastLook
from gate.values.outcome import OutcomeKind
from gate.values.record import decode_record
from gate.values.reports import StillOut
from tests.exchange.told import told_by_streams

POLICY: Final = Policy(
    lock_ttl_ms=4_500,
    rate_symbol_limit=3,
    rate_symbol_window_ms=4_000,
    rate_global_limit=9,
    rate_global_window_ms=5_000,
    cooldown_symbol_ms=200,
    cooldown_global_ms=200,
    unknown_cooldown_ms=200,
    failure_limit=100,
    exits_without_store=False,  # what the store holds is judged, also where several get an exit at the same moment
)
"""Short, so that a fault and all that follows fit into seconds. The wait after a loss of memory is 11 s."""
RECV_WINDOWS_MS: Final = (200, 3_000)
"""A short one lets absence count early, a long one leaves it to the permit's end until when the exchange accepts."""
STORE_TIMEOUT_MS: Final = 2_000
"""The machine may be busy, and slow stores are no fault here."""
LATE_MS: Final = 250
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "BNBUSDT")


@dataclass(slots=True)
class Told:
    """What a delivery has done."""

    placed: list[str] = field(default_factory=list)
    """The exchange's ids of the orders that it has placed."""
    looked_ms: float | None = None
    """When it began its last look at its permit, by the host's clock."""
    without_store: Permit | None = None
    """The permit of an exit that the store couldn't judge."""


_TOLD: ContextVar[Told] = ContextVar("told")


@dataclass(slots=True)
class Admitted:
    """A permit, in the times by which it is judged."""

    intent: Intent
    permit: Permit
    policy: Policy
    until_ms: float
    """The end of the permit by the host's clock, which is the exchange's."""
    told: Told = field(default_factory=Told)
    given_back: bool = False

    @property
    def asked_ms(self) -> float:
        """Right before the admission, by the host's clock."""
        return self.until_ms - self.policy.lock_ttl_ms

    @property
    def at_ms(self) -> int:
        """The admission by the store's clock, which alone decides about windows."""
        return decode_record(self.intent.id, self.permit.admission).admitted_ms


@dataclass(slots=True)
class Findings:
    """What a run has counted, and what it must not have done."""

    runs: int = 0
    unfit: int = 0
    """Runs that prove nothing: the machine was too busy to open their accounts, for the exchange's own time, or for the
    store to confirm a halt."""
    intents: int = 0
    deliveries: int = 0
    orders: int = 0
    halted: int = 0
    """Runs with a halt that was confirmed."""
    held: int = 0
    """Entries that had a permit, were not settled when the halt began, and left no order."""
    verified: int = 0
    denied_young: int = 0
    late: int = 0
    """Orders that the exchange has taken in late."""
    violations: list[str] = field(default_factory=list)

    @property
    def redelivered(self) -> int:
        return self.deliveries - self.intents

    def add(self, other: Findings) -> None:
        self.runs += other.runs
        self.unfit += other.unfit
        self.intents += other.intents
        self.deliveries += other.deliveries
        self.orders += other.orders
        self.halted += other.halted
        self.held += other.held
        self.verified += other.verified
        self.denied_young += other.denied_young
        self.late += other.late
        self.violations += other.violations


class MachineTooBusyError(Exception):
    """The fault came out otherwise than it was meant, so the batch proves nothing."""


class TellingExchange(BinanceFutures):
    """Tells the delivery which orders it has placed, so that each can be held against its own permit."""

    async def place(self, order: OrderRequest, validity: Validity, *, timeout_ms: int) -> OrderAnswer:
        placed = await super().place(order, validity, timeout_ms=timeout_ms)
        _TOLD.get(Told()).placed.append(placed.order_id)
        return placed


class TellingGate(AsyncGate):
    """Tells the delivery when it has looked."""

    async def evaluate(self, intent: Intent | Mapping[str, object], **more: Any) -> Verdict:
        _TOLD.get(Told()).looked_ms = time.time() * 1000  # where nothing is waited for, the verdict is the last look
        return await super().evaluate(intent, **more)

    async def last_look(self, permit: Permit, *, needed_ms: int, placed_after: str | None = None) -> LastLook:
        _TOLD.get(Told()).looked_ms = time.time() * 1000
        return await super().last_look(permit, needed_ms=needed_ms, placed_after=placed_after)

    def permit_without_store(self, intent: Intent) -> Permit:
        permit = super().permit_without_store(intent)
        _TOLD.get(Told()).without_store = permit
        return permit


async def told(delivery: Coroutine[Any, Any, Execution]) -> tuple[Execution, Told]:
    """What a delivery came to, and what it has done."""
    tells = Told()

    async def execute() -> Execution:
        _TOLD.set(tells)
        return await delivery

    return await asyncio.create_task(execute()), tells


class Worker:
    """A gate of its own, which has seen what it has seen, and connections of its own to the exchange."""

    def __init__(self, gate: AsyncGate, exchange: TellingExchange, late: LateOrders | None = None) -> None:
        self.gate: Final = gate
        self.exchange: Final = exchange
        self.late: Final = late or LateOrders()
        self.executor: Final = Executor(gate, exchange, late=self.late)


class Desk:
    """An account with workers."""

    def __init__(
        self, name: str, account: Account, exchange_url: str, chance: random.Random, *, streams: bool = False
    ) -> None:
        self.streams: Final = streams
        self.name: Final = name
        self.account: Final = account
        self.exchange_url: Final = exchange_url
        self.chance: Final = chance
        self.recv_window_ms: Final = chance.choice(RECV_WINDOWS_MS)
        self.intents: list[Intent] = []
        self.admitted: list[Admitted] = []
        self.deliveries = self.denied_young = 0
        self.unanswered_s = 0.0
        """When the store last gave a delivery no answer in time, by the monotonic clock."""
        self.raised: list[str] = []
        self.clear_ms: float | None = None
        """When a halt of entries was confirmed, by the host's clock."""
        self.unconfirmed = False
        """Whether a halt had no answer, so that nothing follows from it."""
        self.out: tuple[str, ...] = ()
        """The intents that were out when it began."""
        self.amiss: list[str] = []
        """What else isn't as it should be."""
        self.late: set[str] = set()
        """Client order ids of the orders that the exchange takes in late, for which no deadline counts."""
        self.ahead_s = 0.0
        """How far the clock of those who watch absences is ahead."""
        self.workers: list[Worker] = []
        self._opened: list[str] = []
        self._stack = AsyncExitStack()

    async def open(self, urls: Iterable[str], policies: Iterable[Policy] = (POLICY, POLICY, POLICY)) -> None:
        """Opens a worker at each address. Begins with a position, so that exits have something to reduce."""
        for url, policy in zip(urls, policies, strict=False):
            await self.hire(url, policy)
        await self.gate(0).init(by="tests", reason="a new account")
        key, secret = self.account.key, self.account.secret
        async with BinanceFutures(key, secret, base_url=self.exchange_url, streams=False) as patient:
            for symbol in SYMBOLS[:2]:
                opens = OrderRequest(symbol, "BUY", Decimal("1"), f"{self.name}-opens-{symbol}", False, None)
                self._opened.append(opens.client_order_id)
                await patient.place(opens, patient.valid_for(5_000), timeout_ms=10_000)

    async def hire(self, url: str, policy: Policy = POLICY) -> int:
        """One more worker, who has seen nothing yet. Returns its number."""
        key, secret = self.account.key, self.account.secret
        exchange = TellingExchange(
            key, secret, base_url=self.exchange_url, recv_window_ms=self.recv_window_ms, streams=self.streams
        )
        await self._stack.enter_async_context(exchange)
        if self.streams:
            await told_by_streams(exchange, *SYMBOLS)
        gate = await self._stack.enter_async_context(
            TellingGate.from_url(url, prefix=self.name, policy=policy, timeout_ms=STORE_TIMEOUT_MS)
        )
        self.workers.append(Worker(gate, exchange, self.new_watch()))
        return len(self.workers) - 1

    def new_watch(self) -> LateOrders:
        """A watch over absences by the clock that is ahead. It knows of none yet."""
        return LateOrders(lambda: time.monotonic() + self.ahead_s)

    async def close(self) -> None:
        await self._stack.aclose()

    def gate(self, worker: int) -> AsyncGate:
        return self.workers[worker].gate

    def new_intent(self, *, exits: bool | None = None, symbol: str | None = None, ahead_ms: int = 0) -> Intent:
        """An entry or an exit, decided now, or so far ahead of now."""
        exits = self.chance.random() < 0.4 if exits is None else exits
        symbol = symbol or self.chance.choice(SYMBOLS[:2] if exits else SYMBOLS)
        size: dict[str, Any] = {"quantity": "0.001"} if exits else {"notional": "150"}
        intent = Intent(
            id=f"{self.name}-{len(self.intents)}",
            symbol=symbol,
            side="SELL" if exits else "BUY",
            reduce_only=exits,
            timestamp=time.time_ns() // 1_000_000 + ahead_ms,
            **size,
        )
        self.intents.append(intent)
        return intent

    async def deliver(self, intent: Intent, worker: int) -> Execution | None:
        """Gives an intent to a worker. None: it has raised, which it must not."""
        self.deliveries += 1
        holder = self.workers[worker]
        try:
            execution, tells = await told(holder.executor.execute(intent))
        except Exception as error:
            self.raised.append(f"{intent.id}: raised {error!r}")
            return None
        now_ms, now_ns = time.time() * 1000, time.monotonic_ns()
        if execution.verdict.detail.startswith("no answer in "):
            self.unanswered_s = time.monotonic()
        permit = execution.verdict.permit or tells.without_store
        if permit is None:
            self.denied_young += execution.reason == "MEMORY_YOUNG"
        else:
            until_ms = now_ms + (permit.expires_ns - now_ns) / 1e6
            no_place = given_back(execution) or permit.without_store  # in the windows
            self.admitted.append(Admitted(intent, permit, holder.gate.policy, until_ms, tells, no_place))
        return execution

    async def deliver_to_all(self, intents: Iterable[Intent]) -> None:
        """Gives intents to every worker, in any order, some at once."""
        tasks = [(intent, worker) for intent in intents for worker in range(len(self.workers))]
        self.chance.shuffle(tasks)
        await asyncio.gather(*(self.deliver(intent, worker) for intent, worker in tasks))

    async def reconcile(self, worker: int = 0) -> None:
        """Asks the exchange about what is in doubt, once."""
        with suppress(StoreFailure):
            await reconcile_all(self.gate(worker), self.workers[worker].exchange)

    async def halt(self, worker: int) -> None:
        """Halts, and waits until that is confirmed."""
        gate = self.gate(worker)
        await gate.halt(by="tests", reason="a halt with teeth")
        looks: list[StillOut] = []
        out = await gate.until_clear(told=looks.append)
        self.out = tuple(each.intent_id for each in looks[0].permits)
        if out.clear:
            self.clear_ms = time.time() * 1000

    async def until_quiet(self, worker: int = 0) -> None:
        """Reconciles until nothing is in doubt."""
        for _ in range(60):
            with suppress(StoreFailure):
                status = await self.gate(worker).status()
                if not status.in_doubt and not status.in_flight:
                    return
            await self.reconcile(worker)
            await asyncio.sleep(0.2)

    def busy(self, ledger: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
        """Whether the exchange was too slow to keep its own promise: it accepted a request long after it had arrived,
        and had checked its time then. Such a run proves nothing."""
        orders = (order for each in ledger.values() for order in each if order["account"] == self.account.name)
        prompt = (order for order in orders if order["clientOrderId"] not in self.late)
        return any(int(order["time"]) - int(order["receiveTime"]) > LATE_MS for order in prompt)

    def judge(
        self,
        ledger: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        windows: bool = True,
        exits_count: bool = True,
        by_look: bool = False,
    ) -> Findings:
        """Compares what the exchange has with what one may expect. `ledger`: its orders by client order id.

        `by_look`: the last look, not the exchange, is what must come before another permit's order.
        """
        found = Findings(
            runs=1,
            intents=len(self.intents),
            deliveries=self.deliveries,
            verified=sum(each.permit.verify for each in self.admitted),
            denied_young=self.denied_young,
            violations=[*self.raised, *self.amiss],
        )
        expected = {self.gate(0).client_order_id(intent.id): intent for intent in self.intents}
        for client_order_id, orders in ledger.items():
            mine = any(order["account"] == self.account.name for order in orders)
            if mine and client_order_id not in expected and client_order_id not in self._opened:
                found.violations.append(f"{client_order_id}: an order of no intent")
        for client_order_id, intent in expected.items():
            orders = ledger.get(client_order_id, ())
            found.orders += len(orders)
            permits = [each for each in self.admitted if each.intent.id == intent.id]
            if len(orders) > 1:
                found.violations.append(f"{intent.id}: {len(orders)} orders; {_story(orders, permits)}")
            for order in orders:
                if client_order_id in self.late and permits:
                    found.late += 1
                    continue
                # That of its sender; where nobody has heard of the order, the last that there was.
                own = [each for each in permits if str(order["orderId"]) in each.told.placed] or permits
                until_ms = max((each.until_ms for each in own), default=None)
                if until_ms is None:
                    found.violations.append(f"{intent.id}: an order without a permit")
                elif float(order["time"]) > until_ms + 1:
                    late_ms = float(order["time"]) - until_ms
                    found.violations.append(f"{intent.id}: accepted {late_ms:.0f} ms after its deadline")
        found.violations += self._overtaken(
            {str(order["orderId"]): float(order["time"]) for orders in ledger.values() for order in orders}, by_look
        )
        found.violations += self._after_the_halt(found, expected, ledger)
        if windows:
            found.violations += self._exceeded(exits_count)
        return found

    def _after_the_halt(
        self, found: Findings, expected: Mapping[str, Intent], ledger: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> list[str]:
        """The entries that were accepted after the halt had been confirmed."""
        if self.clear_ms is None:
            return []
        found.halted = 1
        entries = {number: intent for number, intent in expected.items() if not intent.is_exit}
        found.held = sum(intent.id in self.out and not ledger.get(number) for number, intent in entries.items())
        return [
            f"{intent.id}: accepted {float(order['time']) - self.clear_ms:.0f} ms after the halt was confirmed"
            for number, intent in entries.items()
            for order in ledger.get(number, ())
            if float(order["time"]) > self.clear_ms + 1
        ]

    def _overtaken(self, times: Mapping[str, float], by_look: bool) -> list[str]:
        """The entries that were accepted after another permit had had their symbol, and had placed its order."""
        entries = [
            (each, times[number])
            for each in self.admitted
            for number in each.told.placed
            if not each.intent.is_exit and number in times and each.permit.client_order_id not in self.late
        ]
        return [
            f"{first.intent.id}: {late_ms - early_ms:.0f} ms after {then.intent.id}, which had its symbol by then"
            for first, late_ms in entries
            for then, early_ms in entries
            if first.intent.symbol == then.intent.symbol
            and first.intent.id != then.intent.id
            and first.permit.fence < then.permit.fence
            and first.asked_ms < then.asked_ms
            and (first.told.looked_ms or 0 if by_look else late_ms) > early_ms
        ]

    def _exceeded(self, exits_count: bool) -> list[str]:
        """The entries that a full window should have denied, by the policy under which each was admitted: another one
        in force would have denied it. Exits pass a full window, and fill the account's like entries do."""
        times = [
            (each.at_ms, each.permit.fence, each)
            for each in self.admitted
            if not each.given_back and (exits_count or not each.intent.is_exit)
        ]
        said = []
        for at_ms, fence, last in times:
            if last.intent.is_exit:
                continue
            before = [(at, each) for at, its, each in times if at < at_ms or (at == at_ms and its <= fence)]
            policy, symbol = last.policy, last.intent.symbol
            of_account = sum(at_ms - at < policy.rate_global_window_ms for at, _ in before)
            of_symbol = sum(
                at_ms - at < policy.rate_symbol_window_ms
                for at, each in before
                if each.intent.symbol == symbol and not each.intent.is_exit
            )
            if of_account > policy.rate_global_limit:
                said.append(f"{last.intent.id}: {of_account} in the account's window")
            if of_symbol > policy.rate_symbol_limit:
                said.append(f"{last.intent.id}: {of_symbol} in the window of {symbol}")
        return said


def _story(orders: Sequence[Mapping[str, Any]], permits: Sequence[Admitted]) -> str:
    """How an intent came to its orders, in ms since the first was asked for."""
    start_ms = min((each.asked_ms for each in permits), default=0)
    told = [
        f"fence {each.permit.fence} asked {each.asked_ms - start_ms:.0f} until {each.until_ms - start_ms:.0f}"
        f"{' verify at ' + str(each.permit.memory_age_ms) if each.permit.verify else ''} placed {each.told.placed}"
        for each in sorted(permits, key=lambda each: each.asked_ms)
    ]
    arrived = [f"{each['orderId']} accepted {float(each['time']) - start_ms:.0f}" for each in orders]
    kind = "exit" if permits and permits[0].intent.is_exit else "entry"
    return ", ".join([kind, *told, *arrived])


def given_back(execution: Execution) -> bool:
    """Whether the windows have their slots back: nothing was sent, and the store has heard of it."""
    outcome, settled = execution.outcome, execution.settlement
    return outcome is not None and outcome.kind is OutcomeKind.UNSENT and settled is not None and bool(settled)
