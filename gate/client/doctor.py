"""How an account and its store are, in one look: the server, the rights, the keys, the policy, the guards."""

from __future__ import annotations

import time
from typing import Final

from gate.client.caller import Caller
from gate.client.copies import Server, look_at, server_of
from gate.client.facts import server_now_ms
from gate.client.leftovers import Looked, find
from gate.client.proof import Shown, prove
from gate.client.status import status
from gate.protocol.codec import identify
from gate.protocol.keyspace import Keyspace
from gate.store.failures import Forbidden
from gate.store.identity import ask_identity
from gate.store.wire import Dialogue
from gate.values.clocks import clock_check
from gate.values.diagnosis import Check, Diagnosis, Grade
from gate.values.errors import InvalidField, StoreError, StoreFailure
from gate.values.guards import GUARDS
from gate.values.keys import KEYS
from gate.values.leftovers import Leftovers, Remedy
from gate.values.reports import ACCOUNT_WIDE, EXITS_KEPT, POLICY_FORGOTTEN, Status, verifying_until_ms
from gate.values.server import NOT_REPLAYED, ServerFacts

_NAMED: Final = 10
_OK, _WARNING, _WRONG = Grade.OK, Grade.WARNING, Grade.WRONG


def diagnose(caller: Caller, looked: Looked | None = None, *, proof: bool = True) -> Dialogue[Diagnosis]:
    """Looks at all of it. Writes nothing but, for the proof, under a prefix of its own. Raises StoreUnavailable."""
    word = yield from ask_identity(identify(caller.keyspace))
    server = server_of((yield look_at(caller.keyspace)))
    off_ms = yield from _clock_apart()  # the connection is there by now: it isn't counted
    found = yield from status(caller)
    # What only a loss of memory takes holds up no other entry: connections don't ask for it.
    halts = found.policy.after_memory_loss == "halt" and not caller.keyspace.observing
    may_halt = (yield from ask_identity(identify(caller.keyspace, halts=True))) if halts else word
    checks = [
        *_server(found),
        *(yield from _disk(found.server)),
        *_replay(server),
        _replicas(server.replicas),
        clock_check(off_ms, found.policy.skew_ms),
        _rights(word, may_halt),
        *_account(found),
        *_policy(found),
    ]
    try:
        leftovers = yield from find(Keyspace(caller.keyspace.prefix), looked)
    except StoreError as error:
        leftovers = None
        checks.append(Check("keys", _WARNING, f"the account's keys couldn't be looked through: {error}"))
    checks += _keys(found, leftovers)
    if proof:
        try:
            prefix = caller.keyspace.prefix
            checks += _guards((yield from prove(prefix, found.policy)), prefix)
        except (StoreFailure, InvalidField) as error:
            checks.append(_not_proven(error, caller.keyspace.prefix))
    return Diagnosis(tuple(checks))


