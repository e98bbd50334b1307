"""The outcome of an admitted intent, which the permit's holder reports, and the settlement, which the gate answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.values.errors import InvalidField
from gate.values.policy import LONGEST_MS, Policy
from gate.values.record import Record

NOT_PLACED: Final = "NOT_PLACED"
"""The code of an absence. lua/settle.lua lets an order follow it."""
_WORD: Final = re.compile(r"\S{1,64}")
_LONGEST_DETAIL: Final = 120
_LONGEST_REASON: Final = 64
_LONGEST_WHY: Final = 120


class OutcomeKind(StrEnum):
    """The four outcomes."""

    PLACED = "placed"
    """The exchange has the order."""
    REJECTED = "rejected"
    """The exchange refused it: certainly no order."""
    UNSENT = "unsent"
    """Nothing was sent."""
    UNKNOWN = "unknown"
    """Nobody can tell whether the order exists."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """What an outcome costs the symbol and the account. Applied once for each permit. Cooldowns in ms, 0 for none."""

    count_failure: bool = False
    cooldown_symbol_ms: int = 0
    cooldown_global_ms: int = 0
    safe_mode: bool = False
    """Switches safe mode on at once, for the policy's safe_mode_ttl_ms. For failures that would meet every later order
    too, such as a refused key or a ban. A longer safe mode isn't shortened. The count of failures starts again at 0."""

    reason: str = ""
    """The reason that status shows: one line of at most 64 characters. Empty means the outcome's code and detail."""

    def __post_init__(self) -> None:
        for name in ("cooldown_symbol_ms", "cooldown_global_ms"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LONGEST_MS:
                raise InvalidField(name, value, f"is not a whole number of milliseconds from 0 to {LONGEST_MS}")
        if len(self.reason) > _LONGEST_REASON or not self.reason.isprintable():
            raise InvalidField("reason", self.reason, f"is not one line of at most {_LONGEST_REASON} characters")

    def joined(self, other: Penalty | None) -> Penalty:
        """Both penalties in one, with the longer of each cooldown. Its reason is the outcome's code and detail."""
        if other is None:
            return self
        return Penalty(
            self.count_failure or other.count_failure,
            max(self.cooldown_symbol_ms, other.cooldown_symbol_ms),
            max(self.cooldown_global_ms, other.cooldown_global_ms),
            self.safe_mode or other.safe_mode,
        )

    @classmethod
    def margin_rejection(cls, policy: Policy) -> Penalty:
        """For an order without enough margin: counts as a failure, and cools down the symbol.

        Not the account: entries of other symbols must go on, or no five failures could ever meet in five minutes, and
        safe mode would never trip. docs/decisions/margin-failures.md tells more.
        """
        return cls(True, policy.cooldown_symbol_ms)

    @classmethod
    def unknown_outcome(cls, policy: Policy) -> Penalty:
        """For an order that may or may not exist: cools down the symbol."""
        return cls(cooldown_symbol_ms=policy.unknown_cooldown_ms)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One of placed, rejected, unsent, unknown. Make it with the class method of that name.

    Codes and order ids are one word of at most 64 characters; a longer detail is cut at 120. Raises InvalidField.
    """

    kind: OutcomeKind
    code: str
    """The order id of a placed order; else the exchange's code, or one word that gives the reason."""
    detail: str = ""
    retryable: bool = False
    """Whether the gate forgets the intent, so that a later delivery can be admitted."""
    penalty: Penalty | None = None

    def __post_init__(self) -> None:
        if not _WORD.fullmatch(self.code) or not self.code.isprintable():
            name = "order_id" if self.kind is OutcomeKind.PLACED else "code"
            raise InvalidField(name, self.code, "is not one word of 1 to 64 characters")
        text = self.detail.encode("utf-8", "replace").decode()  # an exchange's message may hold a lone surrogate
        object.__setattr__(self, "detail", " ".join(text.split())[:_LONGEST_DETAIL])

    @classmethod
    def placed(cls, order_id: str | int, *, penalty: Penalty | None = None) -> Outcome:
        """The exchange has the order. Raises InvalidField for None: without an order id nothing proves the order."""
        if order_id is None:
            raise InvalidField("order_id", order_id, "is None; for a conditional order, give the answer's algoId")
        return cls(OutcomeKind.PLACED, str(order_id), penalty=penalty)

    @classmethod
    def rejected(
        cls, code: str | int, detail: str = "", *, retryable: bool = False, penalty: Penalty | None = None
    ) -> Outcome:
        """The exchange refused the order; certainly none exists."""
        return cls(OutcomeKind.REJECTED, str(code), detail, retryable, penalty)

    @classmethod
    def not_placed(cls, detail: str = "", *, penalty: Penalty | None = None) -> Outcome:
        """An order may have been sent, and the exchange doesn't have it.

        Absence proves only so much: the intent is never admitted again. An order that shows up late replaces this.
        """
        return cls(OutcomeKind.REJECTED, NOT_PLACED, detail, False, penalty)

    @property
    def is_absence(self) -> bool:
        """Whether it is that of `not_placed`."""
        return self.kind is OutcomeKind.REJECTED and self.code == NOT_PLACED

    @classmethod
    def unsent(
        cls, reason: str, detail: str = "", *, retryable: bool = True, penalty: Penalty | None = None
    ) -> Outcome:
        """Nothing was sent. The rate windows get their slots back."""
        return cls(OutcomeKind.UNSENT, str(reason), detail, retryable, penalty)

    @classmethod
    def unknown(cls, detail: str = "", *, code: str | int = "UNKNOWN", penalty: Penalty | None = None) -> Outcome:
        """Nobody knows whether the order exists. The permit stays in doubt until somebody finds out."""
        return cls(OutcomeKind.UNKNOWN, str(code), detail, False, penalty)

    @property
    def note(self) -> str:
        """Code and detail, as the record keeps them."""
        return f"{self.code} {self.detail}" if self.detail else self.code

    @property
    def why(self) -> str:
        """What a switch says that this trips: its penalty's reason, else code and detail, 120 characters at most."""
        if self.penalty is not None and self.penalty.reason:
            return self.penalty.reason
        said = self.note if self.note.isprintable() else self.code
        if self.kind is OutcomeKind.UNKNOWN:
            said = f"unknown whether an order exists: {said}"
        return said if len(said) <= _LONGEST_WHY else f"{said[: _LONGEST_WHY - 1]}…"


class Settled(StrEnum):
    """The gate's answer to a settlement."""

    SETTLED = "SETTLED"
    ALREADY = "ALREADY"
    """The same token has already reported the same outcome: a success."""
    FENCED = "FENCED"
    """Another permit owns the record, or neither the record nor its copy exists any more. Nothing was changed."""
    CONFLICT = "CONFLICT"
    """The record has another outcome, which is final. Nothing was changed."""
    OBSERVED = "OBSERVED"
    """The permit has claimed nothing: its caller observes, and the intent was another delivery's. Nothing to settle."""
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    """The outcome couldn't be reported. The permit stays in doubt until somebody reconciles it."""
    STORE_ERROR = "STORE_ERROR"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The answer to `settle`. True when the record has the reported outcome, or when there was nothing to settle."""

    status: Settled
    record: Record | None = None
    """The record after the settlement."""
    tripped_safe_mode: bool = False
    """The penalty has switched safe mode on: by one failure too many, or by its own `safe_mode`."""
    detail: str = ""
    memory_lost: bool = False
    """The store had no record of this order: it has lost memory. The order is remembered again, and permits say verify
    until no other lost record can matter."""

    late: bool = False
    """The order had been settled as absent, and has shown up."""

    def __bool__(self) -> bool:
        return self.status in (Settled.SETTLED, Settled.ALREADY, Settled.OBSERVED)
