"""What is to be told to a person, and when: once when it begins, once when it is over. No I/O, and no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.executor import OrderState, OrderUpdate


class Kind(StrEnum):
    """What an alert is about."""

    HALT = "halt"
    """A person has halted; over when one resumes."""
    SAFE_MODE = "safe_mode"
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
    LIQUIDATED = "liquidated"
    """The exchange closes a position of the account by an order of its own. It has no end."""
    STREAMS = "streams"
    """The exchange's streams are down."""
    STORE = "store"
    RESULTS = "results"
    """Results can't be written."""
    EXCHANGE = "exchange"
    TRY = "try"
    """Nothing is the matter: a person tries the webhook. It has no end."""


OF_ACCOUNT: Final = frozenset({Kind.HALT, Kind.SAFE_MODE, Kind.MEMORY, Kind.IN_DOUBT, Kind.MARGIN, Kind.LAG})
"""What all services of an account see: one of them tells it. The others are about the service that tells."""
AUDITED_ANYWAY: Final = frozenset({Kind.HALT, Kind.SAFE_MODE, Kind.MEMORY, Kind.LATE_ORDER})
"""What stands in the audit already, written by those who did it."""
UNWRITABLE: Final = frozenset({Kind.STORE, Kind.RESULTS})
"""What a store that is away can't take."""


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

    def on(self, kind: Kind) -> bool:
        """Whether it was on at the last look."""
        return kind in self._on

    def see(self, kind: Kind, says: str, now_s: float, *, after_s: float = 0, ended_by: str = "") -> Alert | None:
        """`says`: what is the matter; empty: nothing. It is told when it has been so for `after_s`. `ended_by`: who
        has ended it, where that is known."""
        state = self._on.get(kind)
        if not says:
            first = kind in self._never
            self._never.discard(kind)
            if state is not None:
                del self._on[kind]
                ended = "; ".join(filter(None, (state.says, ended_by)))
                return Alert(kind, Turn.OVER, ended) if state.told else None
            if first and kind in OF_ACCOUNT:
                return Alert(kind, Turn.OVER, "since a service of before has ended", inherited=True)
            return None
        self._never.discard(kind)
        if state is None:
            state = self._on[kind] = _State(now_s, says)
        state.says = says
        if state.told or now_s - state.since_s < after_s:
            return None
        state.told = True
        return Alert(kind, Turn.BEGINS, says)


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


def resumed_by(news: Sequence[tuple[str, Mapping[str, str]]]) -> str:
    """Who has ended a halt last, by the entries of the audit, and why; empty where none has."""
    acts = [fields for _, fields in news if fields.get("what") == "resume"]
    return f"resumed by {acts[-1].get('by', '?')}: {acts[-1].get('reason', '?')}" if acts else ""


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
    said = f"{update.symbol} {update.side}, {update.client_order_id} of {update.intent_id or 'an intent of before'}, "
    how = "ended when it fired, and left a position open" if update.leaves_open else "was refused when it fired"
    said += f"{how}: {update.detail}"
    return Alert(Kind.STOP_REJECTED, Turn.HAPPENED, said, once=update.client_order_id)
