"""Checks an entry against the account's margin and leverage bracket before it is sent. Doubt counts as a refusal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from msgspec import Struct, structs

from gate.exchange.consequences import penalty_of
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import AccountFigures, Exchange, Filters, LiveFigures, SymbolConfig, Validity
from gate.executor.attempt import Attempt
from gate.executor.execution import Execution
from gate.executor.leverage import agreed, assumed, rests_below
from gate.executor.margin import MarginCheck, margin_need
from gate.executor.order_plan import OrderPlan, PlanRefusal, check_bracket, check_position_side
from gate.executor.readings import Readings, SymbolFigures, wants_mark_price
from gate.executor.unseen import Asked, UnseenOrders
from gate.executor.verdict_look import Looked, VerdictLook
from gate.values.intent import Intent
from gate.values.last_look import PlacedOrders
from gate.values.log_words import inform, log_of, names
from gate.values.outcome import Penalty
from gate.values.policy import Policy
from gate.values.verdict import Verdict

_log: Final = log_of("gate.executor")

STALE_MS: Final = 3_000
"""An older reading of the account no longer shows the free margin. Then nothing is sent."""
_EVENTS_TAKE_MS: Final = 500
"""After an order of this process, a position counts only by a reading for so long."""
_OLDER_THAN_ANY_SNAPSHOT_S: Final = 60
"""What the streams tell rests on a snapshot that is younger."""
_MOST_RESERVED: Final = Decimal(100_000_000)
"""The gate reserves no more. An order that needs more has a size that the filters or the margin check refuse."""
_LONGEST_FIRST_READING_S: Final = 1.0
"""The verdict waits for the figures of a symbol's first order, but no longer."""
_FAILED_FOR_S: Final = 60.0
"""How long the figures of a symbol that couldn't be read aren't asked for again before a verdict."""
_MOST_FAILED: Final = 1_000
_ZERO: Final = Decimal(0)


class Need(Struct, frozen=True):
    """What an entry's order needs."""

    plan: OrderPlan
    margin_asset: str
    margin: Decimal
    """Without a position that it closes."""
    config: SymbolConfig
    mark_price: Decimal


class BeforeVerdict(Struct, frozen=True):
    """What is found out before a verdict is asked for."""

    reserve: Decimal | None
    """The margin to reserve; None leaves it to the intent's own figures."""
    known: SymbolFigures | None
    """The symbol's figures, if they were read for that."""
    asked: Asked
    """Which placed orders a last look would be asked for at this moment."""
    wants_orders: bool
    """Whether the verdict shall tell them: of an intent that may go by the streams."""
    validity: Validity
    """Of its order, if that is sent at once."""
    began_ns: int
    """When that begins, on the monotonic clock."""

    @property
    def placed_after(self) -> str | None:
        """As evaluate takes it."""
        return self.asked.placed_after if self.wants_orders else None

    def look_of(self, verdict: Verdict) -> VerdictLook | None:
        """The verdict in place of a last look. Call it right after the answer."""
        told = verdict.look
        return None if told is None else VerdictLook(Looked(self.validity, self.asked, told), self.began_ns)


