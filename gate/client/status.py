"""The state of an account. Each key is read by itself, so a damaged key shows as damaged and hides no other key."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gate.client.abreast import Part, abreast
from gate.client.caller import Caller
from gate.client.doubtful import copies_in_state
from gate.client.facts import facts_of_server
from gate.client.halts import HALT_FIELDS, UNREADABLE, halt_of
from gate.client.looks import refusal_of_writes
from gate.client.observing import observers
from gate.client.policies import by_a_person
from gate.client.symbols import AT_MOST, keys_of_few, known_symbols
from gate.protocol.codec import identify
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Command, Pipeline
from gate.protocol.texts import brief, intent_id_of, line_of, whole_or_none
from gate.store.identity import ask_identity
from gate.store.wire import Dialogue, Reply
from gate.values.errors import StoreError, StoreUnavailable
from gate.values.fields import read_whole
from gate.values.guards import GUARDS
from gate.values.keys import KEYS
from gate.values.policy import Policy
from gate.values.record import MILLIONTHS, Phase
from gate.values.reports import Damage, Halt, Standing, Status
from gate.values.server import ServerFacts
from gate.values.verdict import Mode

_READ_AT_MOST: Final = 1000  # members of the in-flight set; a sensible max_in_flight is far below
_KEYS_AT_MOST: Final = 4 * AT_MOST  # of symbols
_NAMED_AT_MOST: Final = 100
_LUA_COUNTS_TO: Final = 2**53
_LONGEST_NUMBER: Final = 1000  # digits; Python refuses to read some thousands, and leading zeros are allowed
_BELONGS: Final = {key.shown_as: key.holds for key in KEYS.values()}
_PACKED: Final = struct.Struct(">7d")
"""What the state keeps of permits in flight and of the last admission: lua/include/in_flight_packed.lua."""
_CLOCKS_APART_MS: Final = 1000
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

    moment, server_says = Part(_moment()), Part(facts_of_server())
    word = Part(ask_identity(identify(keys)))
    state_says = Part(_hash(keys.state, ("fence", "since", "policy", "run_id", "lost", "figures"), of_state))
    halted, is_halted = Part(_halt(keys.halt, standing)), Part(_ask("EXISTS", keys.halt))
    # The pattern doesn't match records, which are by far the most keys.
    of_few, noted = Part(keys_of_few(f"{keys.base}:[es]*:[lrc]*")), Part(known_symbols(keys.symbols))
    observed, applied = Part(observers(keys.observers)), Part(_ask("GET", keys.applied))
    yield from abreast(
        moment,
        server_says,
        word,
        state_says,
        halted,
        is_halted,
        of_few,
        noted,
        observed,
        applied,
        Part(_switches("safe_mode", [keys.safe_mode], keys.reasons, standing)),
        Part(_switches("cooldown_global", [keys.cooldown_global], keys.reasons, standing)),
        Part(_unguarded("audit", keys.audit, standing)),
        Part(_unguarded("reasons", keys.reasons, standing)),
        Part(_unguarded("placed", keys.placed, standing)),
    )
    now_ms, server, state = moment.result, server_says.result, state_says.result
    halt = halted.result or (halt_of([None] * len(HALT_FIELDS)) if is_halted.result == 1 else None)

    if isinstance(applied.result, StoreError):
        yield from _damaged("applied", keys.applied, applied.result, standing)
    elif applied.result is not None:
        state[2], state[5] = map(line_of, by_a_person(applied.result)[:2])
    # The figures in force decide, whoever asks.
    in_force = caller.in_force(state[2], state[5]) if state[2] else None
    policy = in_force or caller.policy
    lost = Part(_memory(keys, policy, state, server, now_ms, of_state))
    permits, exits = Part(_permits(caller, now_ms, standing)), Part(_exits(keys.exits, now_ms, standing))
    failures = [keys.failures], policy.failure_limit, policy.failure_window_ms
    orders = [keys.rate_global], policy.rate_global_limit, policy.rate_global_window_ms
    yield from abreast(
        lost,
        permits,
        exits,
        Part(_windows("failures", *failures, now_ms, standing)),
        Part(_windows("rate_global", *orders, now_ms, standing)),
    )

    all_exits, late_exits, named = exits.result
    found = of_few.result
    if found is None:
        found = [key for symbol in sorted({*noted.result, *permits.result.symbols}) for key in _keys_of(keys, symbol)]
    read = found[:_KEYS_AT_MOST]
    locks = [key for key in read if key.startswith(keys.lock_prefix)]
    windows = [key for key in read if key.startswith(keys.rate_symbol_prefix)]
    cooldowns = [key for key in read if key.startswith(keys.cooldown_symbol_prefix)]
    orders = windows, policy.rate_symbol_limit, policy.rate_symbol_window_ms
    yield from abreast(
        Part(_locks(locks, standing)),
        Part(_windows("rate_symbol", *orders, now_ms, standing)),
        Part(_switches("cooldown_symbol", cooldowns, keys.reasons, standing)),
    )

    refuses = yield from _refusal_of_writes(caller)
    fence, since, fingerprint = _whole(state[0]), _whole(state[1]), state[2]
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
        doubtful=(permits.result.doubtful + named)[:_NAMED_AT_MOST],
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
        all_symbols=of_few.result is not None and len(found) <= _KEYS_AT_MOST,
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


def _moment() -> Dialogue[int]:
    seconds, micros = yield ("TIME",)
    return int(seconds) * 1000 + int(micros) // 1000


def _memory(
    keys: Keyspace,
    policy: Policy,
    state: list[str | None],
    server: ServerFacts,
    now_ms: int,
    standing: list[Standing],
) -> Dialogue[int | None]:
    """A memory that is new denies entries, and so does damage to it. Where nobody has noticed a loss yet, the next
    verdict does. Returns the time of a noticed one."""
    if standing:
        return None
    fence, since, _, known, lost, _ = state
    key, wait_ms = keys.state, policy.memory_wait_ms
    if any(text is not None and _whole(text) is None for text in (fence, since, lost)):
        damage = StoreError("fence, since or lost is not a whole number")
        yield from _damaged("state", key, damage, standing)
        return None
    lost_ms = None
    if fence is None or since is None:
        detail = (
            "nothing is known of this account: if it is new, `gate init` says so; if it isn't, a halt is forgotten, too"
        )
    elif server.run_id and known != server.run_id:
        detail = "another server answers than before, or it has restarted; the next verdict begins the wait"
    elif (noticed_ms := _whole(lost)) is not None and noticed_ms + wait_ms > now_ms:
        lost_ms = noticed_ms
        wait_ms = noticed_ms + wait_ms - now_ms
        detail = (
            "new: an order of before may still be on its way; if none can, `gate init` says so. A halt of before is "
            "forgotten, too: halt again if you want it"
        )
    else:
        yield from _clock(keys, policy, server, now_ms, standing)
        return None
    standing.append(Standing("memory", key, True, wait_ms, detail))
    return lost_ms


def _clock(
    keys: Keyspace, policy: Policy, server: ServerFacts, now_ms: int, standing: list[Standing]
) -> Dialogue[None]:
    """Whether the server's clock has been ahead, as memory.lua finds it at the next verdict."""
    kept = yield from _ask("HGET", keys.state, "in_flight")
    if not isinstance(kept, bytes) or len(kept) != _PACKED.size:
        return
    *_, last_ms, lapses_ms = _PACKED.unpack(kept)
    gone_back = (last_ms - now_ms) * 2 > max(policy.dedup_ttl_ms - policy.max_age_ms, 2000)
    if not gone_back and lapses_ms - now_ms > _CLOCKS_APART_MS and not server.may_evict:
        gone_back = (yield from _ask("EXISTS", keys.rate_global)) == 0
    if gone_back:
        detail = "the server's clock was ahead, or the list of admissions was deleted; the next verdict begins the wait"
        standing.append(Standing("memory", keys.state, True, policy.memory_wait_ms, detail))


