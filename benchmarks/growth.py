"""Whether server time grows with the number of records, the limits, the number of symbols, or of live permits."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import redis

from benchmarks.batches import Batch, alternate, load_scripts, run
from benchmarks.figure import Figure, of_rounds, ratios
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from benchmarks.workload import Account, Step, symbol
from gate.protocol.scripts import Command
from gate.store.server_wire import pack
from gate.values.policy import Policy

_FLAT: Final = 1.15
_FEW_RECORDS: Final = 1_000
_LIMITS: Final = (5, 1_200)
_SYMBOLS: Final = (1, 1_000)
_IN_FLIGHT: Final = (1, 64)
_CHUNK: Final = 2_000


def measure(server: Server, sizes: Sizes) -> list[Figure]:
    """Compares the larger side with the smaller, alternately."""
    return [_records(server, sizes), _limits(server, sizes), _symbols(server, sizes), _in_flight(server, sizes)]


def _records(server: Server, sizes: Sizes) -> Figure:
    # Two databases of one server, so that only the number of keys differs.
    with server.client(db=0) as few, server.client(db=1) as many:
        few.flushall()
        empty_sha = load_scripts(few)
        on_few, on_many = Account(on=few), Account(on=many)
        _fill(few, on_few, _FEW_RECORDS)
        _fill(many, on_many, sizes.records)
        batches = {
            "few": _admissions(few, empty_sha, on_few.admission, sizes.batch),
            "many": _admissions(many, empty_sha, on_many.admission, sizes.batch),
        }
        figure = _compared(
            "growth_records",
            f"Growth of an admission's server time, {_FEW_RECORDS:,} to {sizes.records:,} records",
            batches,
            sizes.growth_rounds,
        )
        few.flushall()
    return figure


def _limits(server: Server, sizes: Sizes) -> Figure:
    with server.client() as client:
        client.flushall()
        empty_sha = load_scripts(client)
        batches = {}
        for limit in _LIMITS:
            account = Account(f"limit{limit:04}", _limited_to(limit), on=client)
            _fill_windows(client, account, [symbol(0)])
            turns = itertools.repeat(symbol(0))
            batches[f"{limit}"] = _admissions(client, empty_sha, _taking_turns(account, turns), sizes.batch)
        low, high = _LIMITS
        return _compared("growth_limit", f"… limit {low:,} to {high:,}, windows full", batches, sizes.growth_rounds)


def _symbols(server: Server, sizes: Sizes) -> Figure:
    with server.client() as client:
        client.flushall()
        empty_sha = load_scripts(client)
        batches = {}
        for count in _SYMBOLS:
            account = Account(f"symbols{count:04}", _limited_to(_LIMITS[0]), on=client)
            symbols = [symbol(number) for number in range(count)]
            _fill_windows(client, account, symbols)
            turns = itertools.cycle(symbols)
            batches[f"{count}"] = _admissions(client, empty_sha, _taking_turns(account, turns), sizes.batch)
        low, high = _SYMBOLS
        return _compared("growth_symbols", f"… {low:,} to {high:,} symbols", batches, sizes.growth_rounds)


def _in_flight(server: Server, sizes: Sizes) -> Figure:
    with server.client() as client:
        client.flushall()
        empty_sha = load_scripts(client)
        batches = {}
        for count in _IN_FLIGHT:
            account = Account(f"live{count:04}", on=client)
            account.stand(count - 1, client)
            batches[f"{count}"] = _admissions(client, empty_sha, account.admission, sizes.batch)
        low, high = _IN_FLIGHT
        return _compared("growth_in_flight", f"… {low} to {high} in flight", batches, sizes.growth_rounds)


def _taking_turns(account: Account, turns: Iterator[str]) -> Callable[[], Step]:
    return lambda: account.admission_beside_windows(next(turns))


def _admissions(client: redis.Redis, empty_sha: str, step: Callable[[], Step], calls: int) -> Batch:
    return lambda: run(client, empty_sha, [step() for _ in range(calls)])


def _compared(name: str, what: str, batches: dict[str, Batch], rounds: int) -> Figure:
    smaller, larger = batches
    times = alternate(batches, rounds)
    before_us = [time.script_us for time in times[smaller]]
    after_us = [time.script_us for time in times[larger]]
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
