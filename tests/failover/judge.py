"""What a run has shown: the exchange's ledger held against what the workers were told and what the store remembers."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gate.protocol.keyspace import Keyspace
from gate.values.record import Phase, Record
from tests.failover.plan import POLICY, PREFIX
from tests.failover.worker import Answer, Look, Said

UNANSWERED = frozenset({"STORE_UNAVAILABLE", "STORE_ERROR"})
"""Reasons that the store hasn't given."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the ledger, and the admission that it was sent under, if there is one."""

    client_order_id: str
    order_id: str
    at_ms: int
    under: Said | None


@dataclass(slots=True)
class Silence:
    """How long verdicts stayed away, in seconds."""

    store: float = 0.0
    """The longest time between two verdicts that the store had answered."""
    after_takeover: float | None = None
    """From the moment when the new primary was seen until the first verdict of the store."""
    young: float = 0.0
    """From the first to the last MEMORY_YOUNG."""
    entries: float = 0.0
    """The longest time between two entries admitted."""
    exits: float = 0.0
    """The longest time between two verdicts of the store on exits."""
    exit_took: float = 0.0
    """The longest way of an exit from its delivery to its order, where the store had answered."""
    looks: float = 0.0
    """The longest time between two looks of a blocking gate."""
    call_ms: float = 0.0
    """The longest evaluation of an asyncio gate, and …"""
    look_ms: float = 0.0
    """… the longest look of the blocking one."""


@dataclass(slots=True)
class Report:
    """One run."""

    fault: str
    seed: str
    intents: int = 0
    deliveries: int = 0
    orders: int = 0
    entries: int = 0
    verify: int = 0
    found_by_look_up: int = 0
    found_in_the_end: int = 0
    silence: Silence = field(default_factory=Silence)
    reasons: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        s = self.silence
        takeover = "" if s.after_takeover is None else f" ({s.after_takeover:.2f} after the takeover)"
        lines = [
            f"{self.fault} seed {self.seed}: {self.intents} intents, {self.deliveries - self.intents} redelivered, "
            f"{self.orders} orders, {self.verify} verify permits, {self.found_by_look_up} found by a look-up, "
            f"{self.found_in_the_end} at the end, {len(self.violations)} violations",
            f"  seconds without: the store {s.store:.2f}{takeover}, exits {s.exits:.2f}, entries {s.entries:.2f} "
            f"(MEMORY_YOUNG {s.young:.2f}), looks {s.looks:.2f}; longest exit {s.exit_took:.2f} s, evaluation "
            f"{s.call_ms:.0f} ms, look {s.look_ms:.0f} ms",
            f"  {dict(self.reasons.most_common())} {dict(self.states.most_common())} {'; '.join(self.notes)}",
        ]
        return "\n".join([*lines, *(f"  VIOLATION {each}" for each in self.violations)])


def judge(
    report: Report,
    *,
    intents: Mapping[str, Mapping[str, Any]],
    delivered: Mapping[int, str],
    answers: Sequence[Answer],
    looks: Sequence[Sequence[Look]],
    ledger: Sequence[Mapping[str, object]],
    records: Mapping[str, Record | None],
    takeover: float | None,
    struck: float,
) -> None:
    """Fills the report. `delivered`: the number of each delivery and its intent; `struck`: when the fault came."""
    report.intents, report.deliveries = len(intents), len(delivered)
    by_intent: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_intent[answer.intent_id].append(answer)
    _answered(report, delivered, answers)
    names = {Keyspace(PREFIX).client_order_id(each): each for each in intents}
    orders: dict[str, list[Order]] = defaultdict(list)
    for row in ledger:
        name = str(row["clientOrderId"])
        if name.startswith("setup-"):
            continue
        if name not in names:
            report.violations.append(f"order {row['orderId']} of no intent")
            continue
        at_ms = int(str(row["time"]))
        under = _permit_of(by_intent[names[name]], at_ms)
        orders[names[name]].append(Order(name, str(row["orderId"]), at_ms, under))
    report.orders = sum(map(len, orders.values()))
    for intent_id, found in orders.items():
        if len(found) > 1:
            times = [each.at_ms - round(struck * 1000) for each in found]
            report.violations.append(f"{intent_id}: {len(found)} orders, {times} ms after the fault")
        for order in found:
            if order.under is None:
                report.violations.append(f"{intent_id}: order {order.order_id} under no permit that was alive")
        _recorded(report, intent_id, found, records.get(intent_id))
    for intent_id, record in records.items():
        if record is not None and record.phase is Phase.PLACED and not orders.get(intent_id):
            report.violations.append(f"{intent_id}: recorded as placed, and the ledger has no order")
    _windows(report, intents, orders)
    _silence(report.silence, answers, looks, takeover, struck)
    longest = max((said for answer in answers for said in answer.verdicts), key=lambda said: said.took_ms, default=None)
    if longest is not None:
        at_s = longest.at - struck
        report.notes.append(f"longest evaluation: {longest.reason} {longest.detail} {at_s:.1f} s after the fault")


