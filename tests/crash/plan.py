"""The plan of one run, drawn from its seed: where the worker dies, which faults occur, when the store forgets."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from gate import Policy
from gate.paper import Account, Fault, FaultKind
from gate.protocol.keyspace import Keyspace

RECV_WINDOW_MS: Final = 1_500
POLICY: Final = Policy(
    # Longer than recvWindow, the exchange's patience with clocks and what the executor keeps for sending together.
    lock_ttl_ms=5_000,
    rate_symbol_limit=100,
    rate_global_limit=1000,
    failure_limit=100,
    safe_mode_ttl_ms=1_000,
    cooldown_symbol_ms=300,
    cooldown_global_ms=300,
    unknown_cooldown_ms=300,
)
LAPSING: Final = dataclasses.replace(POLICY, max_age_ms=2_000, dedup_ttl_ms=7_000)
"""Under which a record lapses within a run."""

STEPS: Final = {
    "evaluate": ("gate", "evaluate"),
    "filters": ("exchange", "filters"),
    "position mode": ("exchange", "hedge_mode"),
    "mark price": ("exchange", "mark_price"),
    "leverage": ("exchange", "symbol_config"),
    "set leverage": ("exchange", "set_leverage"),
    "margin": ("exchange", "account"),
    "look-up": ("exchange", "find_order"),
    "last look": ("gate", "last_look"),
    "send": ("exchange", "place"),
    "settle": ("gate", "settle"),
}
_FORGETS: Final = ("during the first", "before the second", "before the third", "before the last")
_OUTLASTING_MS: Final = (2_530, 2_650)
"""Delays beyond the executor's patience with an order, and a third of a second within the time in which the
exchange may accept it: later than that, the executor would be right to count it out."""
_LONGEST_DELAY_OF_A_STOP_MS: Final = 1_000
ORDER: Final = "/fapi/v1/order"
ALGO: Final = "/fapi/v1/algoOrder"
_REFUSALS: Final = (-1008, -1015, -1022, -2019, -2022, -2023, -2027, -4061, -4131, -4164, -4400, -5022, -9999)
_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")


class Trade(StrEnum):
    """The kind of order that a run's intent asks for."""

    MARKET = "market"
    LIMIT = "limit"
    EXIT = "exit"
    """Of a fifth of the position that the account holds: a second one would go through as well."""
    STOP = "stop"


class KillPoint(Struct, frozen=True):
    """`when`: before or after the `nth` call of the step, so many ms into it, or (anytime) into the whole delivery.

    stalled: the worker only pauses so long before the call, and goes on.
    """

    step: str
    when: str
    nth: int = 1
    after_ms: int = 0

    def __str__(self) -> str:
        if self.when == "anytime":
            return f"{self.after_ms} ms into the delivery"
        if self.when == "stalled":
            return f"not, but stalled {self.after_ms} ms before {self.step} {self.nth}"
        into = f"{self.after_ms} ms into" if self.when == "during" else self.when
        return f"{into} {self.step} {self.nth}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: str
    number: int
    kill: KillPoint
    second_kill: KillPoint | None
    """Of the worker to which the intent is delivered next."""
    faults: tuple[Fault, ...]
    overlap_ms: int | None
    """The second delivery comes so long after the first began, rather than after its worker's end."""
    forgets: tuple[str, ...]
    forgets_after_ms: int
    lapses: bool
    reconciled_meanwhile: bool
    symbol: str
    side: str
    trade: Trade
    hedge: bool
    """Whether the account is in hedge mode."""
    leverage: int | None
    """What the intent names; the exchange has 20."""

    @property
    def prefix(self) -> str:
        """The account of the run."""
        return f"crash:{self.number}"

    @property
    def intent_id(self) -> str:
        """The one intent of the run."""
        return f"intent-{self.number}"

    @property
    def client_order_id(self) -> str:
        """The client order id of its order."""
        return Keyspace(self.prefix).client_order_id(self.intent_id)

    @property
    def setup_id(self) -> str:
        """The client order id of the order that opens the position for an exit."""
        return f"setup-{self.number}"

    @property
    def account(self) -> Account:
        """Its account at the exchange."""
        return Account(key=f"key-{self.number}", secret="paper", name=self.prefix)  # noqa: S106  # of a paper account

    def __str__(self) -> str:
        faults = [f"{each.method} {each.kind}{_details(each)}" for each in self.faults]
        parts = [
            f"seed {self.seed} run {self.number}",
            f"{self.trade} {self.side} {self.symbol}{' in hedge mode' if self.hedge else ''}",
            f"killed {self.kill}",
            f"second killed {self.second_kill}" if self.second_kill else "",
            f"faults {', '.join(faults) or 'none'}",
            f"second after {self.overlap_ms} ms" if self.overlap_ms is not None else "",
            f"memory lost {', '.join(self.forgets)} ({self.forgets_after_ms} ms)" if self.forgets else "",
            "record lapses" if self.lapses else "",
        ]
        return "; ".join(filter(None, parts))


