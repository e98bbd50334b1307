"""Whether server time grows with the number of records, the limits, the number of symbols, or of live permits."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final

import redis

from benchmarks.batches import Batch, BatchTime, alternate, load_scripts, run
from benchmarks.figure import Figure, of_rounds, ratios
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from benchmarks.workload import Account, Step, symbol
from gate.protocol.scripts import Command
from gate.store.connection import pack
from gate.values.policy import Policy

_FLAT: Final = 1.15
_FEW_RECORDS: Final = 1_000
_LIMITS: Final = (5, 1_200)
_SYMBOLS: Final = (1, 1_000)
_IN_FLIGHT: Final = (1, 64)
_CHUNK: Final = 2_000


def measure(server: Server, sizes: Sizes) -> list[Figure]:
    """Compares the larger side with the smaller, alternately."""
    few, many = _FEW_RECORDS, sizes.records
    return [
        _compared(
            "growth_records",
            f"Growth of an admission's server time, {few:,} to {many:,} records",
            _records(server, sizes, (few, many)),
        ),
        _compared("growth_limit", f"… limit {_LIMITS[0]:,} to {_LIMITS[1]:,}, windows full", _limits(server, sizes)),
        _compared("growth_symbols", f"… {_SYMBOLS[0]:,} to {_SYMBOLS[1]:,} symbols", _symbols(server, sizes)),
        _compared("growth_in_flight", f"… {_IN_FLIGHT[0]} to {_IN_FLIGHT[1]} in flight", _in_flight(server, sizes)),
    ]


Curve = dict[int, list[BatchTime]]
"""By size, from the smallest on: what each batch took."""


def curves(server: Server, sizes: Sizes, begin: Callable[[str], None] = lambda _: None) -> dict[str, Curve]:
    """The same with sizes between. Calls `begin` with the name of each."""
    parts: dict[str, tuple[Callable[[Server, Sizes, Sequence[int]], Curve], Sequence[int]]] = {
        "records": (_records, [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= sizes.records]),
        "limit, both windows full": (_limits, (5, 60, 300, 1_200)),
        "symbols": (_symbols, (1, 10, 100, 1_000)),
        "in flight": (_in_flight, (1, 8, 32, 64)),
    }
    found = {}
    for what, (measured, counts) in parts.items():
        begin(what)
        found[what] = measured(server, sizes, counts)
    return found


def _records(server: Server, sizes: Sizes, counts: Sequence[int]) -> Curve:
    # Databases of one server, so that only the number of keys differs.
    with ExitStack() as stack:
        batches = {}
        for db, count in enumerate(counts):
            client = stack.enter_context(server.client(db=db))
            if not db:
                client.flushall()
                empty_sha = load_scripts(client)
            account = Account(on=client)
            _fill(client, account, count)
            batches[count] = _admissions(client, empty_sha, account.admission, sizes.batch)
        times = alternate(batches, sizes.growth_rounds)
        client.flushall()
    return times


def _limits(server: Server, sizes: Sizes, limits: Sequence[int] = _LIMITS) -> Curve:
    with server.client() as client:
        client.flushall()
        empty_sha = load_scripts(client)
        batches = {}
        for limit in limits:
            account = Account(f"limit{limit:04}", _limited_to(limit), on=client)
            _fill_windows(client, account, [symbol(0)])
            turns = itertools.repeat(symbol(0))
            batches[limit] = _admissions(client, empty_sha, _taking_turns(account, turns), sizes.batch)
        return alternate(batches, sizes.growth_rounds)


def _symbols(server: Server, sizes: Sizes, counts: Sequence[int] = _SYMBOLS) -> Curve:
    with server.client() as client:
        client.flushall()
        empty_sha = load_scripts(client)
        batches = {}
        for count in counts:
            account = Account(f"symbols{count:04}", _limited_to(_LIMITS[0]), on=client)
            symbols = [symbol(number) for number in range(count)]
            _fill_windows(client, account, symbols)
            turns = itertools.cycle(symbols)
            batches[count] = _admissions(client, empty_sha, _taking_turns(account, turns), sizes.batch)
        return alternate(batches, sizes.growth_rounds)


def _in_flight(server: Server, sizes: Sizes, counts: Sequence[int] = _IN_FLIGHT) -> Curve:
    with server.client() as client:
        client.flushall()
        empty_sha = load_scripts(client)
        batches = {}
        for count in counts:
            account = Account(f"live{count:04}", on=client)
            account.stand(count - 1, client)
            batches[count] = _admissions(client, empty_sha, account.admission, sizes.batch)
        return alternate(batches, sizes.growth_rounds)


def _taking_turns(account: Account, turns: Iterator[str]) -> Callable[[], Step]:
    return lambda: account.admission_beside_windows(next(turns))


def _admissions(client: redis.Redis, empty_sha: str, step: Callable[[], Step], calls: int) -> Batch:
    return lambda: run(client, empty_sha, [step() for _ in range(calls)])


def _compared(name: str, what: str, curve: Curve) -> Figure:
    before_us, after_us = ([time.script_us for time in times] for times in curve.values())
    detail = f"{statistics.median(before_us):.1f} µs to {statistics.median(after_us):.1f} µs"
    return of_rounds(name, what, ratios(after_us, before_us), detail=detail, at_most=_FLAT)


def _limited_to(limit: int) -> Policy:
    return Policy(rate_symbol_limit=limit, rate_symbol_window_ms=60_000, rate_global_limit=limit)


def _fill_windows(client: redis.Redis, account: Account, symbols: list[str]) -> None:
    limit = account.policy.rate_global_limit
    old = [time.time_ns() // 1_000_000 - 10 * account.policy.rate_global_window_ms] * limit
    pipeline = client.pipeline(transaction=False)
    for key in [account.keyspace.rate_global, *map(account.keyspace.rate_symbol, symbols)]:
        pipeline.rpush(key, *old)
    pipeline.execute()


def _fill(client: redis.Redis, account: Account, records: int) -> None:
    """Writes records like settle's. Packs the commands here, since the client's pipelines are ten times slower."""
    connection: Any = client.connection_pool.get_connection()
    for first in range(0, records, _CHUNK):
        commands = [_record(account, number) for number in range(first, min(first + _CHUNK, records))]
        connection.send_packed_command([b"".join(map(pack, commands))])
        for _ in commands:
            connection.read_response()
    client.connection_pool.release(connection)


def _record(account: Account, number: int) -> Command:
    of = symbol(number % 1_000)
    intent_id = f"{of}_2025-12-24T04:32:{number // 1_000_000:02}.{number % 1_000_000:06}"
    text = f"placed hM3nVb0aQk2L{number:04x} {number} x3BvQ0aLk2Tm 1766550724062 {of} BUY 312 0 - 83897651234"
    return ("SET", account.keyspace.record(intent_id), text, "PX", account.policy.dedup_ttl_ms)
