"""From a permit to an order at the exchange, or to why there is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Set
from time import perf_counter
from typing import Final

from msgspec.structs import replace

from gate.client.gates import AsyncGate
from gate.exchange.failure_table import COVERED, FILTER_CODES, OFF_THE_FILTERS, OVERLOADED, Failure
from gate.exchange.failures import ExchangeFailure, OrderNotFound
from gate.exchange.port import (
    CLOCK_LEAD_MS,
    LEAST_TO_SEND_MS,
    SIGNER_AHEAD_MS,
    Exchange,
    OrderAnswer,
    RestingOrder,
    Validity,
)
from gate.executor.attempt import Attempt
from gate.executor.closing import cut_to_position, fit_to_position, tell_what_stays_open
from gate.executor.execution import Execution
from gate.executor.leverage import LeverageTurns
from gate.executor.look_up import look_once, look_up
from gate.executor.margin import MarginCheck
from gate.executor.order_news import OrderNews
from gate.executor.order_plan import OrderPlan, PlanRefusal, plan_order, unfiltered
from gate.executor.preflight import Need, Preflight, grown_stale
from gate.executor.readings import Readings, SymbolFigures, read_hedge_mode, read_latest_filters
from gate.executor.resting import CANCELS_TAKE_MS, cancel_resting, what_rests, words_for
from gate.executor.timings import Timings
from gate.executor.verdict_look import ROUNDING_MS, Looked
from gate.executor.without_store import may_go_without_store
from gate.values.errors import StoreFailure
from gate.values.last_look import STORE_LOST, LastLook
from gate.values.log_words import log_of, names
from gate.values.outcome import OutcomeKind
from gate.values.reports import Halt

_log: Final = log_of("gate.executor")

_BEGUN_AT_MOST_MS: Final = 1_000
"""How old readings may be that began beside a look-up. The account's may be older: see STALE_MS."""
_OF_AN_EXIT_MS: Final = 2_500
"""The same for an exit, which only reduces: those that hang beside its look-up don't hang once more after it."""
_A_STORE_THAT_IS_BACK_S: Final = 0.1
"""It answers within that. One that stands still doesn't hold an exit up for longer."""
_POSITION_MODE: Final = frozenset({"-1106", "-4061", "-4067", "-4068", "-4531"})
"""Position side or reduce-only doesn't fit the account's position mode."""
_PUT_RIGHT_AT_ONCE: Final = _POSITION_MODE | {"-1021", "-5028"}
"""Refusals with a cure: read the position mode again; the clock has been set by the exchange's."""
_PAUSES_WHILE_OVERLOADED_S: Final = (0.0, 0.2, 0.4)
"""Before each time that an exit is tried again, which the exchange was too busy to take."""


