"""The permit that `guard` hands to its block, and the settlement when the block ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from gate.exchange.consequences import outcome_of_leaving
from gate.values.errors import InvalidField, shown
from gate.values.found_order import FoundOrder
from gate.values.log_words import log_of, names
from gate.values.outcome import Outcome, OutcomeKind, Penalty, Settled, Settlement
from gate.values.policy import Policy
from gate.values.verdict import Mode, Permit, Verdict

MEMORY_LOST: Final = "MEMORY_LOST"
_NOT_ASKED: Final = Outcome.unknown(
    "nothing was sent: the store has lost memory, and without find_order nobody asks for an earlier order",
    code=MEMORY_LOST,
)
_ANOTHER_ID: Final = "nobody who looks for this intent's order finds this one; send it with permit.id_parameter(type)"
_NOT_REPORTED: Final = (Settled.STORE_UNAVAILABLE, Settled.STORE_ERROR)
_log: Final = log_of("gate")


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
        self.found: FoundOrder | None = None
        """The order that an earlier delivery has placed, and that the store had forgotten. It is reported by then."""
        permit = verdict.permit
        self.must_look: Final = permit is not None and permit.verify and verdict.mode is not Mode.OBSERVE
        """Whether the permit says verify. Not where the policy only observes: the service's own guards decide there."""
        self._held_back: Outcome | None = _NOT_ASKED if self.must_look else None
        self._policy: Final = policy
        self.outcome: Outcome | None = None
        """What was reported last; None before that."""

    def __bool__(self) -> bool:
        if self._given_up:
            return False
        return self.verdict.permit is not None and self.verdict.permit.live and self._held_back is None

    @property
    def _given_up(self) -> bool:
        """Whether the block has said that there is no order: by now the intent may be another worker's."""
        return self.outcome is not None and self.outcome.kind in (OutcomeKind.REJECTED, OutcomeKind.UNSENT)

    @property
    def is_exit(self) -> bool:
        """Whether the intent only reduces: the order needs `reduceOnly`. Raises LookupError for a denied intent."""
        return self.permit.is_exit

    @property
    def reason(self) -> str:
        """Why the block may send, or why not: the verdict's reason; of an admitted intent also FOUND (see `found`),
        MEMORY_LOST (an earlier order may exist), the exchange's code where it wants no more questions about that (keys
        that don't work, a ban), SETTLED (the block has reported that there is no order), and DEADLINE (the permit has
        run out)."""
        if self.found is not None:
            return "FOUND"
        if self._held_back is not None:
            return self._held_back.code
        if self._given_up:
            return "SETTLED"
        return "DEADLINE" if self.verdict.permit and not self else str(self.verdict.reason)

    @property
    def detail(self) -> str:
        """The reason in words, if there is more to say."""
        if self.found is not None:
            return f"an earlier delivery has placed order {self.found.order_id} {self.found.status}".rstrip()
        return self.verdict.detail if self._held_back is None else self._held_back.detail

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
        """The client order id to send. Raises LookupError for a denied intent."""
        return self.permit.client_order_id

    def id_parameter(self, order_type: str) -> dict[str, str]:
        """The order's parameter that carries the client order id: newClientOrderId, of a conditional type clientAlgoId.
        Raises LookupError for a denied intent."""
        return self.permit.id_parameter(order_type)

    def _heard(self, said: FoundOrder | Outcome | None) -> Outcome | None:
        """Takes what the search for an earlier order has come to. Returns what is to be settled at once."""
        if isinstance(said, FoundOrder):
            self.found, said = said, Outcome.placed(said.order_id)
        self._held_back = said
        if said is not None:
            _log.warning("NOT SENT %s", names(self.permit, detail=self.detail))
        return said

    def _unreported(self, error: BaseException | None) -> Outcome | None:
        """What the end of the block has to report: once more an outcome that wasn't reported; without any, what the
        exception means."""
        if self.verdict.permit is None:
            return None
        if self.outcome is not None:  # broken off while the store was told: it may have it or not
            heard = self.settlement is not None and self.settlement.status not in _NOT_REPORTED
            return None if heard else self.outcome
        if self._held_back is not None:
            return self._held_back
        if error is None:
            return self._unknown("left without an outcome")
        return outcome_of_leaving(error, self.permit, self._policy)

    def _placed(self, said: str | int | Mapping[str, object]) -> Outcome:
        if not isinstance(said, Mapping):
            return Outcome.placed(said)
        order_id, sent = said.get("orderId", said.get("algoId")), said.get("clientOrderId", said.get("clientAlgoId"))
        if not isinstance(order_id, str | int):
            raise InvalidField("order_id", shown(said), "is no answer to an order: it has no orderId, and no algoId")
        if sent is not None and sent != self.client_order_id:
            _log.error("ANOTHER ID %s", names(self.permit, order_id=order_id, sent=sent, detail=_ANOTHER_ID))
        return Outcome.placed(order_id)

    def _unknown(self, detail: str) -> Outcome:
        return Outcome.unknown(detail, penalty=Penalty.unknown_outcome(self._policy))


