"""The state of an account. Each key is read by itself, so a damaged key shows as damaged and hides no other key."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gate.client.dialogues import HALT_FIELDS, Calls, Dialogue, halt_of
from gate.client.observing import observers
from gate.protocol.keyspace import Keyspace
from gate.protocol.texts import brief, line_of, whole_or_none
from gate.store.wire import Reply
from gate.values.errors import StoreError
from gate.values.fields import read_whole
from gate.values.guards import GUARDS
from gate.values.keys import KEYS
from gate.values.policy import Policy
from gate.values.record import MILLIONTHS, Phase, decode_record
from gate.values.reports import Damage, Standing, Status
from gate.values.server import ServerFacts, server_facts
from gate.values.verdict import Mode

_RUN_ID: Final = re.compile(rb"\nrun_id:(\w+)")
_READ_AT_MOST: Final = 1000  # members of the in-flight set; a sensible max_in_flight is far below
_NAMED_AT_MOST: Final = 100
_MOST_SAID: Final = 65_536  # bytes of what a server says of itself
_LUA_COUNTS_TO: Final = 2**53
_LONGEST_NUMBER: Final = 1000  # digits; Python refuses to read some thousands, and leading zeros are allowed
_BELONGS: Final = {key.shown_as: key.holds for key in KEYS.values()}
_PACKED: Final = struct.Struct(">7d")
"""What the state keeps of permits in flight and of the last admission: lua/include/in_flight_packed.lua."""
_CLOCKS_APART_MS: Final = 1000
_PLACES: Final = {
    "state": 0,
    **{guard.name: place for place, guard in enumerate(GUARDS)},
    "audit": len(GUARDS),
    "reasons": len(GUARDS) + 1,
}


def status(calls: Calls) -> Dialogue[Status]:
    """Reads the account's state. Damage to single keys is part of the answer. Raises StoreUnavailable."""
    keys = calls.keyspace
    seconds, micros = yield ("TIME",)
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    standing: list[Standing] = []

    state = yield from _hash(keys.state, ("fence", "since", "policy", "run_id", "lost", "figures"), standing)
    # The figures in force decide, whoever asks.
    in_force = calls.in_force(state[2], state[5]) if state[2] else None
    policy = in_force or calls.policy
    info = yield from _ask("INFO", "server", "memory", "persistence")
    server = info[:_MOST_SAID] if isinstance(info, bytes) else b""
    facts = server_facts(server.decode(errors="replace"))
    lost_ms = None
    if not standing:
        lost_ms = yield from _memory(calls.keyspace.state, policy.memory_wait_ms, state, server, now_ms, standing)
        if not any(each.name == "memory" for each in standing):
            yield from _clock(keys, policy, facts, now_ms, standing)
    halted = yield from _hash(keys.halt, HALT_FIELDS, standing)
    halt = halt_of(halted) if any(halted) or (yield from _ask("EXISTS", keys.halt)) == 1 else None

    yield from _switch("safe_mode", keys.safe_mode, keys.reasons, standing)
    yield from _switch("cooldown_global", keys.cooldown_global, keys.reasons, standing)
    yield from _window(
        "failures", keys.failures, policy.failure_limit, policy.failure_window_ms, now_ms, "failures", standing
    )
    yield from _window(
        "rate_global",
        keys.rate_global,
        policy.rate_global_limit,
        policy.rate_global_window_ms,
        now_ms,
        "orders",
        standing,
    )
    permits = yield from _permits(calls, now_ms, standing)

    # One scan finds every key of a symbol. The pattern doesn't match records, which are by far the most keys.
    for key in (yield from calls.scan(f"{keys.base}:[es]*:[lrc]*")):
        if key.startswith(keys.cooldown_symbol_prefix):
            yield from _switch("cooldown_symbol", key, keys.reasons, standing)
        elif key.startswith(keys.lock_prefix):
            yield from _lock(key, standing)
        elif key.startswith(keys.rate_symbol_prefix):
            yield from _window(
                "rate_symbol", key, policy.rate_symbol_limit, policy.rate_symbol_window_ms, now_ms, "orders", standing
            )
    yield from _unguarded("audit", keys.audit, standing)
    yield from _unguarded("reasons", keys.reasons, standing)

    fence, since, fingerprint = _whole(state[0]), _whole(state[1]), state[2]
    if fence is not None:
        calls.saw(fence)
    return Status(
        prefix=keys.prefix,
        now_ms=now_ms,
        halt=halt,
        standing=tuple(sorted(standing, key=lambda each: _PLACES[each.name])),
        in_flight=permits.live,
        in_doubt=permits.in_doubt,
        doubtful=permits.doubtful,
        reserved=permits.reserved,
        fence=fence or 0,
        memory_since_ms=since,
        policy_in_force=fingerprint,
        policy_own=calls.protocol.policy_fingerprint,
        policy=policy,
        differing=in_force.differences(calls.policy) if in_force else (),
        mode=Mode(calls.policy.mode),
        observers=(yield from observers(keys.observers)),
        memory_lost_ms=lost_ms,
        evicts=facts.may_evict,
        server=facts,
    )


