"""What `gate doctor` finds: each thing that was looked at, and how it is."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Grade(StrEnum):
    """How something is."""

    OK = "ok"
    WARNING = "warning"
    """Somebody should know it, and may have meant it."""
    WRONG = "wrong"
    """It stops orders that should go, or lets some go that shouldn't."""


class Check(Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    """In a word, such as `server` or `policy`."""
    grade: Grade
    says: str
    """How it is; where that isn't well, also what follows and what to do."""


class Diagnosis(Struct, frozen=True):
    """How an account and its store are. True where nothing is wrong; there may be warnings."""

    checks: tuple[Check, ...]

    def of_grade(self, grade: Grade) -> tuple[Check, ...]:
        """What has that grade."""
        return tuple(each for each in self.checks if each.grade is grade)

    def __bool__(self) -> bool:
        return not self.of_grade(Grade.WRONG)
