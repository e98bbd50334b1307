"""The names of all keys of an account. docs/protocol.md lists them."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from typing import Final

from gate.values.errors import InvalidField

DEFAULT_PREFIX: Final = "quantum"
_OBSERVE: Final = ":observe"
_HASH_TAG: Final = re.compile(r"[^{]*\{[^}]+\}")  # a cluster looks only at the first brace


class Keyspace:
    """The keys of one account, which all begin with its prefix. Raises InvalidField for an unusable prefix.

    A caller that observes has keys of its own, so that it touches none which other guards, or enforcing callers, go
    by. Only the halt is the account's.
    """

    def __init__(self, prefix: str = DEFAULT_PREFIX, *, observing: bool = False) -> None:
        if not prefix or len(prefix) > 100 or not prefix.isprintable() or any(c in prefix for c in " *?[]\\^"):
            raise InvalidField(
                "prefix", prefix, "is not a key prefix: 1 to 100 printable characters without spaces or any of *?[]\\^"
            )
        if prefix.endswith(_OBSERVE):
            raise InvalidField("prefix", prefix, f"ends with {_OBSERVE}, where observing callers keep their keys")
        self.prefix: Final = prefix
        self.observing: Final = observing
        self.base: Final = prefix + _OBSERVE if observing else prefix
        self.record_prefix: Final = f"{self.base}:exec:processed:"
        self.lock_prefix: Final = f"{self.base}:exec:lock:"
        self.rate_symbol_prefix: Final = f"{self.base}:exec:rate:symbol:"
        self.cooldown_symbol_prefix: Final = f"{self.base}:safety:cooldown_symbol:"
        self.rate_global: Final = f"{self.base}:exec:rate:global"
        self.failures: Final = f"{self.base}:exec:failures"
        self.inflight: Final = f"{self.base}:exec:inflight"
        self.state: Final = f"{self.base}:exec:state"
        self.halt: Final = f"{prefix}:safety:halt"
        self.safe_mode: Final = f"{self.base}:safety:safe_mode"
        self.cooldown_global: Final = f"{self.base}:safety:cooldown_global"
        self.audit: Final = f"{self.base}:safety:audit"
        self.reasons: Final = f"{self.base}:safety:reasons"
        self.applied: Final = f"{self.base}:safety:policy"
        self.exits: Final = f"{self.base}:exec:inflight:exits"
        self.placed: Final = f"{self.base}:exec:placed"
        self.journal: Final = f"{self.base}:exec:audit"
        self.trip: Final = f"{self.base}:exec:trip"
        self.symbols: Final = f"{self.base}:symbols"
        self.observers: Final = f"{prefix}{_OBSERVE}:callers"
        self._of_order_ids: Final = hashlib.blake2b(f"{prefix}\0".encode(), digest_size=24)

    @property
    def has_hash_tag(self) -> bool:
        """Whether the prefix has a hash tag, which puts all keys into one slot of a cluster."""
        return _HASH_TAG.match(self.prefix) is not None

    def record(self, intent_id: str) -> str:
        """An intent's record."""
        return self.record_prefix + intent_id

    def permit_field(self, intent_id: str) -> str:
        """The field of `state` that holds a copy of the record until the permit has its final outcome."""
        return f"permit:{intent_id}"

    def lock(self, symbol: str, side: str) -> str:
        """The lock of a symbol and side. It holds the token of the permit that locks them."""
        return f"{self.lock_prefix}{symbol}:{side}"

    def rate_symbol(self, symbol: str) -> str:
        """The window of a symbol: the times of its admissions."""
        return self.rate_symbol_prefix + symbol

    def cooldown_symbol(self, symbol: str) -> str:
        """A symbol's cooldown."""
        return self.cooldown_symbol_prefix + symbol

    def of_account(self) -> dict[str, str]:
        """The keys that exist once for an account, by their names in the scripts' headers."""
        return {
            "rate_global": self.rate_global,
            "failures": self.failures,
            "inflight": self.inflight,
            "state": self.state,
            "halt": self.halt,
            "safe_mode": self.safe_mode,
            "cooldown_global": self.cooldown_global,
            "audit": self.audit,
            "reasons": self.reasons,
            "applied": self.applied,
            "exits": self.exits,
            "placed": self.placed,
            "journal": self.journal,
            "trip": self.trip,
        }

    def of_intent(self, intent_id: str, symbol: str, side: str) -> dict[str, str]:
        """The keys that depend on an intent, by their names in the scripts' headers."""
        return {
            "record": self.record_prefix + intent_id,
            "lock": f"{self.lock_prefix}{symbol}:{side}",
            "rate_symbol": self.rate_symbol_prefix + symbol,
            "cooldown_symbol": self.cooldown_symbol_prefix + symbol,
        }

    def client_order_id(self, intent_id: str) -> str:
        """The client order id of an intent, the same on every host and for every try: 34 of A-Z a-z 0-9 _ and -.

        It is a hash: intent ids may be longer than the exchange's 36 characters, and have characters that it refuses.
        """
        digest = self._of_order_ids.copy()
        digest.update(intent_id.encode())
        return "g-" + urlsafe_b64encode(digest.digest()).decode()
