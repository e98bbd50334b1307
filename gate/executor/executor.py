"""Executes one intent: asks for a verdict, places the order while the permit lives, and settles the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from time import perf_counter
from types import TracebackType
from typing import Final, Self

from msgspec import structs

from gate.client.denials import names_in, unread
from gate.client.gates import AsyncGate
from gate.exchange.port import Exchange
from gate.executor.attempt import MARGIN_UNRESERVED, Attempt
from gate.executor.execution import Execution, Terminal
from gate.executor.fill_price import with_fill_price
from gate.executor.late_orders import LateOrders
from gate.executor.order_news import OrderNews
from gate.executor.passage import Passage
from gate.executor.placing import Placer
from gate.executor.preflight import BeforeVerdict
from gate.executor.readings import SymbolFigures
from gate.executor.recent_symbols import watch_recent_symbols
from gate.executor.reconcile import keep_reconciling
from gate.executor.settling import settle_attempt
from gate.executor.standing import keep_standing, stand_for_account
from gate.executor.still_open import StillOpen
from gate.executor.timings import UNTIMED, Timings
from gate.executor.updates import Updates
from gate.executor.without_store import ExitsWithoutStore
from gate.values.errors import InvalidIntent
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.log_words import Line, log_of, names, pairs
from gate.values.verdict import Verdict

_log: Final = log_of("gate.executor")

# Words that operators grep for, kept from the service that the gate replaces.
_DENIAL_WORDS: Final = {
    Reason.DUPLICATE: "IDEMPOTENCY_SKIP",
    Reason.LOCKED: "LOCK_SKIP",
    Reason.RATE_SYMBOL: "RATE_LIMIT_SKIP",
    Reason.RATE_GLOBAL: "GLOBAL_RATE_LIMIT",
    Reason.STALE: "STALE_INTENT_DROP",
}


class Executor:
    """Executes intents of one account. Any number may run at once.

    In an `async with` block it also reconciles the account's intents in doubt, beside the executions: its own, and
    those of workers that died.
    """

    def __init__(
        self,
        gate: AsyncGate,
        exchange: Exchange,
        *,
        fill_prices: bool = True,
        late: LateOrders | None = None,
        timings: Timings | None = None,
    ) -> None:
        """`fill_prices`: a fill is looked up once for its price, after its settlement; the answer waits for that, the
        order doesn't. Without, `average_price` is None where the exchange's answer to the order doesn't tell it.
        `late`: who keeps the absences under watch; without it, a new one. `timings`: who is told how long parts take.
        """
        self._gate: Final = gate
        self._exchange: Final = exchange
        self._late: Final = late or LateOrders()
        self._news: Final = OrderNews(exchange, self._late.hears)
        self._placer: Final = Placer(gate, exchange, self._news, timings=timings or UNTIMED)
        self._timings: Final = timings or UNTIMED
        self._observed_now: set[str] = set()
        self._fill_prices: Final = fill_prices
        self._without_store: Final = ExitsWithoutStore(gate)
        self._still_open: Final = StillOpen(exchange)
        self._reconciling: asyncio.Task[None] | None = None
        self._standing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def execute(self, asked: Intent | Mapping[str, object]) -> Execution:
        """Takes one intent to a terminal state. An intent, the store or the exchange can't make it raise."""
        try:
            intent = Intent.read(asked)
        except InvalidIntent as invalid:
            unread(asked, invalid)
            return _denied(invalid.intent_id, names_in(asked), Verdict(False, Reason.INVALID, str(invalid)))
        for note in intent.notes:
            _log.info("READ %s", names(intent, note=note))
        execution = await self._execute_once(intent)
        if execution.reason == MARGIN_UNRESERVED and execution.retryable:
            # The first try has read the symbol's margin figures. The second reserves enough.
            execution = await self._execute_once(intent)
        return await self._still_open.after(intent, execution)

    def updates(self) -> Updates:
        """What comes of the gate's orders from now on, to be iterated with `async for`: fills, cancellations, expiries,
        triggers, and liquidations of the account. Of all orders of its gates, whoever has sent them.

        Each value tells of the whole order. It ends with the executor's block; in that, the exchange is asked for what
        its streams may have lost. Without streams nothing comes. Any number may listen. A liquidation that comes while
        no block is open isn't told.
        """
        return self._news.listen()

    def remember(
        self,
        symbol: str,
        client_order_id: str,
        intent_id: str,
        *,
        conditional: bool = False,
        gone: Callable[[], None] | None = None,
    ) -> None:
        """Names an order that was sent before this executor was made, and that hadn't ended when it was last heard of.

        The exchange is asked what has come of it. What rests it tells by itself; this is for what has ended meanwhile.
        `gone` is called where the exchange doesn't have it any more: nobody can tell then.
        """
        self._news.remember(symbol, client_order_id, intent_id, conditional=conditional, gone=gone)

    async def __aenter__(self) -> Self:
        """Raises AccountTaken where the account of the API key is kept under another prefix, PrefixTaken where another
        account is kept under this one. Waits two seconds at most for the exchange to say which account it is."""
        self._exchange.keep_warm()
        await stand_for_account(self._gate, self._exchange)
        self._news.open()
        self._without_store.open()
        self._watching = asyncio.create_task(watch_recent_symbols(self._gate, self._exchange))
        self._standing = asyncio.create_task(keep_standing(self._gate, self._exchange))
        self._reconciling = asyncio.create_task(keep_reconciling(self._gate, self._exchange, self._late))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        beside = [each for each in (self._reconciling, self._standing, self._watching) if each is not None]
        for each in beside:
            each.cancel()
        # A cancellation ends one wait of these, and keeps none of them from coming.
        async with AsyncExitStack() as ends:
            account = self._exchange.known_account_digest()
            ends.push_async_callback(self._gate.leave_account, self._exchange.key_digest, account)
            ends.push_async_callback(self._without_store.close)
            ends.push_async_callback(self._news.close)
            if beside:
                ends.push_async_callback(asyncio.wait, beside)

    async def _execute_once(self, intent: Intent) -> Execution:
        again = self._without_store.unrecorded(intent)
        if again is not None:
            return _denied(intent.id, names_in(intent), again, intent.notes)
        before = await self._placer.preflight.before_verdict(intent, self._gate.policy)
        passage = Passage()
        settled = await passage.carry(self._verdict_to_settlement(intent, before, passage))
        if isinstance(settled, Execution):
            return settled
        return await self._with_fill_price(*settled)

    async def _verdict_to_settlement(
        self, intent: Intent, before: BeforeVerdict, passage: Passage
    ) -> Execution | tuple[Attempt, Execution]:
        """One pass, of which only the placing may be broken off. Returns a denial, or the attempt and its end."""
        asked_s = perf_counter()
        verdict = await self._gate.evaluate(intent, reserve=before.reserve, placed_after=before.placed_after)
        self._timings.verdict(perf_counter() - asked_s)
        attempt = Attempt(intent, verdict, verdict.permit, self._gate.policy) if verdict.permit else None
        if passage.cancelled is not None:
            if attempt:
                # Nobody will use the permit. Giving it back keeps it from holding up other intents, and lets an exit
                # come again.
                await settle_attempt(self._gate, self._exchange, attempt, attempt.broken_off(passage.cancelled))
            raise passage.cancelled
        if attempt is None:
            going = self._without_store.attempt(intent, verdict, self._gate.policy)
            if isinstance(going, Verdict):
                return _denied(intent.id, names_in(intent), going, intent.notes)
            attempt = going
        if attempt.permit.observed:
            return await self._observed(attempt, before.known, passage)
        attempt.verdict_look = before.look_of(verdict)
        attempt.look_first = self._without_store.may_have_gone(attempt)
        with self._without_store.under_way(attempt):
            return await self._admitted(attempt, before.known, passage)

    async def _observed(
        self, attempt: Attempt, known: SymbolFigures | None, passage: Passage
    ) -> Execution | tuple[Attempt, Execution]:
        """Executes an intent that an observing policy admits despite a denial. The gate keeps no record of it, so
        this method itself keeps one intent from becoming two orders."""
        intent, verdict = attempt.intent, attempt.verdict
        _log.warning("OBSERVED %s", names(intent, would_be_denied=verdict.reason, detail=verdict.detail))
        if verdict.reason in (Reason.DUPLICATE, Reason.CONFLICT):
            return _denied(
                intent.id, names_in(intent), structs.replace(verdict, admitted=False, permit=None), intent.notes
            )
        if intent.id in self._observed_now:
            again = Verdict(False, Reason.DUPLICATE, "is being executed already", mode=verdict.mode)
            return _denied(intent.id, names_in(intent), again, intent.notes)
        self._observed_now.add(intent.id)
        try:
            return await self._admitted(attempt, known, passage)
        finally:
            self._observed_now.discard(intent.id)

    async def _admitted(
        self, attempt: Attempt, known: SymbolFigures | None, passage: Passage
    ) -> tuple[Attempt, Execution]:
        """Places the permit's order, and settles the outcome even when the placing is cancelled."""
        try:
            with passage.may_break_off():
                execution = await self._placer.place(attempt, known)
        except asyncio.CancelledError as error:
            execution = attempt.broken_off(error)
        except Exception as error:
            _log.exception("%s executor failed", names(attempt.intent))
            execution = attempt.broken_off(error)
        settled = await settle_attempt(self._gate, self._exchange, attempt, execution)
        self._without_store.ended(attempt, settled)
        self._news.settled(attempt, settled)
        if settled.outcome is not None and settled.outcome.is_absence and (settled.settlement or attempt.without_store):
            self._late.settled_as_absent(attempt.permit)
        return attempt, settled

    async def _with_fill_price(self, attempt: Attempt, settled: Execution) -> Execution:
        return await with_fill_price(self._exchange, self._news, attempt, settled) if self._fill_prices else settled


def _denied(intent_id: str, about: tuple[str, str], verdict: Verdict, notes: tuple[str, ...] = ()) -> Execution:
    symbol, side = about
    said = [pairs(id=intent_id, symbol=symbol, side=side, reason=verdict.reason), _DENIAL_WORDS.get(verdict.reason)]
    if verdict.reason is Reason.FAILURE_LIMIT:  # the verdict itself has switched it on
        _log.warning("SAFE MODE TRIGGERED %s", said[0])
    _log.info("TERMINAL STATE: DENIED %s", Line(" ".join(filter(None, [*said, pairs(detail=verdict.detail)]))))
    return Execution(
        state=Terminal.DENIED,
        intent_id=intent_id,
        verdict=verdict,
        reason=verdict.reason.value,
        detail=verdict.detail,
        retryable=verdict.retryable,
        retry_after_ms=verdict.retry_after_ms,
        # Of a CONFLICT it is another order, which nobody here has asked for.
        order_id=verdict.prior.order_id if verdict.prior and verdict.reason is Reason.DUPLICATE else None,
        notes=notes,
    )
