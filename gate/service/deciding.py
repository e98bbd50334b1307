"""Whether an intent that was tried is answered, or tried again, and when."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final, NamedTuple

from gate.client.gates import AsyncGate
from gate.exchange.failures import ExchangeFailure, OrderNotFound
from gate.exchange.port import Exchange, OrderAnswer
from gate.executor import Execution, Terminal
from gate.executor.look_up import find_order_of_any_type
from gate.service.answering import Answering
from gate.service.pauses import grown
from gate.service.results import Ending, ending_of, ending_of_record
from gate.service.settings import Settings
from gate.service.streams import STORE_FAILURES, Streams, is_for_good, is_last, said_of
from gate.service.waiting import Held
from gate.values.errors import StoreFailure
from gate.values.intent import Intent
from gate.values.log_words import log_of, names
from gate.values.outcome import Outcome, OutcomeKind
from gate.values.record import Phase, Record

_log: Final = log_of("gate.service")

_ENTRY_AGAIN_S: Final = (1.0, 10.0)
_EXIT_AGAIN_S: Final = (0.25, 2.0)
"""The first and the longest wait before another try, where the denial doesn't tell one. An open position is urgent."""
_EARLIER_AGAIN_S: Final = (0.2, 2.0)
"""The same, while another delivery of the intent is on its way."""
_FAULTS_AT_MOST: Final = 5
_LONGEST_AFTER_A_REFUSAL_S: Final = 5.0
_REFUSED_AT_MOST: Final = 4
"""How often an exit is tried again that the exchange has refused: for some four seconds. A close that comes later might
meet a position that was opened since."""
_ASKS_THE_PRODUCER: Final = frozenset({"TWO_POSITIONS"})
"""What a retry may cure, but not soon: its producer has to say more."""


class Later(NamedTuple):
    """Another try, so long from now."""

    wait_s: float
    reason: str
    alone: bool = False
    """Whether its symbol's other intents needn't wait for it: its order was sent before them."""
    refused: bool = False
    """Whether the exchange has refused its order. Later entries of its symbol wait for it then."""


class Deciding:
    """What becomes of the tries of one service."""

    def __init__(
        self, settings: Settings, gate: AsyncGate, exchange: Exchange, streams: Streams, answering: Answering
    ) -> None:
        self._of: Final = settings
        self._gate: Final = gate
        self._exchange: Final = exchange
        self._streams: Final = streams
        self._answering: Final = answering

    def after_a_fault(self, held: Held, error: Exception) -> Ending | Later:
        """What follows where executing an intent, or answering it, has raised."""
        if isinstance(error, (*STORE_FAILURES, StoreFailure)) or held.faults < _FAULTS_AT_MOST:
            waits_s = _EXIT_AGAIN_S if held.exit else _ENTRY_AGAIN_S
            return Later(grown(*waits_s, held.faults), type(error).__name__)
        detail = f"the service failed {held.faults} times: {said_of(error)}"
        return Ending(Terminal.UNKNOWN, "SERVICE_FAILED", detail)

    def again(self, held: Held, execution: Execution, *, full: bool) -> Later | None:
        """When to try once more; None: this is the answer. An entry that exchange or margin refused isn't tried again.
        An exit is, where the exchange refused it for a moment: its position is open.

        `full`: as many intents are in hand as may be.
        """
        outcome = execution.outcome
        if execution.without_store and execution.order_id is None and execution.state is not Terminal.UNKNOWN:
            # Another delivery may have gone without the store too, and found what there was to close. Its record or the
            # exchange says so later.
            return Later(grown(*_EXIT_AGAIN_S, held.tries), execution.reason)
        unsent = outcome is not None and outcome.kind is OutcomeKind.UNSENT
        refused = _refused_for_a_moment(held, outcome)
        costs = execution.state is Terminal.REJECTED_MARGIN and outcome is not None and outcome.penalty is not None
        if not execution.retryable or not (execution.state is Terminal.DENIED or unsent or refused) or costs:
            return None
        if not self._of.retries or full or execution.reason in _ASKS_THE_PRODUCER:
            return None
        if execution.retry_after_ms is not None:
            wait_s = max(execution.retry_after_ms, 1) / 1000
        else:
            wait_s = grown(*(_EXIT_AGAIN_S if held.exit else _ENTRY_AGAIN_S), held.tries)
        if wait_s * 1000 >= min(self.left_ms(held.entry.intent), self._gate.policy.max_age_ms):
            # It would be stale by then; or it is dated so far ahead that it would take a place in hand for longer than
            # any other intent.
            return None
        if refused and (held.refused >= _REFUSED_AT_MOST or wait_s > _LONGEST_AFTER_A_REFUSAL_S):
            return None
        return Later(wait_s, execution.reason, refused=refused)

    def left_ms(self, intent: Intent) -> int:
        """How long the intent is fresh."""
        most_ms = self._gate.policy.max_age_ms
        if self._of.max_age_s is not None:
            most_ms = min(most_ms, self._of.max_age_s * 1000)
        return intent.timestamp_ms + most_ms - time.time_ns() // 1_000_000

    async def as_before(self, held: Held, execution: Execution) -> Ending | Later:
        """What an earlier delivery has come to. Its result may be missing: its worker may have died before."""
        record, intent = execution.verdict.prior, held.entry.intent
        known_by = answered_as(intent)
        mark = await self._streams.mark(known_by)
        if self._answering.has(known_by):
            # Where results are refused and pass again, this denial could be written before that answer.
            return Later(grown(*_EARLIER_AGAIN_S, held.tries), execution.reason, alone=True)
        if is_last(mark):
            return ending_of(execution)  # it won't be written
        came = None
        if record is not None:
            order = None
            if record.phase is Phase.PLACED or (record.phase is Phase.REJECTED and record.is_exit):
                # Two deliveries of an exit may both have gone without the store. One was filled, and the other's record
                # says that there was nothing to close.
                order = await self._placed_before(record)
            came = ending_of_record(
                record, self._gate.client_order_id(intent.id), order, execution.verdict.mode, execution.detail
            )
        if came is None:  # the other delivery is at work
            return Later(grown(*_EARLIER_AGAIN_S, held.tries), execution.reason, alone=True)
        _log.info(
            "TERMINAL STATE: %s %s reason=%s order=%s from its record",
            came.state,
            names(intent),
            came.reason,
            came.order_id or "-",
        )
        return replace(came, told_before=is_for_good(mark))

    async def _placed_before(self, record: Record) -> OrderAnswer | None:
        decided_ms = record.admitted_ms - self._gate.policy.max_age_ms
        client_order_id = self._gate.client_order_id(record.intent_id)
        try:
            return await find_order_of_any_type(self._exchange, record.symbol, client_order_id, decided_ms)
        except (ExchangeFailure, OrderNotFound):
            return None


def _refused_for_a_moment(held: Held, outcome: Outcome | None) -> bool:
    """Whether the exchange has refused an exit in a way that may pass. Not in a ban, nor with keys that don't work: who
    goes on is banned for longer. And not a stop: who sent it should hear at once that it doesn't stand."""
    if outcome is None or outcome.kind is not OutcomeKind.REJECTED or held.entry.intent.is_conditional:
        return False
    return held.exit and not (outcome.penalty is not None and outcome.penalty.safe_mode)


def answered_as(intent: Intent) -> str:
    """What tells an intent from others: its id, and what it asks for. Another intent under its id is a CONFLICT, which
    has a result of its own."""
    return f"{intent.id}:{intent.fingerprint}"