def _answered(report: Report, delivered: Mapping[int, str], answers: Sequence[Answer]) -> None:
    heard = {answer.number for answer in answers}
    for number in delivered.keys() - heard:
        report.violations.append(f"{delivered[number]}: delivery {number} got no answer")
    for answer in answers:
        if answer.raised is not None:
            report.violations.append(f"{answer.intent_id}: raised {answer.raised}")
        report.states[answer.state] += 1
        for said in answer.verdicts:
            report.reasons[said.reason] += 1
            report.verify += said.verify


def _permit_of(answers: Sequence[Answer], at_ms: int) -> Said | None:
    alive = [
        said
        for answer in answers
        for said in answer.verdicts
        if said.admitted_ms and said.admitted_ms <= at_ms <= said.deadline_ms
    ]
    return min(alive, key=lambda said: said.admitted_ms, default=None)


def _recorded(report: Report, intent_id: str, orders: Sequence[Order], record: Record | None) -> None:
    if record is None or record.phase is not Phase.PLACED:
        report.violations.append(f"{intent_id}: order {orders[0].order_id} exists, and the record says {record}")
    elif record.order_id not in {order.order_id for order in orders}:
        report.violations.append(f"{intent_id}: the record names order {record.order_id}, the ledger {orders}")


def _windows(report: Report, intents: Mapping[str, Mapping[str, Any]], orders: Mapping[str, Sequence[Order]]) -> None:
    """An entry is admitted only while the window before it has room. Exits count in the account's, and pass it."""
    sent = sorted(
        (order.under.admitted_ms, order.under.is_exit, order.under.fence, str(intents[intent_id]["symbol"]))
        for intent_id, found in orders.items()
        for order in found
        if order.under is not None
    )
    report.entries = sum(not is_exit for _, is_exit, _, _ in sent)
    for symbol in sorted({each[3] for each in sent}):
        times = [at for at, is_exit, _, of in sent if of == symbol and not is_exit]
        _window(report, symbol, times, times, POLICY.rate_symbol_limit, POLICY.rate_symbol_window_ms)
    entries = [at for at, is_exit, _, _ in sent if not is_exit]
    _window(report, "the account", [each[0] for each in sent], entries, POLICY.rate_global_limit,
            POLICY.rate_global_window_ms)  # fmt: skip


def _window(
    report: Report, whose: str, counted: Sequence[int], entries: Sequence[int], limit: int, window_ms: int
) -> None:
    # Of the same millisecond, one entry at least was judged before the others: so count up to its own time, less these.
    for at in sorted(set(entries)):
        before = bisect_left(counted, at) - bisect_left(counted, at - window_ms + 1)
        own = sum(each == at for each in entries)
        if before + own > limit:
            report.violations.append(f"{whose}: {before + own} admissions in a window of {limit}, at {at}")


def _silence(
    silence: Silence, answers: Sequence[Answer], looks: Sequence[Sequence[Look]], takeover: float | None, struck: float
) -> None:
    said = sorted((each for answer in answers for each in answer.verdicts), key=lambda each: each.at)
    answered = [each for each in said if each.reason not in UNANSWERED]
    silence.store = _longest([each.at for each in answered])
    silence.exits = _longest([each.at for each in answered if each.is_exit])
    silence.entries = _longest([each.at for each in answered if not each.is_exit and each.admitted_ms])
    young = [each.at for each in said if each.reason == "MEMORY_YOUNG"]
    silence.young = young[-1] - young[0] if young else 0.0
    if takeover is not None:
        # Where the old primary still answered, its last verdicts may be under way at that moment.
        later = [each.at for each in answered if each.at > takeover and each.at - each.took_ms / 1000 > struck]
        silence.after_takeover = later[0] - takeover if later else None
    silence.call_ms = max((each.took_ms for each in said), default=0.0)
    silence.exit_took = max(
        (
            answer.ended - answer.began
            for answer in answers
            if answer.verdicts and answer.verdicts[-1].is_exit and answer.verdicts[-1].admitted_ms
        ),
        default=0.0,
    )
    for each in looks:
        silence.looks = max(silence.looks, _longest([look.at for look in each if look.failed is None]))
        silence.look_ms = max([silence.look_ms, *(look.took_ms for look in each)])


def _longest(times: Sequence[float]) -> float:
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)
