"""Looks at the account all the while: for /healthz, for the metrics, and for what people must be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from gate.client.gates import AsyncGate
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange
from gate.executor import OrderUpdate
from gate.service.alert_settings import AlertSettings
from gate.service.alerts import IN_STORE, Conditions, Doubts, FailedExits, Kind, became, ended_by, of_audit, of_update
from gate.service.metrics import Metrics
from gate.service.news import News
from gate.service.pulse import Pulse
from gate.service.results import Ending
from gate.service.streams import STORE_FAILURES, Streams
from gate.service.teller import Teller
from gate.service.told import ToldOrder
from gate.values.errors import StoreFailure
from gate.values.fields import plain
from gate.values.intent import Intent
from gate.values.log_words import log_of, pairs
from gate.values.reports import ACCOUNT_WIDE, Status

_log: Final = log_of("gate.service")

LOOK_EVERY_S: Final = 5.0
NEWS_EVERY_S: Final = 1.0
"""How often the audit is asked for news: an act or a trip has the account looked at at once."""
_PROBE_EVERY_S: Final = 15.0
_PROBE_AGAIN_S: Final = 3.0
"""The same while it doesn't answer, so that its end is known before an alert begins."""
_FORGOTTEN: Final = "not by gate resume: the store may have forgotten it; halt again if you want it"
_GONE_BACK: Final = ". The store may have gone back to it: gate resume ends it, if nobody wants it"
_NAMED_AT_MOST: Final = 5
_DOUBTED_AT_MOST: Final = 1_000
_A_LOOK_TAKES_S: Final = 1.0
_BY_ITSELF: Final = "not by gate reset: its time is over, or its key was deleted"
_LOST: Final = "not by gate reset: the store may have forgotten it"
_REST: Final = "; all entries rest for {} s, or until gate reset cooldowns"
_REST_WITHOUT_END: Final = "; all entries rest until gate reset cooldowns"
_SHORT_REST_MS: Final = 30_000
_SHORT_REST_AFTER_S: Final = 10.0
"""While the exchange is overloaded, rests of seconds come and go. One that lasts so long is told all the same."""
_PROBED: Final = "BTCUSDT"
_SIGNED_EVERY_S: Final = 60.0
_SIGNED_AGAIN_S: Final = 10.0
"""After one without an answer."""
DOWN_AFTER_S: Final = 10.0
_EASE: Final = frozenset({"resume", "reset", "policy", "init", "leftovers"})
"""The acts of the audit after which more may be admitted."""
_WELL: Final = ("ok", "off", "not asked yet")


