"""What is to be told to a person, and when: once when it begins, once when it is over. No I/O, and no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gate.executor import OrderState, OrderUpdate, Terminal
from gate.service.results import Ending
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.record import Phase, Record


class Kind(StrEnum):
    """What an alert is about."""

    HALT = "halt"
    """A person has halted; over when one resumes."""
    SAFE_MODE = "safe_mode"
    COOLDOWN_GLOBAL = "cooldown_global"
    """All entries of the account rest."""
    MEMORY = "memory"
    """The store has forgotten, or may have: entries wait."""
    IN_DOUBT = "in_doubt"
    """An order may exist, and nobody has found out for long."""
    MARGIN = "margin"
    LAG = "lag"
    """Intents pile up that nobody reads."""
    LATE_ORDER = "late_order"
    """An order showed up after its absence was told. It has no end."""
    STOP_REJECTED = "stop_rejected"
    """The exchange has refused a stop when it fired. It has no end."""
    EXIT_FAILED = "exit_failed"
    """An exit hasn't got through, and its position may be open. It has no end."""
    LIQUIDATED = "liquidated"
    """The exchange closes a position of the account by an order of its own. It has no end."""
    STREAMS = "streams"
    """The exchange's streams are down."""
    STORE = "store"
    """It doesn't answer."""
    STORE_REFUSES = "store_refuses"
    """It answers, and takes no writes: it is full, a replica, can't write to its disk."""
    RESULTS = "results"
    """Results can't be written."""
    EXCHANGE = "exchange"
    TRY = "try"
    """Nothing is the matter: a person tries the webhook. It has no end."""


IN_STORE: Final = frozenset({Kind.HALT, Kind.SAFE_MODE, Kind.COOLDOWN_GLOBAL, Kind.MEMORY})
"""What stands in the store: all services find the same there. So a mark that is older than what one of them has seen
since comes from a store that has gone back. The others have a clock of their own in each service, or a reading."""
OF_ACCOUNT: Final = IN_STORE | {Kind.IN_DOUBT, Kind.MARGIN, Kind.LAG, Kind.STORE_REFUSES}
"""What all services of an account see: one of them tells it. The others are about the service that tells."""
AUDITED_ANYWAY: Final = IN_STORE | {Kind.LATE_ORDER}
"""What stands in the audit already, written by those who did it."""
UNWRITABLE: Final = frozenset({Kind.STORE, Kind.STORE_REFUSES, Kind.RESULTS})
"""What a store that is away, or full, can't take."""


_NO_FAILURE: Final = frozenset({Reason.DUPLICATE, "NOTHING_TO_CLOSE"})
"""Of an exit: another delivery tells what became of it, or there is nothing open."""
_APART_S: Final = 60.0
"""Two alerts of exits of one position."""
_MOST_POSITIONS: Final = 1_000

_ENDS: Final[dict[str, tuple[str, tuple[Kind, ...]]]] = {
    "resume": ("resumed", (Kind.HALT,)),
    "reset safe_mode": ("reset", (Kind.SAFE_MODE,)),
    "reset cooldowns": ("reset", (Kind.COOLDOWN_GLOBAL,)),
    "reset all": ("reset", (Kind.SAFE_MODE, Kind.COOLDOWN_GLOBAL)),
    "init": ("gate init", (Kind.MEMORY,)),
}
"""What people's acts end, by the audit's word for them."""


class Turn(StrEnum):
    """Which end of it an alert tells."""

    BEGINS = "begins"
    OVER = "over"
    HAPPENED = "happened"
    """It has no end."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell."""

    kind: Kind
    turn: Turn
    says: str
    once: str = ""
    """Of what has no end: what tells it from others of its kind. Whoever marks it first tells it."""
    inherited: bool = False
    """Over, if a service that has ended has told that it began."""
    otherwise_s: float | None = field(default=None, compare=False)
    """When this service has seen the opposite last, on the monotonic clock: a mark from before that counts no more.
    None where it hasn't, or where that says nothing of the others."""

    @property
    def text(self) -> str:
        """In one line, for people."""
        name = self.kind.replace("_", " ").upper()
        return f"{name} OVER: {self.says}" if self.turn is Turn.OVER else f"{name}: {self.says}"


@dataclass(slots=True)
class _State:
    since_s: float
    says: str
    told: bool = False


class Conditions:
    """What is on, from one look to the next."""

    def __init__(self) -> None:
        self._on: Final[dict[Kind, _State]] = {}
        self._never: set[Kind] = set(Kind)
        self._seen_s: Final[dict[tuple[Kind, bool], float]] = {}

    def on(self, kind: Kind) -> bool:
        """Whether it was on at the last look."""
        return kind in self._on

    def off_s(self, kind: Kind) -> float | None:
        """When it was last seen to be off; None: never."""
        return self._seen_s.get((kind, False))

    def see(
        self,
        kind: Kind,
        says: str,
        now_s: float,
        *,
        after_s: float = 0,
        adds: str = "",
        ended_by: str = "",
        over: str = "",
    ) -> Alert | None:
        """`says`: what is the matter; empty: nothing. It is told when it has been so for `after_s`. `now_s`: when that
        was asked for, of what stands in the store; not when the answer came.

        `adds`: what a person needs at its beginning alone. `ended_by`: who has ended it, where that is known. `over`:
        all that its end says; without it, what was the matter and who has ended it.
        """
        state = self._on.get(kind)
        self._seen_s[kind, bool(says)] = now_s
        otherwise_s = self._seen_s.get((kind, not says)) if kind in IN_STORE else None
        if not says:
            first = kind in self._never
            self._never.discard(kind)
            if state is not None:
                del self._on[kind]
                ended = over or "; ".join(filter(None, (state.says, ended_by)))
                return Alert(kind, Turn.OVER, ended, otherwise_s=otherwise_s) if state.told else None
            if first and kind in OF_ACCOUNT:
                ended = over or ended_by or "since a service of before has ended"
                return Alert(kind, Turn.OVER, ended, inherited=True)
            return None
        self._never.discard(kind)
        if state is None:
            state = self._on[kind] = _State(now_s, says)
        state.says = says
        if state.told or now_s - state.since_s < after_s:
            return None
        state.told = True
        return Alert(kind, Turn.BEGINS, says + adds, otherwise_s=otherwise_s)


