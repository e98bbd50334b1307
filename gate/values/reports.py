"""Reports: every guard's answer on an intent, the state of an account, an operator's act, and the permits in doubt."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from msgspec import Struct, field

from gate.values.guards import Reason
from gate.values.keys import KEYS
from gate.values.policy import Policy
from gate.values.record import Record
from gate.values.server import ServerFacts
from gate.values.verdict import Mode, Permit

_DISAGREES: Final = "put this one in force by gate policy apply, or leave [policy] out of the file and follow the other"


class GuardReport(Struct, frozen=True):
    """One guard's answer."""

    guard: str
    passed: bool
    key: str
    """The key that the guard reads; empty for the guard of the intent's age."""
    reason: Reason | None = None
    """Why it denies; None when it passes."""
    wait_ms: int | None = None
    """How long the guard continues to deny; None when it passes, or when that is unknown. Of a lock: at most."""
    detail: str = ""
    """The detail of the verdict if this guard is the first that denies."""
    exempt: bool = False
    """The intent is an exit and the guard doesn't judge exits. It counts as passed."""
    age_ms: int | None = None
    """When the intent's age denies: that age on the server's clock; below 0 when its time is in the future."""
    retry_after_ms: int | None = None
    """When to ask again. It is `wait_ms`, but for a lock, which ends early when its order is settled."""


class Inspection(Struct, frozen=True):
    """How the gate would judge an intent now. True when it would admit the intent."""

    guards: tuple[GuardReport, ...]
    mode: Mode
    now_ms: int
    """The server's clock, epoch ms."""

    @property
    def denial(self) -> GuardReport | None:
        """The first guard that denies. Of an observing caller the halt, which binds it, where that is one of them."""
        denials = [report for report in self.guards if not report.passed]
        binding = next((report for report in denials if report.reason is Reason.HALTED), None)
        return binding if binding and self.mode is Mode.OBSERVE else next(iter(denials), None)

    @property
    def admitted(self) -> bool:
        """Whether the gate would admit the intent."""
        denial = self.denial
        return denial is None or (self.mode is Mode.OBSERVE and denial.reason is not Reason.HALTED)

    @property
    def reason(self) -> Reason:
        """ADMITTED, or the reason of the denial."""
        denial = self.denial
        return Reason.ADMITTED if denial is None or denial.reason is None else denial.reason

    def __bool__(self) -> bool:
        return self.admitted


class Damage(Struct, frozen=True):
    """Why the gate can't read a key."""

    problem: str
    """The problem in words, for a person."""
    belongs: str
    """The type that the value should have, in Redis' word: `string`, `hash`, `list`, `zset`, `stream`."""
    holds: str | None
    """The type that the value has; None when the key is gone by now, or when the type is unknown."""


class Standing(Struct, frozen=True):
    """A key that is on, counts, or is damaged. `on`: it denies entries. `ttl_ms` is None without a TTL."""

    name: str
    key: str
    on: bool
    ttl_ms: int | None
    detail: str
    damage: Damage | None = None
    """What is wrong with the key; None when it can be read."""


class Halt(Struct, frozen=True):
    """A stop by a person. A field that the key doesn't have is `?`."""

    scope: str
    by: str
    reason: str
    at_ms: int | None

    @property
    def stops_exits(self) -> bool:
        """Whether it binds exits too: one of scope all, as in lua/include/halted.lua, or one that can't be read."""
        return self.scope in ("all", "?")

    def __str__(self) -> str:
        return f"{self.scope} halted by {self.by}: {self.reason}"


class Observer(Struct, frozen=True):
    """A caller that observes."""

    name: str
    """Its host, its process id, and the fingerprint of its policy."""
    seen_ms: int
    """When it had a verdict, to the minute; epoch ms of its own clock."""


POLICY_FORGOTTEN: Final = "one applied before a loss of memory is forgotten: gate policy apply"
"""What to know where no policy is in force. Nothing tells a store that is new from one that has forgotten."""


