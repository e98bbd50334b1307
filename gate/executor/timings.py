"""How long the parts of an execution take, for whoever measures."""

from __future__ import annotations

from typing import Final, Protocol


class Timings(Protocol):
    """Is told each time, in seconds. It must neither wait nor raise."""

    def verdict(self, seconds: float) -> None:
        """From the question to the gate to its answer."""

    def order(self, seconds: float) -> None:
        """From sending an order to the exchange's answer, whatever that is; without a look-up."""


class _Untimed:
    """Measures nothing."""

    def verdict(self, seconds: float) -> None:
        """Nothing."""

    def order(self, seconds: float) -> None:
        """Nothing."""


UNTIMED: Final[Timings] = _Untimed()