class GuardedPermit(_Held):
    """The permit in a `guard` block. It is true while the block may send. The block reports the outcome to it."""

    def __init__(self, gate: Settler, verdict: Verdict) -> None:
        super().__init__(gate.policy, verdict)
        self._gate: Final = gate

    def settle(self, outcome: Outcome) -> Settlement:
        """Reports the outcome. Raises LookupError for a denied intent."""
        self.outcome, self.settlement = outcome, None
        self.settlement = self._gate.settle(self.permit, outcome)
        return self.settlement

    def heard(self, said: FoundOrder | Outcome | None) -> None:
        """Takes what the exchange has said of an earlier order. One that it has is reported as the intent's."""
        if (outcome := self._heard(said)) is not None:
            self.settle(outcome)

    def leave(self, error: BaseException | None = None) -> None:
        """Ends the block. Reports once more an outcome that wasn't reported; without any outcome, what the exception
        means, by the table of failures; else unknown."""
        if (outcome := self._unreported(error)) is not None:
            self.settle(outcome)

    def placed(self, order_id: str | int | Mapping[str, object]) -> Settlement:
        """The exchange has the order. `order_id`: its id, or better the exchange's whole answer: the log has an error
        where that carries another client order id than the permit's. Raises InvalidField for what has no id."""
        return self.settle(self._placed(order_id))

    def rejected(
        self, code: str | int, detail: str = "", *, retryable: bool = False, penalty: Penalty | None = None
    ) -> Settlement:
        """The exchange refused the order; certainly none exists."""
        return self.settle(Outcome.rejected(code, detail, retryable=retryable, penalty=penalty))

    def unsent(
        self, reason: str, detail: str = "", *, retryable: bool = True, penalty: Penalty | None = None
    ) -> Settlement:
        """Nothing was sent. The rate windows get their slots back."""
        return self.settle(Outcome.unsent(reason, detail, retryable=retryable, penalty=penalty))

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
        self.outcome, self.settlement = outcome, None
        self.settlement = await self._gate.settle(self.permit, outcome)
        return self.settlement

    async def heard(self, said: FoundOrder | Outcome | None) -> None:
        """Takes what the exchange has said of an earlier order. One that it has is reported as the intent's."""
        if (outcome := self._heard(said)) is not None:
            await self.settle(outcome)

    async def leave(self, error: BaseException | None = None) -> None:
        """Ends the block. Reports once more an outcome that wasn't reported; without any outcome, what the exception
        means, by the table of failures; else unknown."""
        if (outcome := self._unreported(error)) is not None:
            await self.settle(outcome)

    async def placed(self, order_id: str | int | Mapping[str, object]) -> Settlement:
        """The exchange has the order. `order_id`: its id, or better the exchange's whole answer: the log has an error
        where that carries another client order id than the permit's. Raises InvalidField for what has no id."""
        return await self.settle(self._placed(order_id))

    async def rejected(
        self, code: str | int, detail: str = "", *, retryable: bool = False, penalty: Penalty | None = None
    ) -> Settlement:
        """The exchange refused the order; certainly none exists."""
        return await self.settle(Outcome.rejected(code, detail, retryable=retryable, penalty=penalty))

    async def unsent(
        self, reason: str, detail: str = "", *, retryable: bool = True, penalty: Penalty | None = None
    ) -> Settlement:
        """Nothing was sent. The rate windows get their slots back."""
        return await self.settle(Outcome.unsent(reason, detail, retryable=retryable, penalty=penalty))

    async def unknown(self, detail: str = "") -> Settlement:
        """Nobody knows whether the order exists. The permit stays in doubt."""
        return await self.settle(self._unknown(detail))
