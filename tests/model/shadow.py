"""docs/design.md in plain Python: the answers that an account must give, and its memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from gate import Policy

Slot = tuple[str, str]

DAY_MS = 86_400_000


@dataclass
class Admission:
    """One permit, from its admission on."""

    id: str
    symbol: str
    side: str
    is_exit: bool
    notional: str
    decided_ms: int
    at_ms: int
    fence: int
    phase: str = "admitted"
    code: str = ""
    punished: bool = False
    recorded_ms: int = 0
    """When its record was made: at its admission, or at a settlement after the record had lapsed."""
    lives_ms: int = 0
    """For how long its record lives."""

    def __post_init__(self) -> None:
        self.recorded_ms = self.at_ms


@dataclass
class Shadow:
    """The account. All times are those of the test's own calendar, in ms."""

    policy: Policy
    records: dict[str, Admission] = field(default_factory=dict)
    locks: dict[Slot, Admission] = field(default_factory=dict)
    slots: list[Admission] = field(default_factory=list)
    """Every admission that counts: those whose slots were not given back."""
    open: list[Admission] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    switches: dict[str, int] = field(default_factory=dict)
    """Until when safe mode and the cooldowns are on."""
    halt: str = ""
    lost_ms: int | None = None
    """When a settlement proved that the store has lost memory."""
    fence: int = 0
    in_force: bool = False
    """Whether an entry has put the policy in force."""

    def lives_ms(self) -> int:
        """For how long a record lives that is made now. An exit's lives for a day where no policy is in force."""
        return self.policy.dedup_ttl_ms if self.in_force else max(self.policy.dedup_ttl_ms, DAY_MS)

    def on(self, switch: str, now: int) -> bool:
        return self.switches.get(switch, 0) > now

    def switch_on(self, switch: str, now: int, span_ms: int) -> bool:
        """Returns whether it was off."""
        was_on = self.on(switch, now)
        self.switches[switch] = max(self.switches.get(switch, 0), now + span_ms)
        return not was_on

    def lock_of(self, slot: Slot, now: int) -> Admission | None:
        holder = self.locks.get(slot)
        return holder if holder and holder.at_ms + self.policy.lock_ttl_ms > now else None

    def record_of(self, id: str, now: int) -> Admission | None:
        record = self.records.get(id)
        return record if record and record.recorded_ms + record.lives_ms > now else None

    def in_doubt(self, now: int) -> list[Admission]:
        """Past their deadline and not settled for good, whether their records have lapsed or not."""
        return [each for each in self.open if each.at_ms + self.policy.lock_ttl_ms <= now]

    def counted(self, now: int, symbol: str | None = None) -> int:
        """Admissions in the window that ends now: of a symbol without its exits, or of the account with them."""
        window = self.policy.rate_symbol_window_ms if symbol else self.policy.rate_global_window_ms
        return sum(
            each.at_ms + window > now
            for each in self.slots
            if symbol is None or (each.symbol == symbol and not each.is_exit)
        )

    def live(self, now: int) -> int:
        """Permits of entries alone: exits never hold one back."""
        return sum(each.at_ms + self.policy.lock_ttl_ms > now for each in self.open if not each.is_exit)

    def decide(self, id: str, symbol: str, side: str, is_exit: bool, notional: str, decided_ms: int, now: int) -> str:
        """The reason, by the table of guards from top to bottom."""
        policy = self.policy
        record = self.record_of(id, now)
        if record is not None:
            asked = (symbol, side, is_exit, notional)
            return "DUPLICATE" if (record.symbol, record.side, record.is_exit, record.notional) == asked else "CONFLICT"
        if now - decided_ms > policy.max_age_ms:
            return "STALE"
        if not is_exit and self.lost_ms is not None and self.lost_ms + policy.memory_wait_ms > now:
            return "MEMORY_YOUNG"
        if self.halt and (self.halt == "all" or not is_exit):
            return "HALTED"
        if not is_exit:
            if self.on("safe_mode", now):
                return "SAFE_MODE"
            if sum(each + policy.failure_window_ms > now for each in self.failures) >= policy.failure_limit:
                return "FAILURE_LIMIT"
            if self.on("cooldown_global", now):
                return "COOLDOWN_GLOBAL"
            if self.on(f"cooldown {symbol}", now):
                return "COOLDOWN_SYMBOL"
        if not is_exit:
            if self.lock_of((symbol, side), now):
                return "LOCKED"
            if self.live(now) >= policy.max_in_flight:
                return "IN_FLIGHT_LIMIT"
            if self.counted(now, symbol) >= policy.rate_symbol_limit:
                return "RATE_SYMBOL"
            if self.counted(now) >= policy.rate_global_limit:
                return "RATE_GLOBAL"
        return "ADMITTED"

    def denied(self, reason: str, now: int) -> None:
        """The two trips."""
        if reason == "FAILURE_LIMIT":
            self.trip_safe_mode(now)
        if reason == "RATE_GLOBAL":
            self.switch_on("cooldown_global", now, self.policy.cooldown_global_ms)

    def trip_safe_mode(self, now: int) -> bool:
        self.failures.clear()
        return self.switch_on("safe_mode", now, self.policy.safe_mode_ttl_ms)

    def admit(self, admission: Admission) -> None:
        self.fence = admission.fence
        self.in_force = self.in_force or not admission.is_exit
        admission.lives_ms = self.lives_ms()
        self.records[admission.id] = admission
        if not admission.is_exit:
            self.locks[admission.symbol, admission.side] = admission
        self.slots.append(admission)
        self.open.append(admission)

    def settle(self, admission: Admission, outcome: str, code: str, retryable: bool, now: int) -> str:
        """SETTLED, ALREADY, FENCED or CONFLICT, and what it gives back."""
        record = self.record_of(admission.id, now)
        lapsed = record is None
        copy = next((each for each in self.open if each.id == admission.id), None)
        if (record or copy or admission) is not admission:
            return "FENCED"
        if lapsed and copy is None:
            forgotten = now - admission.at_ms < self.lives_ms()  # else it has only lived its time
            if outcome != "placed" and not (forgotten and outcome == "unknown"):
                return "FENCED"
            if forgotten:
                self.lost_ms = now
            # Nothing is left of it: an order is remembered from what its holder knows, as the admission was.
            admission.phase, admission.punished = "admitted", False
            self.records[admission.id] = admission
            self.open.append(admission)
        if admission.phase != "admitted":
            if admission.phase == outcome and (outcome == "unknown" or admission.code == code):
                return "ALREADY"
            if admission.phase != "unknown" or outcome == "unsent":
                return "CONFLICT"
        admission.phase, admission.code = outcome, code
        if lapsed:
            admission.recorded_ms, admission.lives_ms = now, self.lives_ms()
        if retryable and outcome in ("rejected", "unsent"):
            del self.records[admission.id]
        if outcome != "unknown":
            self.open.remove(admission)
            if self.lock_of((admission.symbol, admission.side), now) is admission:
                del self.locks[admission.symbol, admission.side]
        if outcome == "unsent":
            self.slots.remove(admission)
        return "SETTLED"

    def punish(
        self, admission: Admission, failure: bool, symbol_ms: int, global_ms: int, safe_mode: bool, now: int
    ) -> bool:
        """Once for a permit. Returns whether safe mode tripped."""
        if admission.punished or not (failure or symbol_ms or global_ms or safe_mode):
            return False
        admission.punished = True
        tripped = False
        if safe_mode:
            tripped = self.trip_safe_mode(now)
        elif failure:
            self.failures = [each for each in self.failures if each + self.policy.failure_window_ms > now]
            if len(self.failures) + 1 >= self.policy.failure_limit:
                tripped = self.trip_safe_mode(now)
            else:
                self.failures.append(now)
        if symbol_ms:
            self.switch_on(f"cooldown {admission.symbol}", now, symbol_ms)
        if global_ms:
            self.switch_on("cooldown_global", now, global_ms)
        return tripped
