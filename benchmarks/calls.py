"""The time that a caller waits for a whole call: of the gate, and of the comparisons."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Final

import redis

from benchmarks.figure import Figure, of_rounds, ratios
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from benchmarks.workload import WITHOUT_LIMITS, Account
from gate import Gate, Outcome, Reason, Verdict

_AGAINST_SET: Final = 1.25
_AGAINST_SEQUENCE: Final = 6
_WARM_UP: Final = 50
_IN_A_ROW: Final = 10

Timings = Iterator[int]
"""Each `next` makes a call and gives its time in ns. Preparation isn't timed."""


def measure(server: Server, sizes: Sizes) -> list[Figure]:
    """Makes a few calls of each side in turn, so that noise hits all. Gives ratios of each round's medians."""
    with server.client() as client, Gate.from_url(server.url(), policy=WITHOUT_LIMITS) as gate:
        client.flushall()
        account = Account(gate.prefix, on=client)
        contenders = {
            "admission": _admissions(gate, account),
            "set": _sets(client, account),
            "ping": _pings(client),
            "duplicate": _duplicates(gate, account),
            "locked": _locked(gate, account),
            "sequence": _sequences(client, account),
        }
        medians_us = _alternate(contenders, sizes)
        client.flushall()

    def against(name: str, what: str, ours: str, theirs: str, at_most: float | None = None) -> Figure:
        typical = {each: statistics.median(medians_us[each]) for each in (ours, theirs)}
        detail = f"{typical[ours]:.0f} µs against {typical[theirs]:.0f} µs"
        return of_rounds(name, what, ratios(medians_us[ours], medians_us[theirs]), detail=detail, at_most=at_most)

    faster = ratios(medians_us["sequence"], medians_us["admission"])
    ten_us, one_us = statistics.median(medians_us["sequence"]), statistics.median(medians_us["admission"])
    return [
        against("call_admission", "Gate.evaluate, admitting, p50, against SET NX PX", "admission", "set", _AGAINST_SET),
        against("call_admission_ping", "… against PING", "admission", "ping"),
        against("call_duplicate", "Gate.evaluate, DUPLICATE, p50, against SET NX PX", "duplicate", "set"),
        against("call_locked", "… LOCKED", "locked", "set"),
        of_rounds(
            "call_sequence",
            "Ten single commands that it replaces, p50, against Gate.evaluate, admitting",
            faster,
            detail=f"{ten_us:.0f} µs against {one_us:.0f} µs",
            at_least=_AGAINST_SEQUENCE,
        ),
    ]


def _alternate(contenders: dict[str, Timings], sizes: Sizes) -> dict[str, list[float]]:
    names = list(contenders)
    for name in names * _WARM_UP:
        next(contenders[name])
    medians_us: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(sizes.call_rounds):
        spent_ns: dict[str, list[int]] = {name: [] for name in names}
        for _ in range(0, sizes.calls, _IN_A_ROW):
            for name in names:
                spent_ns[name] += [next(contenders[name]) for _ in range(_IN_A_ROW)]
        for name in names:
            medians_us[name].append(statistics.median(spent_ns[name]) / 1000)
    return medians_us


def _timed(call: Callable[[], object]) -> int:
    started_ns = perf_counter_ns()
    call()
    return perf_counter_ns() - started_ns


def _admissions(gate: Gate, account: Account) -> Timings:
    while True:
        intent = account.intent()
        started_ns = perf_counter_ns()
        verdict = gate.evaluate(intent)
        took_ns = perf_counter_ns() - started_ns
        _settle(gate, verdict)
        yield took_ns


def _duplicates(gate: Gate, account: Account) -> Timings:
    intent = account.intent()
    _settle(gate, gate.evaluate(intent))
    return _denials(gate, Reason.DUPLICATE, lambda: intent)


def _locked(gate: Gate, account: Account) -> Timings:
    if not gate.evaluate(account.intent("BTCUSDT")):
        raise RuntimeError("not admitted, so not locked")
    return _denials(gate, Reason.LOCKED, lambda: account.intent("BTCUSDT"))


def _denials(gate: Gate, reason: Reason, intents: Callable[[], object]) -> Timings:
    while True:
        intent = intents()
        started_ns = perf_counter_ns()
        verdict = gate.evaluate(intent)  # type: ignore[arg-type]
        took_ns = perf_counter_ns() - started_ns
        if verdict.reason is not reason:
            raise RuntimeError(f"{reason} was to be measured: {verdict}")
        yield took_ns


def _sets(client: redis.Redis, account: Account) -> Timings:
    while True:
        key = f"single:exec:processed:{account.intent().id}"
        yield _timed(lambda key=key: client.set(key, "1", nx=True, px=3_600_000))  # type: ignore[misc]


def _pings(client: redis.Redis) -> Timings:
    while True:
        yield _timed(client.ping)


def _sequences(client: redis.Redis, account: Account) -> Timings:
    """An admission with the ten single commands that the gate replaces."""
    while True:
        intent = account.intent()
        record, lock = f"old:exec:processed:{intent.id}", f"old:exec:lock:{intent.symbol}:{intent.side}"
        rate_symbol, rate_global = f"old:exec:rate:symbol:{intent.symbol}", "old:exec:rate:global"
        started_ns = perf_counter_ns()
        client.setnx(record, "1")
        client.expire(record, 3_600)
        client.exists(rate_symbol)
        client.get(rate_global)
        client.exists(rate_global)
        client.incr(rate_global)
        client.expire(rate_global, 60)
        client.setnx(lock, "1")
        client.expire(lock, 30)
        client.get("old:safety:safe_mode")
        yield perf_counter_ns() - started_ns


def _settle(gate: Gate, verdict: Verdict) -> None:
    if verdict.permit is None:
        raise RuntimeError(f"an admission was to be measured: {verdict}")
    if not gate.settle(verdict.permit, Outcome.placed("83897651234")):
        raise RuntimeError("not settled")