class Status(Struct, frozen=True):
    """The state of an account. It isn't one atomic read: each part is true for the moment at which it was read."""

    prefix: str
    now_ms: int
    halt: Halt | None
    standing: tuple[Standing, ...]
    in_flight: int
    """Live permits, of entries and of exits. Those of entries alone count against max_in_flight."""
    in_doubt: int
    """How many permits are in doubt: past their deadline and not settled, or settled as unknown. Reconcile them."""
    doubtful: tuple[str, ...]
    """Intent ids of the permits in doubt, the oldest first; at most 100."""
    reserved: Decimal
    """Margin reserved by live permits."""
    fence: int
    memory_since_ms: int | None
    """The time since which the store's memory is known to be whole: 0 by a person's word, `gate init`."""
    policy_in_force: str | None
    policy_own: str
    policy: Policy
    """The figures that this report goes by: those in force, or the caller's own where they can't be read."""
    differing: tuple[tuple[str, str, str], ...] = ()
    """The figures in which the caller's policy isn't the one in force: name, in force, the caller's."""
    mode: Mode = Mode.ENFORCE
    """The mode of this caller. One that observes has keys of its own, and this is their state."""
    observers: tuple[Observer, ...] = ()
    """Who has observed this account in the last day, whoever asks."""
    memory_lost_ms: int | None = None
    """The time at which a loss of memory was noticed, while entries wait because of it; else None."""
    exits: int = 0
    """Permits of exits without a final outcome, live or in doubt. They hold nothing back; see EXITS_KEPT."""
    evicts: bool = False
    """Whether the server may evict keys. Records may be missing one by one then, so every permit says `verify`."""
    server: ServerFacts = field(default=ServerFacts())
    """What the server says of itself."""
    refuses_writes: str = ""
    """Why the server takes no verdict now, and what to do: it is full, a replica, can't write to its disk. Empty where
    it takes them, or where this user may not ask."""
    lacks: str = ""
    """The right that verdicts need and this user doesn't have: a command, and a key. An operator's user lacks some; a
    worker's that lacks one gets no entry admitted."""
    all_symbols: bool = True
    """Whether every lock, window and cooldown of a symbol was looked for. On a server of more than 20,000 keys, only
    those of symbols that have a permit, or had one in the last 90 days; and of a thousand symbols at most."""
    unseen: str = ""
    """Why the server wasn't looked through for them: it has too many keys, or this user has no right to. Empty where it
    was."""

    @property
    def memory_wait_ms(self) -> int | None:
        """How long entries are still denied MEMORY_YOUNG; None when they aren't. After a loss that nobody has noticed
        yet, the wait begins with the next verdict."""
        young = next((each for each in self.standing if each.name == "memory"), None)
        return None if young is None else young.ttl_ms

    @property
    def observing(self) -> bool:
        """Whether this caller only observes, so that nothing but a halt denies."""
        return self.mode is Mode.OBSERVE

    @property
    def damaged(self) -> dict[str, Standing]:
        """The damaged keys by name. Where several keys share a name, because each belongs to a symbol, one of them."""
        return {each.name: each for each in self.standing if each.damage is not None}

    @property
    def policy_agrees(self) -> bool:
        """Whether the caller's policy is in force, or no policy is in force yet."""
        return self.policy_in_force in (None, self.policy_own)

    @property
    def disagreement(self) -> str:
        """In which figures the policy in force differs from the caller's, and what to do; empty where it agrees."""
        if self.policy_agrees:
            return ""
        differ = ", ".join(f"{name} {theirs} in force, {ours} here" for name, theirs, ours in self.differing)
        return f"{differ or 'its figures are the same'}; {_DISAGREES}"

    @property
    def stopped(self) -> bool:
        """Whether entries are stopped for the whole account now: by what its keys say, or by a server that takes no
        writes."""
        on = any(each.on and each.name in ACCOUNT_WIDE for each in self.standing)
        return on or self.halt is not None or bool(self.refuses_writes)

    @property
    def entries_pass(self) -> bool:
        """Whether entries of this caller pass now, if their symbols do: nothing stops the account's, and the policy in
        force is not another one than the caller is pinned to. A person's halt counts in every mode."""
        denies = self.halt is not None or any(each.on and each.name in ACCOUNT_WIDE for each in self.damaged.values())
        denies = denies or bool(self.refuses_writes)
        return not denies and (self.observing or not (self.stopped or not self.policy_agrees))

    @property
    def ever_seen(self) -> bool:
        """Whether anything is known of the account: an admission, a policy, a caller that observes, a person's word."""
        known = self.fence or self.memory_since_ms is not None or self.policy_in_force is not None or self.observers
        return bool(known or "state" in self.damaged)

    @property
    def stops_exits(self) -> bool:
        """Whether exits are stopped too: by a halt of scope `all`, or by a halt that can't be read."""
        return self.halt is not None and self.halt.stops_exits


EXITS_KEPT: Final = 1_000
"""How many exits may be without an outcome. Of more, the oldest are forgotten once their records have lapsed."""
ACCOUNT_WIDE: Final = frozenset({"memory", *(key.shown_as for key in KEYS.values() if key.of_account and key.guards)})
"""The standing keys that stop entries of the whole account. Some of them stand there only when they are damaged."""


