"""Server time of an admission, of denials and of settling, against an empty script."""

from __future__ import annotations

import secrets
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import redis

from benchmarks.batches import Batch, BatchTime, alternate, load_scripts, run
from benchmarks.figure import Figure, of_rounds
from benchmarks.floor import ROWS as FLOOR
from benchmarks.floor import Floor
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from benchmarks.workload import Account, Step
from gate.values.outcome import Outcome
from gate.values.policy import Policy

_ADMISSION_AT_MOST: Final = {"Valkey": 12, "Redis": 13}
_DENIAL_AT_MOST: Final = 7
_ORDER_ID = "83897651234"


def measure(server: Server, sizes: Sizes) -> list[Figure]:
    """Measures each kind of call in its own batches, alternately."""
    with server.client() as client:
        client.flushall()
        empty_sha = load_scripts(client)

        def batch(step: Callable[[], Step]) -> Batch:
            return lambda: run(client, empty_sha, [step() for _ in range(sizes.batch)])

        quiet, floor = Account("quantum", on=client), Floor(client)
        batches = {
            "admission": batch(quiet.admission),
            "admission_after_failure": batch(_after_a_failure(client).admission),
            "duplicate": batch(_duplicate(client)),
            "locked": batch(_locked(client)),
            "safe_mode": batch(_in_safe_mode(client)),
            "rate_symbol": batch(_symbol_window_full(client)),
            "settle": lambda: _settle_batch(client, empty_sha, quiet, sizes.batch),
            **{name: batch(partial(floor.step, name)) for name in FLOOR},
        }
        times = alternate(batches, sizes.batch_rounds)
    empty = "against an empty EVALSHA"
    admission_at_most = _ADMISSION_AT_MOST[server.version.partition(" ")[0]]
    return [
        _figure("server_admission", f"Server time of an admission, {empty}", times["admission"], admission_at_most),
        _figure(
            "server_admission_after_failure",
            "… while a failure is counted: every guard reads its key",
            times["admission_after_failure"],
            None,
        ),
        _figure(
            "server_duplicate", f"Server time of a denial, DUPLICATE, {empty}", times["duplicate"], _DENIAL_AT_MOST
        ),
        _figure("server_locked", "… LOCKED", times["locked"], _DENIAL_AT_MOST),
        _figure("server_safe_mode", "… SAFE_MODE", times["safe_mode"], _DENIAL_AT_MOST),
        _figure("server_rate_symbol", "… RATE_SYMBOL, the last but one guard", times["rate_symbol"], _DENIAL_AT_MOST),
        _figure("server_settle", f"Server time of settling as placed, {empty}", times["settle"], None),
        *(_figure(name, what, times[name], None) for name, (what, _) in FLOOR.items()),
    ]


def _figure(name: str, what: str, times: list[BatchTime], at_most: float | None) -> Figure:
    script_us = statistics.median(time.script_us for time in times)
    empty_us = statistics.median(time.empty_us for time in times)
    return of_rounds(
        name,
        what,
        [time.script_us / time.empty_us for time in times],
        detail=f"{script_us:.1f} µs, empty {empty_us:.2f} µs",
        at_most=at_most,
    )


def _admit(client: redis.Redis, account: Account, on_symbol: str | None = None) -> Step:
    """Admits an intent and doesn't settle it."""
    step = account.admission(on_symbol)
    client.execute_command(*step.call)
    return step


def _after_a_failure(client: redis.Redis) -> Account:
    account = Account("failing", on=client)
    client.lpush(account.keyspace.failures, 0)
    return account


def _duplicate(client: redis.Redis) -> Callable[[], Step]:
    """The second delivery of a settled intent."""
    account = Account("doubled", on=client)
    intent = account.intent()
    token = secrets.token_urlsafe(12)
    verdict = account.protocol.replies.decode_verdict(
        client.execute_command(*account.evaluate(intent, token)), intent, account.protocol.reserve(intent), 0
    )
    if verdict.permit is None:
        raise RuntimeError(f"not admitted: {verdict}")
    client.execute_command(*account.settle(verdict.permit, Outcome.placed(_ORDER_ID)))
    return lambda: Step(account.evaluate(intent), b"DUPLICATE -2 placed ")


def _locked(client: redis.Redis) -> Callable[[], Step]:
    account = Account("locked", on=client)
    _admit(client, account, "BTCUSDT")
    return lambda: Step(account.evaluate(account.intent("BTCUSDT")), b"LOCKED ")


def _in_safe_mode(client: redis.Redis) -> Callable[[], Step]:
    account = Account("stopped", on=client)
    client.execute_command(*_admit(client, account).clean_up[0])  # an account that has traded
    client.set(account.keyspace.safe_mode, "5 failures in 300 s", ex=900)
    return lambda: Step(account.evaluate(account.intent()), b"SAFE_MODE ")


def _symbol_window_full(client: redis.Redis) -> Callable[[], Step]:
    policy = Policy(rate_symbol_limit=1, rate_symbol_window_ms=600_000, rate_global_limit=100_000)
    account = Account("limited", policy, on=client)
    admitted = _admit(client, account, "BTCUSDT")
    client.execute_command(*admitted.clean_up[0])
    client.delete(account.keyspace.lock("BTCUSDT", "BUY"))
    return lambda: Step(account.evaluate(account.intent("BTCUSDT")), b"RATE_SYMBOL ")


def _settle_batch(client: redis.Redis, empty_sha: str, account: Account, calls: int) -> BatchTime:
    """Admits outside the measurement, then settles. Each settlement removes one entry of the in-flight set."""
    pipeline: Any = client.pipeline(transaction=False)
    intents = [account.intent() for _ in range(calls)]
    for intent in intents:
        pipeline.execute_command(*account.evaluate(intent))
    steps = []
    for intent, reply in zip(intents, pipeline.execute(), strict=True):
        permit = account.protocol.replies.decode_verdict(reply, intent, account.protocol.reserve(intent), 0).permit
        if permit is None:
            raise RuntimeError(f"not admitted: {reply!r}")
        keys = account.keyspace
        forget = ("DEL", keys.record(intent.id), keys.rate_symbol(intent.symbol))
        steps.append(Step(account.settle(permit, Outcome.placed(_ORDER_ID)), b"SETTLED ", (forget,)))
    return run(client, empty_sha, steps)