def _whole(text: str | None) -> int | None:
    """A whole number as the scripts read it: Lua can't add 1 to one above 2^53."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_NUMBER:
        return None
    number = int(text)
    return number if number < _LUA_COUNTS_TO else None


def _ask(*command: str | int) -> Dialogue[Reply | StoreError]:
    try:
        return (yield command)
    except StoreError as error:
        return error


def _damaged(name: str, key: str, error: StoreError, standing: list[Standing]) -> Dialogue[None]:
    holds = yield from _type(key)
    standing.append(_as_damage(name, key, holds, str(error), denies=name != "exits"))  # no guard reads that set


def _unguarded(name: str, key: str, standing: list[Standing]) -> Dialogue[None]:
    """Reports a damaged key that no guard reads. It denies nothing, but acts and trips aren't written down in it."""
    holds = yield from _type(key)
    if holds not in (None, _BELONGS[name]):
        standing.append(_as_damage(name, key, holds, "", denies=False))


def _as_damage(name: str, key: str, holds: str | None, error: str, *, denies: bool) -> Standing:
    """A key that can't be read. The problem is the wrong type that the key holds, else the store's error."""
    belongs = _BELONGS[name]
    problem = error if holds in (None, belongs) else f"a {holds}, where a {belongs} belongs"
    return Standing(name, key, denies, None, f"damaged: {problem}", Damage(problem, belongs, holds))