class Looking:
    """What one service sees of its account. Never raises for what it finds."""

    def __init__(
        self,
        gate: AsyncGate,
        exchange: Exchange,
        streams: Streams,
        news: News,
        teller: Teller,
        pulse: Pulse,
        metrics: Metrics,
        settings: AlertSettings,
        *,
        down_after_s: float = DOWN_AFTER_S,
    ) -> None:
        """`down_after_s`: for how long store, results, exchange or streams must be away before that is told."""
        self._gate: Final = gate
        self._exchange: Final = exchange
        self._streams: Final = streams
        self._news: Final = news
        self._teller: Final = teller
        self.pulse: Final = pulse
        self._metrics: Final = metrics
        self._alerts: Final = settings
        self._down_after_s: Final = down_after_s
        self._conditions: Final = Conditions()
        self._doubts: Final = Doubts()
        self._ended_by: Final[dict[Kind, str]] = {}
        self._failed_exits: Final = FailedExits()
        self._doubted: Final[dict[str, None]] = {}
        """What was in doubt since that alert began, the one that it names first."""
        self._policy_differs = ""
        self._eased: Callable[[], None] = lambda: None
        self._loop: Final = asyncio.get_running_loop()

    async def keep_looking(self, heard: asyncio.Event, eased: Callable[[], None] = lambda: None) -> None:
        """Until it is cancelled. The account is looked at from the first read on: by then there is a group. `eased` is
        called when a person has acted so that more may be admitted.

        The exchange is asked beside it: one that hangs mustn't hold up what the store tells.
        """
        self._eased = eased
        await asyncio.gather(self._keep_looking_at_account(heard), self._keep_asking_exchange())

    async def _keep_looking_at_account(self, heard: asyncio.Event) -> None:
        looked_s = -LOOK_EVERY_S
        while True:
            try:
                self.pulse.streams = self._exchange.streams()
                now_s = self._loop.time()
                if heard.is_set() and (await self._news_came() or now_s - looked_s >= LOOK_EVERY_S):
                    looked_s = now_s
                    await self.look()
                self.look_at_itself()
            except Exception:
                _log.exception("looking failed")  # it only tells of the service, and must not end it
            await asyncio.sleep(NEWS_EVERY_S)

    async def _keep_asking_exchange(self) -> None:
        signed_s, refused = -_SIGNED_EVERY_S, ""
        while True:
            try:
                # Whoever goes on asking during a ban is banned for longer.
                if self._exchange.rest_ms() is None:
                    away = await self._probe()
                    due = self._loop.time() - signed_s >= (_SIGNED_AGAIN_S if refused else _SIGNED_EVERY_S)
                    # While it is away it is asked nothing more: what it doesn't answer would count until the next time.
                    if not away and due and self._exchange.near_limit_ms() is None:
                        signed_s = self._loop.time()
                        refused = await self._look_at_margin()
                    self._heard_of_exchange(away or refused)
                elif self.pulse.exchange in _WELL and (silenced_by := self._exchange.silenced_by()):
                    self._heard_of_exchange(silenced_by)
            except Exception:
                _log.exception("looking failed")
            await asyncio.sleep(_PROBE_EVERY_S if self.pulse.exchange in _WELL else _PROBE_AGAIN_S)

    async def keep_listening(self, updates: AsyncIterator[OrderUpdate]) -> None:
        """Tells of orders what a person should hear at once. Until there are no more, or it is cancelled."""
        async for update in updates:
            try:
                self._teller.tell(of_update(await self._with_its_intent(update)))
            except Exception:
                _log.exception("looking failed")

    async def _with_its_intent(self, update: OrderUpdate) -> OrderUpdate:
        """Another service may have sent the order. Its result has said of which intent it is."""
        if not update.alarming or update.intent_id is not None:
            return update
        try:
            [packed] = await self._streams.told_of([update.client_order_id])
            told = None if packed is None else ToldOrder.read(packed)
        except (*STORE_FAILURES, ValueError):
            return update
        return update if told is None else replace(update, intent_id=told.asked.intent_id or None)

    def exit_ended(self, intent: Intent, ending: Ending) -> None:
        """An exit has its answer: where it hasn't got through, that is told."""
        alert = self._failed_exits.ended(intent, ending, self._loop.time())
        self._teller.tell(alert, elsewhere=lambda: self._failed_exits.told_elsewhere(intent, ending))

    async def _news_came(self) -> bool:
        try:
            news = await self._news.read()
        except STORE_FAILURES as error:
            _log.debug("the audit wasn't read: %s", str(error))
            return False
        for entry_id, fields in news:
            self._teller.tell(of_audit(entry_id, fields))
        self._ended_by.update(ended_by(news))
        if any(fields.get("what", "").partition(" ")[0] in _EASE for _, fields in news):
            self._eased()
        return bool(news)

    async def look(self) -> None:
        """The account and its streams."""
        pulse = self.pulse
        try:
            backlog = await self._streams.backlog()
            asked_s = self._loop.time()
            status = await self._gate.status()
        except (*STORE_FAILURES, StoreFailure) as error:
            pulse.lag = pulse.pending = pulse.in_doubt = pulse.refuses = None
            self._metrics.failures.labels("look").inc()
            _log.debug("not looked: %s", str(error))
            return
        pulse.lag, pulse.pending = backlog.lag, backlog.pending
        pulse.in_doubt, pulse.stopped_by = status.in_doubt, stopped_by(status)
        pulse.refuses = status.refuses_writes
        self._see(Kind.STORE_REFUSES, status.refuses_writes, self._down_after_s)
        self._metrics.switches(status)
        on = _on(status)
        if any(self._conditions.on(each) and each not in on and each not in self._ended_by for each in IN_STORE):
            await self._news_came()  # a person has acted since the news were read
        self._see_what_is_on(status, on, asked_s)
        await self._see_doubts(status)
        self._see_policy(status)
        of = self._alerts
        if backlog.lag is not None:
            piled = f"{backlog.lag} intents that nobody has read" if backlog.lag > of.lag_above else ""
            self._see(Kind.LAG, piled, of.lag_after_s)

    def _see_what_is_on(self, status: Status, on: Mapping[Kind, str], asked_s: float) -> None:
        halted = f"halted: {on[Kind.HALT]}" if Kind.HALT in on else "no halt is in force"
        whole, ended = Kind.MEMORY not in on, self._ended_by
        by_itself = _BY_ITSELF if whole else _LOST
        tells: dict[Kind, tuple[str, str, str]] = {
            # what its beginning adds; who has ended it; all that its end says
            Kind.HALT: (self._old_halt(status, asked_s), ended.get(Kind.HALT, "" if whole else _FORGOTTEN), ""),
            Kind.SAFE_MODE: ("", ended.get(Kind.SAFE_MODE, by_itself), ""),
            Kind.COOLDOWN_GLOBAL: (_rest_of(status), ended.get(Kind.COOLDOWN_GLOBAL, by_itself), ""),
            Kind.MEMORY: (f". Now {halted}", "", f"{ended.get(Kind.MEMORY, 'its wait has ended')}; {halted}"),
        }
        for kind, (adds, by, over) in tells.items():
            says = on.get(kind, "")
            after_s = _SHORT_REST_AFTER_S if kind is Kind.COOLDOWN_GLOBAL and _rests_briefly(status) else 0
            seen = self._conditions.see(kind, says, asked_s, after_s=after_s, adds=adds, ended_by=by, over=over)
            self._teller.tell(seen)
            if says:
                self._ended_by.pop(kind, None)

    def _old_halt(self, status: Status, asked_s: float) -> str:
        """Where a halt is older than the last look, which found none."""
        off_s = self._conditions.off_s(Kind.HALT)
        if status.halt is None or status.halt.at_ms is None or off_s is None:
            return ""
        older_s = (status.now_ms - status.halt.at_ms) / 1000 - (asked_s - off_s)
        return _GONE_BACK if older_s > _A_LOOK_TAKES_S else ""

    async def _see_doubts(self, status: Status) -> None:
        oldest, for_s = self._doubts.oldest(status.doubtful, self._loop.time())
        of = self._alerts
        said = f"{status.in_doubt} order{'' if status.in_doubt == 1 else 's'} may exist; {oldest} for more than "
        said += f"{of.in_doubt_after_s} s. gate status, and look at the exchange"
        says = said if for_s >= of.in_doubt_after_s else ""
        if says:
            for intent_id in (oldest, *status.doubtful):
                if len(self._doubted) < _DOUBTED_AT_MOST:
                    self._doubted[intent_id] = None
        over = await self._became() if not says and self._conditions.on(Kind.IN_DOUBT) else ""
        self._teller.tell(self._conditions.see(Kind.IN_DOUBT, says, self._loop.time(), over=over))
        if not says:
            self._doubted.clear()

    async def _became(self) -> str:
        """What has become of the intents that were in doubt while the alert was on."""
        said, doubted = [], list(self._doubted)
        for intent_id in doubted[:_NAMED_AT_MOST]:
            try:
                record = await self._gate.lookup(intent_id)
            except StoreFailure:
                record = None
            said.append(f"{intent_id} {became(record)}")
        if len(doubted) > _NAMED_AT_MOST:
            said.append(f"{len(doubted) - _NAMED_AT_MOST} more: gate intents")
        return "; ".join(said)

    async def _look_at_margin(self) -> str:
        """Why the exchange doesn't tell it, or nothing. This asks with the keys: they may be wrong, or lack a right."""
        of = self._alerts
        try:
            free = (await self._exchange.account()).available.get(of.margin_asset)
        except ExchangeFailure as failed:
            return _why(failed)
        if of.margin_below and isinstance(free, Decimal):
            said = f"{plain(free)} {of.margin_asset} are free, below {plain(of.margin_below)}"
            self._see(Kind.MARGIN, said if free < of.margin_below else "")
        return ""

    def look_at_itself(self) -> None:
        """What this service lacks."""
        pulse = self.pulse
        for kind, state in (
            (Kind.STORE, pulse.store),
            (Kind.RESULTS, pulse.results),
            (Kind.EXCHANGE, pulse.exchange),
            (Kind.STREAMS, pulse.streams),
        ):
            self._see(kind, "" if state in _WELL else f"{pulse.consumer}: {state}", self._down_after_s)

    def _see(self, kind: Kind, says: str, after_s: float = 0) -> None:
        self._teller.tell(self._conditions.see(kind, says, self._loop.time(), after_s=after_s))

    def _see_policy(self, status: Status) -> None:
        """A caller whose policy is pinned is denied every entry while another is in force: the log says so once."""
        differ = "" if status.observing else status.disagreement
        if differ and differ != self._policy_differs:
            _log.warning("POLICY DIFFERS %s", pairs(detail=f"entries from here are denied. {differ}"))
        elif self._policy_differs and not differ:
            _log.info("POLICY AGREES again")
        self._policy_differs = differ

    async def _probe(self) -> str:
        """Why the exchange doesn't answer, or nothing."""
        try:
            await self._exchange.mark_price(_PROBED)
        except ExchangeFailure as failed:
            return _why(failed)
        return ""

    def _heard_of_exchange(self, problem: str) -> None:
        was_well, self.pulse.exchange = self.pulse.exchange in _WELL, problem or "ok"
        if problem and was_well:
            _log.warning("EXCHANGE AWAY %s", problem)
        elif not problem and not was_well:
            _log.info("EXCHANGE BACK")


