"""What every guard says about an intent now, and what is on for the account: reports, without any writes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gate.values.record import Record
from gate.values.verdict import Mode, Permit, Reason


@dataclass(frozen=True, slots=True)
class GuardReport:
    """One guard's answer."""

    guard: str
    passed: bool
    key: str
    """The key that it reads; empty for the intent's age."""
    reason: Reason | None = None
    """What the verdict would say, were this the first guard to deny."""
    wait_ms: int | None = None
    """How long it will go on denying; None when it passes, or nobody can tell."""
    detail: str = ""
    exempt: bool = False
    """It leaves the intent alone, for the intent is an exit. It counts as passed."""
    age_ms: int | None = None
    """When the intent's age denies: that age on the server's clock; below 0 when its time is still to come."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the gate would say to an intent. True when it would be admitted."""

    guards: tuple[GuardReport, ...]
    mode: Mode
    now_ms: int
    """The server's clock, epoch ms."""

    @property
    def denial(self) -> GuardReport | None:
        """The first guard that denies."""
        return next((report for report in self.guards if not report.passed), None)

    @property
    def admitted(self) -> bool:
        """Whether the intent would be admitted."""
        return self.mode is Mode.OBSERVE or self.denial is None

    @property
    def reason(self) -> Reason:
        """ADMITTED, or what it would be denied for."""
        denial = self.denial
        return Reason.ADMITTED if denial is None or denial.reason is None else denial.reason

    def __bool__(self) -> bool:
        return self.admitted


@dataclass(frozen=True, slots=True)
class Damage:
    """Why the gate can't read a key."""

    problem: str
    """In words, for a person."""
    belongs: str
    """The type of value that belongs there, as Redis calls it: `string`, `hash`, `list`, `zset`, `stream`."""
    holds: str | None
    """The type of value that the key holds; None when it is gone by now, or nobody can tell."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One key that is on, counting, or damaged. `on`: it denies entries. `ttl_ms` is None without a TTL."""

    name: str
    key: str
    on: bool
    ttl_ms: int | None
    detail: str
    damage: Damage | None = None
    """What is wrong with it; None when it can be read."""


@dataclass(frozen=True, slots=True)
class Halt:
    """A stop that a person has made. What its key doesn't say is `?`."""

    scope: str
    by: str
    reason: str
    at_ms: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that is on for an account, in one look. Not one atomic read: each line is true for its moment."""

    prefix: str
    now_ms: int
    halt: Halt | None
    standing: tuple[Standing, ...]
    in_flight: int
    """Live permits."""
    in_doubt: int
    """Permits past their deadline that nobody has settled, and those settled as unknown: reconcile them."""
    doubtful: tuple[str, ...]
    """Intent ids of those in doubt, the oldest first; at most 100."""
    reserved: Decimal
    """Margin reserved by live permits."""
    fence: int
    memory_since_ms: int | None
    """Since when this memory is known to be whole."""
    policy_in_force: str | None
    policy_own: str
    mode_in_force: Mode | None = None
    """The mode of the policy in force; None when none is yet, or nobody can tell."""

    @property
    def observing(self) -> bool:
        """Whether the policy in force only observes, so that guards deny nothing."""
        return self.mode_in_force is Mode.OBSERVE

    @property
    def damaged(self) -> dict[str, Standing]:
        """The damaged keys by their names; of the names that stand per symbol one each."""
        return {each.name: each for each in self.standing if each.damage is not None}

    @property
    def policy_agrees(self) -> bool:
        """Whether the caller's policy is the one in force, or none is yet."""
        return self.policy_in_force in (None, self.policy_own)

    @property
    def stopped(self) -> bool:
        """Whether entries are stopped for the whole account, at this moment."""
        return self.halt is not None or any(each.on and each.name in ACCOUNT_WIDE for each in self.standing)

    @property
    def stops_exits(self) -> bool:
        """Whether exits are stopped too: by a halt of scope `all`, or by a halt that can't be read."""
        return (self.halt is not None and self.halt.scope == "all") or any(
            each.on and each.name == "halt" for each in self.standing
        )


ACCOUNT_WIDE = frozenset(
    # The last three only stand there when they are damaged.
    {"safe_mode", "cooldown_global", "failures", "rate_global", "state", "halt", "in_flight"}
)


@dataclass(frozen=True, slots=True)
class Act:
    """An operator's act that was done."""

    act: str
    audited: bool
    """False when the audit stream is damaged; the act is done all the same."""
    before: str | None = None
    """resume: the halt's scope, None when there was none; policy: the fingerprint that was in force. None also when
    the answer was lost and a replay found the act done."""
    changed: tuple[str, ...] = ()
    """halt: the scope in force; reset: the keys that were on."""


@dataclass(frozen=True, slots=True)
class DoubtfulPermit:
    """A permit past its deadline of which nobody knows what became."""

    record: Record
    """What is remembered of it: admitted and never settled, or settled as unknown."""
    permit: Permit
    """To settle it by. It has run out: nothing is sent with it."""


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Permits past their deadline of which nobody knows what became, the oldest first."""

    permits: tuple[DoubtfulPermit, ...]
    lapsed: tuple[str, ...]
    """Intent ids of which neither the record nor its copy in the state is left: without them their symbol isn't known,
    a person has to look."""
    now_ms: int
    """The server's clock, epoch ms."""

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of `permits`."""
        return tuple(each.record for each in self.permits)


def verifying_until_ms(found: Status, dedup_ttl_ms: int) -> int | None:
    """Until when permits say `verify`, because records may have been lost before `memory_since_ms`; None if they
    don't, or when nothing was ever admitted."""
    if found.memory_since_ms is None or found.now_ms - found.memory_since_ms >= dedup_ttl_ms:
        return None
    return found.memory_since_ms + dedup_ttl_ms
