"""Keeps a live account: opens the streams, takes snapshots, and says what is fresh. Nothing that it does is waited for.

Whatever goes wrong here, the figures are absent, and readings decide as without streams.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gate.exchange.answers import figure, unreadable
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import GapListener, LiveFigures, OrderListener, Position, SymbolConfig
from gate.exchange.streams.account import AccountInDoubt, LiveAccount
from gate.exchange.streams.events import BalancesChanged, KeyExpired, LeverageChanged, ModeChanged, decode_user_event
from gate.exchange.streams.fees import Fees
from gate.exchange.streams.free_margin import FreeMargin
from gate.exchange.streams.health import Health
from gate.exchange.streams.line import Line, LineEnded
from gate.exchange.streams.listeners import Listeners
from gate.exchange.streams.market import MarketStream
from gate.exchange.streams.pauses import LONGEST_PAUSE_S, MOST_DOUBLINGS, Pause, longer_each_time
from gate.exchange.streams.prices import MarkPrices
from gate.exchange.streams.rest import HALF, Rest
from gate.exchange.streams.settings import Settings, decode_settings
from gate.exchange.streams.snapshot import decode_snapshot
from gate.exchange.streams.symbol_figures import Known, SymbolFigures
from gate.exchange.streams.wanted_symbols import WantedSymbols
from gate.values.log_words import log_of, pairs

if TYPE_CHECKING:
    from aiohttp import ClientSession

_log: Final = log_of("gate.exchange")

FRESH_MS: Final = 2_000
"""A figure counts only while its connection, or its price, is not older than this."""
_APART_S: Final = 3.0
"""From one snapshot to the next, while nothing is in doubt and entries ask for figures."""
_SETTLED_S: Final = 0.15
"""After an event, before the snapshot that it makes necessary: more come with it."""
_AUDIT_S: Final = 15.0
"""A stream doesn't tell what it has lost. So a snapshot is taken however quiet it is."""
_BUSY_AUDIT_S: Final = 5.0
"""The same while entries ask for figures."""
_AUDITS_MISSED: Final = 2
"""A snapshot that is older than so many can't be renewed, and counts no more."""
_SETTINGS_S: Final = 60.0
_KEY_S: Final = 60.0
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
_NO_SUCH_KEY: Final = "-1125"


