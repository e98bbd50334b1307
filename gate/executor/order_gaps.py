"""What the streams may not have told of orders. The exchange is asked until it has said what came of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from itertools import chain, repeat
from typing import Any, Final

from gate.exchange.failures import ExchangeFailure, OrderNotFound
from gate.exchange.port import Exchange
from gate.exchange.streams.order_updates import OrderUpdate, update_of
from gate.executor.followed_orders import OURS, FollowedOrder, FollowedOrders
from gate.values.log_words import log_of

_log: Final = log_of("gate.executor")

_AT_ONCE: Final = 5
_BUDGET: Final = Decimal("0.5")
"""The share of the exchange's limits beyond which gaps wait."""
_PAUSES_S: Final = (0.0, 1.0, 3.0, 10.0, 30.0)
"""Before each time that the exchange is asked after a gap. The last one goes on until it has answered."""


class OrderGaps:
    """Closes the gaps in what is known of the orders that are followed."""

    def __init__(self, exchange: Exchange, orders: FollowedOrders, take: Callable[[OrderUpdate], None]) -> None:
        """`take`: is given what has come of each order that was asked for."""
        self._exchange: Final = exchange
        self._orders: Final = orders
        self._take: Final = take
        self._runs = False
        self._gap = False
        self._closing: asyncio.Task[None] | None = None
        self._asking: Final[set[asyncio.Task[ExchangeFailure | None]]] = set()

    def open(self) -> None:
        """From now on gaps are closed, until `close`."""
        self._runs = True
        if self._gap:
            self.missed()

    async def close(self) -> None:
        """Asks no more. A gap that is left is closed after the next `open`."""
        self._runs = False
        ending: list[asyncio.Task[Any]] = [*self._asking]
        if self._closing is not None:
            self._gap = self._gap or not self._closing.done()
            ending.append(self._closing)
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
            await asyncio.sleep(0)  # what follows their ends is called by the loop

    def missed(self) -> None:
        """Events may have been lost."""
        self._gap = True
        if self._runs and (self._closing is None or self._closing.done()):
            self._closing = asyncio.create_task(self._close_gap())

    def ask_alone(self, client_order_id: str, order: FollowedOrder) -> None:
        """Asks for one order of which something is missing."""
        if not self._runs:
            self._gap = True
            return
        asking = asyncio.create_task(self._ask_for(client_order_id, order))
        self._asking.add(asking)
        asking.add_done_callback(self._asked)

    def _asked(self, asking: asyncio.Task[ExchangeFailure | None]) -> None:
        self._asking.discard(asking)
        if asking.cancelled():
            self._gap = True  # so that it is asked for once this is opened again
        elif broken := asking.exception():
            _log.error("what came of an order isn't known", exc_info=broken)
        elif asking.result() is not None:
            self.missed()  # so that it is asked for again

    async def _close_gap(self) -> None:
        """Asks until everything is known: nothing else tells of what ended while nobody listened."""
        left = dict[str, FollowedOrder]()
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

    async def _to_ask_for(self) -> dict[str, FollowedOrder]:
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
            if OURS.fullmatch(resting.client_order_id) and self._orders.known(resting.client_order_id) is None:
                order = self._orders.note(resting.client_order_id, resting.symbol, resting.conditional)
                order.algo_id = resting.order_id if resting.conditional else None
        rest = {each.client_order_id for each in found}
        return dict(sorted(self._orders.open.items(), key=lambda each: each[0] in rest))

    async def _ask(self, left: dict[str, FollowedOrder]) -> None:
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

    async def _ask_for(self, client_order_id: str, order: FollowedOrder) -> ExchangeFailure | None:
        """Returns why nothing is known."""
        if order.last is not None and order.last.state.ended:
            return None  # its event has come since
        try:
            answer = await self._exchange.find_order(order.symbol, client_order_id, conditional=order.conditional)
            update = update_of(answer, order.symbol, conditional=order.conditional)
        except OrderNotFound:
            if order.last is not None or order.remembered:
                self._orders.forget(client_order_id)  # it rested once, and is too old to be told of
                if order.gone is not None:
                    order.gone()
            return None
        except ExchangeFailure as failed:
            return failed
        if update is not None:
            self._take(update)
        return None
