"""The keys of an account: what each holds, and what is lost with it. docs/protocol.md says what the values mean."""

from __future__ import annotations

from typing import Final, NamedTuple

from gate.values.guards import GUARDS, Guard


class Key(NamedTuple):
    """One kind of key."""

    name: str
    """As the headers of the scripts name it."""
    pattern: str
    """After the prefix and a colon."""
    holds: str
    """The Redis type of its value."""
    cleared_by: str = ""
    """The command that clears it, audited; empty if only DEL does."""
    caution: str = ""
    """What a person loses by deleting it."""

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The guards that read it."""
        return tuple(guard for guard in GUARDS if guard.key == self.name)

    @property
    def of_account(self) -> bool:
        """Whether an account has one such key, and not one for each symbol or intent."""
        return "{" not in self.pattern

    @property
    def shown_as(self) -> str:
        """Its name in reports: that of its guard, if the two differ by no more than a letter."""
        return "in_flight" if self.name == "inflight" else self.name


KEYS: Final = {
    key.name: key
    for key in (
        Key(
            "record",
            "exec:processed:{intent_id}",
            "string",
            caution="; but ask the exchange for its order first: without the record the intent may be admitted again",
        ),
        Key("lock", "exec:lock:{symbol}:{side}", "string"),
        Key("rate_symbol", "exec:rate:symbol:{symbol}", "list"),
        Key("cooldown_symbol", "safety:cooldown_symbol:{symbol}", "string", "gate reset cooldowns"),
        Key("rate_global", "exec:rate:global", "list", caution="; after that, entries wait as after a loss of memory"),
        Key("failures", "exec:failures", "list", "gate reset failures"),
        Key(
            "inflight",
            "exec:inflight",
            "zset",
            caution="; but note its members first (ZRANGE): without the key nothing shows which intents are in doubt",
        ),
        Key(
            "state",
            "exec:state",
            "hash",
            caution="; after that, entries wait and permits say verify as after a loss of memory, and intents in doubt "
            "must be reconciled before their records lapse",
        ),
        Key("halt", "safety:halt", "hash", "gate resume"),
        Key("safe_mode", "safety:safe_mode", "string", "gate reset safe_mode"),
        Key("cooldown_global", "safety:cooldown_global", "string", "gate reset cooldowns"),
        Key("audit", "safety:audit", "stream"),
        Key("reasons", "safety:reasons", "hash"),
        Key("applied", "safety:policy", "string", caution="; the policy of the state's copy is in force then"),
        Key("journal", "exec:audit", "stream"),
        Key("trip", "exec:trip", "string"),
        Key(
            "exits",
            "exec:inflight:exits",
            "zset",
            caution="; but note its members first (ZRANGE): without the key nothing shows which exits are in doubt",
        ),
        Key(
            "placed",
            "exec:placed",
            "list",
            caution="; for seconds after it, a worker that begins may take margin for free that orders of others hold",
        ),
    )
}
"""In the order of the header of lua/settle.lua."""
