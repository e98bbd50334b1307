"""A course through all that befalls a service at once, and the count at its end.

Three workers on a store with an append-only file. Deliveries come twice, too late, unreadable, and more of them than
the rates allow. Meanwhile a worker is killed every few seconds, one stands still and goes on, the store is killed and
started again, and the exchange is away for a while.
"""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gate import Gate
from gate.paper import Fault, FaultKind
from tests.servers.store import PrivateStore
from tests.service.desk import DEAD, RESULTS, STREAM, UPDATE, Desk, Worker, payload, until

ON_DISK: Final = ("--appendonly", "yes", "--appendfsync", "always")
CONFIG: Final = """
[policy]
lock_ttl_ms = 5000
rate_symbol_limit = 20
rate_symbol_window_ms = 1000
rate_global_limit = 200
rate_global_window_ms = 2000
cooldown_global_ms = 1000
cooldown_symbol_ms = 1000
unknown_cooldown_ms = 1000
safe_mode_ttl_ms = 2000
max_in_flight = 500
[service]
takeover_ms = 15000
concurrency = 64
"""
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "BNBUSDT", "NEARUSDT", "DOGEUSDT")
_ENDED_WITHIN_S: Final = 240.0


@dataclass
class Count:
    """What was sent, and what came of it."""

    sent: set[str] = field(default_factory=set)
    twice: int = 0
    late: int = 0
    put_off: Counter[str] = field(default_factory=Counter)
    """Tries that were denied for now, by reason. Most of them were tried again."""
    seconds: float = 0.0
    megabytes: list[int] = field(default_factory=list)
    """What the worker takes that is never killed, every five seconds."""
    unreadable: int = 0
    kills: int = 0
    stops: int = 0
    store_kills: int = 0
    denials: Counter[str] = field(default_factory=Counter)
    """Results that tell of no order: another delivery of the intent may have become one."""
    results: Counter[str] = field(default_factory=Counter)
    """All others."""
    states: Counter[str] = field(default_factory=Counter)
    updates: Counter[str] = field(default_factory=Counter)
    """What has come of resting orders after their results, by event."""
    wrong_updates: list[str] = field(default_factory=list)
    dead: int = 0
    orders: Counter[str] = field(default_factory=Counter)
    with_order: set[str] = field(default_factory=set)
    strange: list[str] = field(default_factory=list)
    """Of each order that no result tells, or the other way: its result, and what the logs say of it."""
    in_doubt: int = 0
    in_flight: int = 0

    @property
    def faults(self) -> list[str]:
        """Whatever isn't as promised; empty where all is."""
        twice = [name for of in (self.results, self.denials) for name, count in of.items() if count > 1]
        found = [f"{len(twice)} intents with more than one result: {twice[:5]}"] if twice else []
        told = self.results.keys() | self.denials.keys()
        unasked = sorted(told - self.sent)
        found += [f"{len(unasked)} results that nobody has asked for: {unasked[:5]}"] if unasked else []
        without = sorted(self.sent - told)
        found += [f"{len(without)} intents without a result: {without[:5]}"] if without else []
        doubled = [name for name, count in self.orders.items() if count > 1]
        found += [f"{len(doubled)} intents with more than one order: {doubled[:5]}"] if doubled else []
        strange = sorted(self.orders.keys() ^ self.with_order)
        found += (
            [f"{len(strange)} orders that no result tells, or the other way: {self.strange[:3]}"] if strange else []
        )
        found += [f"{len(self.wrong_updates)} wrong updates: {self.wrong_updates[:5]}"] if self.wrong_updates else []
        found += [f"{self.dead} dead letters, {self.unreadable} unreadable"] if self.dead != self.unreadable else []
        found += [f"{self.in_doubt} in doubt, {self.in_flight} in flight"] if self.in_doubt + self.in_flight else []
        return found

    @property
    def rows(self) -> list[tuple[str, str]]:
        """As a table."""
        shown = self.megabytes[:: max(1, len(self.megabytes) // 10)]
        return [
            ("intents", f"{len(self.sent):,} in {self.seconds:.0f} s"),
            ("of these sent twice; too late", f"{self.twice:,}; {self.late:,}"),
            ("unreadable entries beside them", f"{self.unreadable:,}"),
            ("workers killed; stopped for a while", f"{self.kills}; {self.stops}"),
            ("the store killed", f"{self.store_kills}"),
            ("tries denied for now", _listed(self.put_off)),
            ("results", _listed(self.states)),
            ("updates of orders", _listed(self.updates) or "none"),
            ("an order after a denial", f"{len(self.results.keys() & self.denials.keys())}"),
            ("orders in the exchange's ledger", f"{sum(self.orders.values()):,}"),
            ("memory of the worker that lives on, MB", ", ".join(map(str, shown))),
            ("not as promised", "; ".join(self.faults) or "nothing"),
        ]

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows)
        return "\n".join(["", *(f"| {name:<{width}} | {value} |" for name, value in self.rows)])


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def take_course(
    desk: Desk,
    store: PrivateStore,
    *,
    for_s: float,
    intents: int,
    seed: int = 1,
    told: Callable[[str], None] = lambda _: None,
) -> Count:
    """Sends so many intents in so long, harms what there is, and counts when all is answered."""
    chance, count = random.Random(seed), Count()
    with Gate.from_url(desk.url, timeout_ms=5_000) as gate:
        steady = desk.worker(CONFIG).consumes()
        workers = [desk.worker(CONFIG).consumes() for _ in range(2)]
        begun, number = time.monotonic(), 0
        harms = _harms(for_s, chance)
        while (now_s := time.monotonic() - begun) < for_s or len(count.sent) < intents:
            while len(count.sent) < intents * min(now_s / for_s, 1):
                number += 1
                _send(desk, count, number, chance)
            while harms and harms[0][0] <= now_s:
                harm = harms.pop(0)[1]
                told(f"{now_s:.0f} s: {harm}")
                _do(harm, desk, store, workers, count, chance)
            if now_s > 5 * len(count.megabytes):
                count.megabytes.append(_megabytes(steady))
            time.sleep(0.02)
        workers.append(steady)
        for worker in workers:
            worker.process.send_signal(signal.SIGCONT)
        desk.paper.clear_faults()
        told("waiting for the last results")

        def answered() -> bool:
            rows: Any = desk.client.xinfo_groups(STREAM)
            if rows[0]["lag"] or rows[0]["pending"]:
                return False
            status = gate.status()
            return status.in_doubt == status.in_flight == 0

        until(answered, within_s=_ENDED_WITHIN_S, told=lambda: "\n".join(worker.log[-3000:] for worker in workers))
        _dip(desk)
        until(lambda: not _open_still(desk), told=lambda: _open_still(desk))
        _count_up(desk, gate, count)
        for worker in workers:
            assert worker.stop() == 0, worker.log
        count.seconds = time.monotonic() - begun
    return count


def _megabytes(worker: Worker) -> int:
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
    return pages * 4096 // 1_000_000


def _send(desk: Desk, count: Count, number: int, chance: random.Random) -> None:
    if chance.random() < 0.05:
        count.unreadable += 1
        _added(desk, {"data": "{nonsense"})
        return
    name = f"sig-{number}"
    content = payload(chance.choice(SYMBOLS), chance.choice(("BUY", "SELL")), id=name)
    if chance.random() < 0.05:
        content["timestamp"] = "2025-12-24T04:32:14.062679"
        count.late += 1
    if chance.random() < 0.05:
        content |= {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "price": 90_000, "quantity": 0.002}
        content |= {"position_size_usd": None}
    elif chance.random() < 0.1:
        content |= {"action": "CLOSE", "side": None, "position_size_usd": None}
    count.sent.add(name)
    again = chance.random() < 0.2
    count.twice += again
    for _ in range(1 + again):
        _added(desk, {"event_type": "trade.intent", "payload": json.dumps(content)})


def _added(desk: Desk, fields: dict[Any, Any]) -> None:
    until(lambda: desk.client.xadd(STREAM, fields))  # the store may be away


def _harms(for_s: float, chance: random.Random) -> list[tuple[float, str]]:
    """A kill every five seconds or so; in each minute the store is killed twice, and all else happens once."""
    found, at_s = [], 3.0
    while at_s < for_s:
        found.append((at_s, "kill"))
        at_s += chance.uniform(3, 7)
    for minute in range(max(1, int(for_s // 60))):
        start, length = minute * 60.0, min(for_s, 60.0)
        for share, harm in (
            (0.15, "stand still"),
            (0.25, "store killed"),
            (0.40, "go on"),
            (0.50, "exchange away"),
            (0.65, "exchange back"),
            (0.20, "price dips"),
            (0.55, "price dips"),
            (0.80, "price dips"),
            (0.75, "store killed"),
        ):
            found.append((start + share * length, harm))
    return sorted(found)


def _do(harm: str, desk: Desk, store: PrivateStore, workers: list[Worker], count: Count, chance: random.Random) -> None:
    if harm == "kill":
        victim = workers.pop(0)
        victim.kill()
        workers.append(desk.worker(CONFIG))
        count.kills += 1
    elif harm == "stand still":
        workers[-1].process.send_signal(signal.SIGSTOP)
        count.stops += 1
    elif harm == "go on":
        for worker in workers:
            worker.process.send_signal(signal.SIGCONT)
    elif harm == "store killed":
        store.stop()
        time.sleep(chance.uniform(0.2, 1.0))
        store.start()
        count.store_kills += 1
    elif harm == "exchange away":
        for method in ("GET", "POST", "DELETE"):
            desk.paper.inject(Fault(kind=FaultKind.UNAVAILABLE_503, method=method, path="*", times=100_000))
        desk.paper.inject(Fault(kind=FaultKind.ACCEPT_THEN_DROP, times=3))
    elif harm == "price dips":
        _dip(desk)
    elif harm == "exchange back":
        desk.paper.clear_faults()


def _dip(desk: Desk) -> None:
    """What rests is filled, and what is placed later rests."""
    for price in ("89999.9", "100000"):
        desk.paper.set_price("BTCUSDT", price)


def _last_told(desk: Desk) -> dict[str, dict[str, str]]:
    """Of each intent with an order."""
    return {row["intent_id"]: row for row in desk.told() if row["order_id"]}


def _open_still(desk: Desk) -> list[dict[str, str]]:
    """Orders whose end nobody has told. Whatever the reason of their results: of a takeover it is the record's."""
    return [row for row in _last_told(desk).values() if row["status"] == "pending_fill"]


def _count_updates(desk: Desk, count: Count) -> None:
    """An update comes after its result, once, and tells no less than the one before it."""
    seen: dict[str, dict[str, str]] = {}
    for row in desk.told():
        name = row["intent_id"]
        before = seen.get(name)
        if row["state"] != UPDATE:
            seen[name] = row
            continue
        count.updates[row["reason"]] += 1
        if before is None:
            count.wrong_updates.append(f"{name}: before its result")
        elif int(row["update"]) != int(before.get("update", 0)) + 1:
            count.wrong_updates.append(f"{name}: {row['update']} after {before.get('update', 0)}")
        elif float(row["filled_quantity"]) < float(before["filled_quantity"]):
            count.wrong_updates.append(f"{name}: {row['filled_quantity']} after {before['filled_quantity']}")
        seen[name] = row


def _count_up(desk: Desk, gate: Gate, count: Count) -> None:
    names = {gate.client_order_id(name): name for name in count.sent}
    for order in desk.paper.ledger():
        count.orders[names[str(order["clientOrderId"])]] += 1
    _count_updates(desk, count)
    for row in desk.results(RESULTS):
        (count.denials if row["status"] == "rejected" and not row["order_id"] else count.results)[row["intent_id"]] += 1
        count.states[row["state"]] += 1
        if row["order_id"]:
            count.with_order.add(row["intent_id"])
        elif row["state"] == "UNKNOWN":
            # Its result was written before it was known. By now the record says.
            record = gate.lookup(row["intent_id"])
            if record is not None and record.order_id:
                count.with_order.add(row["intent_id"])
    for name in count.orders.keys() ^ count.with_order:
        told = [row for row in desk.results(RESULTS) if row["intent_id"] == name]
        lines = [line for worker in desk.workers for line in worker.log.splitlines() if f"id={name} " in line]
        count.strange.append("\n".join([f"{count.orders[name]} orders of {name}", *map(str, told), *sorted(lines)]))
    for worker in desk.workers:
        count.put_off.update(re.findall(r"TERMINAL STATE: DENIED .* reason=([A-Z_]+) ", worker.log))
    for reason in ("STALE", "DUPLICATE", "CONFLICT"):
        del count.put_off[reason]
    count.dead = len(desk.results(DEAD))
    status = gate.status()
    count.in_doubt, count.in_flight = status.in_doubt, status.in_flight
