"""The paper exchange as a process: runs until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from gate.paper.market.market_data import built_in, load_market
from gate.paper.rest.limits import RateLimits
from gate.paper.serving.faults import Fault, parse_faults
from gate.paper.serving.http_edge import HttpEdge
from gate.paper.serving.loopback import loopback_address, url_of
from gate.paper.serving.settings import Account, Settings, WalkSettings
from gate.paper.serving.venue import Venue


def serve(
    *,
    host: str,
    port: int,
    keys: Sequence[tuple[str, str, str]],
    ledger: Path | None,
    exchange_info: Path | None,
    faults: Path | None,
    walk_seed: int | None,
    walk_interval_ms: int,
    limited: bool,
    old_answers: bool,
    announce: Callable[[str], None],
) -> None:
    """Serve until a signal. `keys` holds key, secret and USDT balance of each account.

    `announce` gets the address, `http://HOST:PORT`, when the server accepts connections. Raises ValueError for a
    setting that can't be used, OSError for a port or a file.
    """
    settings = Settings(
        market=load_market(exchange_info) if exchange_info else built_in(),
        accounts=[Account(*row) for row in keys],
        limits=RateLimits() if limited else None,
        walk=None if walk_seed is None else WalkSettings(walk_seed, walk_interval_ms),
        faults=_faults(faults),
        ledger_file=ledger,
        old_answers=old_answers,
    )
    asyncio.run(_serve(settings, loopback_address(host), port, announce))


async def _serve(settings: Settings, address: str, port: int, announce: Callable[[str], None]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    edge = HttpEdge(Venue(settings))
    taken = await edge.start(address, port)
    announce(url_of(address, taken))
    await stopped.wait()
    await edge.stop()


def _faults(path: Path | None) -> list[Fault]:
    return [] if path is None else parse_faults(path.read_bytes())
