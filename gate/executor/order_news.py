"""What comes of the gate's orders after the exchange has them, as its streams tell it.

Events come in their order, but some get lost when a connection breaks. What those would have told is asked for, so that
nothing stays untold. Without streams nothing is told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

from msgspec import structs

from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange, OrderAnswer
from gate.exchange.streams.order_updates import OrderState, OrderUpdate, as_conditional, decode_order_update
from gate.executor.attempt import Attempt
from gate.executor.execution import Execution
from gate.executor.followed_orders import OURS, FollowedOrders
from gate.executor.order_gaps import OrderGaps
from gate.executor.updates import Updates
from gate.values.fields import plain
from gate.values.log_words import Line, log_of, pairs
from gate.values.outcome import OutcomeKind

_log: Final = log_of("gate.executor")

_GRACE_S: Final = 0.25
"""How long is waited for an event that should have come with the answer, and for what follows it at once."""
_LONGEST_LOOK_S: Final = 5.0


class OrderNews:
    """Hears an exchange's events of orders, and tells them to whoever listens."""

    def __init__(self, exchange: Exchange, told: Callable[[str], None]) -> None:
        """`told`: is given the client order id of each order of the gate that the exchange tells of."""
        self._exchange: Final = exchange
        self._told: Final = told
        self._orders: Final = FollowedOrders()
        self._gaps: Final = OrderGaps(exchange, self._orders, self._take)
        self._listeners: Final[WeakSet[Updates]] = WeakSet()
        self._runs = self._over = False
        self._looking: Final[dict[asyncio.Task[None], OrderUpdate]] = {}
        self._ends: Callable[[], None] | None = None
        self._hear()

    def listen(self) -> Updates:
        """From now on."""
        updates = Updates()
        if self._over:
            updates.end()
        self._listeners.add(updates)
        return updates

    def open(self) -> None:
        """From now on gaps are closed, until `close`."""
        self._runs, self._over = True, False
        if self._ends is None:
            self._hear()
            self._gaps.missed()  # nobody has listened meanwhile
        self._gaps.open()

    async def close(self) -> None:
        """Ends what listens. The exchange may go on, with another executor: it tells this one nothing more."""
        self._runs, self._over = False, True
        if self._ends is not None:
            self._ends()
            self._ends = None
        looking = tuple(self._looking)
        for task in looking:
            task.cancel()
        try:
            await self._gaps.close()
            if looking:
                await asyncio.wait(looking)
                await asyncio.sleep(0)  # what follows their ends is called by the loop
        finally:
            for each in tuple(self._listeners):
                each.end()

    def _hear(self) -> None:
        orders, gaps = self._exchange.on_order(self._heard), self._exchange.on_gap(self._gaps.missed)

        def ends() -> None:
            orders()
            gaps()

        self._ends = ends

    def follow(self, attempt: Attempt) -> None:
        """Notes an order right before it is sent."""
        intent, client_order_id = attempt.intent, attempt.permit.client_order_id
        order = self._orders.note_sent(client_order_id, intent.symbol, intent.is_conditional)
        order.intent_id = intent.id
        attempt.sent_ns = time.monotonic_ns()

    def remember(
        self,
        symbol: str,
        client_order_id: str,
        intent_id: str,
        *,
        conditional: bool,
        gone: Callable[[], None] | None = None,
    ) -> None:
        """An order of an earlier life of this process, or of another one. What has come of it is asked for."""
        order = self._orders.known(client_order_id)
        if order is None:
            order = self._orders.note(client_order_id, symbol, conditional)
            order.remembered, order.gone = True, gone
            self._gaps.missed()
        order.intent_id = intent_id

    def settled(self, attempt: Attempt, execution: Execution) -> None:
        """Forgets an order that the exchange certainly doesn't have."""
        nothing = execution.outcome is None or execution.outcome.kind is not OutcomeKind.UNKNOWN
        order = self._orders.open.get(attempt.permit.client_order_id)
        if nothing and execution.order_id is None and order is not None and order.last is None:
            self._orders.forget(attempt.permit.client_order_id)

    async def answer(self, attempt: Attempt, within_s: float) -> OrderAnswer | None:
        """What the exchange has told of an order since it was sent; waits for it. None: nothing came.

        An event of an order that was there before, under the same client order id, doesn't count: it says nothing of
        this request.
        """
        until_s, heard = time.monotonic() + within_s, False
        while (order := self._orders.known(attempt.permit.client_order_id)) is not None:
            if order.last is not None and order.new_ns >= attempt.sent_ns:
                if not heard:
                    # More follows at once where an order doesn't rest.
                    heard, until_s = True, time.monotonic() + (0.0 if _rests(attempt) else _GRACE_S)
                if order.last.state.ended or time.monotonic() >= until_s:
                    return order.last.answer
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                break
            order.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await order.changed.wait()
        # Of an order that this has forgotten, nothing is told. Whoever asks would ask again at once.
        await asyncio.sleep(max(until_s - time.monotonic(), 0))
        return None

    async def answer_on_its_way(self, attempt: Attempt) -> OrderAnswer | None:
        """As `answer`, as long as an event takes to come; without waiting where the streams are down."""
        order = self._orders.known(attempt.permit.client_order_id)
        if order is not None and order.last is not None and order.last.state.ended and order.new_ns >= attempt.sent_ns:
            return order.last.answer  # as mostly: it came while the outcome was settled
        hears = self._ends is not None and self._exchange.streams() == "ok"
        return await self.answer(attempt, _GRACE_S if hears else 0.0)

    # ---- what the exchange tells

    def _heard(self, event: Mapping[str, Any]) -> None:
        try:
            update = decode_order_update(event)
        except ExchangeFailure as failed:
            _log.warning("an order's event can't be read: %s", str(failed))
            self._gaps.missed()
            return
        if update is not None:
            self._take(update)

    def _take(self, update: OrderUpdate) -> None:
        client_order_id = update.client_order_id
        if update.state is OrderState.LIQUIDATED:
            # Others of the exchange's own have the same client order id.
            client_order_id = f"{client_order_id}/{update.order_id}"
        elif not OURS.fullmatch(client_order_id):
            # What a conditional order becomes may have an id of the exchange's.
            client_order_id = self._orders.that_became(update.order_id)
            if not client_order_id:
                return
        order = self._orders.known(client_order_id)
        order = order or self._orders.note(client_order_id, update.symbol, update.conditional)
        if update.conditional:
            order.conditional, order.algo_id = True, update.order_id
            if update.actual_order_id is not None:
                self._orders.note_actual(client_order_id, update.actual_order_id)
            if update.state is OrderState.CANCELLED and update.actual_order_id is not None and not update.after_gap:
                # FINISHED: the events of what it became tell how it ended, or are lost.
                if order.last is None or not order.last.state.ended:
                    self._gaps.ask_alone(client_order_id, order)
                return
        elif order.conditional:
            update = as_conditional(update, order.algo_id or update.order_id)
        if update.state is not OrderState.LIQUIDATED:
            update = structs.replace(update, client_order_id=client_order_id, intent_id=order.intent_id)
        if not _is_news(order.last, update):
            return
        if update.state is OrderState.NEW and not update.after_gap:
            order.new_ns = time.monotonic_ns()
        order.last = update
        order.changed.set()
        self._told(client_order_id)
        if update.state.ended:
            self._orders.end(client_order_id)
        if update.may_leave_open and self._runs:
            looking = asyncio.create_task(self._tell_what_it_leaves(update))
            self._looking[looking] = update
            looking.add_done_callback(self._looked)
        elif update.state is not OrderState.NEW:
            self._tell(update)

    async def _tell_what_it_leaves(self, update: OrderUpdate) -> None:
        """Tells the end of a stop that wasn't filled whole. Its position may have been closed before, by another order:
        the exchange is asked, since an alarm that is false too often is heeded no more."""
        await asyncio.sleep(_GRACE_S)  # the position's event may come behind the order's
        live = self._exchange.live(update.symbol)
        held = live.positions if live is not None and not live.awaits_position else None
        if held is None and self._exchange.rest_ms() is None:
            with suppress(ExchangeFailure, TimeoutError):
                async with asyncio.timeout(_LONGEST_LOOK_S):
                    held = await self._exchange.positions(update.symbol)
        # Where nobody says, whoever hears the alarm looks.
        leaves_open = held is None or any(each.closing_side == update.side for each in held)
        self._tell(structs.replace(update, leaves_open=leaves_open))

    def _looked(self, looking: asyncio.Task[None]) -> None:
        """Its end is told even where the executor has ended first."""
        update = self._looking.pop(looking)
        if looking.cancelled() or looking.exception() is not None:
            self._tell(structs.replace(update, leaves_open=True))

    def _tell(self, update: OrderUpdate) -> None:
        what, level = "ORDER UPDATE", logging.INFO
        if update.state is OrderState.LIQUIDATED:
            what, level = "LIQUIDATED", logging.ERROR
        elif update.alarming and (update.reduces or update.leaves_open):
            what, level = "UNPROTECTED", logging.ERROR
        elif update.alarming:  # a stop that was to open a position, and there is none that it was to turn
            level = logging.WARNING
        if _log.isEnabledFor(level):
            _log.log(level, "%s %s", Line(what), _words(update))
        for each in tuple(self._listeners):
            each.tell(update)


def _words(update: OrderUpdate) -> Line:
    return pairs(
        id=update.intent_id,
        symbol=update.symbol,
        side=update.side,
        state=update.state,
        order=update.order_id,
        filled=plain(update.filled_quantity),
        price=None if update.average_price is None else plain(update.average_price),
        detail=update.detail,
    )


def _rests(attempt: Attempt) -> bool:
    intent = attempt.intent
    return intent.is_conditional or (intent.order_type == "LIMIT" and intent.time_in_force not in ("IOC", "FOK"))


def _is_news(last: OrderUpdate | None, update: OrderUpdate) -> bool:
    """Whether it tells more than the last update that was heard under its client order id."""
    if last is None:
        return True
    if update.state is OrderState.NEW and update.order_id != last.order_id and not last.conditional:
        return True  # a client order id can be used again
    return update.is_news_after(last.state, last.filled_quantity)