class Placer:
    """Places one account's orders. It refuses to send without a live permit."""

    def __init__(self, gate: AsyncGate, exchange: Exchange, news: OrderNews, *, timings: Timings) -> None:
        self._gate: Final = gate
        self._exchange: Final = exchange
        self._timings: Final = timings
        self.preflight: Final = Preflight(exchange, gate.client_order_id)
        self._turns: Final = LeverageTurns()
        self._news: Final = news

    async def place(self, attempt: Attempt, known: SymbolFigures | None = None) -> Execution:
        """Takes an attempt to its end, which isn't settled yet. Raises nothing that an exchange can cause.

        `known`: what was read right before the verdict.
        """
        try:
            with self._begin(attempt, known) as readings:
                return await self._with_look_up(attempt, readings)
        except ExchangeFailure as failed:
            # The order needs this answer, so nothing was sent.
            return self._refused(attempt, failed.failure)

    def _begin(self, attempt: Attempt, known: SymbolFigures | None = None) -> Readings:
        live = self.preflight.live(attempt.intent)
        return Readings(self._exchange, attempt, live, known)

    async def _with_look_up(self, attempt: Attempt, readings: Readings) -> Execution:
        """Looks first for an order that may be there already, where one may, while the readings are under way."""
        if attempt.may_exist:
            # What is read beside it counts only where there is none: an earlier order may have taken that very margin.
            search = self._search_without_store if attempt.without_store else self._earlier_order
            earlier = await search(attempt)
            if earlier is not None:
                return earlier
            attempt.may_exist = False
        elif attempt.look_first:
            another = await self._sent_by_another(attempt)
            if another is not None:
                return another
        return await self._place_anew(attempt, readings)

    async def _earlier_order(self, attempt: Attempt) -> Execution | None:
        """The order that an earlier delivery may have placed and that the store doesn't know of; None: there is none.

        After a loss of memory such an order may still be on its way: its absence proves nothing before it can no longer
        be accepted. Where that can't be found out, the intent stays in doubt, so that the order isn't lost from sight.
        """
        permit = attempt.permit
        at_once = permit.observed or attempt.without_store
        young_ms = 0 if at_once else self._acceptable_ms - (permit.memory_age_ms or 0)
        if young_ms > 0:
            _log.warning("MEMORY NEW %s", names(permit, absence_counts_in_ms=young_ms))
        try:
            order = await look_up(self._exchange, attempt, acceptable_for_ms=max(young_ms, 0))
        except OrderNotFound:
            return None
        return self._found(attempt, order) if order else attempt.memory_lost()

    async def _sent_by_another(self, attempt: Attempt) -> Execution | None:
        """The order of an exit that another process has sent without the store, and not recorded; None: there is none,
        or the exchange doesn't say so soon. The store has no record of it, so that the exit goes then."""
        order = await look_once(self._exchange, attempt)
        return self._found(attempt, order) if order else None

    def _found(self, attempt: Attempt, order: OrderAnswer) -> Execution:
        """The end of an intent under whose client order id the exchange has an order."""
        if not attempt.is_another(order):
            return attempt.placed(order)
        what = f"{'reduce-only ' if order.reduces else ''}{order.side} order {order.order_id}"
        detail = f"the exchange has another order under this id: {what}; give each intent an id of its own"
        return attempt.unfit(PlanRefusal("CONFLICT", detail))

    async def _without_store(self, attempt: Attempt) -> Execution | None:
        """Sends an exit though the store was lost after its admission, if the exchange has no order of it. None: go."""
        permit = attempt.permit
        _log.warning("WITHOUT STORE %s", names(permit))
        attempt.without_store = True
        return await self._search_without_store(attempt)

    async def _search_without_store(self, attempt: Attempt) -> Execution | None:
        """As _earlier_order. Beside it the store is asked for a halt: it may be back by the time at which the exchange
        has answered, and tells so at once then."""
        asking = asyncio.create_task(self._halt_of_exits())
        try:
            earlier = await self._earlier_order(attempt)
            await asyncio.wait([asking], timeout=_A_STORE_THAT_IS_BACK_S)
            halt = asking.result() if asking.done() else None
        finally:
            asking.cancel()
        if earlier is None and halt is not None:
            return attempt.unsent("HALTED", str(halt))
        return earlier

    async def _halt_of_exits(self) -> Halt | None:
        """A halt that stops exits too."""
        try:
            halt = await self._gate.halt_in_force()
        except StoreFailure:
            return None
        return halt if halt is not None and halt.stops_exits else None

    async def _place_anew(self, attempt: Attempt, readings: Readings) -> Execution:
        """Sends one request for the order, and another one after a refusal that has a cure."""
        came = await self._plan_and_send(attempt, readings)
        for pause_s in _PAUSES_WHILE_OVERLOADED_S if attempt.intent.is_exit else ():
            if not _refused_by(came, {OVERLOADED}):
                break
            await asyncio.sleep(pause_s)
            came = await self._once_more(attempt, came)
        if _refused_by(came, _PUT_RIGHT_AT_ONCE):
            if came.reason in _POSITION_MODE:
                self._exchange.forget_hedge_mode()
                otherwise = not attempt.hedge_mode
                attempt.hedge_mode = await read_hedge_mode(self._exchange, attempt, otherwise=otherwise)
            came = await self._once_more(attempt, came)
        if attempt.intent.is_exit and _refused_by(came, OFF_THE_FILTERS):
            came = await self._once_more(attempt, came)  # by filters that are read anew: it may have gone without any
        if _refused_by(came, COVERED) and await cut_to_position(self._exchange, attempt):
            came = await self._once_more(attempt, came)
        if attempt.intent.is_exit and _refused_by(came, COVERED):
            rests = await what_rests(self._exchange, attempt)
            came = replace(came, detail=f"{came.detail}; {words_for(attempt, rests)}")
            if rests and await self._makes_room(attempt, rests):
                came = await self._once_more(attempt, came)
        return came

    async def _makes_room(self, attempt: Attempt, rests: tuple[RestingOrder, ...]) -> bool:
        """Cancels what covers the position, if the policy says so and the exit can be sent after it."""
        needed_ms = LEAST_TO_SEND_MS + CANCELS_TAKE_MS
        if not attempt.policy.cancel_conflicting_exits or attempt.permit.remaining_ms < needed_ms:
            return False
        if await self._last_look(attempt, None, needed_ms) is not None:
            return False  # halted meanwhile, or the store is lost: what rests isn't cancelled for nothing
        return await cancel_resting(self._exchange, attempt, rests)

    async def _once_more(self, attempt: Attempt, refused: Execution) -> Execution:
        """Sends a second request after one that was certainly refused, so that it can't make a second order."""
        attempt.may_exist = False
        again = await self._plan_and_send(attempt, None)
        # If no second request was sent, the answer to the first one stands.
        return replace(refused, notes=again.notes) if _came_to(again, OutcomeKind.UNSENT) else again

    async def _plan_and_send(self, attempt: Attempt, begun: Readings | None) -> Execution:
        async with self._turns.turn(attempt, self._acceptable_ms, begun.read_ns if begun else 0) as still_so:
            # After a turn of another leverage, or a long look-up, what was read before isn't so any more.
            longest_ms = _OF_AN_EXIT_MS if attempt.intent.is_exit else _BEGUN_AT_MOST_MS
            if begun is not None and still_so and time.monotonic_ns() - begun.began_ns < longest_ms * 1_000_000:
                return await self._in_turn(attempt, begun)
            with self._begin(attempt) as readings:
                return await self._in_turn(attempt, readings)

    async def _in_turn(self, attempt: Attempt, readings: Readings) -> Execution:
        hedge_mode = await readings.hedge_mode()
        unclosed = await fit_to_position(self._exchange, attempt, readings)
        if unclosed is not None:
            return unclosed
        intent = attempt.intent
        filters = await readings.filters()
        if filters is None:
            filters = await read_latest_filters(self._exchange, attempt)
        if filters is None and intent.is_exit and intent.notional is None:
            filters = unfiltered(intent.symbol)  # it may be listed since the last reading: the exchange knows
        if filters is None:
            return attempt.unfit(PlanRefusal("UNKNOWN_SYMBOL", f"the exchange has no symbol {intent.symbol}"))
        mark_price = await readings.mark_price()
        plan = plan_order(intent, filters, mark_price, hedge_mode=hedge_mode)
        if isinstance(plan, PlanRefusal):
            filters = await read_latest_filters(self._exchange, attempt) or filters
            plan = plan_order(intent, filters, mark_price, hedge_mode=hedge_mode)
        if isinstance(plan, PlanRefusal):
            return attempt.unfit(plan)
        attempt.leaves_open = tell_what_stays_open(attempt, plan)
        if intent.is_exit:
            return await self._look_and_send(attempt, plan, None)
        need = await self.preflight.need(attempt, plan, filters, readings, mark_price)
        if isinstance(need, Execution):
            return need
        if readings.live is not None:
            came = await self._send_by_streams(attempt, need)
            if came is not None:
                return came
            with Readings(self._exchange, attempt, None) as anew:
                return await self._in_turn(attempt, anew)
        cover = await self.preflight.cover(attempt, need, readings)
        if isinstance(cover, Execution):
            return cover
        return await self._look_and_send(attempt, plan, cover)

    async def _send_by_streams(self, attempt: Attempt, need: Need) -> Execution | None:
        """Sends an entry on what the streams tell. None: they don't say yes."""
        looked = await self._look_with_orders(attempt)
        look = looked.look
        if not look:
            return attempt.unsent(look.reason, look.detail)
        # From here until it is sent, nothing is waited for.
        cover = None if look.placed is None else self.preflight.cover_live(attempt, need, looked.asked, look.placed)
        if cover is None or isinstance(cover, Execution):
            return cover
        execution = self._own_look(attempt, cover)
        if execution is None:
            execution = await self._send(attempt, need.plan, looked.validity)
        return replace(execution, margin=cover)

    async def _look_and_send(self, attempt: Attempt, plan: OrderPlan, cover: MarginCheck | None) -> Execution:
        if attempt.told_open is None or attempt.without_store:
            # Taken before the last look: the exchange refuses what is delayed after it.
            looked, validity = self._looked_already(attempt), self._valid(attempt)
            if looked is None:
                execution = await self._last_look(attempt, cover, validity.span_ms + SIGNER_AHEAD_MS)
            else:
                validity, execution = looked.validity, self._own_look(attempt, cover)
        else:
            looked = await self._look_with_orders(attempt)
            look, validity = looked.look, looked.validity
            if look and not self.preflight.still_open(attempt, looked.asked, look.placed):
                return await self._close_by_reading(attempt, plan)
            execution = self._after(look, attempt, cover)
        if execution is not None and execution.reason == STORE_LOST and may_go_without_store(attempt):
            execution = await self._without_store(attempt)
            if execution is None:
                validity = self._valid(attempt)
                execution = self._own_look(attempt, cover)
        if execution is None:
            execution = await self._send(attempt, plan, validity)
        return execution if cover is None else replace(execution, margin=cover)

    async def _close_by_reading(self, attempt: Attempt, plan: OrderPlan) -> Execution:
        """Closes what a reading tells is open. Where there is none soon, what the streams told is more than nothing."""
        by_streams = attempt.intent
        attempt.intent, attempt.told_open = attempt.asked, None
        with Readings(self._exchange, attempt, None) as readings:
            if await readings.positions_soon() is not None:
                return await self._in_turn(attempt, readings)
        attempt.intent = by_streams
        return await self._look_and_send(attempt, plan, None)

    def _valid(self, attempt: Attempt) -> Validity:
        """From now on. The exchange accepts nothing after the deadline, even if our clock is a second ahead, which it
        allows."""
        left_ms = attempt.permit.remaining_ms - SIGNER_AHEAD_MS - ROUNDING_MS
        return self._exchange.valid_for(min(attempt.policy.order_timeout_ms, left_ms))

    @property
    def _acceptable_ms(self) -> int:
        """How long after signing the exchange may still accept a request."""
        return self._exchange.recv_window_ms + CLOCK_LEAD_MS

    async def _last_look(self, attempt: Attempt, cover: MarginCheck | None, needed_ms: int) -> Execution | None:
        """Asks right before sending whether the permit still holds, by the store and by our clock. None: it does."""
        look = None if attempt.without_store else await self._look(attempt, needed_ms)
        return self._after(look, attempt, cover)

    async def _look(self, attempt: Attempt, needed_ms: int, placed_after: str | None = None) -> LastLook:
        return await self._gate.last_look(attempt.permit, needed_ms=needed_ms, placed_after=placed_after)

    def _looked_already(self, attempt: Attempt) -> Looked | None:
        """The verdict in place of a last look; None where something was waited for since."""
        return None if attempt.verdict_look is None else attempt.verdict_look.of(attempt.permit)

    async def _look_with_orders(self, attempt: Attempt) -> Looked:
        """A last look that tells the entries that were placed."""
        looked = self._looked_already(attempt)
        if looked is not None:
            return looked
        asked, validity = self.preflight.unseen.ask(), self._valid(attempt)
        look = await self._look(attempt, validity.span_ms + SIGNER_AHEAD_MS, asked.placed_after)
        return Looked(validity, asked, look)

    def _after(self, look: LastLook | None, attempt: Attempt, cover: MarginCheck | None) -> Execution | None:
        if look is not None and not look:
            return attempt.unsent(look.reason, look.detail)
        return self._own_look(attempt, cover)

    def _own_look(self, attempt: Attempt, cover: MarginCheck | None) -> Execution | None:
        """The last look as far as this process can tell by itself."""
        stale = grown_stale(attempt, cover)
        if stale is not None:
            return stale
        # The last question, because the others take time.
        left_ms = attempt.permit.remaining_ms
        if left_ms < LEAST_TO_SEND_MS:
            return attempt.unsent("DEADLINE", f"{left_ms} ms of the permit were left, {LEAST_TO_SEND_MS} are needed")
        return None

    async def _send(self, attempt: Attempt, plan: OrderPlan, validity: Validity) -> Execution:
        order = plan.request(attempt.intent, attempt.permit.client_order_id)
        timeout_ms = min(attempt.policy.order_timeout_ms, attempt.permit.remaining_ms - SIGNER_AHEAD_MS)
        attempt.may_exist = attempt.sent = True
        attempt.sent_quantity = plan.quantity
        self._news.follow(attempt)
        sent_s = perf_counter()
        # Whatever becomes of it: no position counts by the streams while it may be there, and they don't show it.
        self.preflight.sent(order.symbol, order.client_order_id, self._acceptable_ms)
        try:
            answer = await self._exchange.place(order, validity, timeout_ms=timeout_ms)
        except ExchangeFailure as failed:
            failure = failed.failure
        else:
            self.preflight.sent(order.symbol, order.client_order_id)
            return attempt.placed(answer)
        finally:
            self._timings.order(perf_counter() - sent_s)
        if not failure.may_exist:
            refused = self._refused(attempt, failure)
            attempt.may_exist = False
            self.preflight.never_there(order.symbol, order.client_order_id)
            return refused
        try:
            found = await look_up(self._exchange, attempt, acceptable_for_ms=self._acceptable_ms, news=self._news)
        except OrderNotFound:
            self.preflight.never_there(order.symbol, order.client_order_id)
            return attempt.absent(failure)
        if found is None:
            return attempt.in_doubt(failure)
        self.preflight.sent(order.symbol, order.client_order_id)
        return attempt.placed(found)

    def _refused(self, attempt: Attempt, failure: Failure) -> Execution:
        if failure.code in FILTER_CODES:
            self._exchange.forget_filters()
        if failure.advice:
            _log.warning("REFUSED %s", names(attempt.intent, code=failure.code, detail=failure.told))
        return attempt.refused(failure)


def _refused_by(execution: Execution, codes: Set[str]) -> bool:
    return _came_to(execution, OutcomeKind.REJECTED) and execution.reason in codes


def _came_to(execution: Execution, kind: OutcomeKind) -> bool:
    return execution.outcome is not None and execution.outcome.kind is kind
