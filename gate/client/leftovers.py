"""Finds and clears what the replaced system has left under the gate's names: `1` for a record or a lock, a counter for
a window, keys without a TTL. Keys of others are not looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from gate.client.caller import Caller
from gate.client.scanning import scan
from gate.client.scripted import scripted
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Call, Command, Pipeline, script
from gate.protocol.texts import LONGEST_NAME, MOST_PAGES, NO_END, brief, line_of
from gate.store.wire import Dialogue
from gate.values.errors import StoreError, StoreFailure
from gate.values.fields import check_sentence
from gate.values.keys import KEYS, Key
from gate.values.leftovers import Leftover, Leftovers, Remedy
from gate.values.record import Phase, decode_record
from gate.values.reports import Act

Looked = Callable[[int], None]
"""Is told how many keys have been looked at."""

_SCANNED: Final = 2000
_AT_ONCE: Final = 200
_NAMED_AT_MOST: Final = 10_000
_SHOWN: Final = 300  # a record of the gate is shorter, but for its note


def find(keyspace: Keyspace, looked: Looked | None = None) -> Dialogue[Leftovers]:
    """Looks at each key under the gate's names, some hundred at a time. Raises StoreFailure."""
    found: dict[str, Leftover] = {}
    cursor, count, rounds = b"0", 0, 0
    while True:
        cursor, scanned = yield from scan(cursor, f"{keyspace.base}:[es]*:*", _SCANNED)
        ours = [
            name
            for each in scanned
            if len(each) <= LONGEST_NAME and _is_under(keyspace, name := each.decode(errors="replace"))
        ]
        for names in _some_at_once(ours):
            for leftover in (yield from _look(keyspace, names)):
                found[leftover.key] = leftover
        count += len(ours)
        if looked is not None:
            looked(count)
        rounds += 1
        if rounds > MOST_PAGES:
            raise StoreError(NO_END)
        if cursor == b"0" or len(found) >= _NAMED_AT_MOST:
            return Leftovers(tuple(found[key] for key in sorted(found)), count, cursor == b"0")


def clear(caller: Caller, found: Leftovers, by: str, reason: str, *, others: bool) -> Dialogue[Act]:
    """Clears them. Raises InvalidField, StoreFailure."""
    check_sentence("by", by)
    check_sentence("reason", reason)
    account, lapse_ms = Keyspace(caller.keyspace.prefix), caller.policy.dedup_ttl_ms
    audited, cleared = True, list[str]()
    for command in _calls_to_clear(account, found.found, by, reason, lapse_ms, others=others):
        reply, _ = yield from scripted("leftovers", command)
        audited = audited and bool(reply[0])
        cleared.extend(map(line_of, reply[1:]))
    return Act("leftovers", audited, changed=tuple(cleared))


def _calls_to_clear(
    keyspace: Keyspace, found: Iterable[Leftover], by: str, reason: str, lapse_ms: int, *, others: bool
) -> list[Command]:
    """The calls that clear them: each for leftovers of one kind."""
    remedies = {Remedy.DELETE, Remedy.LAPSE, *([Remedy.OTHER] if others else [])}
    cleared = sorted((each for each in found if each.remedy in remedies), key=lambda each: each.belongs)
    commands = []
    for belongs, kind in groupby(cleared, key=lambda each: each.belongs):
        for some in _some_at_once([each.key for each in kind]):
            call = Call("EVALSHA", script("leftovers"), keyspace.of_account(), open_list=some)
            commands.append(call(by=by, reason=reason, belongs=belongs, lapse_ms=lapse_ms))
    return commands


def _some_at_once(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(names[start : start + _AT_ONCE]) for start in range(0, len(names), _AT_ONCE))


def _is_under(keyspace: Keyspace, name: str) -> bool:
    return name.startswith((f"{keyspace.base}:exec:", f"{keyspace.base}:safety:"))


def _look(keyspace: Keyspace, names: tuple[str, ...]) -> Dialogue[list[Leftover]]:
    answers = yield Pipeline(tuple(asked for name in names for asked in (("TYPE", name), ("PTTL", name))))
    failure = next((each for each in answers if isinstance(each, StoreFailure)), None)
    if failure is not None:
        raise failure  # what couldn't be looked at isn't well
    held = [
        (name, brief(kind), ttl)
        for name, kind, ttl in zip(names, answers[::2], answers[1::2], strict=True)
        if isinstance(kind, bytes) and isinstance(ttl, int) and kind != b"none"
    ]
    read = [name for name, kind, _ in held if kind == "string" and _kind(keyspace, name) in _READ]
    texts = dict(
        zip(read, (yield Pipeline(tuple(("GETRANGE", name, 0, _SHOWN) for name in read))), strict=True) if read else ()
    )
    return [
        leftover
        for name, kind, ttl in held
        if (leftover := _judged(keyspace, name, kind, ttl if ttl >= 0 else None, texts.get(name)))
    ]


_SWITCHES: Final = (KEYS["safe_mode"], KEYS["cooldown_global"], KEYS["cooldown_symbol"])
_READ: Final = (KEYS["record"], KEYS["lock"], *_SWITCHES)
_OFF: Final = "0"


def _kind(keyspace: Keyspace, name: str) -> Key | None:
    """Which kind of key the gate has under this name; None for a name that it doesn't have."""
    for prefix, kind in (
        (keyspace.record_prefix, "record"),
        (keyspace.lock_prefix, "lock"),
        (keyspace.rate_symbol_prefix, "rate_symbol"),
        (keyspace.cooldown_symbol_prefix, "cooldown_symbol"),
    ):
        if name.startswith(prefix):
            return KEYS[kind]
    return next((KEYS[kind] for kind, own in keyspace.of_account().items() if own == name), None)


def _judged(keyspace: Keyspace, name: str, holds: str, ttl_ms: int | None, said: object) -> Leftover | None:
    kind, endless = _kind(keyspace, name), ttl_ms is None
    text = said.decode(errors="replace") if isinstance(said, bytes) else ""
    if kind is None:
        return Leftover(name, "none", f"a {holds}; no script reads it, so it stops nothing", Remedy.OTHER, ttl_ms)
    if kind is KEYS["record"]:
        if holds == kind.holds and decode_record("-", text).phase is not Phase.FOREIGN:
            return None
        what = repr(text[:20]) if holds == kind.holds else f"a {holds}"
        problem = f"{what} for a record: its intent is denied{', for good' if endless else ''}"
        return Leftover(name, "record", problem, Remedy.LAPSE if endless else Remedy.WAIT, ttl_ms)
    if holds != kind.holds:
        problem = f"a {holds}, where a {kind.holds} belongs"
        remedy = Remedy.COMMAND if kind is KEYS["halt"] else Remedy.DELETE
        return Leftover(name, kind.holds, f"{problem}{_ends(kind, remedy)}", remedy, ttl_ms)
    if kind is KEYS["lock"] and endless:
        return Leftover(name, kind.holds, f"{text[:20]!r} without a TTL: nobody's lock", Remedy.DELETE, ttl_ms)
    if kind is KEYS["lock"] and text.isdecimal():
        return Leftover(name, kind.holds, f"{text[:20]!r}: the replaced system's lock", Remedy.WAIT, ttl_ms)
    if kind in _SWITCHES and endless and text != _OFF:
        return Leftover(name, kind.holds, f"on for good{_ends(kind, Remedy.COMMAND)}", Remedy.COMMAND, ttl_ms)
    return None


def _ends(kind: Key, remedy: Remedy) -> str:
    return f"; `{kind.cleared_by}` ends it" if remedy is Remedy.COMMAND else ""