class Copies(Struct, frozen=True):
    """Where an act is, beside the memory of the server that did it. None: unknown.

    Replicas and disk were waited for, 1.5 s at most. What isn't there yet may come later.
    """

    replicas: int | None = None
    """Replicas that are connected to the server."""
    on_replicas: int | None = None
    """How many of them have the act."""
    append_only: bool | None = None
    """Whether the server keeps an append-only file."""
    on_disk: bool | None = None
    """Whether the act is in that file, on the server's disk. A server before Redis 7.2 can't say."""
    doubt: str = ""
    """Why something is unknown: the failure in the store's words."""
    replayed: bool | None = None
    """Whether a start of the server reads that file back. False: its user `default` may not write, and what scripts
    have written is dropped then. None also where the caller may not ask."""

    @property
    def survives_failover(self) -> bool | None:
        """Whether the act outlives the loss of this server: every connected replica has it, and one of them takes over.

        A replica that isn't connected now could take over too; it has nothing of late.
        """
        if self.replicas == 0:
            return False
        if self.replicas is None or self.on_replicas is None:
            return None
        return self.on_replicas >= self.replicas

    @property
    def survives_restart(self) -> bool | None:
        """Whether the act outlives a crash of this server's host: it is on its disk, and is read back."""
        if self.replayed is False or self.on_disk is False:
            return False
        return None if self.replayed is None else self.on_disk


class Act(Struct, frozen=True):
    """An act of an operator that was done."""

    act: str
    audited: bool
    """False when the audit stream is damaged. The act is done even so."""
    before: str | None = None
    """resume: the halt's scope, or None when there was no halt; policy: the fingerprint that was in force. Also None
    when the answer was lost and the repeated call found the act done."""
    changed: tuple[str, ...] = ()
    """halt: the scope in force; resume: the scope that has ended; reset: the keys that were on, and are now off."""
    copies: Copies = field(default=Copies())
    """Where the act is kept."""


class OutPermit(Struct, frozen=True):
    """A permit that isn't settled, and whose deadline hasn't passed: its order may be on its way."""

    intent_id: str
    symbol: str
    """`?` where it isn't known; so is `side`."""
    side: str
    deadline_ms: int
    """By the server's clock."""


class StillOut(Struct, frozen=True):
    """What may still reach the exchange after a halt. True while there is something, or no such halt is in force."""

    permits: tuple[OutPermit, ...]
    """The earliest deadline first."""
    unread: int
    """Further permits that weren't read, because there are more than a thousand."""
    forgotten_ms: int
    """How long permits may live that the store has forgotten by a loss of memory; 0: there was none lately."""
    wait_ms: int
    """How long until all of this has run out, if nobody settles anything."""
    halted: str | None
    """The scope of the halt in force; None when it doesn't hold what was asked for: somebody has resumed, or the store
    has forgotten it. `?` when its key is damaged, which denies all that it could."""

    @property
    def clear(self) -> bool:
        """Whether the halt is in force and nothing that it holds can reach the exchange any more."""
        return self.halted is not None and self.wait_ms <= 0

    @property
    def count(self) -> int:
        """How many permits are out, as far as the store knows."""
        return len(self.permits) + self.unread

    def __bool__(self) -> bool:
        return not self.clear


class SeenService(Struct, frozen=True):
    """A prefix under which a service has left its trace on the store."""

    prefix: str
    ago_ms: int
    """How long ago, by the clocks of its host and of this one."""


class SeenServices(Struct, frozen=True):
    """The services that were seen on the store."""

    own_ago_ms: int | None
    """How long ago one was seen under the caller's own prefix; None: never, or more than thirty days ago."""
    others: tuple[SeenService, ...]
    """Under other prefixes, the latest first; at most twenty."""

    @property
    def own_lately(self) -> bool:
        """Whether one was seen under the own prefix within the last hour."""
        return self.own_ago_ms is not None and self.own_ago_ms < LATELY_MS


LATELY_MS: Final = 3_600_000


class DoubtfulPermit(Struct, frozen=True):
    """A permit past its deadline with an unknown outcome."""

    record: Record
    """The permit's record: admitted and never settled, or settled as unknown."""
    permit: Permit
    """The permit to settle with. It has run out: send nothing with it."""


class InDoubt(Struct, frozen=True):
    """Permits past their deadline with an unknown outcome, the oldest first."""

    permits: tuple[DoubtfulPermit, ...]
    lapsed: tuple[str, ...]
    """Intent ids without a record and without its copy in the state. Their symbol is unknown, so a person has to
    look."""
    now_ms: int
    """The server's clock, epoch ms."""

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of `permits`."""
        return tuple(each.record for each in self.permits)


class Absence(Struct, frozen=True):
    """An intent that was settled as absent, as the audit has it. Its order may still show up."""

    entry: str
    """The id of its entry in the audit."""
    ago_ms: int
    """How long ago it was settled, by the server's clock."""
    permit: Permit | None
    """The permit to settle a late order with. None when the record isn't absent any more, or the caller knows it."""


def verifying_until_ms(found: Status, dedup_ttl_ms: int) -> int | None:
    """The time until which permits say `verify`, because records from before `memory_since_ms` may be lost. None if
    permits don't say `verify`, or if nothing was ever admitted."""
    if found.memory_since_ms is None or found.now_ms - found.memory_since_ms >= dedup_ttl_ms:
        return None
    return found.memory_since_ms + dedup_ttl_ms