class Preflight:
    """The checks of one account's entries. Exits skip them."""

    def __init__(self, exchange: Exchange, client_order_id: Callable[[str], str]) -> None:
        self._exchange: Final = exchange
        self._last_seen: dict[str, SymbolFigures] = {}
        self._first_readings: dict[str, asyncio.Task[SymbolFigures | None]] = {}
        self._failed_ns: dict[str, int] = {}
        self._own_orders: dict[str, dict[str, int]] = {}
        self.unseen: Final = UnseenOrders(exchange, client_order_id)

    async def before_verdict(self, intent: Intent, policy: Policy) -> BeforeVerdict:
        """The margin to reserve, from the symbol's latest figures, and what else the order needs to be asked for at
        once. Ask for the verdict right after it."""
        live = self._exchange.live(intent.symbol) if not intent.is_exit or intent.wants_position else None
        reserve, known = (None, None) if intent.is_exit else await self._reserve(intent, policy, live)
        validity = self._exchange.valid_for(policy.order_timeout_ms)
        return BeforeVerdict(reserve, known, self.unseen.ask(), live is not None, validity, time.monotonic_ns())

    async def _reserve(
        self, intent: Intent, policy: Policy, live: LiveFigures | None
    ) -> tuple[Decimal | None, SymbolFigures | None]:
        """An entry's margin, and the figures that were read for it, if they were."""
        seen, read = self._last_seen.get(intent.symbol), None
        if live is not None:
            seen = SymbolFigures(live.mark_price, live.config, time.monotonic_ns())
        if seen is None and not _tells_its_margin(intent, policy):
            # Without a figure nothing would be reserved, or too little, and a later permit would count on the margin.
            seen = read = await self._first_figures(intent.symbol)
        if seen is None:
            return None, None
        own_price = intent.price if intent.order_type == "LIMIT" else intent.trigger_price
        reference = own_price or seen.mark_price
        quantity = intent.quantity if intent.quantity is not None else (intent.notional or Decimal(0)) / reference
        config = assumed(intent, policy, seen.config)
        margin = margin_need(intent, quantity, reference, seen.mark_price, config, policy.margin_buffer)
        return min(margin, _MOST_RESERVED), read

    async def _first_figures(self, symbol: str) -> SymbolFigures | None:
        """A symbol's figures before its first order; None where they can't be had soon.

        What is denied may come again and again, and all at once: so one reading serves all, and its figures are kept
        for later verdicts, or that it failed.
        """
        reading = self._first_readings.get(symbol)
        if reading is None:
            failed_ns = self._failed_ns.get(symbol)
            rests = failed_ns is not None and time.monotonic_ns() - failed_ns < _FAILED_FOR_S * 1e9
            if rests or self._exchange.rest_ms() is not None:
                return None
            reading = self._first_readings[symbol] = asyncio.create_task(self._read_first(symbol))
            reading.add_done_callback(lambda _: self._first_readings.pop(symbol))
        return await asyncio.shield(reading)

    async def _read_first(self, symbol: str) -> SymbolFigures | None:
        read_ns = time.monotonic_ns()
        reading = asyncio.gather(self._exchange.mark_price(symbol), self._exchange.symbol_config(symbol))
        try:
            async with asyncio.timeout(_LONGEST_FIRST_READING_S):
                figures = SymbolFigures(*await reading, read_ns)
        except (ExchangeFailure, TimeoutError):
            if len(self._failed_ns) >= _MOST_FAILED:
                self._failed_ns.pop(next(iter(self._failed_ns)))
            self._failed_ns[symbol] = read_ns
            return None
        return self._last_seen.setdefault(symbol, figures)

    def live(self, intent: Intent) -> LiveFigures | None:
        """What the streams tell, as far as the intent has use for it; None: readings decide."""
        if intent.is_exit and not (intent.wants_position or wants_mark_price(intent)):
            return None
        live = self._exchange.live(intent.symbol)
        if live is None or not intent.wants_position:
            return live
        return live if not live.awaits_position and self._shows_own_orders(live, intent.symbol) else None

    def sent(self, symbol: str, client_order_id: str, may_come_for_ms: int = 0) -> None:
        """Notes an order that the exchange has taken, or that it may still take for so long."""
        orders, now_ns = self._own_orders.setdefault(symbol, {}), time.monotonic_ns()
        orders.pop(client_order_id, None)
        while orders and next(iter(orders.values())) < now_ns - _OLDER_THAN_ANY_SNAPSHOT_S * 1_000_000_000:
            del orders[next(iter(orders))]
        orders[client_order_id] = now_ns + may_come_for_ms * 1_000_000

    def never_there(self, symbol: str, client_order_id: str) -> None:
        """Notes that the exchange hasn't taken an order, and can't any more."""
        self._own_orders.get(symbol, {}).pop(client_order_id, None)

    def _shows_own_orders(self, live: LiveFigures, symbol: str) -> bool:
        """Whether the position shows what this process has just done to it: its events come within a moment."""
        late_ns, orders = time.monotonic_ns() - _EVENTS_TAKE_MS * 1_000_000, self._own_orders.get(symbol, {})
        for client_order_id, at_ns in tuple(orders.items()):
            if at_ns < live.snapshot_ns or (at_ns < late_ns and self._exchange.has_seen(client_order_id)):
                del orders[client_order_id]
        return not orders

    def still_open(self, attempt: Attempt, asked: Asked, placed: PlacedOrders | None) -> bool:
        """Whether what the streams told a close is open still is all: nothing has changed since, and they include every
        entry that was placed, by whomever. Call it right after the last look, and send without waiting."""
        if placed is None:
            return False
        self.unseen.told(asked, placed)
        live = self.live(attempt.asked)
        return live is not None and live.positions == attempt.told_open and self.unseen.reserved(live) == 0

    async def need(
        self, attempt: Attempt, plan: OrderPlan, filters: Filters, readings: Readings, mark_price: Decimal
    ) -> Need | Execution:
        """What the order needs, once the exchange has the leverage for it; or why nothing is sent."""
        try:
            there = await readings.config()
            refused = await self._refused_at_its_leverage(
                attempt, plan, filters.margin_asset, readings, mark_price, there
            )
            if refused is not None:
                return refused
            config = await agreed(self._exchange, attempt, there)
        except ExchangeFailure as failed:
            return _unreadable(attempt, None, str(failed), penalty_of(failed.failure, attempt.policy))
        if isinstance(config, Execution):
            _log.warning("LEVERAGE %s", names(attempt.intent, detail=config.detail))
            return config
        intent = attempt.intent
        self._last_seen[intent.symbol] = SymbolFigures(mark_price, config, readings.read_ns)
        buffer = attempt.policy.margin_buffer
        margin = margin_need(intent, plan.quantity, plan.reference_price, mark_price, config, buffer)
        return Need(plan, filters.margin_asset, margin, config, mark_price)

    async def _refused_at_its_leverage(
        self,
        attempt: Attempt,
        plan: OrderPlan,
        asset: str,
        readings: Readings,
        mark_price: Decimal,
        config: SymbolConfig,
    ) -> Execution | None:
        """Why the leverage that would be set for the order isn't, and nothing is sent: an entry that rests would fill
        at it, its bracket is too small, or the account can't cover the order. None: nothing speaks against it, as far
        as is known, or nothing would be set. What is set stays, for the position and for later entries, so it isn't
        set for an order that is refused then. Raises ExchangeFailure."""
        intent, target = attempt.intent, assumed(attempt.intent, attempt.policy, config)
        if target.leverage == config.leverage:
            return None
        terms = await self._exchange.leverage_terms(intent.symbol, target.leverage)
        target = structs.replace(target, max_notional=terms.most_notional)
        if terms.isolated and target.leverage > config.leverage:
            rests = await rests_below(self._exchange, attempt, config.leverage)
            if rests is not None:
                return rests
        buffer = attempt.policy.margin_buffer

        def check(account: AccountFigures, closes: Decimal = _ZERO) -> MarginCheck:
            margin = margin_need(intent, plan.quantity, plan.reference_price, mark_price, target, buffer, closes)
            available = account.available.get(asset)
            if not isinstance(available, Decimal):
                return MarginCheck(margin, None, attempt.permit.reserved_ahead)
            held = sum((abs(notional) for key, notional in account.notional.items() if key[0] == intent.symbol), _ZERO)
            # What an isolated position has of its own stays with it.
            freed = _ZERO if terms.isolated else held / config.leverage - held / target.leverage
            return MarginCheck(margin, available + freed, attempt.permit.reserved_ahead)

        live = None if readings.live is None else readings.live.account
        if live is not None and check(live).covered and _unfit(intent, plan, target, live) is None:
            return None
        account = await (readings.account() if live is None else self._exchange.account())
        unfit = _unfit(intent, plan, target, account)
        if unfit is not None:
            return attempt.unfit(unfit)
        short = check(account, _closes(intent, account, mark_price))
        if short.available is None:
            return _unreadable(attempt, short, f"what is free in {asset} can't be told")
        if short.covered:
            return None
        _log.warning("INSUFFICIENT MARGIN %s", names(intent, detail=short, leverage=target.leverage))
        return attempt.short_of_margin(short)

    async def cover(self, attempt: Attempt, need: Need, readings: Readings) -> MarginCheck | Execution:
        """The margin check that covers the order by a reading of the account, or why nothing is sent."""
        try:
            # What sets the leverage changes what is free: a reading from before doesn't count.
            account = await (self._exchange.account() if attempt.sets_leverage else readings.account())
        except ExchangeFailure as failed:
            unknown = MarginCheck(need.margin, None, attempt.permit.reserved_ahead)
            return _unreadable(attempt, unknown, str(failed), penalty_of(failed.failure, attempt.policy))
        return self._covered_by(attempt, need, account)

    def cover_live(
        self, attempt: Attempt, need: Need, asked: Asked, placed: PlacedOrders
    ) -> MarginCheck | Execution | None:
        """The margin check that covers the order by the streams' figures of this moment. None: a reading decides.

        Call it right after the last look, and send without waiting: an order that is told as seen is in these figures.
        """
        self.unseen.told(asked, placed)
        intent = attempt.intent
        live = self._exchange.live(intent.symbol)
        if live is None or live.config != need.config:
            return None
        unseen = self.unseen.reserved(live)
        available = live.account.available.get(need.margin_asset)
        unfit = _unfit(intent, need.plan, need.config, live.account)
        if unseen is None or not isinstance(available, Decimal) or unfit is not None:
            return None
        check = MarginCheck(need.margin, available, attempt.permit.reserved_ahead + unseen)
        if not check.covered:
            return None
        attempt.account = live.account
        return self._checked(attempt, check, need)

    def _covered_by(self, attempt: Attempt, need: Need, account: AccountFigures) -> MarginCheck | Execution:
        intent, permit = attempt.intent, attempt.permit
        attempt.account = account
        available = account.available.get(need.margin_asset, f"the account has no {need.margin_asset}")
        if isinstance(available, str):
            return _unreadable(attempt, MarginCheck(need.margin, None, permit.reserved_ahead), available)
        unfit = _unfit(intent, need.plan, need.config, account)
        if unfit is not None:
            return attempt.unfit(unfit)
        margin, closes = need.margin, _closes(intent, account, need.mark_price)
        if closes:
            buffer, reference = attempt.policy.margin_buffer, need.plan.reference_price
            margin = margin_need(intent, need.plan.quantity, reference, need.mark_price, need.config, buffer, closes)
        return self._checked(attempt, MarginCheck(margin, available, permit.reserved_ahead), need)

    def _checked(self, attempt: Attempt, check: MarginCheck, need: Need) -> MarginCheck | Execution:
        intent, permit = attempt.intent, attempt.permit
        inform(_log, "MARGIN CHECK", intent, detail=check, leverage=need.config.leverage)
        if not check.covered:
            _log.warning("INSUFFICIENT MARGIN %s", names(intent, detail=check))
            return attempt.short_of_margin(check)
        if permit.reserved * (1 + attempt.policy.margin_buffer) < need.margin and not permit.observed:
            # Only a lack larger than the buffer counts, so small moves of the price don't matter.
            return attempt.under_reserved(check)
        return check


