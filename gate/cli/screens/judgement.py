"""The answer of `gate eval` as values: the verdict, the guards that agree with it, and both as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct, structs

from gate.values.fields import plain
from gate.values.guards import GUARDS, Reason
from gate.values.intent import Intent
from gate.values.record import Phase, Record
from gate.values.reports import GuardReport, Inspection
from gate.values.verdict import Mode, Permit, Verdict

GUARD_OF: Final = {guard.reason: guard.name for guard in GUARDS}


class Judgement(Struct, frozen=True):
    """A verdict on an intent, with the answers of all guards."""

    intent: Intent
    verdict: Verdict
    guards: tuple[GuardReport, ...]
    committed: bool | None
    """Whether the intent claimed anything; None when that is unknown, because the store's answer was lost."""


def looked(intent: Intent, inspection: Inspection, prior: Record | None) -> Judgement:
    """The verdict that an inspection predicts. `prior`: the intent's record, if it has one."""
    denial = inspection.denial
    verdict = Verdict(
        inspection.admitted,
        inspection.reason,
        denial.detail if denial else "",
        denial.retry_after_ms if denial else None,
        prior=prior,
        mode=inspection.mode,
        age_ms=denial.age_ms if denial else None,
    )
    return Judgement(intent, verdict, inspection.guards, committed=False)


def claimed(intent: Intent, before: Inspection, verdict: Verdict) -> Judgement:
    """The verdict of a claim, with the guards of an inspection just before it, corrected to agree with the verdict."""
    committed = verdict.permit is not None and verdict.permit.token != ""
    return Judgement(intent, verdict, agreeing(before.guards, verdict), committed)


def unanswered(intent: Intent, reason: Reason, detail: str, mode: str, committed: bool | None) -> dict[str, object]:
    """The JSON answer when there is no verdict."""
    verdict = Verdict(False, reason, detail)
    return {**judgement_json(Judgement(intent, verdict, (), committed)), "mode": mode, "detail": detail}


def agreeing(before: Sequence[GuardReport], verdict: Verdict) -> tuple[GuardReport, ...]:
    """The guards' answers at the moment of the verdict.

    Another worker may change them between the inspection and the verdict. But a denial proves that every guard before
    the one that denied passed, and an admission proves that all guards passed.
    """
    names = [report.guard for report in before]
    denying = GUARD_OF.get(verdict.reason)
    if verdict.mode is Mode.OBSERVE and verdict.reason is Reason.HALTED:  # it has outranked the guards before it
        return tuple(_denying(each, verdict) if each.guard == denying else each for each in before)
    first = len(names) if denying is None else names.index(denying)
    return tuple(
        _passed(report) if place < first else _denying(report, verdict) if place == first else report
        for place, report in enumerate(before)
    )


def _passed(report: GuardReport) -> GuardReport:
    return report if report.passed else GuardReport(report.guard, True, report.key)


def _denying(report: GuardReport, verdict: Verdict) -> GuardReport:
    return structs.replace(
        report,
        passed=False,
        reason=verdict.reason,
        wait_ms=_time_left(report, verdict),
        retry_after_ms=verdict.retry_after_ms,
        detail=verdict.detail,
        exempt=False,
        age_ms=verdict.age_ms,
    )


def _time_left(report: GuardReport, verdict: Verdict) -> int | None:
    """What the look has seen of a lock: the verdict only tells when to ask again."""
    seen = verdict.reason is Reason.LOCKED and report.reason is Reason.LOCKED
    return report.wait_ms if seen else verdict.retry_after_ms


def judgement_json(judgement: Judgement) -> dict[str, object]:
    """The answer for --json. It has `prior` only if the intent has a record."""
    verdict = judgement.verdict
    answer: dict[str, object] = {
        "admitted": verdict.admitted,
        "reason": verdict.reason.value,
        "retryable": verdict.retryable,
        "retry_after_ms": verdict.retry_after_ms,
        "committed": judgement.committed,
        "mode": verdict.mode.value,
        "intent": intent_json(judgement.intent),
        "guards": [
            {
                "guard": report.guard,
                "passed": report.passed,
                "key": report.key or None,
                "ttl_ms": report.wait_ms,
                "detail": report.detail,
                "exempt": report.exempt,
                "age_ms": report.age_ms,
            }
            for report in judgement.guards
        ],
        "permit": _permit_json(verdict.permit),
    }
    if verdict.prior is not None:
        answer["prior"] = record_json(verdict.prior)
    return answer


def intent_json(intent: Intent) -> dict[str, object]:
    """An intent as it was read. Figures are texts; `aside` has the names of the fields that the gate ignores."""
    return {
        "id": intent.id,
        "symbol": intent.symbol,
        "side": intent.side,
        "exit": intent.is_exit,
        "order_type": intent.order_type,
        "notional": _figure(intent.notional),
        "quantity": _figure(intent.quantity),
        "close_position": intent.close_position,
        "price": _figure(intent.price),
        "time_in_force": intent.time_in_force,
        "trigger_price": _figure(intent.trigger_price),
        "working_type": intent.working_type,
        "position_side": intent.position_side,
        "reduce_only": intent.reduce_only,
        "leverage": intent.leverage,
        "notes": list(intent.notes),
        "aside": [str(name) for name in intent.aside],
    }


def _figure(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _permit_json(permit: Permit | None) -> dict[str, object] | None:
    if permit is None or not permit.token:  # one without a token has claimed nothing, so there is nothing to settle
        return None
    return {
        "token": permit.token,
        "fence": permit.fence,
        "client_order_id": permit.client_order_id,
        "deadline_ms": permit.deadline_ms,
        "verify": permit.verify,
    }


def record_json(record: Record) -> dict[str, object]:
    """A record as JSON. For a text that the gate didn't write, `note` has the text, and the other fields are null."""
    answer: dict[str, object] = {
        "id": record.intent_id,
        "phase": record.phase.value,
        "symbol": record.symbol,
        "side": record.side,
        "reduce_only": record.is_exit,
        "order_id": record.order_id,
        "code": record.code,
        "note": "" if record.phase is Phase.ADMITTED else record.note,
        "unsent": record.unsent,
        "fence": record.fence,
        "token": record.token,
        "fingerprint": record.fingerprint,
        "admitted_ms": record.admitted_ms,
        "deadline_ms": record.deadline_ms,
        "settled_ms": record.settled_ms,
        "reserved": f"{record.reserved:f}",
        "verify": record.verify,
        "penalised": record.penalised,
    }
    if record.phase is Phase.FOREIGN:
        return {name: answer[name] if name in ("id", "phase", "note") else None for name in answer}
    return answer
