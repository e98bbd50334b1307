"""`gate run`: the execution service."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from gate.cli.exchange_keys import (
    ExchangeKeys,
    UnusableSetting,
    exchange_options,
    needed_keys,
    secret_from_environment,
)
from gate.cli.failures import NO_ANSWER
from gate.cli.screens.wording import one_line
from gate.cli.session import account_of, configured, json_option, say_json, without_log
from gate.config import Config, Flags, InvalidConfig
from gate.values.errors import InvalidField

if TYPE_CHECKING:
    from gate.service.check import Finding
    from gate.service.settings import Settings

_NOT_FIT: Final = 1


@click.command()
@click.option(
    "--listen", metavar="HOST:PORT", help="Serve /healthz and /metrics there; none: nowhere.  [default: 127.0.0.1:9109]"
)
@click.option("--check", "only_check", is_flag=True, help="Say what it would do, try store and keys, and end.")
@click.option("--try-alert", is_flag=True, help="Send one alert to the webhook, and end.")
@exchange_options
@json_option
@click.pass_obj
def run(
    flags: Flags,
    listen: str | None,
    only_check: bool,
    try_alert: bool,
    base_url: str | None,
    demo_trading: bool,
    as_json: bool,
) -> None:
    """Run the execution service: read intents from a stream, execute them, and write one result for each.

    \b
      export BINANCE_API_KEY_FILE=… BINANCE_API_SECRET_FILE=…
      gate --config gate.toml run --check
      gate --config gate.toml run

    It reads P:stream:trade.intent in the group P:group:execution:trade.intent, and writes to
    P:stream:execution.result. Run as many as you like, on any hosts: they share the work, and take over what one that
    died has left. The table [service] of the config file changes these names, and more.

    The keys are BINANCE_API_KEY and BINANCE_API_SECRET, or the files that BINANCE_API_KEY_FILE and
    BINANCE_API_SECRET_FILE name. With --demo they are BINANCE_TESTNET_API_KEY and BINANCE_TESTNET_SECRET_KEY.
    GATE_EXCHANGE_URL replaces --base-url. EXEC_CONCURRENCY, XREADGROUP_COUNT and INTENT_MAX_AGE_SEC go before the file.

    Alerts go to the log, the audit, and to the webhook whose URL GATE_ALERT_URL has, or the file that
    GATE_ALERT_URL_FILE names. --try-alert sends one there that says nothing is the matter; it needs no keys.

    SIGTERM ends it when what is at work has ended; a second one at once. --json logs in JSON.

    Exit codes: 0 stopped by a signal, 143 ended at once by a second SIGTERM (130 by SIGINT, 129 by SIGHUP), 1 the
    address is taken, 2 usage or configuration, 3 another prefix keeps the account, or the prefix another account, 70 a
    loop broke, to be started again. Of --check: 0 it can start, 1 keys, prefix or policy don't fit, the store's user
    lacks a right, or the exchange wasn't reached (a service starts all the same, and waits for it), 2 as above, 3 the
    store gives no answer, takes no writes, or refuses a command on the streams. Of --try-alert: 0 it was taken, 1 it
    wasn't, 2 as above.
    """
    if only_check and try_alert:
        raise click.UsageError("--check and --try-alert each end with what they tried; give one of them")
    config = configured(flags)
    if try_alert:
        _try_alert(config, _settings(config, listen, as_json), as_json)
        return
    keys = needed_keys(base_url, demo_trading)
    settings = _settings(config, listen, as_json)
    try:
        if only_check:
            without_log("gate.store")
            found = asyncio.run(_check(config, settings, keys))
            _say(config, settings, found, as_json)
            if any(not each.ok for each in found):
                wrong_store = any(each.of_store and not each.ok for each in found)
                raise click.exceptions.Exit(NO_ANSWER if wrong_store else _NOT_FIT)
            return
        raise click.exceptions.Exit(_serve(config, settings, keys))
    except InvalidField as invalid:
        raise click.UsageError(str(invalid)) from None


def _settings(config: Config, listen: str | None, as_json: bool) -> Settings:
    from gate.service.alert_settings import URL_VARIABLE, webhook_url
    from gate.service.settings import read_settings

    found = read_settings(
        config.service,
        os.environ,
        config.prefix,
        host=platform.node() or "host",
        pid=os.getpid(),
        listen=listen,
        file=config.file,
    )
    try:
        url = secret_from_environment(URL_VARIABLE)
        if url:
            found = replace(found, alerts=replace(found.alerts, url=webhook_url(url)))
    except UnusableSetting as problem:
        raise click.UsageError(str(problem)) from None
    except ValueError as problem:
        raise click.UsageError(f"{URL_VARIABLE}: {problem}") from None
    if config.pinned is not None and (at_odds := found.too_old(config.pinned)):
        raise InvalidConfig((at_odds,), str(config.file))
    return replace(found, log="json") if as_json else found


def _try_alert(config: Config, settings: Settings, as_json: bool) -> None:
    from gate.service.alert_settings import URL_VARIABLE
    from gate.service.webhook import NotSent, try_once

    if not settings.alerts.url:
        raise click.UsageError(f"{URL_VARIABLE} has no URL: alerts go to {settings.alerts.where} alone")
    now_ms, problem = time.time_ns() // 1_000_000, ""
    try:
        asyncio.run(try_once(settings.alerts, prefix=config.prefix, by=settings.consumer, now_ms=now_ms))
    except NotSent as not_sent:
        problem = str(not_sent)
    where = settings.alerts.receiver
    if as_json:
        say_json({"ok": not problem, "to": where, "says": problem or "taken"})
    elif not problem:
        click.echo(f"{where} has taken it")
    else:
        click.echo(f"{where} has not taken it: {problem}", err=True)
    if problem:
        raise click.exceptions.Exit(_NOT_FIT)


def _serve(config: Config, settings: Settings, keys: ExchangeKeys) -> int:
    from gate.service.logs import log_to_output
    from gate.service.process import Account, serve

    log_to_output(settings.log)
    try:
        account = Account(keys.key, keys.secret, keys.base_url, keys.demo, keys.venue)
        return asyncio.run(serve(config, settings, account))
    except OSError as problem:
        at = settings.listen
        if at is None or problem.filename is not None:
            raise
        raise click.ClickException(
            f"{at.host}:{at.port}: {os.strerror(problem.errno) if problem.errno else problem}; give another --listen"
        ) from None


async def _check(config: Config, settings: Settings, keys: ExchangeKeys) -> list[Finding]:
    from gate.client.gates import AsyncGate
    from gate.exchange.binance import BinanceFutures
    from gate.service.check import check
    from gate.service.process import STREAM_TIMEOUT_MS
    from gate.store.connect import plain_client

    async with (
        AsyncGate.from_url(config.store_url, prefix=config.prefix, policy=config.pinned) as gate,
        BinanceFutures(keys.key, keys.secret, base_url=keys.base_url, demo=keys.demo, streams=False) as exchange,
    ):
        client = plain_client(config.store_url, STREAM_TIMEOUT_MS)
        try:
            return await check(config, settings, gate, exchange, client, venue=keys.venue)
        finally:
            await client.aclose()


def _say(config: Config, settings: Settings, found: list[Finding], as_json: bool) -> None:
    told = {
        "account": account_of(config),
        "stream": settings.stream,
        "group": settings.group,
        "consumer": settings.consumer,
        "results": settings.results,
        "dead_letters": settings.dead_letters,
        "concurrency": settings.concurrency,
        "retries": settings.retries,
        "streams": settings.streams,
        "alerts": settings.alerts.where,
        "listen": f"{settings.listen.host}:{settings.listen.port}" if settings.listen else "none",
        "policy": config.pinned.written() if config.pinned else None,
    }
    if as_json:
        rows = [{"what": each.what, "ok": each.ok, "says": each.says} for each in found]
        say_json({"ok": all(each.ok for each in found), **told, "found": rows})
        return
    for name, value in told.items():
        if name != "policy":
            click.echo(f"{name.replace('_', ' '):<12}  {value}")
        elif config.pinned:
            click.echo(
                f"{name:<12}  " + " ".join(f"{figure}={text}" for figure, text in config.pinned.written().items())
            )
    for each in found:
        click.echo(f"{each.what:<12}  {'' if each.ok else 'WRONG: '}{one_line(each.says)}")
