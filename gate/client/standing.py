"""What stands on an account, read key by key: a key that holds something is a standing, a damaged one too."""

from __future__ import annotations

from typing import Final

from gate.client.halts import HALT_FIELDS, UNREADABLE, halt_of
from gate.protocol.scripts import Command, Pipeline
from gate.protocol.texts import brief, line_of
from gate.store.wire import Dialogue, Reply
from gate.values.errors import StoreError
from gate.values.fields import read_whole
from gate.values.keys import KEYS
from gate.values.reports import Damage, Halt, Standing

_BELONGS: Final = {key.shown_as: key.holds for key in KEYS.values()}


def ask(*command: str | int) -> Dialogue[Reply | StoreError]:
    """The reply, also where it is an error. Raises StoreUnavailable."""
    try:
        return (yield command)
    except StoreError as error:
        return error


def report_damage(name: str, key: str, error: StoreError, standing: list[Standing]) -> Dialogue[None]:
    """Reports a key that can't be read. `error` is shown where the key's type is right."""
    holds = yield from _type(key)
    standing.append(_as_damage(name, key, holds, str(error), denies=name != "exits"))  # no guard reads that set


def report_unguarded(name: str, key: str, standing: list[Standing]) -> Dialogue[None]:
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
    return _held_type((yield from ask("TYPE", key)))


def _held_type(reply: Reply | StoreError) -> str | None:
    return None if isinstance(reply, StoreError) or reply == b"none" else brief(reply)


def _ttl(left: Reply) -> int | None:
    return left if isinstance(left, int) and left >= 0 else None


def read_halt(key: str, standing: list[Standing]) -> Dialogue[Halt | None]:
    """The halt; None where its key has none of the fields, or isn't there."""
    found = len(standing)
    parts = yield from read_fields(key, HALT_FIELDS, standing)
    if len(standing) > found:
        return UNREADABLE
    return halt_of(parts) if any(parts) else None


def read_fields(key: str, names: tuple[str, ...], standing: list[Standing]) -> Dialogue[list[str | None]]:
    """A hash's fields; None for each that it lacks. Where it can't be read it lacks all, and is reported."""
    reply = yield from ask("HMGET", key, *names)
    if isinstance(reply, StoreError):
        yield from report_damage(key.rpartition(":")[2], key, reply, standing)
        return [None] * len(names)
    read = {"figures": line_of}
    parts = zip(names, reply, strict=True)
    return [None if part is None else read.get(name, brief)(part) for name, part in parts]


# Keys of one kind are asked together, and only what a key holds costs more than its question: most symbols have nothing
# on.


def report_switches(name: str, keys: list[str], reasons: str, standing: list[Standing]) -> Dialogue[None]:
    """Reports the switches that are on, with the trip that has switched them on; `reasons` keeps these."""
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
        standing.append(Standing(name, key, value != b"0", ttl_ms, brief(why) or "an empty text"))


def report_locks(keys: list[str], standing: list[Standing]) -> Dialogue[None]:
    """Reports the locks that are held."""
    held = yield from _what_they_hold("lock", [("GET", key) for key in keys], standing)
    lefts = yield from _ask_all([("PTTL", key) for key, _ in held])
    for (key, _), left in zip(held, lefts, strict=True):
        ttl_ms = _ttl(left)
        detail = "held by a live permit" if ttl_ms else "held, without a TTL"
        standing.append(Standing("lock", key, True, ttl_ms, detail))


def report_windows(
    name: str, keys: list[str], limit: int, window_ms: int, now_ms: int, standing: list[Standing]
) -> Dialogue[None]:
    """Reports the windows that have a young entry, and which of them are full."""
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
    yield from _report_all_damage(name, damaged, standing)


def _what_they_hold(name: str, questions: list[Command], standing: list[Standing]) -> Dialogue[list[tuple[str, Reply]]]:
    """The keys that hold something, with it. Reports those that can't be read."""
    replies = yield from _ask_all(questions)
    asked = [(str(question[1]), reply) for question, reply in zip(questions, replies, strict=True)]
    damaged = [(key, error) for key, error in asked if isinstance(error, StoreError)]
    yield from _report_all_damage(name, damaged, standing)
    return [(key, reply) for key, reply in asked if not (isinstance(reply, StoreError) or reply in (None, []))]


def _ask_all(questions: list[Command]) -> Dialogue[list[Reply]]:
    if not questions:
        return []
    replies: list[Reply] = yield Pipeline(tuple(questions))
    return replies


def _report_all_damage(name: str, damaged: list[tuple[str, StoreError]], standing: list[Standing]) -> Dialogue[None]:
    kinds = yield from _ask_all([("TYPE", key) for key, _ in damaged])
    for (key, error), kind in zip(damaged, kinds, strict=True):
        standing.append(_as_damage(name, key, _held_type(kind), str(error), denies=True))