def _details(fault: Fault) -> str:
    accepted = "" if fault.accept is None else f" accept={fault.accept}"
    return accepted + (f" {fault.delay_ms} ms" if fault.delay_ms is not None else "")


def draw(seed: str, number: int) -> Plan:
    """The plan of a run: the same for the same seed and number."""
    plan = _draw(seed, number)
    if plan.trade is not Trade.STOP:
        return plan
    if any((fault.delay_ms or 0) > _LONGEST_DELAY_OF_A_STOP_MS for fault in plan.faults):
        # The ledger, which tells whether a delay was longer than promised, has no orders that wait for their trigger.
        return dataclasses.replace(plan, trade=Trade.MARKET)
    on_its_endpoint = (msgspec.structs.replace(each, path=ALGO) if each.path == ORDER else each for each in plan.faults)
    return dataclasses.replace(plan, faults=tuple(on_its_endpoint))


def _draw(seed: str, number: int) -> Plan:
    chance = random.Random(f"{seed}:{number}")
    lapses = chance.random() < 0.08
    kill = _kill_point(chance, number)
    blank = Plan(
        seed=seed,
        number=number,
        kill=kill,
        second_kill=_kill_point(chance, chance.randrange(1000)) if chance.random() < 0.3 else None,
        faults=(),
        overlap_ms=chance.randrange(300) if chance.random() < 0.25 else None,
        forgets=() if lapses or chance.random() < 0.6 else tuple(chance.sample(_FORGETS, chance.choice((1, 1, 2)))),
        forgets_after_ms=chance.randrange(400),
        lapses=lapses,
        reconciled_meanwhile=chance.random() < 0.3,
        symbol=chance.choice(_SYMBOLS),
        side=chance.choice(("BUY", "SELL")),
        trade=chance.choices(list(Trade), weights=(4, 2, 2, 2))[0],
        hedge=chance.random() < 0.25,
        leverage=chance.choice((None, 7, 20, 50)),
    )
    if kill.step == "set leverage":
        # An entry that comes so far, also where the machine is busy.
        blank = dataclasses.replace(blank, leverage=7, trade=Trade.MARKET, overlap_ms=None, forgets=(), lapses=False)
    if kill.when == "stalled":
        # Its permit is forgotten meanwhile, and another worker gets one.
        return dataclasses.replace(
            blank, overlap_ms=chance.randrange(150, 400), forgets=("before the second",), lapses=False, second_kill=None
        )
    if chance.random() < 0.06:
        # A young memory has the second worker wait before it sends: its request outlasts its permit.
        late = KillPoint("send", "during", after_ms=chance.randrange(300))
        faults = _delayed(blank, chance.randrange(1_300, _OUTLASTING_MS[1]))
        fresh = dataclasses.replace(blank, kill=KillPoint("mark price", "before"), second_kill=late, faults=faults)
        return dataclasses.replace(fresh, overlap_ms=None, forgets=("before the second",), lapses=False)
    faults = _faults(chance, blank.client_order_id, unclear=kill.step == "look-up")
    if blank.forgets and chance.random() < 0.5:
        # The request is still on its way when the store has forgotten it.
        faults = _delayed(blank, chance.randrange(400, _OUTLASTING_MS[1]))
    return dataclasses.replace(blank, faults=faults)