def _type(key: str) -> Dialogue[str | None]:
    return _held_type((yield from _ask("TYPE", key)))


def _held_type(reply: Reply | StoreError) -> str | None:
    return None if isinstance(reply, StoreError) or reply == b"none" else brief(reply)


def _ttl(left: Reply) -> int | None:
    return left if isinstance(left, int) and left >= 0 else None


def _halt(key: str, standing: list[Standing]) -> Dialogue[Halt | None]:
    """The halt; None where its key has none of the fields, or isn't there."""
    found = len(standing)
    parts = yield from _hash(key, HALT_FIELDS, standing)
    if len(standing) > found:
        return UNREADABLE
    return halt_of(parts) if any(parts) else None


def _hash(key: str, names: tuple[str, ...], standing: list[Standing]) -> Dialogue[list[str | None]]:
    reply = yield from _ask("HMGET", key, *names)
    if isinstance(reply, StoreError):
        yield from _damaged(key.rpartition(":")[2], key, reply, standing)
        return [None] * len(names)
    read = {"figures": line_of}
    parts = zip(names, reply, strict=True)
    return [None if part is None else read.get(name, brief)(part) for name, part in parts]


# Keys of one kind are asked together, and only what a key holds costs more than its question: most symbols have nothing
# on.


def _switches(name: str, keys: list[str], reasons: str, standing: list[Standing]) -> Dialogue[None]:
    held = yield from _what_they_hold(name, [("GET", key) for key in keys], standing)
    asked: list[Command] = [
        question
        for key, _ in held
        for question in (("PTTL", key), ("HGET", reasons, key.rpartition(":safety:")[2]), ("PEXPIRETIME", key))
    ]
    replies = yield from _ask_all(asked)
    for (key, value), left, said, until in zip(held, replies[::3], replies[1::3], replies[2::3], strict=True):
        ttl_ms, why = _ttl(left), value
        if value == b"1" and ttl_ms is not None:
            until_ms, _, tripped_by = (said if isinstance(said, bytes) else b"").partition(b" ")
            if isinstance(until, int) and until_ms == b"%d" % until:
                why = tripped_by
        standing.append(Standing(name, key, value != b"0", ttl_ms, brief(why)))


def _locks(keys: list[str], standing: list[Standing]) -> Dialogue[None]:
    held = yield from _what_they_hold("lock", [("GET", key) for key in keys], standing)
    lefts = yield from _ask_all([("PTTL", key) for key, _ in held])
    for (key, _), left in zip(held, lefts, strict=True):
        ttl_ms = _ttl(left)
        detail = "held by a live permit" if ttl_ms else "held, without a TTL"
        standing.append(Standing("lock", key, True, ttl_ms, detail))


def _windows(
    name: str, keys: list[str], limit: int, window_ms: int, now_ms: int, standing: list[Standing]
) -> Dialogue[None]:
    held = yield from _what_they_hold(name, [("LRANGE", key, 0, limit - 1) for key in keys], standing)
    damaged = []
    for key, entries in held:
        try:
            times = [read_whole(line_of(entry)) for entry in entries]
        except ValueError:
            damaged.append((key, StoreError("an entry is not a time")))
            continue
        young = [time_ms for time_ms in times if time_ms + window_ms > now_ms]
        if young:
            full = len(young) >= limit
            wait_ms = young[-1] + window_ms - now_ms
            what = "failures" if name == "failures" else "orders"
            detail = f"{len(young)} of {limit} {what} in {window_ms / 1000:g} s"
            standing.append(Standing(name, key, full, wait_ms, detail))
    yield from _all_damaged(name, damaged, standing)


