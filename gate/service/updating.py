"""Tells what comes of orders after their results: each update once, though every service of the account hears of it.

What was told of an order stands in the store, from its result on. An update that is heard before waits for that.
Whoever tells an update first notes that in the same step (lua/order_update.lua); for the others it is no news then.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Final

from redis.exceptions import ResponseError

from gate.client.gates import AsyncGate
from gate.executor import Executor, OrderState, OrderUpdate
from gate.executor.late_orders import LOOKS_AFTER_S
from gate.service.metrics import Metrics
from gate.service.pauses import grown
from gate.service.pulse import Pulse
from gate.service.settings import Settings
from gate.service.streams import STORE_FAILURES, Streams, Update, said_of
from gate.service.taker_rates import TakerRates
from gate.service.told import ToldOrder, of_nobody, update_fields
from gate.values.log_words import log_of, pairs

_log: Final = log_of("gate.service")

_TOGETHER: Final = 200
_APART_S: Final = 0.02
"""Between two rounds, so that what comes at once is told at once."""
_SENDER_FIRST_S: Final = 0.2
"""How long the others leave an update to the service that has sent the order."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_AFTER_TAKEOVER_S: Final = 60.0
_MOST_ORDERS: Final = 5_000
_MOST_OF_ONE: Final = 20
_FEES_WITHIN_S: Final = 1.0
_MAY_APPEAR_MS: Final = LOOKS_AFTER_S[-1] * 1000
"""How long an order in doubt may show up, though the exchange doesn't have it yet."""


@dataclass(slots=True)
class _Heard:
    """What was heard of one order and isn't told."""

    due_s: float
    updates: list[OrderUpdate] = field(default_factory=list)
    """The oldest first."""
    tries: int = 0
    waited_s: float = 0.0
    """How long the store has said that there is no result. While it is away or refuses results, none can come."""

    def forget(self, update: OrderUpdate) -> None:
        """It is told, or no news. More may have come meanwhile, and pushed it out."""
        if update in self.updates:
            self.updates.remove(update)


_News = tuple[OrderUpdate, bytes, ToldOrder]
"""An update, what the store has of its order before it, and what is told with it."""


