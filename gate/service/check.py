"""What a service would do, tried without doing it: it reads, and claims nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import time
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from gate.client.gates import AsyncGate
from gate.client.services import SHARED, account_key, prefix_key
from gate.config import Config
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange
from gate.executor.standing import account_told
from gate.protocol.keyspace import Keyspace
from gate.protocol.texts import brief
from gate.service.rights import lacks
from gate.service.settings import Settings
from gate.service.streams import STORE_FAILURES, Streams, said_of
from gate.store.connect import PlainClient
from gate.values.clocks import apart_ms, clock_check
from gate.values.diagnosis import Grade
from gate.values.errors import AccountTaken, PrefixTaken, StoreFailure
from gate.values.fields import plain
from gate.values.reports import ACCOUNT_WIDE, POLICY_FORGOTTEN, Status

_STATE: Final = ":exec:state"
"""How the name ends of a key that every account has."""
_LOOK_S: Final = 2
_PAGE: Final = 10_000
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    what: str
    ok: bool
    says: str
    of_store: bool = False


async def check(
    config: Config, settings: Settings, gate: AsyncGate, exchange: Exchange, client: PlainClient, *, venue: str
) -> list[Finding]:
    """Store, prefix, policy, group, keys. `client`: redis-py's for asyncio, with bytes as replies. `venue`: the
    exchange's name. Never raises for what they answer."""
    found = await _store(config, settings, gate, client)
    if all(each.ok for each in found if each.of_store):
        found += await _taken(config, client, exchange)
        found += await _rights(config, settings, client, exchange)
    found.append(await _group(settings, Streams(client, settings)))
    return [*found, await _exchange(exchange, venue), *_address(settings), *_config_file(config)]


async def _store(config: Config, settings: Settings, gate: AsyncGate, client: Any) -> list[Finding]:
    try:
        await gate.policy_in_force()
        asked_ms = time.time_ns() // 1_000_000
        status = await gate.status()
    except StoreFailure as failure:
        return [Finding("store", False, str(failure), of_store=True)]
    refuses = status.refuses_writes
    found = [
        Finding("store", not refuses, refuses or str(status.server), of_store=True),
        *(Finding("store", True, f"warning: {each}") for each in status.server.complaints),
        *([Finding("rights", False, f"this user lacks {status.lacks}: no entry is admitted")] if status.lacks else []),
        _clock(status, asked_ms),
        _policy(config, status),
    ]
    found += await _neighbours(config, status, client)
    found += [Finding("policy", True, f"warning: {each}") for each in status.policy.warnings]
    found += [Finding("setting", True, f"warning: {each}") for each in settings.at_odds(status.policy)]
    stops = [f"{each.key} {each.detail}".strip() for each in status.standing if each.on and each.name in ACCOUNT_WIDE]
    if status.halt is not None:
        found.append(Finding("halt", True, f"by {status.halt.by}: {status.halt.reason}; entries would be held"))
    elif stops:
        would_be = "named and sent, since it observes" if config.policy.observes else "held"
        found.append(Finding("stopped", True, f"entries would be {would_be}: {'; '.join(stops)}"))
    return found


