"""The record of an intent. Redis holds it as one line of eleven fields (lua/include/record_text.lua)."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

from gate.values.fields import read_whole

MILLIONTHS: Final = Decimal(1_000_000)
LONGEST_LINE: Final = 4096
"""Far longer than any line that the scripts write."""


class Phase(StrEnum):
    """Where an intent stands."""

    ADMITTED = "admitted"
    PLACED = "placed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    """The gate didn't write this text: the system that the gate replaces left it. It denies as long as it exists."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the gate remembers about an intent. Times are epoch ms of the server's clock, spans are ms."""

    intent_id: str
    phase: Phase
    token: str = ""
    fence: int = 0
    fingerprint: str = ""
    admitted_ms: int = 0
    symbol: str = ""
    side: str = ""
    span_ms: int = 0
    """Admitted and unknown: the permit's lifetime. Placed and rejected: the time from admission to settlement."""
    reserved: Decimal = Decimal(0)
    verify: bool = False
    is_exit: bool = False
    penalised: bool = False
    unsent: bool = False
    observed: bool = False
    """Its caller only observes, and the gate would have denied. The note of an admitted one tells the denial."""
    note: str = ""
    line: str = field(default="", repr=False, compare=False)
    """As it stands in the store."""

    @property
    def deadline_ms(self) -> int | None:
        """The time until which the permit may act; None after settlement."""
        return self.admitted_ms + self.span_ms if self.phase in (Phase.ADMITTED, Phase.UNKNOWN) else None

    @property
    def settled_ms(self) -> int | None:
        """The time of the final settlement; None before it."""
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
        """Margin that earlier live permits had reserved, in the margin asset. Known only in phase admitted."""
        known = self.phase is Phase.ADMITTED and not self.observed
        return Decimal(self.note.partition(" ")[0]) / MILLIONTHS if known else Decimal(0)

    def __str__(self) -> str:
        if self.phase is Phase.FOREIGN:
            return f"{self.note!r}, not written by the gate; it denies as long as it exists"
        known = f"{self.phase} {self.symbol} {self.side}, fence {self.fence}"
        if self.phase is Phase.PLACED:
            return f"{known}, order {self.note}"
        if self.phase is Phase.ADMITTED:
            return f"{known}, not settled yet"
        return f"{known}, {self.note}"


def decode_record(intent_id: str, text: str) -> Record:
    """Reads a record's line. A text of another shape becomes a record in phase FOREIGN."""
    parts = text.split(" ", 10)
    try:
        phase, token, fence, fingerprint, admitted, symbol, side, span, reserved, flags, note = parts
        if len(text) > LONGEST_LINE:
            raise ValueError("is longer than any line that the scripts write")
        if phase == Phase.ADMITTED and "o" not in flags:
            read_whole(note.partition(" ")[0])  # what was reserved ahead
        return Record(
            intent_id=intent_id,
            phase=Phase(phase),
            token=token,
            fence=read_whole(fence),
            fingerprint=fingerprint,
            admitted_ms=read_whole(admitted),
            symbol=symbol,
            side=side,
            span_ms=read_whole(span),
            reserved=Decimal(read_whole(reserved)) / MILLIONTHS,
            verify="v" in flags,
            is_exit="x" in flags,
            penalised="p" in flags,
            unsent="u" in flags,
            observed="o" in flags,
            note=note,
            line=text,
        )
    except ValueError:
        return Record(intent_id=intent_id, phase=Phase.FOREIGN, note=text[:80])
