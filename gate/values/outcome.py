"""What became of an admitted intent, as its holder reports it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.values.errors import InvalidField
from gate.values.policy import LONGEST_MS, Policy
from gate.values.record import Record

_WORD: Final = re.compile(r"\S{1,64}")
_LONGEST_DETAIL: Final = 120
_LONGEST_REASON: Final = 64


class OutcomeKind(StrEnum):
    """What became of it, in one word."""

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
    """What an outcome of any kind costs beyond itself. Applied once for a permit. Cooldowns in ms, 0 for none."""

    count_failure: bool = False
    cooldown_symbol_ms: int = 0
    cooldown_global_ms: int = 0
    safe_mode: bool = False
    """Safe mode at once, for the policy's safe_mode_ttl_ms: for what stops every later order too, such as a refused
    key or a ban. One that stands longer isn't shortened. The count of failures begins anew, as at any trip."""

    reason: str = ""
    """Why, as status shows it: one line of at most 64 characters. By default the outcome's code."""

    def __post_init__(self) -> None:
        for name in ("cooldown_symbol_ms", "cooldown_global_ms"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LONGEST_MS:
                raise InvalidField(name, value, f"is not a whole number of milliseconds from 0 to {LONGEST_MS}")
        if len(self.reason) > _LONGEST_REASON or not self.reason.isprintable():
            raise InvalidField("reason", self.reason, f"is not one line of at most {_LONGEST_REASON} characters")

    def joined(self, other: Penalty | None) -> Penalty:
        """Both: the longer of each cooldown. The reason is then the outcome's code."""
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
        """For an order that margin didn't cover: counts as a failure, and rests the symbol and the account."""
        return cls(True, policy.cooldown_symbol_ms, policy.cooldown_global_ms)

    @classmethod
    def unknown_outcome(cls, policy: Policy) -> Penalty:
        """For an order whose fate nobody knows: rests the symbol."""
        return cls(cooldown_symbol_ms=policy.unknown_cooldown_ms)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One of placed, rejected, unsent, unknown. Make it with the class method of that name.

    Codes and order ids are one word of at most 64 characters; a longer detail is cut at 120. Raises InvalidField.
    """

    kind: OutcomeKind
    code: str
    """The order id of a placed order; else the exchange's code, or a word for why."""
    detail: str = ""
    retryable: bool = False
    """Forget the intent, so that a later delivery can be admitted."""
    penalty: Penalty | None = None

    def __post_init__(self) -> None:
        if not _WORD.fullmatch(self.code) or not self.code.isprintable():
            name = "order_id" if self.kind is OutcomeKind.PLACED else "code"
            raise InvalidField(name, self.code, "is not one word of 1 to 64 characters")
        text = self.detail.encode("utf-8", "replace").decode()  # an exchange's message may hold half a character
        object.__setattr__(self, "detail", " ".join(text.split())[:_LONGEST_DETAIL])

    @classmethod
    def placed(cls, order_id: str | int, *, penalty: Penalty | None = None) -> Outcome:
        """The exchange has the order. Raises InvalidField for None: an answer without an order id says nothing."""
        if order_id is None:
            raise InvalidField("order_id", order_id, "is None; of a conditional order the answer has algoId")
        return cls(OutcomeKind.PLACED, str(order_id), penalty=penalty)

    @classmethod
    def rejected(
        cls, code: str | int, detail: str = "", *, retryable: bool = False, penalty: Penalty | None = None
    ) -> Outcome:
        """The exchange refused it: certainly no order."""
        return cls(OutcomeKind.REJECTED, str(code), detail, retryable, penalty)

    @classmethod
    def unsent(
        cls, reason: str, detail: str = "", *, retryable: bool = True, penalty: Penalty | None = None
    ) -> Outcome:
        """Stopped before anything was sent: the slots of the rate windows are given back."""
        return cls(OutcomeKind.UNSENT, str(reason), detail, retryable, penalty)

    @classmethod
    def unknown(cls, detail: str = "", *, code: str | int = "UNKNOWN", penalty: Penalty | None = None) -> Outcome:
        """Can't tell whether the order exists. It stays in doubt until somebody finds out."""
        return cls(OutcomeKind.UNKNOWN, str(code), detail, False, penalty)

    @property
    def note(self) -> str:
        """Code and detail, as the record keeps them."""
        return f"{self.code} {self.detail}" if self.detail else self.code


class Settled(StrEnum):
    """What settling came to."""

    SETTLED = "SETTLED"
    ALREADY = "ALREADY"
    """The same outcome by the same token stands already: a success."""
    FENCED = "FENCED"
    """Another permit owns the record, or neither it nor a copy of it is left. Nothing was changed."""
    CONFLICT = "CONFLICT"
    """Another outcome stands, and is final. Nothing was changed."""
    OBSERVED = "OBSERVED"
    """The permit was only observed; there is nothing to settle."""
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    """The outcome couldn't be reported: the permit stays in doubt until it is reconciled."""
    STORE_ERROR = "STORE_ERROR"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The answer to a settle. True when the outcome stands as reported, or needn't."""

    status: Settled
    record: Record | None = None
    """The record as it stands now."""
    tripped_safe_mode: bool = False
    """The penalty has switched safe mode on: this failure was one too many, or it was to trip at once."""
    detail: str = ""

    def __bool__(self) -> bool:
        return self.status in (Settled.SETTLED, Settled.ALREADY, Settled.OBSERVED)
