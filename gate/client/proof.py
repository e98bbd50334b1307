"""A live proof that every guard denies on this server, and that an exit passes: under a prefix that is made for it.

For each guard one trip prepares the state in which that guard alone denies, asks for a verdict, and deletes every key
again. All of it reaches the server at once, so that a caller that dies leaves nothing behind. A DEL of these keys comes
before anything is written: a user that may not delete them doesn't get to write them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from gate.client.caller import Caller
from gate.client.facts import facts_if_told, server_now_ms
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Command, Encoded, Pipeline, script
from gate.store.failures import ScriptMissing
from gate.store.wire import Dialogue, Reply
from gate.values.errors import InvalidField, StoreFailure
from gate.values.guards import GUARDS, Reason
from gate.values.intent import Intent
from gate.values.policy import Policy

_SYMBOL: Final = "BTCUSDT"
_ID: Final = "proof"
_MOST: Final = 100
"""A higher limit of the policy counts as this: each entry of a full window is written."""
_A_WHILE_MS: Final = 60_000
_A_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Shown:
    """What one part of the proof has shown."""

    what: str
    expected: str
    said: str
    """The word of the verdict; empty where there was none."""
    failure: StoreFailure | None = None
    """Why there was no verdict."""

    @property
    def holds(self) -> bool:
        """Whether the verdict was the one expected."""
        return self.failure is None and self.said == self.expected


def prove(prefix: str, policy: Policy) -> Dialogue[tuple[Shown, ...]]:
    """Has every guard deny, with the figures of a policy. Ends at the first part without a verdict. Raises
    StoreFailure, and InvalidField for a prefix that is too long to have another one below it."""
    scratch = f"{prefix}:doctor-{secrets.token_hex(4)}"
    try:
        caller = Caller(scratch, _as_proven(policy))
    except InvalidField:
        raise InvalidField("prefix", prefix, "leaves no room for a prefix below it") from None
    now_ms = yield from server_now_ms()
    server = yield from facts_if_told()
    state = _State(caller, now_ms, server.run_id)
    load = "SCRIPT", "LOAD", script("evaluate").source
    yield state.forget()
    yield load
    found: list[Shown] = []
    for what, expected, commands, asked in _parts(state):
        message = Pipeline((state.whole(), *commands, asked, state.forget()))
        shown = _shown(what, expected, (yield message))
        if isinstance(shown.failure, ScriptMissing):  # somebody has flushed the scripts meanwhile
            yield load
            shown = _shown(what, expected, (yield message))
        found.append(shown)
        if shown.failure is not None:
            break
    return tuple(found)


def _as_proven(policy: Policy) -> Policy:
    """The policy, enforced, with limits that one trip can fill, and with times that outlast the proof."""
    limits = ("rate_symbol_limit", "rate_global_limit", "failure_limit", "max_in_flight")
    times = ("rate_symbol_window_ms", "rate_global_window_ms", "failure_window_ms", "max_age_ms", "lock_ttl_ms")
    figures = {name: min(getattr(policy, name), _MOST) for name in limits}
    figures |= {name: min(max(getattr(policy, name), _A_WHILE_MS), _A_DAY_MS) for name in times}
    dedup_ttl_ms = max(policy.dedup_ttl_ms, figures["max_age_ms"] + figures["lock_ttl_ms"])
    return replace(policy, mode="enforce", after_memory_loss="verify", dedup_ttl_ms=dedup_ttl_ms, **figures)


def _shown(what: str, expected: str, replies: list[Reply]) -> Shown:
    failure = next((each for each in replies if isinstance(each, StoreFailure)), None)
    if failure is not None:
        return Shown(what, expected, "", failure)
    word = replies[-2].partition(b" ")[0].decode(errors="replace")
    return Shown(what, expected, Reason.ADMITTED.value if word == "admitted" else word)


@dataclass(frozen=True, slots=True)
class _State:
    """The account of the proof."""

    caller: Caller
    now_ms: int
    run_id: str

    @property
    def keys(self) -> Keyspace:
        return self.caller.keyspace

    def whole(self) -> Command:
        """Makes the account one whose memory is whole."""
        return "HSET", self.keys.state, "fence", 1, "since", 1, "run_id", self.run_id

    def forget(self) -> Command:
        """Deletes every key that a part may have written."""
        of_intent = self.keys.of_intent(_ID, _SYMBOL, "BUY")
        return ("DEL", *self.keys.of_account().values(), *of_intent.values())

    def asks(self, *, notional: str = "100", age_ms: int = 0, is_exit: bool = False) -> Encoded:
        """The call of evaluate for one intent."""
        intent = Intent(
            id=_ID,
            symbol=_SYMBOL,
            side="BUY",
            timestamp=self.now_ms - age_ms,
            **({"quantity": "1", "reduce_only": True} if is_exit else {"notional": notional}),
        )
        reserve = Decimal(0) if is_exit else self.caller.protocol.reserve(intent)
        return self.caller.protocol.evaluate(intent, secrets.token_urlsafe(12), 0, reserve)

    def times(self, key: str, count: int) -> Command:
        """A full window."""
        return ("LPUSH", key, *[self.now_ms] * count)

    def halted(self, scope: str) -> Command:
        return ("HSET", self.keys.halt, "scope", scope, "by", "gate doctor", "reason", "proof", "at", self.now_ms)

    def switched_on(self, key: str) -> Command:
        return ("SET", key, "1", "PX", _A_WHILE_MS)

    def full(self) -> Command:
        """As many permits in flight as there may be."""
        members = [
            part for n in range(self.caller.policy.max_in_flight) for part in (self.now_ms + _A_WHILE_MS, f"1:p-{n}")
        ]
        return ("ZADD", self.keys.inflight, *members)


_Part = tuple[str, str, tuple[Command | Encoded, ...], Encoded]


def _parts(state: _State) -> list[_Part]:
    """Each part: its name, the verdict expected, what prepares it, and the intent."""
    keys, policy = state.keys, state.caller.policy
    of_intent = keys.of_intent(_ID, _SYMBOL, "BUY")
    denies: dict[str, Callable[[], tuple[Command | Encoded, ...]]] = {
        "conflict": lambda: (state.asks(notional="200"),),
        "duplicate": lambda: (state.asks(),),
        "stale": tuple,
        "policy": lambda: (("HSET", keys.state, "policy", "another"),),
        "memory": lambda: (("HSET", keys.state, "lost", state.now_ms),),
        "halt": lambda: (state.halted("entries"),),
        "safe_mode": lambda: (state.switched_on(keys.safe_mode),),
        "failures": lambda: (state.times(keys.failures, policy.failure_limit),),
        "cooldown_global": lambda: (state.switched_on(keys.cooldown_global),),
        "cooldown_symbol": lambda: (state.switched_on(of_intent["cooldown_symbol"]),),
        "lock": lambda: (state.switched_on(of_intent["lock"]),),
        "in_flight": lambda: (state.full(),),
        "rate_symbol": lambda: (state.times(of_intent["rate_symbol"], policy.rate_symbol_limit),),
        "rate_global": lambda: (state.times(keys.rate_global, policy.rate_global_limit),),
    }
    admitted = Reason.ADMITTED.value
    parts: list[_Part] = [("an entry, with nothing on", admitted, (), state.asks())]
    for guard in GUARDS:
        age_ms = policy.max_age_ms + 1_000 if guard.name == "stale" else 0
        parts.append((guard.name, guard.reason.value, denies[guard.name](), state.asks(age_ms=age_ms)))
    stops = [part for guard in GUARDS if guard.exempts_exits for part in denies[guard.name]()]
    parts.append(("an exit, with every stop on", admitted, (*stops, state.halted("entries")), state.asks(is_exit=True)))
    parts.append(("an exit, halted too", Reason.HALTED.value, (state.halted("all"),), state.asks(is_exit=True)))
    return parts
