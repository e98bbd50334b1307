"""An order's way to the exchange and back: how long it takes and how many requests, against a bare order.

    scripts/bench-order-path [--quick] [--json] [--chart FILE.svg] [--delay MS …] [--rounds N] [--only NAME …]

The paper exchange runs in a process of its own, behind a proxy in another one, which delays what goes each way.
Machines are noisy, so everything is measured in one run, in turn, and what counts is the ratio to the bare order of the
same round.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from rich.console import Console

from benchmarks.order_path_desks import SECRET, STREAMS, SYMBOLS, Measured, Place, Way, ways
from benchmarks.order_path_proxy import Distance
from benchmarks.order_path_report import Pair, Sample, as_chart, as_json, as_tables
from benchmarks.server import Server, ServerMissing

_DELAYS_MS: Final = (0.0, 10.0, 100.0)
_ROUNDS: Final = 10
_WARM_UPS: Final = 2
_ROUND_S: Final = 0.5
"""At least: what was read in one round is old in the next one, and what an order's events have set off is over."""
_MARKET: Final = Path(__file__).resolve().parent.parent / "gate/paper/market/market.json"
_LIKE: Final = "LTCUSDT"
_WARMING: Final = "GET /fapi/v1/ping"
"""Keeps connections warm, between orders: none waits for it."""

