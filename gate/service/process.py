"""The service as a process: its connections, its signals, its page, and what systemd hears of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

from gate.client.gates import AsyncGate
from gate.config import Config
from gate.exchange.binance import BinanceFutures
from gate.executor import Executor
from gate.protocol.scripts import scripts_digest
from gate.service.looking import Looking
from gate.service.metrics import Metrics
from gate.service.news import News
from gate.service.pulse import Pulse
from gate.service.service import Service
from gate.service.settings import Settings
from gate.service.streams import READ_WAITS_MS, Streams
from gate.service.systemd import Systemd
from gate.service.taker_rates import TakerRates
from gate.service.teller import Teller
from gate.service.updating import Updating
from gate.service.web import listening
from gate.store.connect import plain_client
from gate.values.log_words import log_of
from gate.version import __version__

_log: Final = log_of("gate.service")

BROKEN: Final = 70
"""The exit code of a service whose loop can't go on. systemd starts it again."""
_UNTIL_READY_S: Final = 0.2
_SAME_SIGNAL_S: Final = 0.2
"""A second signal so soon is the first one: timeout(1) sends it to a process and to its group."""
STREAM_TIMEOUT_MS: Final = READ_WAITS_MS + 4_000


@dataclass(frozen=True, slots=True)
class Account:
    """The account at the exchange."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    base_url: str | None
    demo: bool
    venue: str
    """The exchange's name, as a person is told it."""


async def serve(config: Config, settings: Settings, account: Account) -> int:
    """Runs until SIGTERM, SIGINT or SIGHUP; a second one ends it at once. Returns the exit code.

    Raises AccountTaken, PrefixTaken, InvalidField, and OSError for an address that can't be listened on.
    """
    stopping = asyncio.Event()
    _stop_by_signals(stopping)
    systemd = Systemd()
    pulse = Pulse(settings.consumer, config.prefix, settings.stream, settings.group)
    metrics = Metrics(pulse)
    async with AsyncExitStack() as stack:
        gate = await stack.enter_async_context(
            AsyncGate.from_url(config.store_url, prefix=config.prefix, policy=config.pinned)
        )
        client = plain_client(config.store_url, STREAM_TIMEOUT_MS)
        streams = Streams(client, settings)
        stack.push_async_callback(_closed, streams)
        at = await stack.enter_async_context(listening(settings.listen, pulse, metrics))
        exchange = await stack.enter_async_context(
            BinanceFutures(
                account.key,
                account.secret,
                base_url=account.base_url,
                demo=account.demo,
                streams=settings.streams,
            )
        )
        metrics.of_exchange(exchange.requests, exchange.limits_used)
        news = News(client, config.prefix, observes=config.policy.observes)
        teller = await stack.enter_async_context(
            Teller(settings.alerts, news, metrics, prefix=config.prefix, by=settings.consumer)
        )
        looking = Looking(gate, exchange, streams, news, teller, pulse, metrics, settings.alerts)
        executor = Executor(gate, exchange, timings=metrics)
        # Before it asks for anything, so that nothing is missed.
        for_alerts, to_tell = executor.updates(), executor.updates() if settings.streams else None
        await stack.enter_async_context(executor)
        rates = TakerRates(exchange)
        for warning in gate.policy.warnings:
            _log.warning("POLICY %s", warning)
        for warning in settings.at_odds(gate.policy):
            _log.warning("SETTING %s", warning)
        _log.info(
            "STARTED prefix=%s stream=%s group=%s consumer=%s listening=%s mode=%s exchange=%s version=%s scripts=%s",
            *(config.prefix, settings.stream, settings.group, settings.consumer, at or "none", gate.policy.mode),
            *(account.venue, __version__, scripts_digest()[:8]),
        )
        beside = [
            asyncio.create_task(keep_telling(systemd, pulse)),
            asyncio.create_task(looking.keep_listening(for_alerts)),
        ]
        updating = None
        if to_tell is None:
            _log.warning("NO ORDER UPDATES streams = false: it doesn't hear what comes of orders after their results")
        else:
            updating = Updating(settings, gate, executor, streams, pulse, metrics, rates)
            beside.append(asyncio.create_task(updating.keep_hearing(to_tell)))
        try:
            service = Service(settings, gate, exchange, executor, streams, pulse, metrics, rates, looking, updating)
            await service.run(stopping)
        except Exception:
            _log.critical("SERVICE BROKEN", exc_info=True)
            return BROKEN
        finally:
            for each in beside:
                each.cancel()
            systemd.tell("STOPPING=1")
    _log.info("STOPPED consumer=%s", settings.consumer)
    return 0


async def _closed(streams: Streams) -> None:
    with suppress(Exception):  # a store that is away
        await streams.close()


def _stop_by_signals(stopping: asyncio.Event) -> None:
    first_s = 0.0

    def stop(number: int) -> None:
        nonlocal first_s
        if stopping.is_set() and time.monotonic() - first_s < _SAME_SIGNAL_S:
            return
        if stopping.is_set():
            _log.warning("STOPPED AT ONCE by a second signal")
            os._exit(128 + number)
        _log.info("STOPPING by %s: what is at work ends first", signal.Signals(number).name)
        first_s = time.monotonic()
        stopping.set()

    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it: a terminal that goes ends nothing
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop, number)


async def keep_telling(systemd: Systemd, pulse: Pulse) -> None:
    """READY with the first read; then, while the loops turn, that they do. One that hangs is started again."""
    ready = False
    every_s = min(systemd.watchdog_s / 3, 1.0) if systemd.watchdog_s else 1.0
    while True:
        said = pulse.told()
        state = "consuming" if said["ok"] else said["why"]
        lines = [f"STATUS={state}; lag {pulse.lag}, in hand {pulse.in_hand}, held {pulse.held}"]
        if not ready and pulse.consuming:
            ready = True
            lines.append("READY=1")
        if systemd.watchdog_s and pulse.alive:
            lines.append("WATCHDOG=1")
        systemd.tell(*lines)
        await asyncio.sleep(every_s if ready else _UNTIL_READY_S)
