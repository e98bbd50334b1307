"""A caller of an account's operations: its keys, its policy, and what it remembers from one operation to the next."""

from __future__ import annotations

import secrets
from typing import Final

from gate.client.observing import Observing
from gate.client.symbols import NotingSymbols
from gate.client.unheard import UnheardCalls
from gate.protocol.codec import Protocol
from gate.protocol.keyspace import Keyspace
from gate.values.errors import InvalidPolicy
from gate.values.fields import LARGEST_WHOLE
from gate.values.log_words import log_of, pairs
from gate.values.policy import Policy, policy_of_figures

_NO_FENCE: Final = LARGEST_WHOLE  # Lua can't count by one beyond it, so a fence that reaches it is damage
_log: Final = log_of("gate")


class Caller:
    """One caller of an account. Without a policy of its own, it follows the one in force. No I/O."""

    def __init__(self, prefix: str, policy: Policy | None) -> None:
        self.follows: Final = policy is None
        own = policy or Policy()
        self.keyspace: Final = Keyspace(prefix, observing=own.observes)
        self.protocol = Protocol(self.keyspace, own)
        self.fence_seen = 0
        """The highest fence that the store has counted."""
        self.unheard: Final = UnheardCalls(own.lock_ttl_ms)
        self.symbols: Final = NotingSymbols(self.keyspace.symbols)
        self.observer: Final = Observing(self.keyspace, own.fingerprint) if own.observes else None
        """None for a caller that enforces."""

    @property
    def policy(self) -> Policy:
        """The caller's own policy, or the one that it follows, as it has last seen it."""
        return self.protocol.policy

    def in_force(self, fingerprint: str, figures: str | None) -> Policy | None:
        """The policy in force, from the state's fields; None where its figures can't be read. Follows it."""
        try:
            policy = policy_of_figures(fingerprint, figures or "")
        except InvalidPolicy:
            return None
        self.follow(fingerprint, policy)
        return policy

    def take_over(self, told: str) -> bool:
        """Follows the policy of which a reply tells, `fingerprint figures`. False where that changes nothing."""
        fingerprint, _, figures = told.partition(" ")
        try:
            return self.follow(fingerprint, policy_of_figures(fingerprint, figures))
        except InvalidPolicy as unreadable:
            _log.error("POLICY NOT FOLLOWED %s", pairs(policy=fingerprint, detail=unreadable))
            return False

    def follow(self, fingerprint: str, policy: Policy) -> bool:
        """Takes over the policy in force. False where that changes nothing, or the caller has its own."""
        if not self.follows or fingerprint == self.protocol.policy_fingerprint:
            return False
        differ = "; ".join(f"{name} {was} -> {now}" for name, was, now in self.policy.differences(policy))
        _log.info("POLICY FOLLOWED %s", pairs(policy=fingerprint, detail=differ))
        self.unheard.lifetime_ns = max(self.unheard.lifetime_ns, policy.lock_ttl_ms * 1_000_000)
        self.protocol = Protocol(self.keyspace, policy, fingerprint)
        return True

    def saw(self, fence: int, line: str = "") -> None:
        """Remembers the highest fence that the store has counted. A lower fence later shows that the store lost data.

        `line`: the record that has the fence; empty for the store's own count.
        """
        if self.fence_seen < fence < _NO_FENCE and not _is_of_the_clock(fence, line):
            self.fence_seen = fence


def _is_of_the_clock(fence: int, line: str) -> bool:
    """Whether it is an exit's from a damaged state: the moment of its admission in µs (lua/include/next_fence.lua). No
    counter comes near it, so once the state is mended, what it counts would look like a loss."""
    return line.split(" ", 5)[4:5] == [str(fence // 1000)]


def new_token() -> str:
    return secrets.token_urlsafe(12)