def _what_they_hold(name: str, questions: list[Command], standing: list[Standing]) -> Dialogue[list[tuple[str, Reply]]]:
    """The keys that hold something, with it. Reports those that can't be read."""
    replies = yield from _ask_all(questions)
    asked = [(str(question[1]), reply) for question, reply in zip(questions, replies, strict=True)]
    yield from _all_damaged(name, [(key, error) for key, error in asked if isinstance(error, StoreError)], standing)
    return [(key, reply) for key, reply in asked if reply and not isinstance(reply, StoreError)]


def _ask_all(questions: list[Command]) -> Dialogue[list[Reply]]:
    if not questions:
        return []
    replies: list[Reply] = yield Pipeline(tuple(questions))
    return replies


def _all_damaged(name: str, damaged: list[tuple[str, StoreError]], standing: list[Standing]) -> Dialogue[None]:
    kinds = yield from _ask_all([("TYPE", key) for key, _ in damaged])
    for (key, error), kind in zip(damaged, kinds, strict=True):
        standing.append(_as_damage(name, key, _held_type(kind), str(error), denies=True))


@dataclass(frozen=True, slots=True)
class _Permits:
    """What the in-flight set holds."""

    live: int = 0
    in_doubt: int = 0
    doubtful: tuple[str, ...] = ()
    reserved: Decimal = Decimal(0)
    symbols: frozenset[str] = frozenset()
    """Of those that were read."""


def _permits(caller: Caller, now_ms: int, standing: list[Standing]) -> Dialogue[_Permits]:
    key = caller.keyspace.inflight
    live, past, overdue, running = yield Pipeline(
        (
            ("ZCOUNT", key, f"({now_ms}", "+inf"),
            ("ZCOUNT", key, "-inf", now_ms),
            ("ZRANGEBYSCORE", key, "-inf", now_ms, "LIMIT", 0, _NAMED_AT_MOST),
            ("ZRANGEBYSCORE", key, f"({now_ms}", "+inf", "LIMIT", 0, _READ_AT_MOST),
        )
    )
    if damage := next((each for each in (live, past, overdue, running) if isinstance(each, StoreError)), None):
        yield from _damaged("in_flight", key, damage, standing)
        return _Permits()
    overdue, running = overdue[:_NAMED_AT_MOST], running[:_READ_AT_MOST]
    doubtful, reserved, unknown = [_intent_id(member) for member in overdue], 0, 0
    ids = [*doubtful, *map(_intent_id, running)]
    copies = yield from copies_in_state(caller, ids)
    for intent_id, member in zip(ids[len(overdue) :], running, strict=True):
        millionths = member.partition(b":")[0]
        reserved += max(0, whole_or_none(line_of(millionths)) or 0)
        # A permit that is settled as unknown is in doubt at once, also before its deadline.
        record = copies.get(intent_id)
        if record is not None and record.phase is Phase.UNKNOWN:
            unknown += 1
            doubtful.append(intent_id)
    symbols = frozenset(record.symbol for record in copies.values() if record.symbol)
    return _Permits(live, past + unknown, tuple(doubtful[:_NAMED_AT_MOST]), Decimal(reserved) / MILLIONTHS, symbols)


def _exits(key: str, now_ms: int, standing: list[Standing]) -> Dialogue[tuple[int, int, tuple[str, ...]]]:
    """How many exits have no final outcome; how many of these are past their deadline, and which are the oldest."""
    past, live, overdue = yield Pipeline(
        (
            ("ZCOUNT", key, "-inf", now_ms),
            ("ZCOUNT", key, f"({now_ms}", "+inf"),
            ("ZRANGEBYSCORE", key, "-inf", now_ms, "LIMIT", 0, _NAMED_AT_MOST),
        )
    )
    if damage := next((each for each in (past, live, overdue) if isinstance(each, StoreError)), None):
        yield from _damaged("exits", key, damage, standing)
        return 0, 0, ()
    return live + past, past, tuple(map(_intent_id, overdue[:_NAMED_AT_MOST]))


def _intent_id(member: bytes) -> str:
    return intent_id_of(member)
