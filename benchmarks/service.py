"""How many intents a second one `gate run` answers, by what they come to, and how its memory grows.

The store, the paper exchange and the service are processes of their own; the service has a core, the others have
another. A backlog stands on the stream before the service starts. A rate is taken from the first twentieth of the
answers to the last, by the clock and by the service's own CPU time: other work on the machine disturbs the latter less.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import redis
from rich.console import Console
from rich.table import Table

from benchmarks.server import Server
from gate import Gate
from gate.paper.market.market_data import built_in

STREAM: Final = "quantum:stream:trade.intent"
RESULTS: Final = "quantum:stream:execution.result"
REACH: Final = {"stale": 2_000, "denied": 2_000, "orders": 500}
_COUNTS: Final = {"stale": 100_000, "denied": 20_000, "orders": 5_000}
_TOGETHER: Final = 2_000
_ENDS_WITHIN_S: Final = 7_200
_CONFIG: Final = """
[policy]
rate_symbol_limit = 50000
rate_global_limit = 100000
max_in_flight = 1000
max_age_ms = 3600000
dedup_ttl_ms = 7200000
[service]
retries = false
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """What was measured of one kind of intents."""

    what: str
    intents: int
    a_second: float
    a_cpu_second: float
    """For each second of the service's CPU time."""
    first_mb: float
    """What the service takes after a twentieth of the intents."""
    last_mb: float
    reach: int


@contextmanager
def _process(words: list[str], core: int | None, log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environ})
    _pin(process.pid, core)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _pin(pid: int, core: int | None) -> None:
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})


def _cores() -> tuple[int | None, int | None]:
    """One for the service, and one for all else; none where there is but one."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[-1], cores[0]) if len(cores) > 1 else (None, None)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _entries(what: str, count: int) -> Iterator[dict[str, str]]:
    symbols = [name for name in built_in().symbols if name.endswith("USDT")]
    decided_ms = time.time_ns() // 1_000_000 - (40 * 86_400_000 if what == "stale" else 0)
    for number in range(count):
        told = {
            "id": f"{what}-{number}",
            "symbol": symbols[number % len(symbols)],
            "side": "BUY",
            "position_size_usd": 300.0,
            "entry_price": 1.465,
            "leverage": 1,
            "timestamp": decided_ms,
        }
        yield {"event_type": "trade.intent", "payload": json.dumps(told), "source": "bench"}


def _fill(client: redis.Redis, what: str, count: int) -> None:
    pipeline: Any = client.pipeline(transaction=False)
    for number, entry in enumerate(_entries(what, count)):
        pipeline.xadd(STREAM, entry)
        if number % _TOGETHER == _TOGETHER - 1:
            pipeline.execute()
    pipeline.execute()


def _written(client: redis.Redis) -> int:
    with suppress(redis.ResponseError):  # not one yet
        told: Any = client.xinfo_stream(RESULTS)
        return int(told["entries-added"])
    return 0


def measure(what: str, count: int, *, profile: str | None = None) -> Rate:
    """Starts everything anew, and takes one rate."""
    service_core, other_core = _cores()
    with (
        tempfile.TemporaryDirectory(prefix="gate-bench-") as folder_name,
        Server("valkey") as server,
        server.client() as client,
    ):
        folder = Path(folder_name)
        _pin(server.pid, other_core)
        run_id = client.info("server")["run_id"]
        client.hset("quantum:exec:state", mapping={"fence": 0, "since": 1_000_000_000_000, "run_id": run_id})
        if what == "denied":
            with Gate.from_url(server.url()) as gate:
                gate.halt(by="bench", reason="denies all")
        _fill(client, what, count)
        (folder / "gate.toml").write_text(_CONFIG, "utf-8")
        paper_words = [sys.executable, "-m", "gate", "paper", "--port", "0", "--no-limits", "--balance", "1000000000"]
        with _process([*paper_words, "--json"], other_core, folder / "paper", PYTHONUNBUFFERED="1"):
            paper_url = json.loads(_first_line(folder / "paper"))["url"]
            words = [sys.executable, *(("-m", "cProfile", "-o", profile) if profile else ())]
            words += ["-m", "gate", "--url", server.url(), "--config", str(folder / "gate.toml"), "run"]
            words += ["--base-url", paper_url, "--listen", "none"]
            keys = {"BINANCE_API_KEY": "paper-key", "BINANCE_API_SECRET": "paper-secret"}
            with _process(words, service_core, folder / "service", **keys) as service:
                return _rate(what, count, client, service, folder / "service")


def _first_line(file: Path) -> str:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        first, newline, _ = file.read_text("utf-8").partition("\n")
        if newline:
            return first
        time.sleep(0.02)
    raise RuntimeError(f"nothing was said: {file}")


def _rate(what: str, count: int, client: redis.Redis, service: subprocess.Popen[bytes], log: Path) -> Rate:
    until_s = time.monotonic() + _ENDS_WITHIN_S
    begin = 0, time.monotonic(), _cpu_s(service.pid), _megabytes(service.pid)
    first: tuple[int, float, float, float] | None = None
    while True:
        written = _written(client)
        now = written, time.monotonic(), _cpu_s(service.pid), _megabytes(service.pid)
        if first is None and written >= count / 20:
            first = now if written < count else begin  # few intents may all be answered within one look
        if written >= count and first is not None:
            break
        if service.poll() is not None or now[1] > until_s:
            raise RuntimeError(f"{written} of {count} answered: {log.read_text('utf-8')[-2000:]}")
        time.sleep(0.02)
    answered = now[0] - first[0]
    return Rate(
        what,
        count,
        answered / (now[1] - first[1]),
        answered / max(now[2] - first[2], 0.01),
        first[3],
        now[3],
        REACH[what],
    )


def as_table(rates: list[Rate]) -> Table:
    """The report for people."""
    table = Table(title="Intents that one gate run answers")
    for name in ("what", "intents", "a second", "a CPU second", "reach", "memory, MB"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for rate in rates:
        table.add_row(
            rate.what,
            f"{rate.intents:,}",
            f"{rate.a_second:,.0f}",
            f"{rate.a_cpu_second:,.0f}",
            f"≥ {rate.reach:,}",
            f"{rate.first_mb:.0f} → {rate.last_mb:.0f}",
        )
    return table


@click.command()
@click.option("--only", type=click.Choice([*REACH]), multiple=True, help="Not the others.")
@click.option("--intents", type=click.IntRange(100), help="How many of each.  [default: 100000, 20000, 5000]")
@click.option("--profile", metavar="FILE", help="Where cProfile writes what the service does; it is slower then.")
@click.option("--json", "wants_json", is_flag=True, help="The same as JSON.")
def main(only: tuple[str, ...], intents: int | None, profile: str | None, wants_json: bool) -> None:
    """Measures how many intents a second one service answers."""
    progress: Callable[[str], None] = Console(stderr=True, quiet=wants_json).print
    rates = []
    for what in only or REACH:
        progress(f"Measuring {what}…")
        rates.append(measure(what, intents or _COUNTS[what], profile=profile))
    if wants_json:
        click.echo(json.dumps([asdict(rate) for rate in rates], indent=1))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(as_table(rates))


if __name__ == "__main__":
    main()
