"""The record of an intent, as it stands in Redis: one line of eleven fields (lua/include/record_text.lua)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

MILLIONTHS: Final = Decimal(1_000_000)


class Phase(StrEnum):
    """Where an intent stands."""

    ADMITTED = "admitted"
    PLACED = "placed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    """A text that the gate didn't write: a leftover of the guards that it replaces. It denies while it is there."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the gate remembers of an intent. Times in epoch ms of the server's clock, spans in ms."""

    intent_id: str
    phase: Phase
    token: str = ""
    fence: int = 0
    fingerprint: str = ""
    admitted_ms: int = 0
    symbol: str = ""
    side: str = ""
    span_ms: int = 0
    """Admitted and unknown: life of the permit. Placed and rejected: time it took to settle."""
    reserved: Decimal = Decimal(0)
    verify: bool = False
    is_exit: bool = False
    penalised: bool = False
    unsent: bool = False
    note: str = ""

    @property
    def deadline_ms(self) -> int | None:
        """Until when the permit may act; None once settled."""
        return self.admitted_ms + self.span_ms if self.phase in (Phase.ADMITTED, Phase.UNKNOWN) else None

    @property
    def settled_ms(self) -> int | None:
        """When it was settled for good; None before that."""
        return self.admitted_ms + self.span_ms if self.phase in (Phase.PLACED, Phase.REJECTED) else None

    @property
    def order_id(self) -> str | None:
        """The exchange's order id of a placed order."""
        return self.note if self.phase is Phase.PLACED else None

    @property
    def code(self) -> str | None:
        """The code of a rejection or of an unknown outcome."""
        return self.note.partition(" ")[0] if self.phase in (Phase.REJECTED, Phase.UNKNOWN) else None

    @property
    def reserved_ahead(self) -> Decimal:
        """Margin that live permits admitted earlier had reserved, in the margin asset; only while admitted."""
        return Decimal(self.note.partition(" ")[0]) / MILLIONTHS if self.phase is Phase.ADMITTED else Decimal(0)

    def __str__(self) -> str:
        if self.phase is Phase.FOREIGN:
            return f"{self.note!r}, left by something else than the gate; it denies while it is there"
        known = f"{self.phase} {self.symbol} {self.side}, fence {self.fence}"
        if self.phase is Phase.PLACED:
            return f"{known}, order {self.note}"
        if self.phase is Phase.ADMITTED:
            return f"{known}, not settled yet"
        return f"{known}, {self.note}"


def decode_record(intent_id: str, text: str) -> Record:
    """The record from its line. A text of another shape becomes a record of phase FOREIGN."""
    parts = text.split(" ", 10)
    try:
        phase, token, fence, fingerprint, admitted, symbol, side, span, reserved, flags, note = parts
        return Record(
            intent_id=intent_id,
            phase=Phase(phase),
            token=token,
            fence=int(fence),
            fingerprint=fingerprint,
            admitted_ms=int(admitted),
            symbol=symbol,
            side=side,
            span_ms=int(span),
            reserved=Decimal(int(reserved)) / MILLIONTHS,
            verify="v" in flags,
            is_exit="x" in flags,
            penalised="p" in flags,
            unsent="u" in flags,
            note=note,
        )
    except ValueError:
        return Record(intent_id=intent_id, phase=Phase.FOREIGN, note=text[:80])