def _delayed(plan: Plan, delay_ms: int) -> tuple[Fault, ...]:
    return (Fault(kind=FaultKind.DELAY, delay_ms=delay_ms, client_order_id=plan.client_order_id),)


def _kill_point(chance: random.Random, turn: int) -> KillPoint:
    """The next step in turn, so that a few runs cover all. Sending matters most and comes more often."""
    points = [
        *(KillPoint(step, when) for step in STEPS for when in ("before", "after")),
        KillPoint("look-up", "after", chance.choice((1, 2, 3))),
        KillPoint("send", "after"),
        *(KillPoint("send", "during", after_ms=chance.randrange(40)) for _ in range(3)),
        *(KillPoint("send", "during", after_ms=chance.randrange(400)) for _ in range(3)),
        KillPoint("evaluate", "during", after_ms=chance.randrange(5)),
        KillPoint("settle", "during", after_ms=chance.randrange(5)),
        KillPoint("", "anytime", after_ms=chance.randrange(200)),
        KillPoint("", "anytime", after_ms=chance.randrange(2500)),
    ]
    points += [KillPoint("last look", "stalled", after_ms=chance.randrange(2_900, 3_300))]
    return points[turn % len(points)]


def _faults(chance: random.Random, client_order_id: str, *, unclear: bool) -> tuple[Fault, ...]:
    open_question = [
        Fault(kind=FaultKind.ERROR, status=status, code=code, msg="drawn", accept=accept)
        for status, code in ((400, -1006), (400, -1000), (400, -4116), (408, -1007), (500, -1001))
        for accept in (True, False)
        if code != -1001 or not accept  # which says that there is no order
    ]
    either = [
        FaultKind.UNKNOWN_503,
        FaultKind.TIMEOUT_1007,
        FaultKind.HTML_502,
        FaultKind.EMPTY_200,
        FaultKind.JSON_LIST,
        FaultKind.RESET,
    ]
    delay_ms = chance.choice((chance.randrange(100), chance.randrange(100, 800)))
    table: list[Fault | None] = [
        *(Fault(kind=kind, accept=accept) for kind in either for accept in (True, False)),
        *chance.sample(open_question, 3),
        Fault(kind=FaultKind.ACCEPT_THEN_DROP),
        Fault(kind=FaultKind.DROP_BEFORE_ACCEPT),
        *(Fault(kind=FaultKind.SLOW_BODY, delay_ms=delay_ms + 1000) for _ in range(2)),
        *(Fault(kind=FaultKind.DELAY, delay_ms=delay_ms) for _ in range(4)),
        *(Fault(kind=FaultKind.DELAY, delay_ms=chance.randrange(*_OUTLASTING_MS)) for _ in range(2)),
        Fault(kind=FaultKind.REDIRECT_302),
        Fault(kind=FaultKind.EXPIRED_IN_MATCH),
    ]
    if not unclear:
        table += [
            *([None] * 5),
            Fault(kind=FaultKind.UNAVAILABLE_503),
            Fault(kind=FaultKind.INTERNAL_503),
            Fault(kind=FaultKind.RATE_LIMITED_429, retry_after_s=1),
            Fault(kind=FaultKind.BANNED_418, retry_after_s=1),
            *(Fault(kind=FaultKind.ERROR, code=code, msg="drawn") for code in _REFUSALS),
            Fault(kind=FaultKind.CLOCK_SKEW, skew_ms=60_000),
        ]
    first = chance.choice(table)
    drawn = [first] if first else []
    if chance.random() < 0.2:
        drawn.append(chance.choice([each for each in table if each]))
    if chance.random() < 0.25:  # the look-up fails as well
        kind = chance.choice((FaultKind.INTERNAL_503, FaultKind.HTML_502, FaultKind.RESET, FaultKind.EMPTY_200))
        drawn.append(Fault(kind=kind, method="GET", accept=None, times=chance.choice((1, 2, 8))))
    return tuple(msgspec.structs.replace(each, client_order_id=client_order_id) for each in drawn)