def _memory(
    key: str, wait_ms: int, state: list[str | None], server: bytes, now_ms: int, standing: list[Standing]
) -> Dialogue[int | None]:
    """A memory that is new denies entries, and so does damage to it. Where nobody has noticed a loss yet, the next
    verdict does. Returns the time of a noticed one."""
    fence, since, _, known, lost, _ = state
    if any(text is not None and _whole(text) is None for text in (fence, since, lost)):
        damage = StoreError("fence, since or lost is not a whole number")
        yield from _damaged("state", key, damage, standing)
        return None
    lost_ms = None
    found = _RUN_ID.search(server)
    if fence is None or since is None:
        detail = "nothing is known of this account; if it is new, `gate init` says so"
    elif found and known != found[1].decode():
        detail = "another server answers than before, or it has restarted; the next verdict begins the wait"
    elif (noticed_ms := _whole(lost)) is not None and noticed_ms + wait_ms > now_ms:
        lost_ms = noticed_ms
        wait_ms = noticed_ms + wait_ms - now_ms
        detail = "new: an order of before may still be on its way; if none can, `gate init` says so"
    else:
        return None
    standing.append(Standing("memory", key, True, wait_ms, detail))
    return lost_ms


def _clock(keys: Keyspace, policy: Policy, facts: ServerFacts, now_ms: int, standing: list[Standing]) -> Dialogue[None]:
    """Whether the server's clock has been ahead, as memory.lua finds it at the next verdict."""
    kept = yield from _ask("HGET", keys.state, "in_flight")
    if not isinstance(kept, bytes) or len(kept) != _PACKED.size:
        return
    *_, last_ms, lapses_ms = _PACKED.unpack(kept)
    gone_back = (last_ms - now_ms) * 2 > max(policy.dedup_ttl_ms - policy.max_age_ms, 2000)
    if not gone_back and lapses_ms - now_ms > _CLOCKS_APART_MS and not facts.may_evict:
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
    standing.append(_as_damage(name, key, holds, str(error), denies=True))


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
    reply = yield from _ask("TYPE", key)
    return None if isinstance(reply, StoreError) or reply == b"none" else brief(reply)


def _ttl(key: str) -> Dialogue[int | None]:
    left: int = yield ("PTTL", key)
    return left if left >= 0 else None


def _hash(key: str, names: tuple[str, ...], standing: list[Standing]) -> Dialogue[list[str | None]]:
    reply = yield from _ask("HMGET", key, *names)
    if isinstance(reply, StoreError):
        yield from _damaged(key.rpartition(":")[2], key, reply, standing)
        return [None] * len(names)
    read = {"figures": line_of}
    parts = zip(names, reply, strict=True)
    return [None if part is None else read.get(name, brief)(part) for name, part in parts]