class LiveStreams:
    """The streams of one account. `start` it in an event loop, and `close` it."""

    def __init__(self, rest: Rest, address: str) -> None:
        """`address`: of the exchange's WebSockets, without a path."""
        self._rest: Final = rest
        self._address: Final = address
        self._prices: Final = MarkPrices()
        self._account: Final = LiveAccount(self._prices.latest)
        self._settings: Final = Settings()
        self._health: Final = Health()
        self._fees: Final = Fees(rest, self._settings.fee_rates)
        self._market: Final = MarketStream(
            self._prices, address, needed=self._account.priced_symbols, up=self._health.up, down=self._health.down
        )
        self._wanted: Final = WantedSymbols(rest.margin_asset, self._fees, self._market)
        free_margin = FreeMargin(self._account, self._prices, self._settings, rest.margin_asset)
        self._figures: Final = SymbolFigures(self._account, free_margin)
        self._listeners: Final = Listeners()
        self._user: Line | None = None
        self._key = ""
        self._heard: Final[deque[str]] = deque(maxlen=32)
        self._doubts = 0
        self._snapshots_in_doubt = 0
        self._asked_ns = 0
        self._moved_ns: int | None = None
        self._positions_ns = 0
        self._wake: Final = asyncio.Event()
        self._settings_wake: Final = asyncio.Event()
        self._tasks: Final[list[asyncio.Task[None]]] = []
        self._session: ClientSession | None = None
        self._wanted_ns = -int(_AUDIT_S * 1e9)

    # ---- what it tells

    def figures(self, symbol: str) -> LiveFigures | None:
        """What is known of a symbol's entry at this moment; None where a figure is absent, stale or in doubt."""
        self._wanted.add(symbol)
        now_ns = time.monotonic_ns()
        if now_ns - self._wanted_ns >= _AUDIT_S * 1e9:
            self._wake.set()
        self._wanted_ns, since_ns = now_ns, now_ns - FRESH_MS * 1_000_000
        proof_ns = None if self._user is None else self._user.proof_ns
        snapshot, settings = self._account.snapshot, self._settings
        config, hedge_mode = settings.config(symbol), settings.hedge_mode
        if proof_ns is None or proof_ns < since_ns or snapshot is None or settings.multi_assets:
            return None
        if snapshot.asked_ns < now_ns - _AUDITS_MISSED * int(_AUDIT_S * 1e9):
            return None
        marked, asset = self._prices.of(symbol, since_ns), self._rest.margin_asset(symbol)
        if marked is None or asset is None or config is None or hedge_mode is None:
            return None
        known = Known(asset, marked, config, hedge_mode, proof_ns)
        return self._figures.of(symbol, known, snapshot, since_ns)

    @property
    def state(self) -> str:
        """`ok`, or what is down and why."""
        if self._health.told:
            return self._health.told
        if self._user is None or not self._user.is_open:
            return "user: not open yet"
        return "ok" if self._account.snapshot is not None else "account: in doubt"

    @property
    def hedge_mode(self) -> bool | None:
        """Whether the account is in hedge mode; None where that isn't known."""
        return self._settings.hedge_mode

    def has_seen(self, client_order_id: str) -> bool:
        """Whether the account's figures include this order."""
        return self._account.has_seen(client_order_id)

    def last_positions(self, symbol: str) -> tuple[int, tuple[Position, ...]] | None:
        """What was open in a symbol when the streams last told, behind that moment, on the monotonic clock; None where
        they never did."""
        told = self._account.last_positions(symbol)
        return None if told is None else (self._positions_ns, told)

    def on_order(self, heard: OrderListener) -> Callable[[], None]:
        """Has each event of an order told to the listener from now on. Returns what ends that."""
        return self._listeners.on_order(heard)

    def on_gap(self, heard: GapListener) -> Callable[[], None]:
        """Has the listener told when events may have been lost. Returns what ends that."""
        return self._listeners.on_gap(heard)

    # ---- what others tell it

    def leverage_set(self, symbol: str, config: SymbolConfig) -> None:
        """The answer to a change of our own."""
        if self._settings.set_to(symbol, config) and self._account.touches(symbol):
            self._doubt()

    def doubt(self, why: str) -> None:
        """The account isn't as it should be."""
        _log.warning("STREAMS IN DOUBT %s", pairs(detail=why))
        self._doubt()

    def forget_modes(self) -> None:
        """An answer has shown that the position mode is another."""
        self._settings.forget_modes()
        self._settings_wake.set()

    # ---- its life

    def start(self) -> None:
        """Opens the streams, beside everything else."""
        from aiohttp import ClientSession, DummyCookieJar, TraceConfig

        trace = TraceConfig()
        trace.on_request_redirect.append(_no_redirect)  # aiohttp has no setting for it where it opens a WebSocket
        self._session = ClientSession(cookie_jar=DummyCookieJar(), trace_configs=[trace])
        session = self._session
        account = self._keep_user, self._keep_account, self._keep_settings, self._keep_key
        for keep in (*account, lambda: self._market.keep(session), self._fees.keep):
            self._tasks.append(asyncio.create_task(self._kept(keep)))

    async def close(self) -> None:
        """Closes the streams. The listen key stays: other processes of the account have the same."""
        self._listeners.close()
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            if self._session is not None:
                await self._session.close()

    async def _kept(self, keep: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await keep()
            except Exception:
                # A mistake of ours must not stop the figures for good, nor count as one that is right.
                _log.exception("STREAMS FAILED")
                self._doubt()
                await asyncio.sleep(LONGEST_PAUSE_S)

    async def _keep_user(self) -> None:
        pause = Pause()
        while True:
            began_ns = time.monotonic_ns()
            try:
                await self._run_user()
            except LineEnded as ended:
                why = str(ended)
            except ExchangeFailure as failed:
                why = str(failed)
            finally:
                self._user = None
                self._doubt()
                self._settings.forget()
            self._health.down("user", why)
            await pause.after(began_ns)

    async def _ask(self, method: str, **parameters: object) -> Any:
        await self._rest.until_it_may_ask()
        return await self._rest.ask(method, **parameters)

    async def _run_user(self) -> None:
        key = await self._ask("futures_stream_get_listen_key")
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise unreadable("listenKey", type(key).__name__)
        assert self._session is not None
        self._key, self._user = key, Line(self._session, f"{self._address}/private/ws?listenKey={key}", self._hear_user)
        await self._user.run(self._user_opened)

    def _user_opened(self) -> None:
        self._heard.clear()
        self._snapshots_in_doubt = 0
        self._doubt()
        self._settings_wake.set()
        self._listeners.tell_gap_now()

    def _hear_user(self, text: str) -> None:
        if text in self._heard:
            return  # doubled
        self._heard.append(text)
        try:
            event = msgspec.json.decode(text)
            if not isinstance(event, dict):
                raise unreadable("event", type(event).__name__)
            if event.get("e") in ("ORDER_TRADE_UPDATE", "ALGO_UPDATE"):
                self._listeners.tell_order(event)
            decoded = decode_user_event(event)
            if decoded is None:
                return
            if isinstance(decoded, KeyExpired):
                raise LineEnded("the listen key has expired")
            if isinstance(decoded, LeverageChanged):
                self._hear_leverage(decoded)
                return
            if isinstance(decoded, ModeChanged):
                self.forget_modes()
                self._doubt()
                return
            self._account.apply(decoded)
            if isinstance(decoded, BalancesChanged) and self._account.snapshot is not None:
                self._positions_ns = time.monotonic_ns()
        except (msgspec.DecodeError, RecursionError, ExchangeFailure, AccountInDoubt) as problem:
            if self._account.snapshot is not None:
                _log.warning("STREAMS IN DOUBT %s", pairs(detail=str(problem)))
            self._doubt()
            self._listeners.tell_gap()
            return
        if self._prices.stood_at_ns(decoded.at_ms) < time.monotonic_ns() - FRESH_MS * 1_000_000:
            if self._account.snapshot is not None:
                _log.warning("STREAMS IN DOUBT %s", pairs(detail="events come late"))
            self._doubt()  # but late isn't lost: whoever listens to orders has missed nothing
            return
        if self._account.moved and self._moved_ns is None:
            self._moved_ns = time.monotonic_ns()
            self._wake.set()

    def _hear_leverage(self, changed: LeverageChanged) -> None:
        new, snapshot = self._settings.told(changed.symbol, changed.leverage), self._account.snapshot
        if new:
            self._settings_wake.set()
        # Even where a reading has told of it before: the snapshot may be from before the change.
        missed = snapshot is not None and changed.at_ms >= snapshot.from_ms
        if (new or missed) and self._account.touches(changed.symbol):
            self._doubt()

    def _doubt(self) -> None:
        """Nothing of the account counts until a snapshot that is asked for after this."""
        self._doubts += 1
        self._account.forget()
        self._moved_ns = None
        self._wake.set()

    # ---- snapshots

    async def _keep_account(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            wait_s = self._until_snapshot_s()
            if wait_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                continue
            rest_ms = self._rest.rest_ms()
            if rest_ms is not None:
                await asyncio.sleep(rest_ms / 1000)
                continue
            await self._rest.until_it_may_ask()  # before the moment that the exchange's clock is set by
            try:
                await self._take_snapshot()
                failures = 0
            except ExchangeFailure as failed:
                self._health.down("account", str(failed))
                failures += 1
                await asyncio.sleep(longer_each_time(failures))

    def _until_snapshot_s(self) -> float:
        if self._user is None or not self._user.is_open:
            return LONGEST_PAUSE_S
        now_ns = time.monotonic_ns()
        since_s = (now_ns - self._asked_ns) / 1e9
        if self._account.snapshot is None:
            # The first at once; if one after the other doesn't last, fewer.
            pause_s = (
                min(0.05 * 2 ** min(self._snapshots_in_doubt, MOST_DOUBLINGS), _APART_S)
                if self._snapshots_in_doubt
                else 0.0
            )
            return pause_s - since_s
        # More often while somebody counts on it, unless the weight is needed elsewhere.
        often = now_ns - self._wanted_ns < _AUDIT_S * 1e9 and self._rest.rest_ms(HALF) is None
        if self._moved_ns is not None:
            apart_s = _APART_S if often else _AUDIT_S
            return max(_SETTLED_S - (now_ns - self._moved_ns) / 1e9, apart_s - since_s)
        return (_BUSY_AUDIT_S if often else _AUDIT_S) - since_s

    async def _take_snapshot(self) -> None:
        doubts, before_ns = self._doubts, time.monotonic_ns()
        self._snapshots_in_doubt = 0 if self._account.snapshot is not None else self._snapshots_in_doubt + 1
        self._asked_ns = before_ns
        answer = await self._ask("futures_time")
        from_ms = int(figure("serverTime", answer.get("serverTime") if isinstance(answer, Mapping) else None))
        asked_ns = time.monotonic_ns()
        account = await self._ask("futures_account", version=3)
        # From the answer's first question on, the exchange's clock can't have gone farther than ours.
        until_ms = from_ms + (time.monotonic_ns() - before_ns) // 1_000_000 + 1
        snapshot = decode_snapshot(account, asked_ns, from_ms, until_ms)
        await self._rest.until_it_may_ask()
        await self._rest.read_symbols_once()
        if doubts != self._doubts:
            return  # asked for too early
        self._prices.set_clock(from_ms, before_ns)
        try:
            self._account.rest_on(snapshot)
        except AccountInDoubt as problem:
            _log.warning("STREAMS IN DOUBT %s", pairs(detail=str(problem)))
            self._doubt()
            return
        self._positions_ns = max(self._positions_ns, asked_ns)
        if self._account.missed:
            _log.warning("STREAMS MISSED %s", pairs(detail="the account is another than its events said"))
            self._listeners.tell_gap()
        self._moved_ns = time.monotonic_ns() if self._account.moved else None
        for symbol in self._account.priced_symbols():
            self._market.watch(symbol)
        self._wanted.add_those_known_by_now()
        self._health.up("account")
        self._health.up("user")

    # ---- settings

    async def _keep_settings(self) -> None:
        in_vain = 0
        while True:
            self._settings_wake.clear()
            if self._user is not None and self._user.is_open:
                try:
                    settled = await self._read_settings()
                    self._health.up("settings")
                except ExchangeFailure as failed:
                    self._health.down("settings", str(failed))
                    in_vain, settled = max(1, in_vain), False
                if not settled:
                    # The first anew at once, for something has changed meanwhile; then less and less.
                    await asyncio.sleep(longer_each_time(in_vain) if in_vain else 0)
                    in_vain += 1
                    continue
                in_vain = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(_SETTINGS_S):
                    await self._settings_wake.wait()

    async def _read_settings(self) -> bool:
        changes, line = self._settings.changes, self._user
        symbols, account = await asyncio.gather(self._ask("futures_symbol_config"), self._ask("futures_account_config"))
        if line is not self._user:
            return True  # of another connection, which reads its own
        reading = decode_settings(symbols, account, changes)
        if any(map(self._account.touches, self._settings.differs(reading))):
            self._doubt()  # the snapshot's positions may hold margin by another one
        return self._settings.take(reading)

    async def _keep_key(self) -> None:
        while True:
            await asyncio.sleep(_KEY_S)
            line = self._user
            if line is None or not line.is_open:
                continue
            try:
                answer = await self._ask("futures_stream_keepalive", listenKey=self._key)
                if isinstance(answer, Mapping) and answer.get("listenKey", self._key) != self._key:
                    # Another program has ended ours and made one, which was extended: ours stays open, and is deaf.
                    line.end("the listen key is another")
            except ExchangeFailure as failed:
                if failed.failure.code == _NO_SUCH_KEY:
                    line.end("the listen key is over")


async def _no_redirect(*_: object) -> None:
    """Another server, perhaps without TLS, must not tell what an account holds."""
    raise LineEnded("redirected")