def _clock_apart() -> Dialogue[int]:
    """How far the server's clock is ahead of this host's, in ms, as far as a round trip tells."""
    before_ms = time.time_ns() // 1_000_000
    server_ms = yield from server_now_ms()
    return server_ms - (before_ms + time.time_ns() // 1_000_000) // 2


def _server(found: Status) -> list[Check]:
    return [*_facts(found.server), *([Check("server", _WRONG, found.refuses_writes)] if found.refuses_writes else [])]


def _facts(facts: ServerFacts) -> list[Check]:
    if not facts.name:
        unknown = "it doesn't say what it is, so its version, eviction and append-only file are unknown: grant INFO"
        return [Check("server", _WARNING, unknown)]
    checks = [Check("server", _OK, str(facts))]
    for number, complaint in enumerate(facts.complaints):
        checks.append(Check("server", _WRONG if facts.may_evict and not number else _WARNING, complaint))
    return checks


def _disk(facts: ServerFacts) -> Dialogue[list[Check]]:
    """What a server that writes to its file whenever its host likes may lose. INFO doesn't tell; CONFIG is an
    administrator's, and for others nothing is said."""
    if not facts.append_only:
        return []
    try:
        said = yield ("CONFIG", "GET", "appendfsync")
    except StoreError:
        return []
    if said != [b"appendfsync", b"no"]:
        return []
    loses = "a crash of the host may lose the last 30 s and more, halts too, and no act is confirmed"
    return [Check("disk", _WARNING, f"appendfsync no: {loses}; set appendfsync everysec or always")]


def _replicas(replicas: int | None) -> Check:
    if replicas is None:
        return Check("replicas", _WARNING, "the server doesn't say how many are connected")
    if replicas == 0:
        return Check("replicas", _OK, "none is connected: what this server and its disk lose is lost")
    return Check("replicas", _OK, f"{replicas} connected; a failover may still lose what they don't have yet")


def _replay(server: Server) -> list[Check]:
    """What a start makes of the append-only file."""
    if not server.append_only or server.replays:
        return []
    if server.replays is None:
        unknown = f"whether a start reads all of the append-only file back isn't known: {server.replay_doubt}"
        return [Check("disk", _WARNING, unknown)]
    return [Check("disk", _WRONG, f"a start loses halts, records and policy, though the file is on: {NOT_REPLAYED}")]


def _rights(word: str, may_halt: str) -> Check:
    server, _, lacks = word.partition(" lacks ")
    if lacks:
        return Check("rights", _WARNING, f"this user lacks {lacks}: a worker with it gets no entry admitted")
    if server.startswith("?"):
        return Check("rights", _WRONG, f"the server doesn't say which one it is, so it admits no entry: {word[2:]}")
    lacks = may_halt.partition(" lacks ")[2]
    if lacks:
        says = f"this user lacks {lacks}, by which after_memory_loss = halt halts"
        none = "a worker with it gets no entry admitted after a loss, nor on a new account before gate init"
        return Check("rights", _WARNING, f"{says}: {none}. docs/security.md has the clause")
    return Check("rights", _OK, "this user may do all that verdicts and settlements need")


def _account(found: Status) -> list[Check]:
    checks = []
    if not found.ever_seen:
        never = f"no gate has ever run under the prefix {found.prefix} here: is it the right account?"
        checks.append(Check("memory", _WARNING, f"{never} If it is new, gate init says so"))
    elif found.memory_wait_ms is not None:
        why = next(each.detail for each in found.standing if each.name == "memory")
        waits = f"entries wait {-(-found.memory_wait_ms // 1000)} s, exits pass"
        checks.append(Check("memory", _WARNING, f"{waits}: {why}"))
    elif verifying_until_ms(found, found.policy.dedup_ttl_ms) is not None:
        checks.append(Check("memory", _OK, "whole; permits say verify for a while after a loss"))
    elif "state" not in found.damaged:
        checks.append(Check("memory", _OK, "whole"))
    if found.halt is not None:
        scope = "exits too" if found.stops_exits else "exits pass"
        checks.append(Check("halt", _WARNING, f"by {found.halt.by}: {found.halt.reason}; {scope}. gate resume ends it"))
    stops = [each for each in found.standing if each.on and each.name in ACCOUNT_WIDE - {"memory", "halt"}]
    if stops:
        named = "; ".join(f"{each.name} {each.detail}".strip() for each in stops)
        ends = ". gate reset ends a trip whose cause is gone"
        checks.append(Check("stops", _WARNING, f"entries are stopped for the whole account: {named}{ends}"))
    if found.in_doubt:
        many = "an intent" if found.in_doubt == 1 else f"{found.in_doubt} intents"
        checks.append(Check("in doubt", _WARNING, f"{many} may have an order; gate reconcile asks the exchange"))
    if found.exits > EXITS_KEPT:
        checks.append(Check("in doubt", _WARNING, f"{found.exits} exits have no outcome; gate reconcile settles them"))
    if found.observers:
        many = "a caller observes" if len(found.observers) == 1 else f"{len(found.observers)} callers observe"
        checks.append(Check("observers", _WARNING, f"{many}: nothing but a halt holds back what it sends"))
    return checks


def _policy(found: Status) -> list[Check]:
    if not found.policy_agrees:
        checks = [Check("policy", _WRONG, f"entries from here are denied POLICY_MISMATCH: {found.disagreement}")]
    elif found.policy_in_force is None:
        verifies = verifying_until_ms(found, found.policy.dedup_ttl_ms) is not None
        grade = _WARNING if found.memory_wait_ms is not None or verifies else _OK
        none = "none is in force yet; the first admitted entry brings its caller's"
        checks = [Check("policy", grade, f"{none}; {POLICY_FORGOTTEN}")]
    else:
        checks = [Check("policy", _OK, f"{found.policy_in_force} in force, and no other here")]
    return [*checks, *(Check("policy", _WARNING, each) for each in found.policy.warnings)]


def _keys(found: Status, leftovers: Leftovers | None) -> list[Check]:
    """Keys of a wrong type and of other hands, and locks and switches without a time to live. Each is named once."""
    checks: list[Check] = []
    named = set()
    for each in leftovers.found if leftovers else ():
        if each.remedy is Remedy.WAIT:
            continue
        named.add(each.key)
        grade = _WARNING if each.remedy is Remedy.OTHER else _WRONG
        ends = "" if each.remedy is Remedy.COMMAND else "; gate leftovers tells what clears it"
        checks.append(Check("keys", grade, f"{each.key}: {each.problem}{ends}"))
    for standing in found.standing:
        if standing.key in named or standing.name == "memory":
            continue
        if standing.damage is not None:
            key = next(each for each in KEYS.values() if each.shown_as == standing.name)
            clears = f"`{key.cleared_by}`" if key.cleared_by else "DEL"
            says = f"{standing.key}: {standing.damage.problem}; {clears} clears it{key.caution}"
            checks.append(Check("keys", _WRONG, says))
        elif standing.on and standing.ttl_ms is None:
            grade = _WRONG if standing.name == "lock" else _WARNING
            checks.append(Check("keys", grade, f"{standing.key} has no time to live: it stays on until a person's DEL"))
    if len(checks) > _NAMED:
        rest = f"{len(checks) - _NAMED} more; gate leftovers and gate status name them"
        checks = [*checks[:_NAMED], Check("keys", max((each.grade for each in checks[_NAMED:]), key=_rank), rest)]
    if not checks and leftovers is not None:
        checks = [
            Check(
                "keys", _OK, f"{leftovers.looked_at} looked at: each has its type, and no lock or switch lasts for ever"
            )
        ]
    return checks


def _rank(grade: Grade) -> int:
    return list(Grade).index(grade)


def _guards(shown: tuple[Shown, ...], prefix: str) -> list[Check]:
    if shown[-1].failure is not None:
        return [_not_proven(shown[-1].failure, prefix)]
    wrong = [
        Check("guards", _WRONG, f"{each.what}: {each.expected} was expected, and the verdict was {each.said}")
        for each in shown
        if not each.holds
    ]
    if wrong:
        return wrong
    return [Check("guards", _OK, f"proven now: each of the {len(GUARDS)} denies, and an exit passes all that it must")]


def _not_proven(why: Exception, prefix: str) -> Check:
    """A user that may not write there is nothing wrong, nor is a long prefix. A server that refuses the proof would
    refuse a verdict, too."""
    if isinstance(why, Forbidden):
        needs = f"The proof writes below {prefix}:doctor-…, so it needs an administrator's user"
        return Check("guards", _WARNING, f"not proven: {why}. {needs}")
    if isinstance(why, InvalidField):
        return Check("guards", _WARNING, f"not proven: {why}")
    return Check("guards", _WRONG, f"not proven, and an admission would fail alike: {why}")