def _why(failed: ExchangeFailure) -> str:
    return f"{failed.failure.code}: {failed.failure.told}"


def _on(status: Status) -> dict[Kind, str]:
    """What stands in the store and is on, and what is the matter."""
    names = {kind.value: kind for kind in IN_STORE}
    on = {names[each.name]: each.detail or "on" for each in status.standing if each.on and each.name in names}
    if status.halt is not None:
        on[Kind.HALT] = f"{status.halt.scope}, by {status.halt.by}: {status.halt.reason}"
    return on


def _rest_ms(status: Status) -> int | None:
    return next((each.ttl_ms for each in status.standing if each.name == Kind.COOLDOWN_GLOBAL), None)


def _rests_briefly(status: Status) -> bool:
    ttl_ms = _rest_ms(status)
    return ttl_ms is not None and ttl_ms <= _SHORT_REST_MS


def _rest_of(status: Status) -> str:
    ttl_ms = _rest_ms(status)
    return _REST_WITHOUT_END if ttl_ms is None else _REST.format(-(-ttl_ms // 1000))


def stopped_by(status: Status) -> tuple[str, ...]:
    """What stops entries of the account, in words."""
    found = (
        [] if status.halt is None else [f"halt of scope {status.halt.scope} by {status.halt.by}: {status.halt.reason}"]
    )
    found += [
        f"{each.name}: {each.detail}"
        for each in status.standing
        if each.on and each.name in ACCOUNT_WIDE and each.name != "halt"
    ]
    if not status.policy_agrees:
        found.append("policy: another one is in force")
    if status.lacks:
        found.append(f"store: this service's user lacks {status.lacks}; ACL SETUSER grants it")
    if status.refuses_writes:
        found.append(f"store: {status.refuses_writes}")
    return tuple(found)
