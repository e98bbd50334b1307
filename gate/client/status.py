"""The state of an account. Each key is read by itself, so a damaged key shows as damaged and hides no other key."""

from __future__ import annotations

from typing import Final

from gate.client.abreast import Part, abreast
from gate.client.caller import Caller
from gate.client.facts import facts_of_server, server_now_ms
from gate.client.halts import HALT_FIELDS, halt_of
from gate.client.in_flight import NAMED_AT_MOST, read_exits, read_permits
from gate.client.looks import refusal_of_writes
from gate.client.memory import report_memory, whole_for_lua
from gate.client.observing import observers
from gate.client.policies import by_a_person
from gate.client.standing import (
    ask,
    read_fields,
    read_halt,
    report_damage,
    report_locks,
    report_switches,
    report_unguarded,
    report_windows,
)
from gate.client.symbols import AT_MOST, Unseen, keys_of_few, known_symbols
from gate.protocol.codec import identify
from gate.protocol.keyspace import Keyspace
from gate.protocol.texts import line_of
from gate.store.identity import ask_identity
from gate.store.wire import Dialogue
from gate.values.errors import StoreError, StoreUnavailable
from gate.values.guards import GUARDS
from gate.values.reports import Standing, Status
from gate.values.verdict import Mode

_KEYS_AT_MOST: Final = 4 * AT_MOST  # of symbols
_PLACES: Final = {
    "state": 0,
    **{guard.name: place for place, guard in enumerate(GUARDS)},
    "applied": 0,
    "audit": len(GUARDS),
    "reasons": len(GUARDS) + 1,
    "exits": len(GUARDS) + 2,
    "placed": len(GUARDS) + 3,
}


def status(caller: Caller) -> Dialogue[Status]:
    """Reads the account's state in a few trips, however many keys the server has. Damage to single keys is part of the
    answer. Raises StoreUnavailable."""
    keys = caller.keyspace
    of_state: list[Standing] = []
    standing: list[Standing] = []

    now, server_says = Part(server_now_ms()), Part(facts_of_server())
    word = Part(ask_identity(identify(keys)))
    state_says = Part(read_fields(keys.state, ("fence", "since", "policy", "run_id", "lost", "figures"), of_state))
    halted, is_halted = Part(read_halt(keys.halt, standing)), Part(ask("EXISTS", keys.halt))
    # The pattern doesn't match records, which are by far the most keys.
    of_few, noted = Part(keys_of_few(f"{keys.base}:[es]*:[lrc]*")), Part(known_symbols(keys.symbols))
    observed, applied = Part(observers(keys.observers)), Part(ask("GET", keys.applied))
    yield from abreast(
        now,
        server_says,
        word,
        state_says,
        halted,
        is_halted,
        of_few,
        noted,
        observed,
        applied,
        Part(report_switches("safe_mode", [keys.safe_mode], keys.reasons, standing)),
        Part(report_switches("cooldown_global", [keys.cooldown_global], keys.reasons, standing)),
        Part(report_unguarded("audit", keys.audit, standing)),
        Part(report_unguarded("reasons", keys.reasons, standing)),
        Part(report_unguarded("placed", keys.placed, standing)),
    )
    now_ms, server, state = now.result, server_says.result, state_says.result
    halt = halted.result or (halt_of([None] * len(HALT_FIELDS)) if is_halted.result == 1 else None)

    if isinstance(applied.result, StoreError):
        yield from report_damage("applied", keys.applied, applied.result, standing)
    elif applied.result is not None:
        state[2], state[5] = map(line_of, by_a_person(applied.result)[:2])
    # The figures in force decide, whoever asks.
    in_force = caller.in_force(state[2], state[5]) if state[2] else None
    policy = in_force or caller.policy
    lost = Part(report_memory(keys, policy, state, server, now_ms, of_state, halted=halt is not None))
    permits, exits = Part(read_permits(caller, now_ms, standing)), Part(read_exits(keys.exits, now_ms, standing))
    failures = [keys.failures], policy.failure_limit, policy.failure_window_ms
    orders = [keys.rate_global], policy.rate_global_limit, policy.rate_global_window_ms
    yield from abreast(
        lost,
        permits,
        exits,
        Part(report_windows("failures", *failures, now_ms, standing)),
        Part(report_windows("rate_global", *orders, now_ms, standing)),
    )

    all_exits, late_exits, named = exits.result
    found, unseen = of_few.result, ""
    if isinstance(found, Unseen):
        unseen = found.value
        found = [key for symbol in sorted({*noted.result, *permits.result.symbols}) for key in _keys_of(keys, symbol)]
    read = found[:_KEYS_AT_MOST]
    locks = [key for key in read if key.startswith(keys.lock_prefix)]
    windows = [key for key in read if key.startswith(keys.rate_symbol_prefix)]
    cooldowns = [key for key in read if key.startswith(keys.cooldown_symbol_prefix)]
    orders = windows, policy.rate_symbol_limit, policy.rate_symbol_window_ms
    yield from abreast(
        Part(report_locks(locks, standing)),
        Part(report_windows("rate_symbol", *orders, now_ms, standing)),
        Part(report_switches("cooldown_symbol", cooldowns, keys.reasons, standing)),
    )

    refuses = yield from _refusal_of_writes(caller)
    fence, since, fingerprint = whole_for_lua(state[0]), whole_for_lua(state[1]), state[2]
    if fence is not None:
        caller.saw(fence)
    standing += of_state
    return Status(
        prefix=keys.prefix,
        now_ms=now_ms,
        halt=halt,
        standing=tuple(sorted(standing, key=lambda each: (_PLACES[each.name], each.key))),
        in_flight=permits.result.live + all_exits - late_exits,
        in_doubt=permits.result.in_doubt + late_exits,
        doubtful=(permits.result.doubtful + named)[:NAMED_AT_MOST],
        exits=all_exits,
        reserved=permits.result.reserved,
        fence=fence or 0,
        memory_since_ms=since,
        policy_in_force=fingerprint,
        policy_own=caller.protocol.policy_fingerprint,
        policy=policy,
        differing=in_force.differences(caller.policy) if in_force else (),
        mode=Mode(caller.policy.mode),
        observers=observed.result,
        memory_lost_ms=lost.result,
        evicts=server.may_evict,
        server=server,
        refuses_writes=refuses,
        lacks=word.result.partition(" lacks ")[2],
        all_symbols=not unseen and len(found) <= _KEYS_AT_MOST,
        unseen=unseen,
    )


def _refusal_of_writes(caller: Caller) -> Dialogue[str]:
    """Asked by itself, behind all else: where writes are paused, the reply doesn't come."""
    try:
        return (yield from refusal_of_writes(caller))
    except StoreUnavailable as unavailable:
        return f"the server takes no verdict ({unavailable}); are its writes paused? CLIENT UNPAUSE ends that"


def _keys_of(keys: Keyspace, symbol: str) -> tuple[str, ...]:
    """A symbol's locks, window and cooldown."""
    locks = keys.lock(symbol, "BUY"), keys.lock(symbol, "SELL")
    return *locks, keys.rate_symbol(symbol), keys.cooldown_symbol(symbol)
