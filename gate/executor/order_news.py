"""What comes of the gate's orders after the exchange has them, as its streams tell it.

Events come in their order, but some get lost when a connection breaks. Then the exchange is asked for every order that
is known to rest, so that nothing stays untold. Without streams nothing is told.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain, repeat
from typing import Any, Final
from weakref import WeakSet

from msgspec import structs

from gate.exchange.failures import ExchangeFailure, OrderNotFound
from gate.exchange.port import Exchange, OrderAnswer
from gate.exchange.streams.order_updates import (
    OrderState,
    OrderUpdate,
    as_conditional,
    decode_order_update,
    update_of,
)
from gate.executor.attempt import Attempt
from gate.executor.execution import Execution
from gate.executor.updates import Updates
from gate.values.fields import plain
from gate.values.log_words import Line, log_of, pairs
from gate.values.outcome import OutcomeKind

_log: Final = log_of("gate.executor")

_OURS: Final = re.compile(r"g-[A-Za-z0-9_-]{32}", re.ASCII)
"""A client order id that a gate has made."""
_MOST_OPEN: Final = 2_000
_MOST_ENDED: Final = 2_000
_AT_ONCE: Final = 5
_BUDGET: Final = Decimal("0.5")
"""The share of the exchange's limits beyond which gaps wait."""
_PAUSES_S: Final = (0.0, 1.0, 3.0, 10.0, 30.0)
"""Before each time that the exchange is asked after a gap. The last one goes on until it has answered."""
_GRACE_S: Final = 0.25
"""How long is waited for an event that should have come with the answer, and for what follows it at once."""
_LONGEST_LOOK_S: Final = 5.0


