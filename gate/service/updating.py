"""Tells what comes of orders after their results: each update once, though every service of the account hears of it.

What was told of an order stands in the store, from its result on. An update that is heard before waits for that.
Whoever tells an update first notes that in the same step (lua/order_update.lua); for the others it is no news then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from redis.exceptions import ResponseError

from gate.client.gates import AsyncGate
from gate.executor import Executor, OrderState, OrderUpdate
from gate.service.fees import Fees
from gate.service.metrics import Metrics
from gate.service.settings import Settings
from gate.service.streams import STORE_FAILURES, Streams, Update, said_of
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
_FEE_WITHIN_S: Final = 1.0


@dataclass(slots=True)
class _Heard:
    """What was heard of one order and isn't told."""

    since_s: float
    due_s: float
    updates: list[OrderUpdate] = field(default_factory=list)
    """The oldest first."""
    tries: int = 0

    def forget(self, update: OrderUpdate) -> None:
        """It is told, or no news. More may have come meanwhile, and pushed it out."""
        if update in self.updates:
            self.updates.remove(update)


class Updating:
    """The updates of one service."""

    def __init__(
        self,
        settings: Settings,
        gate: AsyncGate,
        executor: Executor,
        streams: Streams,
        metrics: Metrics,
        fees: Fees,
        *,
        rested_ms: int,
    ) -> None:
        """`rested_ms`: how long an intent may wait for another service to take it over. Its result comes after that."""
        self._of: Final = settings
        self._gate: Final = gate
        self._executor: Final = executor
        self._streams: Final = streams
        self._metrics: Final = metrics
        self._fees: Final = fees
        self._waits_s: Final = rested_ms / 1000 + _AFTER_TAKEOVER_S
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
            heard = self._orders[_key(update)] = _Heard(now_s, now_s + (0 if update.intent_id else _SENDER_FIRST_S))
        heard.updates.append(update)
        del heard.updates[:-_MOST_OF_ONE]  # each tells of the whole order
        if len(self._orders) > _MOST_ORDERS:
            lost, _ = self._orders.popitem(last=False)
            _log.error("UPDATE LOST %s", pairs(client_order_id=lost))
        self._come.set()

    async def keep_telling(self) -> None:
        """Tells what comes, for ever."""
        pause_s, remembered = _FIRST_PAUSE_S, False
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
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(_APART_S)
            await self._until_due()

    async def _until_due(self) -> None:
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
        ids = await self._streams.open_orders()
        for start in range(0, len(ids), _TOGETHER):
            page = ids[start : start + _TOGETHER]
            for client_order_id, packed in zip(page, await self._streams.told_of(page), strict=True):
                told = _read(client_order_id, packed)
                if told is not None and told.open:
                    asked = told.asked
                    self._executor.remember(
                        asked.symbol, client_order_id, asked.intent_id, conditional=told.conditional
                    )

    async def _round(self) -> None:
        now_s = self._loop.time()
        due = [key for key, heard in self._orders.items() if heard.due_s <= now_s][:_TOGETHER]
        if not due:
            return
        keep_ms, to_tell = self._gate.policy.dedup_ttl_ms, list[tuple[str, OrderUpdate, Update]]()
        for key, packed in zip(due, await self._streams.told_of(due), strict=True):
            to_tell += await self._news(key, packed)
        replies = await self._streams.update([each for _, _, each in to_tell], keep_ms) if to_tell else []
        self._after(to_tell, replies)

    async def _news(self, key: str, packed: bytes | None) -> Sequence[tuple[str, OrderUpdate, Update]]:
        """What is to be told of an order of which that was told. What is no news is forgotten."""
        heard = self._orders.get(key)
        if heard is None:
            return ()
        told = _read(key, packed)
        if packed is None and heard.updates[0].state is OrderState.LIQUIDATED:
            told = of_nobody(heard.updates[0])
        if told is None:
            self._wait_for_its_result(key, heard)
            return ()
        before, found = packed or b"", []
        for update in tuple(heard.updates):
            now = told.after(update)
            if now is None:
                heard.forget(update)
                continue
            fields = update_fields(now, update, by=self._of.consumer, fee_rate=await self._rate(now))
            found.append((key, update, Update(key, before, now, fields)))
            told, before = now, now.packed()
        if not heard.updates:
            self._orders.pop(key, None)
        return found

    async def _rate(self, told: ToldOrder) -> Decimal | None:
        if not told.filled:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(_FEE_WITHIN_S):
                return await self._fees.rate(told.asked.symbol)
        return None

    def _wait_for_its_result(self, key: str, heard: _Heard) -> None:
        # After that it is no order of a service; or a result has said that there is none.
        if not self._put_off(key, heard):
            _log.debug("UPDATE NOT TOLD %s", pairs(client_order_id=key, state=heard.updates[-1].state))

    def _put_off(self, key: str, heard: _Heard) -> bool:
        """Whether it is tried again."""
        now_s = self._loop.time()
        if now_s - heard.since_s > self._waits_s:
            del self._orders[key]
            return False
        heard.due_s = now_s + min(_FIRST_PAUSE_S * (1 << min(heard.tries, 10)), _LONGEST_PAUSE_S)
        heard.tries += 1
        return True

    def _after(self, to_tell: Sequence[tuple[str, OrderUpdate, Update]], replies: Sequence[bool | Exception]) -> None:
        failed: dict[str, Exception] = {}
        for (key, update, _), reply in zip(to_tell, replies, strict=True):
            heard = self._orders.get(key)
            if isinstance(reply, Exception):
                failed[key] = reply
            elif reply:
                self._metrics.updates.labels(update.state.value).inc()
                if heard is not None:
                    heard.forget(update)
                    if not heard.updates:
                        del self._orders[key]
            # Where another service was the first, the next round reads what it has told.
        for key, error in failed.items():
            heard = self._orders.get(key)
            if heard is not None and not self._put_off(key, heard):
                _log.error("UPDATE LOST %s", pairs(client_order_id=key, detail=said_of(error)))
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