class FailedExits:
    """Exits that haven't got through. Of each position one is told a minute: a strategy that tries again and again with
    new ids must not push out all other alerts. One that failed for good isn't kept back by one that may come again."""

    def __init__(self) -> None:
        self._told_s: Final[dict[tuple[str, str | None, bool], float]] = {}

    def ended(self, intent: Intent, ending: Ending, now_s: float) -> Alert | None:
        """What is to be told of an exit that has its answer."""
        if ending.state in (Terminal.FILLED, Terminal.PLACED) or ending.reason in _NO_FAILURE:
            return None
        if ending.told_before or (ending.looked and not ending.still_open):
            return None
        of = intent.symbol, intent.position_side, ending.retryable
        if now_s - self._told_s.get(of, -_APART_S) < _APART_S:
            return None
        if len(self._told_s) >= _MOST_POSITIONS:
            self._told_s.clear()
        self._told_s[of] = now_s
        # Another delivery may fail in another way, and be the last one.
        return Alert(Kind.EXIT_FAILED, Turn.HAPPENED, _failed(intent, ending), once=f"{intent.id}/{ending.reason}")

    def told_elsewhere(self, intent: Intent, ending: Ending) -> None:
        """Another service has told it, be it hours ago: the next exit of its position is told."""
        self._told_s.pop((intent.symbol, intent.position_side, ending.retryable), None)


def _failed(intent: Intent, ending: Ending) -> str:
    said = f"{intent.symbol} {intent.side}, {intent.id}: {ending.state}, {ending.reason} {ending.detail}".rstrip()
    opened = f"still open is {ending.still_open}" if ending.looked else "what is open isn't known: look at the exchange"
    if ending.state is Terminal.UNKNOWN:
        return f"{said}; its order may exist, and {opened}"
    again = "the same intent may be sent again" if ending.retryable else "another try needs a new id"
    return f"{said}; {opened}; {again}"


class Doubts:
    """Since when intents are in doubt, as this service has seen it."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def oldest(self, intent_ids: Sequence[str], now_s: float) -> tuple[str, float]:
        """The intent that has been in doubt for the longest, and for how many seconds; none: an empty text."""
        self._since_s = {each: self._since_s.get(each, now_s) for each in intent_ids}
        if not self._since_s:
            return "", 0.0
        oldest = min(self._since_s, key=lambda each: self._since_s[each])
        return oldest, now_s - self._since_s[oldest]


def became(record: Record | None) -> str:
    """What has become of an intent that was in doubt, by its record."""
    if record is None or record.phase is Phase.FOREIGN:
        return "is in doubt no more: gate show tells what is known of it"
    if record.phase is Phase.PLACED:
        return f"was placed, order {record.order_id}"
    if record.phase is not Phase.REJECTED:
        return "isn't settled yet"
    closed = ": an exit, so its position may be open" if record.is_exit else ""
    return f"has no order, {record.code}{closed}"


def ended_by(news: Sequence[tuple[str, Mapping[str, str]]]) -> dict[Kind, str]:
    """Who has ended what, by the entries of the audit, the last of each, and why."""
    found: dict[Kind, str] = {}
    for _, fields in news:
        word, kinds = _ENDS.get(fields.get("what", ""), ("", ()))
        found |= dict.fromkeys(kinds, f"{word} by {fields.get('by', '?')}: {fields.get('reason', '?')}")
    return found


def of_audit(entry_id: str, fields: Mapping[str, str]) -> Alert | None:
    """The alert that an entry of the audit asks for, if it asks for one."""
    if fields.get("what") == "late order":
        return Alert(Kind.LATE_ORDER, Turn.HAPPENED, fields.get("reason", ""), once=entry_id)
    return None


def of_update(update: OrderUpdate) -> Alert | None:
    """The alert that news of an order asks for, if it asks for one."""
    if not update.alarming:
        return None
    if update.state is OrderState.LIQUIDATED:
        said = f"the exchange closes {update.symbol} by an order of its own: {update.side} {update.order_id}"
        # Others of the exchange's own may have the same client order id.
        return Alert(Kind.LIQUIDATED, Turn.HAPPENED, said, once=f"{update.client_order_id}/{update.order_id}")
    of_intent = update.intent_id or "an intent that no result names"
    said = f"{update.symbol} {update.side}, {update.client_order_id} of {of_intent}, "
    how = "ended when it fired, and left a position open" if update.leaves_open else "was refused when it fired"
    said += f"{how}: {update.detail}"
    return Alert(Kind.STOP_REJECTED, Turn.HAPPENED, said, once=update.client_order_id)