Samples = dict[tuple[float, str], list[Pair]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how often."""

    delays_ms: Sequence[float]
    rounds: int
    warm_ups: int = _WARM_UPS
    round_s: float = _ROUND_S


async def measure(
    store: Server,
    exchange_url: str,
    distance: Distance,
    rows: Sequence[Measured],
    plan: Plan,
    tell: Callable[[str], None],
) -> Samples:
    """At each delay goes each way, and the bare one in turn with it. The first rounds only warm up.

    No other way is open meanwhile: what the streams of a second account do in the background would count for the first.
    """
    samples: Samples = {}
    ways = {row.name: (row.make(), distance.door()) for row in rows}

    @asynccontextmanager
    async def opened(name: str) -> AsyncIterator[Callable[[], Awaitable[Sample]]]:
        way, door = ways[name]
        await way.open(Place(store, exchange_url, f"http://127.0.0.1:{door}", name))
        try:
            yield lambda: _go(distance, door, way)
        finally:
            await way.close()

    for delay_ms in plan.delays_ms:
        distance.delay(delay_ms)
        for row in rows:
            tell(f"{delay_ms:g} ms each way: {row.what}")
            async with AsyncExitStack() as stack:
                bare = await stack.enter_async_context(opened(row.against))
                own = bare if row.name == row.against else await stack.enter_async_context(opened(row.name))
                pairs = [
                    await _one_round(own, bare, round_s=plan.round_s, own_first=bool(number % 2))
                    for number in range(plan.warm_ups + plan.rounds)
                ]
            samples[delay_ms, row.name] = pairs[plan.warm_ups :]
    return samples


async def _one_round(
    own: Callable[[], Awaitable[Sample]], bare: Callable[[], Awaitable[Sample]], *, round_s: float, own_first: bool
) -> Pair:
    begun_s = time.monotonic()
    if own is bare:
        both = [await bare()] * 2
    else:
        both = [await own(), await bare()] if own_first else [await bare(), await own()][::-1]
    await asyncio.sleep(max(0.0, begun_s + round_s - time.monotonic()))
    return Pair(*both)


async def _go(distance: Distance, door: int, way: Way) -> Sample:
    await way.prepare()
    distance.take(door)
    begun_cpu_ns, begun_ns = time.process_time_ns(), time.monotonic_ns()
    await way.go()
    answered_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
    passed = distance.take(door)
    await way.finish()
    orders_ns = passed.had_order_ns()
    return Sample(
        had_order_ms=(max(orders_ns) - begun_ns) / 1e6,
        answered_ms=(answered_ns - begun_ns) / 1e6,
        cpu_ms=(cpu_ns - begun_cpu_ns) / 1e6,
        orders=len(orders_ns),
        requests=sum(what != _WARMING for what, _ in passed.requests),
        connections=passed.connections,
    )


@contextmanager
def paper_exchange(keys: Sequence[str]) -> Iterator[str]:
    """The address of a paper exchange in a process of its own, with an account for each key and SYMBOLS to trade."""
    with tempfile.TemporaryDirectory(prefix="gate-bench-") as directory:
        market = Path(directory) / "market.json"
        market.write_text(json.dumps(_market()))
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gate", "paper", "--no-limits", "--balance", "1000000000"),
                *("--exchange-info", str(market)),
                *(word for key in keys for word in ("--key", key)),
            ],
            env={**os.environ, "GATE_PAPER_SECRETS": " ".join([SECRET] * len(keys))},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it tells of each client that leaves while its stream opens
            text=True,
        )
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if not line.startswith("listening on "):
                raise click.ClickException(f"the paper exchange didn't start: {line!r}")
            yield line.removeprefix("listening on ").strip()
        finally:
            process.terminate()
            process.communicate()


def _market() -> dict[str, Any]:
    """The built-in market's LTCUSDT, under the name of each of SYMBOLS."""
    whole: dict[str, Any] = json.loads(_MARKET.read_text())

    def copies(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        (one,) = (row for row in rows if row["symbol"] == _LIKE)
        return [{**one, "symbol": symbol} for symbol in SYMBOLS]

    info = {**whole["exchangeInfo"], "symbols": copies(whole["exchangeInfo"]["symbols"])}
    return {
        "exchangeInfo": info,
        "leverageBracket": copies(whole["leverageBracket"]),
        "premiumIndex": copies(whole["premiumIndex"]),
    }


def run(rows: Sequence[Measured], plan: Plan, tell: Callable[[str], None] = lambda what: None) -> Samples:
    """Starts a store, a paper exchange and a proxy, and measures the rows. Raises ServerMissing."""
    with Server("valkey") as store, paper_exchange([row.name for row in rows]) as url:
        at = urlsplit(url)
        with Distance(at.hostname or "", at.port or 0) as distance:
            return asyncio.run(measure(store, url, distance, rows, plan, tell))


@click.command()
@click.option("--quick", is_flag=True, help="Two rounds, without a delay: a few seconds, and no figure to trust.")
@click.option("--delay", "delays", type=click.FloatRange(0, 10_000), multiple=True, help="Each way, ms.  [0, 10, 100]")
@click.option("--rounds", type=click.IntRange(2), help=f"At each delay.  [default: {_ROUNDS}]")
@click.option("--only", multiple=True, help="Only the rows whose names begin so, beside the bare orders; repeatable.")
@click.option("--json", "wants_json", is_flag=True, help="The same as JSON.")
@click.option("--chart", type=click.Path(dir_okay=False, path_type=Path), help="Draw the ratios, as SVG.")
def main(
    quick: bool,
    delays: tuple[float, ...],
    rounds: int | None,
    only: tuple[str, ...],
    wants_json: bool,
    chart: Path | None,
) -> None:
    """An order's way to the exchange: bare, as the replaced service sent it, and by the executor."""
    rows = [
        row for row in ways(STREAMS) if not only or row.name in ("bare", "bare_20") or row.name.startswith(tuple(only))
    ]
    progress = Console(stderr=True, quiet=wants_json)
    try:
        with progress.status("") as status:
            plan = Plan(
                delays_ms=delays or ((0.0,) if quick else _DELAYS_MS),
                rounds=rounds or (2 if quick else _ROUNDS),
                warm_ups=1 if quick else _WARM_UPS,
                round_s=0.0 if quick else _ROUND_S,
            )
            samples = run(rows, plan, status.update)
    except ServerMissing as missing:
        raise click.ClickException(str(missing)) from None
    if chart is not None:
        chart.write_text(as_chart(rows, samples))
    if wants_json:
        click.echo(json.dumps(as_json(rows, samples), indent=1))
    else:
        for table in as_tables(rows, samples):
            Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an ordinary exit, which stops the servers
    main(prog_name="scripts/bench-order-path")