def _clock(status: Status, asked_ms: int) -> Finding:
    off_ms = apart_ms(status.now_ms, asked_ms, time.time_ns() // 1_000_000)
    found = clock_check(off_ms, status.policy.skew_ms)
    warning = "warning: " if found.grade is Grade.WARNING else ""
    return Finding("clock", found.grade is not Grade.WRONG, f"{warning}{found.says}")


async def _neighbours(config: Config, status: Status, client: Any) -> list[Finding]:
    """Other accounts on a store that knows nothing of this one: a prefix may be mistaken. On a server of many keys, and
    for a user without the right to SCAN, nobody looks."""
    if status.ever_seen or not status.all_symbols:
        return []
    others: set[str] = set()
    with suppress(*STORE_FAILURES):
        async with asyncio.timeout(_LOOK_S):
            async for key in client.scan_iter(match=f"*{_STATE}", count=_PAGE):
                others.add(brief(key).removesuffix(_STATE).removesuffix(":observe"))
    others.discard(config.prefix)
    if not others:
        return []
    named = ", ".join(sorted(others)[:_NAMED]) + (f" and {len(others) - _NAMED} more" if len(others) > _NAMED else "")
    said = f"warning: this store holds accounts under {named}, and nothing under {config.prefix}. If one of them is "
    return [Finding("prefix", True, f"{said}meant, set prefix in the config file, GATE_PREFIX or --prefix")]


async def _taken(config: Config, client: Any, exchange: Exchange) -> list[Finding]:
    """Another prefix that keeps the account of this API key, another account that is kept under this prefix: with
    either, the service wouldn't start."""
    holder = await _held(client, account_key(exchange.key_digest))
    account, kept = await account_told(exchange), await _held(client, prefix_key(config.prefix))
    found: list[AccountTaken | PrefixTaken] = []
    if holder not in (None, config.prefix):
        found.append(AccountTaken(config.prefix, str(holder)))
    if account is not None and kept not in (None, account):
        found.append(PrefixTaken(config.prefix))
    other = None if account is None else await _held(client, account_key(account))
    if other not in (None, config.prefix) and not found:
        return [Finding("prefix", True, f"warning: {config.prefix} beside {other}: {SHARED}")]
    return [Finding("prefix", False, str(each)) for each in found]


async def _held(client: Any, key: str) -> str | None:
    """What a key holds; None also where it can't be read."""
    with suppress(*STORE_FAILURES):
        held = await client.get(key)
        return None if held is None else brief(held)
    return None


async def _rights(config: Config, settings: Settings, client: Any, exchange: Exchange) -> list[Finding]:
    """What this user may not do of all that a service does, beside verdicts."""
    keys = Keyspace(config.prefix, observing=config.policy.observes)
    try:
        missing = await lacks(client, settings, keys, exchange.key_digest)
    except STORE_FAILURES as error:
        return [Finding("rights", False, said_of(error), of_store=True)]
    return [Finding("rights", not each.needed, str(each) if each.needed else f"warning: {each}") for each in missing]


def _address(settings: Settings) -> list[Finding]:
    """Whether it could listen there. One that is in use may be that of the service which this one replaces."""
    at = settings.listen
    if at is None:
        return []
    try:
        with socket.create_server(at, family=socket.AF_INET6 if ":" in at.host else socket.AF_INET):
            return []
    except OSError as problem:
        in_use = problem.errno == errno.EADDRINUSE
        said = f"{at.host}:{at.port}: {os.strerror(problem.errno) if problem.errno else problem}; give another --listen"
        return [Finding("listen", in_use, f"warning: {said}, if that one goes on" if in_use else said)]


def _config_file(config: Config) -> list[Finding]:
    """Whether others of this host can read the store's password in it."""
    if config.file is None:
        return []
    with suppress(OSError, ValueError):
        mode = stat.S_IMODE(config.file.stat().st_mode)
        url = tomllib.loads(config.file.read_text("utf-8")).get("url")
        if mode & stat.S_IROTH and isinstance(url, str) and urlsplit(url).password:
            said = f"warning: {config.file} holds the store's password, and every user of this host may read it "
            return [Finding("config", True, f"{said}(mode {mode:04o}); put the URL into GATE_URL, or chmod o-r")]
    return []


def _policy(config: Config, status: Status) -> Finding:
    if config.pinned is None:
        where = (
            "the one in force" if status.policy_in_force else f"the defaults: none is in force yet; {POLICY_FORGOTTEN}"
        )
        return Finding("policy", True, f"follows {where}; mode {status.mode}")
    if status.policy_agrees:
        there = "in force" if status.policy_in_force else "none is in force yet: the first admitted entry brings this"
        return Finding("policy", True, f"pinned by {config.file}, and {there}; mode {status.mode}")
    return Finding("policy", False, f"pinned by {config.file}, and another is in force: {status.disagreement}")


async def _group(settings: Settings, streams: Streams) -> Finding:
    try:
        exists, backlog = await streams.look()
    except STORE_FAILURES as error:
        return Finding("streams", False, said_of(error), of_store=True)
    if not exists:
        said = f"group {settings.group} would be made, and begin with the oldest entry of {settings.stream}"
    else:
        lag = "unknown" if backlog.lag is None else str(backlog.lag)
        said = f"group {settings.group}: lag {lag}, pending {backlog.pending}, consumers {backlog.consumers}"
    return Finding("streams", True, said)


async def _exchange(exchange: Exchange, venue: str) -> Finding:
    try:
        figures = await exchange.account()
    except ExchangeFailure as failed:
        return Finding("exchange", False, f"{venue}: {failed.failure.code}: {failed.failure.told}")
    free = ", ".join(
        f"{plain(value)} {asset}" for asset, value in figures.available.items() if not isinstance(value, str)
    )
    return Finding("exchange", True, f"{venue}: the keys work; free margin {free or 'unknown'}")
