"""The permit that `guard` hands to its block, and the settlement when the block ends."""

from __future__ import annotations

from typing import Final, Protocol

from gate.values.outcome import Outcome, Penalty, Settled, Settlement
from gate.values.policy import Policy
from gate.values.verdict import Permit, Verdict

_NOT_REPORTED: Final = (Settled.STORE_UNAVAILABLE, Settled.STORE_ERROR)


class Settler(Protocol):
    """The part of a gate that a block needs."""

    @property
    def policy(self) -> Policy:
        """The policy of this caller."""

    def settle(self, permit: Permit, outcome: Outcome) -> Settlement:
        """Reports the outcome of an admitted intent."""


class AsyncSettler(Protocol):
    """Settler for asyncio."""

    @property
    def policy(self) -> Policy:
        """The policy of this caller."""

    async def settle(self, permit: Permit, outcome: Outcome) -> Settlement:
        """Reports the outcome of an admitted intent."""


class _Held:
    """What both permits have, whether their calls are awaited or not."""

    def __init__(self, policy: Policy, verdict: Verdict) -> None:
        self.verdict: Final = verdict
        self.settlement: Settlement | None = None
        self._policy: Final = policy
        self._outcome: Outcome | None = None

    def __bool__(self) -> bool:
        return self.verdict.permit is not None and self.verdict.permit.live

    @property
    def permit(self) -> Permit:
        """The permit itself. Raises LookupError for a denied intent."""
        if self.verdict.permit is None:
            raise LookupError(
                f"there is no permit: the intent was denied, {self.verdict.reason}: {self.verdict.detail}"
            )
        return self.verdict.permit

    @property
    def client_order_id(self) -> str:
        """The newClientOrderId to send. Raises LookupError for a denied intent."""
        return self.permit.client_order_id

    def _unreported(self, word: str) -> Outcome | None:
        """What the end of the block has to report: once more an outcome that wasn't reported; unknown without any."""
        if self.verdict.permit is None:
            return None
        if self.settlement is None:
            return self._unknown(word)
        return self._outcome if self.settlement.status in _NOT_REPORTED else None

    def _unknown(self, detail: str) -> Outcome:
        return Outcome.unknown(detail, penalty=Penalty.unknown_outcome(self._policy))


class GuardedPermit(_Held):
    """The permit in a `guard` block. It is true while the permit is live. The block reports the outcome to it."""

    def __init__(self, gate: Settler, verdict: Verdict) -> None:
        super().__init__(gate.policy, verdict)
        self._gate: Final = gate

    def settle(self, outcome: Outcome) -> Settlement:
        """Reports the outcome. Raises LookupError for a denied intent."""
        self._outcome = outcome
        self.settlement = self._gate.settle(self.permit, outcome)
        return self.settlement

    def leave(self, word: str) -> None:
        """Ends the block. Reports once more an outcome that wasn't reported; without any outcome, reports unknown."""
        if (outcome := self._unreported(word)) is not None:
            self.settle(outcome)

    def placed(self, order_id: str | int) -> Settlement:
        """The exchange has the order."""
        return self.settle(Outcome.placed(order_id))

    def rejected(
        self, code: str | int, detail: str = "", *, retryable: bool = False, penalty: Penalty | None = None
    ) -> Settlement:
        """The exchange refused the order; certainly none exists."""
        return self.settle(Outcome.rejected(code, detail, retryable=retryable, penalty=penalty))

    def unsent(self, reason: str, detail: str = "", *, retryable: bool = True) -> Settlement:
        """Nothing was sent. The rate windows get their slots back."""
        return self.settle(Outcome.unsent(reason, detail, retryable=retryable))

    def unknown(self, detail: str = "") -> Settlement:
        """Nobody knows whether the order exists. The permit stays in doubt."""
        return self.settle(self._unknown(detail))


class AsyncGuardedPermit(_Held):
    """GuardedPermit for asyncio."""

    def __init__(self, gate: AsyncSettler, verdict: Verdict) -> None:
        super().__init__(gate.policy, verdict)
        self._gate: Final = gate

    async def settle(self, outcome: Outcome) -> Settlement:
        """Reports the outcome. Raises LookupError for a denied intent."""
        self._outcome = outcome
        self.settlement = await self._gate.settle(self.permit, outcome)
        return self.settlement

    async def leave(self, word: str) -> None:
        """Ends the block. Reports once more an outcome that wasn't reported; without any outcome, reports unknown."""
        if (outcome := self._unreported(word)) is not None:
            await self.settle(outcome)

    async def placed(self, order_id: str | int) -> Settlement:
        """The exchange has the order."""
        return await self.settle(Outcome.placed(order_id))

    async def rejected(
        self, code: str | int, detail: str = "", *, retryable: bool = False, penalty: Penalty | None = None
    ) -> Settlement:
        """The exchange refused the order; certainly none exists."""
        return await self.settle(Outcome.rejected(code, detail, retryable=retryable, penalty=penalty))

    async def unsent(self, reason: str, detail: str = "", *, retryable: bool = True) -> Settlement:
        """Nothing was sent. The rate windows get their slots back."""
        return await self.settle(Outcome.unsent(reason, detail, retryable=retryable))

    async def unknown(self, detail: str = "") -> Settlement:
        """Nobody knows whether the order exists. The permit stays in doubt."""
        return await self.settle(self._unknown(detail))