def _unfit(intent: Intent, plan: OrderPlan, config: SymbolConfig, account: AccountFigures) -> PlanRefusal | None:
    """Why the position that is there leaves no room for the order."""
    held = account.notional.get((intent.symbol, plan.position_side or "BOTH"), _ZERO)
    return check_position_side(intent, plan, held) or check_bracket(intent, plan, held, config)


def _closes(intent: Intent, account: AccountFigures, mark_price: Decimal) -> Decimal:
    """How much of what is open the order closes first, which frees its margin: a reversal at once, in one-way mode.
    By a reading of the account: the streams tell the most that a position may be, and this wants the least.

    Not of a conditional order, which fires at another price, after the position's loss; nor of an isolated position,
    which gives back what is left of its own margin.
    """
    key = intent.symbol, "BOTH"
    held = account.notional.get(key, _ZERO)
    against = held < 0 if intent.side == "BUY" else held > 0
    frees = against and not intent.is_conditional and key not in account.isolated
    return abs(held) / mark_price if frees and mark_price else _ZERO


def _tells_its_margin(intent: Intent, policy: Policy) -> bool:
    """Whether the intent's own figures reserve enough: a notional, at the leverage under which it will go."""
    return intent.notional is not None and (intent.leverage is None or policy.leverage == "set")


def grown_stale(attempt: Attempt, check: MarginCheck | None) -> Execution | None:
    """The execution that ends an entry whose margin check is too old. None while it is fresh, and for an exit."""
    age_ms = attempt.account.age_ms if attempt.account else 0
    if age_ms <= STALE_MS:
        return None
    return attempt.margin_unknown("MARGIN_STALE", check, f"read {age_ms} ms ago, {STALE_MS} ms are allowed")


def _unreadable(attempt: Attempt, check: MarginCheck | None, why: str, penalty: Penalty | None = None) -> Execution:
    execution = attempt.margin_unknown("MARGIN_UNREADABLE", check, why, penalty)
    _log.warning("MARGIN CHECK %s", names(attempt.intent, detail=execution.detail))
    return execution