def _switch(name: str, key: str, reasons: str, standing: list[Standing]) -> Dialogue[None]:
    reply = yield from _ask("GET", key)
    if isinstance(reply, StoreError):
        yield from _damaged(name, key, reply, standing)
    elif reply is not None:
        ttl_ms = yield from _ttl(key)
        why = reply
        if reply == b"1" and ttl_ms is not None:
            said = yield from _ask("HGET", reasons, key.rpartition(":safety:")[2])
            until_ms, _, tripped_by = (said if isinstance(said, bytes) else b"").partition(b" ")
            if until_ms == b"%d" % (yield ("PEXPIRETIME", key)):
                why = tripped_by
        standing.append(Standing(name, key, reply != b"0", ttl_ms, brief(why)))


def _lock(key: str, standing: list[Standing]) -> Dialogue[None]:
    reply = yield from _ask("GET", key)
    if isinstance(reply, StoreError):
        yield from _damaged("lock", key, reply, standing)
    elif reply is not None:
        ttl_ms = yield from _ttl(key)
        standing.append(
            Standing("lock", key, True, ttl_ms, "held by a live permit" if ttl_ms else "held, without a TTL")
        )


def _window(
    name: str, key: str, limit: int, window_ms: int, now_ms: int, what: str, standing: list[Standing]
) -> Dialogue[None]:
    reply = yield from _ask("LRANGE", key, 0, limit - 1)
    if isinstance(reply, StoreError):
        yield from _damaged(name, key, reply, standing)
        return
    try:
        times = [read_whole(line_of(entry)) for entry in reply]
    except ValueError:
        yield from _damaged(name, key, StoreError("an entry is not a time"), standing)
        return
    young = [time_ms for time_ms in times if time_ms + window_ms > now_ms]
    if young:
        full = len(young) >= limit
        wait_ms = young[-1] + window_ms - now_ms
        standing.append(Standing(name, key, full, wait_ms, f"{len(young)} of {limit} {what} in {window_ms / 1000:g} s"))


@dataclass(frozen=True, slots=True)
class _Permits:
    """What the in-flight set holds."""

    live: int = 0
    in_doubt: int = 0
    doubtful: tuple[str, ...] = ()
    reserved: Decimal = Decimal(0)


def _permits(calls: Calls, now_ms: int, standing: list[Standing]) -> Dialogue[_Permits]:
    key = calls.keyspace.inflight
    live = yield from _ask("ZCOUNT", key, f"({now_ms}", "+inf")
    if isinstance(live, StoreError):
        yield from _damaged("in_flight", key, live, standing)
        return _Permits()
    past = yield ("ZCOUNT", key, "-inf", now_ms)
    overdue = yield ("ZRANGEBYSCORE", key, "-inf", now_ms, "LIMIT", 0, _NAMED_AT_MOST)
    running = yield ("ZRANGEBYSCORE", key, f"({now_ms}", "+inf", "LIMIT", 0, _READ_AT_MOST)
    doubtful, reserved, unknown = [_intent_id(member) for member in overdue], 0, 0
    for member in running[:_READ_AT_MOST]:
        millionths = member.partition(b":")[0]
        reserved += max(0, whole_or_none(line_of(millionths)) or 0)
        record = yield from _ask("GET", calls.keyspace.record(_intent_id(member)))
        # A permit that is settled as unknown is in doubt at once, also before its deadline.
        text = line_of(record) if isinstance(record, bytes) else ""
        if decode_record(_intent_id(member), text).phase is Phase.UNKNOWN:
            unknown += 1
            doubtful.append(_intent_id(member))
    return _Permits(live, past + unknown, tuple(doubtful[:_NAMED_AT_MOST]), Decimal(reserved) / MILLIONTHS)


def _intent_id(member: bytes) -> str:
    return brief(member.partition(b":")[2])
