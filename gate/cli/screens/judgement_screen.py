"""Shows a judgement to a person: a headline with the verdict, then every guard."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from gate.cli.screens.judgement import Judgement
from gate.cli.screens.rows import Row
from gate.cli.screens.screen import screen
from gate.cli.screens.wording import one_line, printable, span
from gate.values.fields import plain
from gate.values.guards import Reason
from gate.values.intent import Intent
from gate.values.record import Phase
from gate.values.reports import GuardReport
from gate.values.verdict import Mode, Verdict

_MOST_NAMES: Final = 40
_LONGEST_NAME: Final = 40
_ENDED_BY: Final = {
    Reason.HALTED: "`gate resume` ends it.",
    Reason.POLICY_MISMATCH: "Take the figures in force over, or `gate policy apply` changes them.",
    Reason.IN_FLIGHT_LIMIT: "Retry when one of them is settled.",
}
_RESET_BY: Final = {
    Reason.SAFE_MODE: "`gate reset safe_mode`",
    Reason.COOLDOWN_GLOBAL: "`gate reset cooldowns`",
    Reason.COOLDOWN_SYMBOL: "`gate reset cooldowns`",
}
"""What ends a trip before its time."""


def show_judgement(judgement: Judgement, *, asked_to_commit: bool) -> None:
    """Prints it."""
    to, verdict = screen(), judgement.verdict
    denied = verdict.reason is not Reason.ADMITTED
    to.words(headline(verdict), "bold red" if not verdict.admitted else "bold yellow" if denied else "bold green")
    for line in described(judgement.intent):
        to.words(line, "dim")
    to.say("")
    to.table(("guard", "state", "time left", "key"), guard_rows(judgement.guards))
    to.say("")
    to.words(consequence(judgement, asked_to_commit))


def headline(verdict: Verdict) -> str:
    """The verdict, and when to retry."""
    why = f"{verdict.reason}: {verdict.detail}" if verdict.detail else str(verdict.reason)
    if verdict.reason is Reason.ADMITTED:
        return "ADMIT" if verdict.mode is Mode.ENFORCE else "ADMIT (observe mode)"
    if verdict.admitted:
        return f"ADMIT (observe mode), would be denied. {why}"
    return f"DENY {why}. {_retry(verdict)}"


def _retry(verdict: Verdict) -> str:
    if verdict.prior is not None and verdict.prior.phase is Phase.FOREIGN:
        return "Make sure that no order of this intent was ever sent before you delete it."
    if verdict.from_the_future:
        return "It may pass when its time has come; check the clock of its producer."
    if not verdict.retryable:
        return "No retry will change that."
    reset = _RESET_BY.get(verdict.reason)
    if verdict.retry_after_ms is not None:
        return f"Retry in {span(verdict.retry_after_ms)}" + (f", or after {reset}." if reset else ".")
    if reset:
        return f"It has no TTL: {reset} ends it."
    return _ENDED_BY.get(verdict.reason, "No retry will change that until somebody ends the cause.")


def described(intent: Intent) -> list[str]:
    """An intent in one line; then what reading it has decided, and the names of the fields that the gate ignores."""
    kind = "exit" if intent.is_exit else "entry"
    parts = [f"{intent.id} {kind}: {intent.side} {intent.order_type} {intent.symbol}", _size(intent)]
    if intent.order_type == "LIMIT" and intent.price is not None:
        parts.append(f"at {plain(intent.price)} {intent.time_in_force}")
    if intent.trigger_price is not None:
        parts.append(f"triggered at {plain(intent.trigger_price)} {intent.working_type}")
    if intent.order_type != "LIMIT" and intent.price is not None:
        parts.append(f"expected at {plain(intent.price)}")
    if intent.leverage is not None:
        parts.append(f"{intent.leverage}x")
    if intent.position_side is not None:
        parts.append(intent.position_side)
    if intent.reduce_only:
        parts.append("reduce-only")
    lines = [" ".join(parts), *(f"read: {note}" for note in intent.notes)]
    if intent.aside:
        lines.append(f"put aside: {_names(intent.aside)}")
    return lines


def _size(intent: Intent) -> str:
    if intent.close_position:
        return "all that is open"
    if intent.quantity is not None:
        return f"quantity {plain(intent.quantity)}"
    return f"notional {plain(intent.notional or Decimal())}"


def _names(fields: Iterable[object]) -> str:
    names = [one_line(str(name))[:_LONGEST_NAME] for name in fields]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def guard_rows(guards: tuple[GuardReport, ...]) -> list[Row]:
    """The guards in their order. The first that denies gives the verdict its reason."""
    rows = []
    denied = False
    for report in guards:
        if report.passed:
            state, style = ("exempt", "dim") if report.exempt else ("pass", "")
        else:
            state, style = ("denies", "red") if denied else ("DENIES", "bold red")
            denied = True
        left = "" if report.passed else "-" if report.wait_ms is None else span(report.wait_ms)
        where = report.key or "(the intent's time)"
        if not report.passed and report.detail:
            where += f"\n{printable(report.detail)}"
        rows.append(Row((report.guard, state, left, where), style))
    return rows


def consequence(judgement: Judgement, asked_to_commit: bool) -> str:
    """What the intent claimed, and what to do next."""
    permit = judgement.verdict.permit
    if judgement.committed and permit is not None:
        verify = " First ask the exchange whether it has this order: the store may have lost records." * permit.verify
        return (
            f"Claimed: fence {permit.fence}, client order id {permit.client_order_id}, token {permit.token}; "
            f"runs out in {span(permit.remaining_ms)}. If nobody settles it by then, it is in doubt: `gate "
            f"reconcile` asks the exchange then, and settles it.{verify}"
        )
    if asked_to_commit:
        return "Nothing was claimed."
    return "This was only a look; it claimed nothing (--commit claims)."