class Updating:
    """The updates of one service."""

    def __init__(
        self,
        settings: Settings,
        gate: AsyncGate,
        executor: Executor,
        streams: Streams,
        pulse: Pulse,
        metrics: Metrics,
        rates: TakerRates,
    ) -> None:
        self._of: Final = settings
        self._gate: Final = gate
        self._executor: Final = executor
        self._streams: Final = streams
        self._pulse: Final = pulse
        self._metrics: Final = metrics
        self._rates: Final = rates
        # Another service may have to take the intent over first; its result comes after that.
        self._waits_s: Final = settings.rested_ms(gate.policy) / 1000 + _AFTER_TAKEOVER_S
        self._gone: Final[set[str]] = set()
        """Orders of before that the exchange has forgotten."""
        self._orders: Final[OrderedDict[str, _Heard]] = OrderedDict()
        self._come: Final = asyncio.Event()
        self._loop: Final = asyncio.get_running_loop()

    async def keep_hearing(self, updates: AsyncIterator[OrderUpdate]) -> None:
        """Until there are no more, or it is cancelled."""
        async for update in updates:
            self._add(update)

    def _add(self, update: OrderUpdate) -> None:
        now_s = self._loop.time()
        heard = self._orders.get(_key(update))
        if heard is None:
            heard = self._orders[_key(update)] = _Heard(now_s + (0 if update.intent_id else _SENDER_FIRST_S))
        heard.updates.append(update)
        del heard.updates[:-_MOST_OF_ONE]  # each tells of the whole order
        if len(self._orders) > _MOST_ORDERS:
            self._make_room()
        self._come.set()

    def _make_room(self) -> None:
        """Orders of other programs under the prefix go first: they never have a result."""
        others = (key for key, heard in self._orders.items() if heard.waited_s and not heard.updates[0].intent_id)
        key = next(others, None)
        if key is None:
            lost, _ = self._orders.popitem(last=False)
            _log.error("UPDATE LOST %s", pairs(client_order_id=lost))
        else:
            self._untold(key)

    def _untold(self, key: str) -> None:
        heard = self._orders.pop(key)
        _log.debug("UPDATE NOT TOLD %s", pairs(client_order_id=key, state=heard.updates[-1].state))

    async def keep_telling(self) -> None:
        """Tells what comes, for ever."""
        failures, remembered = 0, False
        while True:
            try:
                if not remembered:
                    await self._remember_what_it_can()
                    remembered = True
                await self._round()
            except Exception as error:  # whatever it is, intents are worth more
                if isinstance(error, STORE_FAILURES):
                    _log.debug("no updates told: %s", said_of(error))
                else:
                    _log.exception("telling updates failed")
                self._metrics.failures.labels("update").inc()
                await asyncio.sleep(grown(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, failures))
                failures += 1
                continue
            failures = 0
            await asyncio.sleep(_APART_S)
            await self._until_due()

    async def _until_due(self) -> None:
        if self._gone:
            return
        self._come.clear()
        due_s = min((each.due_s for each in self._orders.values()), default=None)
        try:
            async with asyncio.timeout_at(due_s):
                await self._come.wait()
        except TimeoutError:
            return

    async def _remember_what_it_can(self) -> None:
        try:
            await self._remember()
        except ResponseError as error:  # a missing right, a damaged key: no reason to tell nothing else
            _log.warning("OPEN ORDERS NOT READ what came of them while nobody was there isn't told: %s", said_of(error))

    async def _remember(self) -> None:
        """Names the open orders of before to the executor: some have ended while nobody was there to hear of it."""
        rows = await self._streams.open_orders()
        before = list[tuple[str, int, ToldOrder]]()
        for start in range(0, len(rows), _TOGETHER):
            page = rows[start : start + _TOGETHER]
            packed = await self._streams.told_of([client_order_id for client_order_id, _ in page])
            for (client_order_id, noted_ms), each in zip(page, packed, strict=True):
                told = _read(client_order_id, each)
                if told is not None and told.open:
                    before.append((client_order_id, noted_ms, told))
        now_ms = time.time_ns() // 1_000_000
        # All at once: with an await between, the executor would ask for the first of them twice.
        for client_order_id, noted_ms, told in before:
            may_appear = not told.state and now_ms - noted_ms < _MAY_APPEAR_MS
            self._executor.remember(
                told.asked.symbol,
                client_order_id,
                told.asked.intent_id,
                conditional=told.conditional,
                gone=None if may_appear else partial(self._is_gone, client_order_id),
            )

    def _is_gone(self, client_order_id: str) -> None:
        _log.info("ORDER GONE %s", pairs(client_order_id=client_order_id))
        self._gone.add(client_order_id)
        self._come.set()

    async def _close_gone(self) -> None:
        gone = list(self._gone)[:_TOGETHER]
        if not gone:
            return
        try:
            await self._streams.no_more_of(gone, self._gate.policy.dedup_ttl_ms)
        except ResponseError as error:  # a missing right: it is asked for again at the next start
            _log.debug("an order that is gone stays open: %s", said_of(error))
        self._gone.difference_update(gone)

    async def _round(self) -> None:
        await self._close_gone()
        now_s = self._loop.time()
        due = [key for key, heard in self._orders.items() if heard.due_s <= now_s][:_TOGETHER]
        if not due:
            return
        try:
            packed = await self._streams.told_of(due)
        except STORE_FAILURES:
            self._wait_anew()
            raise
        if self._pulse.results != "ok":
            self._wait_anew()
        news = dict[str, list[_News]]()
        for key, each in zip(due, packed, strict=True):
            try:
                news[key] = self._news(key, each)
            except Exception:  # whatever it is, the others are told
                self._fails(key)
        symbols = {now.asked.symbol for each in news.values() for _, _, now in each if now.filled}
        rates = await self._rates.rates(symbols, _FEES_WITHIN_S)
        to_tell = list[tuple[str, OrderUpdate, Update]]()
        for key, of_one in news.items():
            try:
                to_tell += self._in_words(key, of_one, rates)
            except Exception:
                self._fails(key)
        keep_ms = self._gate.policy.dedup_ttl_ms
        replies = await self._streams.update([each for _, _, each in to_tell], keep_ms) if to_tell else []
        self._after(to_tell, replies)

    def _wait_anew(self) -> None:
        """No result can be written now: those that are awaited have all their time still to come."""
        for heard in self._orders.values():
            heard.waited_s = 0.0

    def _news(self, key: str, packed: bytes | None) -> list[_News]:
        """What is to be told of an order of which that was told. What is no news is forgotten."""
        heard = self._orders.get(key)
        if heard is None:
            return []
        told = _read(key, packed)
        if packed is None and heard.updates[0].state is OrderState.LIQUIDATED:
            told = of_nobody(heard.updates[0])
        if told is None:
            if heard.waited_s > self._waits_s:
                # It is no order of a service; or a result has said that there is none.
                self._untold(key)
            else:
                self._wait_for_its_result(heard)
            return []
        before, found = packed or b"", []
        for update in tuple(heard.updates):
            if told.is_another(update) and heard.waited_s <= self._waits_s:
                # Its own result comes, and tells it; unless it is of a delivery of which nothing is told any more.
                self._wait_for_its_result(heard)
                break
            now = told.after(update)
            if now is None:
                heard.forget(update)
                continue
            found.append((update, before, now))
            told, before = now, now.packed()
        if not heard.updates:
            self._orders.pop(key, None)
        return found

    def _in_words(
        self, key: str, news: Sequence[_News], rates: Mapping[str, Decimal | None]
    ) -> list[tuple[str, OrderUpdate, Update]]:
        found = []
        for update, before, now in news:
            fields = update_fields(now, update, by=self._of.consumer, fee_rate=rates.get(now.asked.symbol))
            found.append((key, update, Update(key, before, now, fields)))
        return found

    def _fails(self, key: str) -> None:
        _log.exception("an update can't be told: %s", pairs(client_order_id=key))
        self._metrics.failures.labels("update").inc()
        if (heard := self._orders.get(key)) is not None:
            self._put_off(heard)

    def _wait_for_its_result(self, heard: _Heard) -> None:
        heard.waited_s += self._put_off(heard)

    def _put_off(self, heard: _Heard) -> float:
        """For so long."""
        pause_s = grown(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, heard.tries)
        heard.due_s = self._loop.time() + pause_s
        heard.tries += 1
        return pause_s

    def _after(self, to_tell: Sequence[tuple[str, OrderUpdate, Update]], replies: Sequence[bool | Exception]) -> None:
        failed = set[str]()
        for (key, update, _), reply in zip(to_tell, replies, strict=True):
            heard = self._orders.get(key)
            if isinstance(reply, Exception):
                _log.debug("UPDATE WAITS %s", pairs(client_order_id=key, detail=said_of(reply)))
                failed.add(key)
            elif reply:
                self._metrics.updates.labels(update.state.value).inc()
                if heard is not None:
                    heard.forget(update)
                    if not heard.updates:
                        del self._orders[key]
            # Where another service was the first, the next round reads what it has told.
        for key in failed & self._orders.keys():
            self._put_off(self._orders[key])
        if failed:
            self._metrics.failures.labels("update").inc()


def _key(update: OrderUpdate) -> str:
    """What tells an order from others. Several of the exchange's own have one client order id."""
    if update.state is OrderState.LIQUIDATED:
        return f"{update.client_order_id}/{update.order_id}"
    return update.client_order_id


def _read(key: str, packed: bytes | None) -> ToldOrder | None:
    if packed is None:
        return None
    try:
        return ToldOrder.read(packed)
    except ValueError:
        _log.warning("what was told of an order can't be read: %s", pairs(client_order_id=key))
        return None
