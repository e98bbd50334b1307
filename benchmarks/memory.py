"""The server's memory for one settled record."""

from __future__ import annotations

import statistics
from typing import Any, Final

import redis

from benchmarks.batches import load_scripts
from benchmarks.figure import Figure
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from benchmarks.workload import Account, symbol
from gate.values.outcome import Outcome

_AT_MOST: Final = 256
_CHUNK: Final = 500
_FIRST_ORDER_ID: Final = 83_897_651_234


def measure(server: Server, sizes: Sizes) -> list[Figure]:
    """Admits and settles with the scripts, and measures the growth of the server's memory."""
    with server.client() as client:
        client.flushall()
        load_scripts(client)
        account = Account(on=client)
        _settle_as_placed(client, account, _CHUNK)  # first, so that one-time allocations and buffers don't count
        client.flushdb()
        account = Account(on=client)
        _settle_as_placed(client, account, 1)
        before = _used_memory(client)
        for _ in range(sizes.settled // _CHUNK):
            _settle_as_placed(client, account, _CHUNK)
        grown = (_used_memory(client) - before) / sizes.settled
        sample = [client.memory_usage(key) for key in _some_records(client, account)]
        client.flushall()
    usage = statistics.median(int(size) for size in sample)
    return [
        Figure(
            "record_memory",
            "Memory of one settled record, server side",
            grown,
            "B",
            f"used_memory over {sizes.settled:,} records; MEMORY USAGE says {usage:.0f} without the table of lifetimes",
            at_most=_AT_MOST,
        )
    ]


def _used_memory(client: redis.Redis) -> int:
    memory: Any = client.info("memory")
    return int(memory["used_memory"])


def _some_records(client: redis.Redis, account: Account) -> list[bytes]:
    found: Any = client.scan(match=account.keyspace.record_prefix + "*", count=500)
    keys: list[bytes] = found[1]
    return keys


def _settle_as_placed(client: redis.Redis, account: Account, records: int) -> None:
    """Makes settled records and nothing else: there are few symbols, locks are released, windows deleted."""
    keys, protocol = account.keyspace, account.protocol
    intents = [account.intent(symbol(number)) for number in range(records)]
    pipeline: Any = client.pipeline(transaction=False)
    for intent in intents:
        pipeline.execute_command(*account.evaluate(intent))
    verdicts = pipeline.execute()
    for number, (intent, reply) in enumerate(zip(intents, verdicts, strict=True)):
        permit = protocol.replies.decode_verdict(reply, intent, protocol.reserve(intent), 0).permit
        if permit is None:
            raise RuntimeError(f"not admitted: {reply!r}")
        pipeline.execute_command(*account.settle(permit, Outcome.placed(_FIRST_ORDER_ID + number)))
    pipeline.ltrim(keys.rate_global, 0, 0)  # without it, the memory would be new
    pipeline.delete(*(keys.rate_symbol(intent.symbol) for intent in intents))
    pipeline.execute()