@dataclass(slots=True)
class _Order:
    """One order, as far as it is known."""

    symbol: str
    conditional: bool
    algo_id: str | None = None
    intent_id: str | None = None
    last: OrderUpdate | None = None
    remembered: bool = False
    """Whether it was named, as one of before."""
    gone: Callable[[], None] | None = None
    """Called where the exchange has forgotten it."""
    new_ns: int = 0
    """When the exchange told of it as new, on the monotonic clock."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class OrderNews:
    """Hears an exchange's events of orders, and tells them to whoever listens."""

    def __init__(self, exchange: Exchange, told: Callable[[str], None]) -> None:
        """`told`: is given the client order id of each order of the gate that the exchange tells of."""
        self._exchange: Final = exchange
        self._told: Final = told
        self._open: Final[OrderedDict[str, _Order]] = OrderedDict()
        self._ended: Final[OrderedDict[str, _Order]] = OrderedDict()
        self._actual: Final[OrderedDict[str, str]] = OrderedDict()
        self._listeners: Final[WeakSet[Updates]] = WeakSet()
        self._closes_gaps = self._over = False
        self._gap = False
        self._closing: asyncio.Task[None] | None = None
        self._looking: Final[dict[asyncio.Task[None], OrderUpdate]] = {}
        self._asking: Final[set[asyncio.Task[ExchangeFailure | None]]] = set()
        exchange.on_order(self._heard)
        exchange.on_gap(self._missed)

    def listen(self) -> Updates:
        """From now on."""
        updates = Updates()
        if self._over:
            updates.end()
        self._listeners.add(updates)
        return updates

    def open(self) -> None:
        """From now on gaps are closed, until `close`."""
        self._closes_gaps, self._over = True, False
        if self._gap:
            self._missed()

    async def close(self) -> None:
        """Ends what listens."""
        self._closes_gaps, self._over = False, True
        if self._closing is not None:
            self._gap = self._gap or not self._closing.done()
            self._closing.cancel()
            await asyncio.wait([self._closing])
        beside = {*self._looking, *self._asking}
        for task in beside:
            task.cancel()
        if beside:
            await asyncio.wait(beside)
            await asyncio.sleep(0)  # what follows their ends is called by the loop
        for each in tuple(self._listeners):
            each.end()

    def follow(self, attempt: Attempt) -> None:
        """Notes an order right before it is sent."""
        intent, client_order_id = attempt.intent, attempt.permit.client_order_id
        self._ended.pop(client_order_id, None)  # of an earlier order: the exchange lets an id be used again
        order = self._open.get(client_order_id)
        order = order or self._note(client_order_id, intent.symbol, intent.is_conditional)
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
        order = self._known(client_order_id)
        if order is None:
            order = self._note(client_order_id, symbol, conditional)
            order.remembered, order.gone = True, gone
            self._missed()
        order.intent_id = intent_id

    def settled(self, attempt: Attempt, execution: Execution) -> None:
        """Forgets an order that the exchange certainly doesn't have."""
        nothing = execution.outcome is None or execution.outcome.kind is not OutcomeKind.UNKNOWN
        order = self._open.get(attempt.permit.client_order_id)
        if nothing and execution.order_id is None and order is not None and order.last is None:
            del self._open[attempt.permit.client_order_id]

    async def answer(self, attempt: Attempt, within_s: float) -> OrderAnswer | None:
        """What the exchange has told of an order since it was sent; waits for it. None: nothing came.

        An event of an order that was there before, under the same client order id, doesn't count: it says nothing of
        this request.
        """
        until_s, heard = time.monotonic() + within_s, False
        while (order := self._known(attempt.permit.client_order_id)) is not None:
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
        order = self._known(attempt.permit.client_order_id)
        if order is not None and order.last is not None and order.last.state.ended and order.new_ns >= attempt.sent_ns:
            return order.last.answer  # as mostly: it came while the outcome was settled
        lives = self._exchange.live(attempt.intent.symbol) is not None
        return await self.answer(attempt, _GRACE_S if lives else 0.0)

    # ---- what the exchange tells

    def _heard(self, event: Mapping[str, Any]) -> None:
        try:
            update = decode_order_update(event)
        except ExchangeFailure as failed:
            _log.warning("an order's event can't be read: %s", str(failed))
            self._missed()
            return
        if update is not None:
            self._take(update)

    def _take(self, update: OrderUpdate) -> None:
        client_order_id = update.client_order_id
        if update.state is OrderState.LIQUIDATED:
            # Others of the exchange's own have the same client order id.
            client_order_id = f"{client_order_id}/{update.order_id}"
        elif not _OURS.fullmatch(client_order_id):
            # What a conditional order becomes may have an id of the exchange's.
            client_order_id = self._actual.get(update.order_id, "")
            if not client_order_id:
                return
        order = self._known(client_order_id) or self._note(client_order_id, update.symbol, update.conditional)
        if update.conditional:
            order.conditional, order.algo_id = True, update.order_id
            if update.actual_order_id is not None:
                self._actual[update.actual_order_id] = client_order_id
                if len(self._actual) > _MOST_OPEN:
                    self._actual.popitem(last=False)
            if update.state is OrderState.CANCELLED and update.actual_order_id is not None and not update.after_gap:
                # FINISHED: the events of what it became tell how it ended, or are lost.
                if order.last is None or not order.last.state.ended:
                    self._ask_alone(client_order_id, order)
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
        if update.state.ended and client_order_id in self._open:
            self._ended[client_order_id] = self._open.pop(client_order_id)
            if len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)
        if update.may_leave_open and self._closes_gaps:
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

    def _ask_alone(self, client_order_id: str, order: _Order) -> None:
        """Asks for one order of which something is missing."""
        if not self._closes_gaps:
            self._gap = True
            return
        asking = asyncio.create_task(self._ask_for(client_order_id, order))
        self._asking.add(asking)
        asking.add_done_callback(self._asked)

    def _asked(self, asking: asyncio.Task[ExchangeFailure | None]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled() and asking.result() is not None:
            self._missed()  # so that it is asked for again

    def _tell(self, update: OrderUpdate) -> None:
        what, level = "ORDER UPDATE", logging.INFO
        if update.state is OrderState.LIQUIDATED:
            what, level = "LIQUIDATED", logging.ERROR
        elif update.alarming:
            what, level = "UNPROTECTED", logging.ERROR
        if _log.isEnabledFor(level):
            _log.log(level, "%s %s", Line(what), _words(update))
        for each in tuple(self._listeners):
            each.tell(update)

    def _known(self, client_order_id: str) -> _Order | None:
        return self._open.get(client_order_id) or self._ended.get(client_order_id)

    def _note(self, client_order_id: str, symbol: str, conditional: bool) -> _Order:
        order = self._open[client_order_id] = _Order(symbol, conditional)
        if len(self._open) > _MOST_OPEN:
            # Most often a request that was refused, and of which nothing comes.
            self._open.popitem(last=False)
        return order

    # ---- what it may not have told

    def _missed(self) -> None:
        """Events may have been lost."""
        self._gap = True
        if self._closes_gaps and (self._closing is None or self._closing.done()):
            self._closing = asyncio.create_task(self._close_gap())

    async def _close_gap(self) -> None:
        """Asks until everything is known: nothing else tells of what ended while nobody listened."""
        left = dict[str, _Order]()
        warned = False
        for passes, pause_s in enumerate(chain(_PAUSES_S, repeat(_PAUSES_S[-1])), 1):
            await asyncio.sleep(pause_s)
            try:
                if self._gap:
                    left = await self._to_ask_for()
                await self._ask(left)
            except ExchangeFailure as failed:
                if passes >= len(_PAUSES_S) and not warned:
                    warned = True
                    _log.warning("what came of orders while the streams were down isn't known yet: %s", str(failed))
            if not self._gap and not left:
                return

    async def _to_ask_for(self) -> dict[str, _Order]:
        """Each order that is known to rest, and those that an earlier life of the gate has left. What has ended comes
        first: it has most to tell."""
        await self._rest()
        self._gap = False
        try:
            found = await self._exchange.resting_orders()
        except ExchangeFailure:
            self._gap = True
            raise
        for resting in found:
            if _OURS.fullmatch(resting.client_order_id) and self._known(resting.client_order_id) is None:
                order = self._note(resting.client_order_id, resting.symbol, resting.conditional)
                order.algo_id = resting.order_id if resting.conditional else None
        rest = {each.client_order_id for each in found}
        return dict(sorted(self._open.items(), key=lambda each: each[0] in rest))

    async def _ask(self, left: dict[str, _Order]) -> None:
        """Asks for each of these, and takes away what has answered. A failure is raised when all were asked, or at
        once where it says to ask no more."""
        failures = list[ExchangeFailure]()
        asked = list(left.items())
        for start in range(0, len(asked), _AT_ONCE):
            await self._rest()
            together = asked[start : start + _AT_ONCE]
            answers = await asyncio.gather(*(self._ask_for(*each) for each in together))
            for (client_order_id, _), failed in zip(together, answers, strict=True):
                if failed is None:
                    del left[client_order_id]
                else:
                    failures.append(failed)
            if any(each.failure.stops_asking for each in failures):
                break
        if failures:
            raise failures[-1]

    async def _rest(self) -> None:
        """Half of each limit is left to orders, and during a ban nothing is asked."""
        rest_ms = self._exchange.rest_ms(_BUDGET)
        if rest_ms is not None:
            await asyncio.sleep(rest_ms / 1000)

    async def _ask_for(self, client_order_id: str, order: _Order) -> ExchangeFailure | None:
        """Returns why nothing is known."""
        if order.last is not None and order.last.state.ended:
            return None  # its event has come since
        try:
            answer = await self._exchange.find_order(order.symbol, client_order_id, conditional=order.conditional)
            update = update_of(answer, order.symbol, conditional=order.conditional)
        except OrderNotFound:
            if order.last is not None or order.remembered:
                self._open.pop(client_order_id, None)  # it rested once, and is too old to be told of
                if order.gone is not None:
                    order.gone()
            return None
        except ExchangeFailure as failed:
            return failed
        if update is not None:
            self._take(update)
        return None


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
