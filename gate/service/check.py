"""What a service would do, tried without doing it: it reads, and claims nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from gate.client.gates import AsyncGate
from gate.config import Config
from gate.exchange.failures import ExchangeFailure
from gate.exchange.port import Exchange
from gate.service.settings import Settings
from gate.service.streams import STORE_FAILURES, Streams
from gate.values.errors import StoreFailure
from gate.values.fields import plain
from gate.values.reports import Status

_CLOCK_MS: Final = 1_000
"""The exchange takes a signer's clock that is ahead by a second."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    what: str
    ok: bool
    says: str
    of_store: bool = False


async def check(
    config: Config, settings: Settings, gate: AsyncGate, exchange: Exchange, streams: Streams, *, venue: str
) -> list[Finding]:
    """Store, policy, group, keys. `venue`: the exchange's name. Never raises for what they answer."""
    return [*(await _store(config, gate)), await _group(settings, streams), await _exchange(exchange, venue)]


async def _store(config: Config, gate: AsyncGate) -> list[Finding]:
    try:
        await gate.policy_in_force()
        status = await gate.status()
    except StoreFailure as failure:
        return [Finding("store", False, str(failure), of_store=True)]
    off_ms = status.now_ms - time.time_ns() // 1_000_000
    found = [
        Finding("store", True, str(status.server)),
        Finding("clock", abs(off_ms) < _CLOCK_MS, f"the store's is {off_ms:+d} ms from this host's"),
        _policy(config, status),
    ]
    found += [Finding("policy", True, f"warning: {each}") for each in status.policy.warnings]
    stops = [f"{each.key} {each.detail}".strip() for each in status.standing if each.on and status.stopped]
    if status.halt is not None:
        found.append(Finding("halt", True, f"by {status.halt.by}: {status.halt.reason}; entries would be held"))
    elif stops:
        found.append(Finding("stopped", True, f"entries would be held: {'; '.join(stops)}"))
    return found


def _policy(config: Config, status: Status) -> Finding:
    if config.pinned is None:
        where = "the one in force" if status.policy_in_force else "the defaults: none is in force yet"
        return Finding("policy", True, f"follows {where}; mode {status.mode}")
    if status.policy_agrees:
        return Finding("policy", True, f"pinned by {config.file}, and in force; mode {status.mode}")
    differ = ", ".join(f"{name} {theirs} in force, {ours} here" for name, theirs, ours in status.differing)
    return Finding("policy", False, f"pinned by {config.file}, and another is in force: {differ}")


async def _group(settings: Settings, streams: Streams) -> Finding:
    try:
        exists, backlog = await streams.look()
    except STORE_FAILURES as error:
        return Finding("streams", False, " ".join(str(error).split()), of_store=True)
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
