"""For any sequence of intents, outcomes, penalties, stops and time, the account answers as its shadow does."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import structs

from gate import Gate, Outcome, OutcomeKind, Penalty, Permit, Policy
from tests.client import account as at
from tests.model.passing_time import let_pass
from tests.model.shadow import DAY_MS, Admission, Shadow
from tests.servers.session import declare_whole
from tests.servers.store import Store

# The windows are long, so the test's own time doesn't matter. The limits are low, so every guard denies at times.
POLICY = Policy(
    rate_symbol_limit=2,
    rate_symbol_window_ms=3_000_000,
    rate_global_limit=4,
    rate_global_window_ms=5_000_000,
    lock_ttl_ms=1_000_000,
    dedup_ttl_ms=12_000_000,
    max_age_ms=10_000_000,
    failure_limit=3,
    failure_window_ms=6_000_000,
    safe_mode_ttl_ms=4_000_000,
    cooldown_symbol_ms=2_000_000,
    cooldown_global_ms=1_500_000,
    max_in_flight=3,
)
SPANS_MS = [100_000, 400_000, 1_000_000, 1_500_000, 3_000_000, 5_000_000]
SLOTS = [(symbol, side) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT") for side in ("BUY", "SELL")]
LAPSE_MS = max(POLICY.dedup_ttl_ms, DAY_MS)
PenaltyFigures = tuple[bool, int, int, bool]
PENALTIES: list[PenaltyFigures] = [
    (False, 0, 0, False),
    (False, 0, 0, False),
    (True, 0, 0, False),
    (True, POLICY.cooldown_symbol_ms, POLICY.cooldown_global_ms, False),
    (False, 600_000, 0, False),
    (False, 0, 0, True),
    (True, 600_000, 0, True),
]
ASKS = st.tuples(st.sampled_from(SLOTS), st.sampled_from([False, False, True]))


class Account(RuleBasedStateMachine):
    """The gate on a real server beside its shadow: intents come, some are stopped before they are sent, time passes."""

    client: ClassVar[redis.Redis]
    url: ClassVar[str]
    policy: ClassVar[Policy] = POLICY

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate.from_url(self.url, policy=self.policy, timeout_ms=10_000)
        self.shadow = Shadow(self.policy)
        self.permits: list[tuple[Permit, Admission]] = []
        self.passed_ms = 0
        self.numbers = iter(range(1_000_000))

    @initialize()
    def empty(self) -> None:
        self.client.flushall()
        declare_whole(self.client)

    def teardown(self) -> None:
        self.gate.close()

    def now(self) -> int:
        """The test's time: the server's clock plus the time that the test let pass."""
        return at.server_ms(self.client) + self.passed_ms

    @rule(
        asks=st.lists(st.tuples(st.sampled_from(SLOTS), st.sampled_from([False, False, True])), min_size=1, max_size=5)
    )
    def ask(self, asks: list[tuple[tuple[str, str], bool]]) -> None:
        for (symbol, side), is_exit in asks:
            self.ask_for(f"sig-{next(self.numbers)}", symbol, side, is_exit, "200", self.now())

    def ask_for(self, id: str, symbol: str, side: str, is_exit: bool, notional: str, decided_ms: int) -> None:
        asked = (id, symbol, side, is_exit, notional, decided_ms)
        timestamp = decided_ms - self.passed_ms
        intent = at.entry(id, symbol, side, reduce_only=is_exit, notional=notional, timestamp=timestamp)
        before = self.now()
        inspection = self.gate.inspect(intent)
        verdict = self.gate.evaluate(intent)
        after = self.now()
        allowed = {self.shadow.decide(*asked, moment) for moment in (before, after)}
        assert verdict.reason in allowed, (verdict, allowed)
        if len(allowed) == 1:
            assert inspection.reason is verdict.reason
        assert verdict.admitted is (verdict.reason == "ADMITTED")
        if verdict.permit is None:
            self.shadow.denied(verdict.reason, after)
            self.forgive()
            return
        permit = verdict.permit
        assert permit.fence == self.shadow.fence + 1
        admitted_ms = permit.deadline_ms - self.policy.lock_ttl_ms + self.passed_ms
        assert before <= admitted_ms <= after
        admission = Admission(*asked, admitted_ms, permit.fence)
        self.shadow.admit(admission)
        self.permits.append((permit, admission))

    def forgive(self) -> None:
        """Ends the trips, to test the windows behind them."""
        self.client.delete(at.COOLDOWN_GLOBAL)
        self.shadow.switches.clear()

    @precondition(lambda self: any(each.phase == "admitted" for _, each in self.permits))
    @rule(data=st.data())
    def stop_before_sending(self, data: st.DataObject) -> None:
        waiting = [pair for pair in self.permits if pair[1].phase == "admitted"]
        permit, admission = data.draw(st.sampled_from(waiting))
        self.settle_as(permit, admission, OutcomeKind.UNSENT, True, (False, 0, 0, False))

    def settle_as(
        self,
        permit: Permit,
        admission: Admission,
        kind: OutcomeKind,
        retryable: bool,
        penalty: PenaltyFigures,
    ) -> None:
        outcome = Outcome(kind, "77", retryable=retryable, penalty=Penalty(*penalty))
        settlement = self.gate.settle(self.aged(permit, admission), outcome)
        now = self.now()
        assert settlement.status == self.shadow.settle(admission, kind.value, "77", retryable, now)
        tripped = settlement.status == "SETTLED" and self.shadow.punish(admission, *penalty, now)
        assert settlement.tripped_safe_mode is tripped

    def aged(self, permit: Permit, admission: Admission) -> Permit:
        """The permit as its holder would have it, had the time really passed that the store's times were moved by."""
        words = permit.admission.split(" ")
        words[4] = str(admission.at_ms - self.passed_ms)
        return structs.replace(permit, admission=" ".join(words))

    @rule(span_ms=st.sampled_from(SPANS_MS))
    def time_passes(self, span_ms: int) -> None:
        let_pass(self.client, span_ms)
        self.passed_ms += span_ms

    def _counted(self, packed: bytes | str | None, card: int, live: int) -> None:
        """What the state keeps of the permits in flight: exact, but for those that have lapsed since it was written."""
        if isinstance(packed, bytes) and len(packed) == 56:
            kept = struct.unpack(">7d", packed)
            if kept[0] >= 0:
                assert kept[0] == card
                assert kept[1] >= live

    @invariant()
    def what_is_kept_is_what_the_shadow_knows(self) -> None:
        now = self.now()
        in_flight = at.in_flight(self.client)
        assert in_flight == {each.id for each in self.shadow.open}
        held = self.client.hgetall(at.STATE)
        state = {at.text(field): at.text(text) for field, text in held.items() if field != b"in_flight"}
        live = self.client.zrangebyscore(at.INFLIGHT, f"({at.server_ms(self.client)}", "+inf")
        self._counted(held.get(b"in_flight"), self.client.zcard(at.INFLIGHT), len(live))
        assert {field for field in state if field.startswith("permit:")} == {f"permit:{id}" for id in in_flight}
        for id in in_flight:
            record = self.client.get(f"quantum:exec:processed:{id}")
            assert record is None or at.text(record) == state[f"permit:{id}"]
        doubt = self.gate.in_doubt(1000)
        assert not doubt.lapsed, "lost from sight"
        assert {each.intent_id for each in doubt.records} == {each.id for each in self.shadow.in_doubt(now)}
        for (symbol, side), holder in self.shadow.locks.items():
            token = self.client.get(f"quantum:exec:lock:{symbol}:{side}")
            if self.shadow.lock_of((symbol, side), now):
                permit = next(permit for permit, admission in self.permits if admission is holder)
                assert at.text(token) == permit.token
            else:
                assert token is None
        for key in at.keys(self.client):
            endless = key in (at.INFLIGHT, at.EXITS, at.STATE, at.HALT, at.AUDIT, at.REASONS, at.PLACED)
            assert (self.client.ttl(key) == -1) is endless, key


class BusyAccount(Account):
    """Whatever may happen to an account."""

    def forgive(self) -> None:
        """Nothing is."""

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), notional=st.sampled_from(["200", "200", "300"]))
    def ask_again(self, data: st.DataObject, notional: str) -> None:
        _, old = data.draw(st.sampled_from(self.permits))
        self.ask_for(old.id, old.symbol, old.side, old.is_exit, notional, old.decided_ms)

    @precondition(lambda self: self.permits)
    @rule(
        data=st.data(),
        kind=st.sampled_from(list(OutcomeKind)),
        retryable=st.booleans(),
        penalty=st.sampled_from(PENALTIES),
    )
    def settle(self, data: st.DataObject, kind: OutcomeKind, retryable: bool, penalty: PenaltyFigures) -> None:
        permit, admission = data.draw(st.sampled_from(self.permits[-6:]))
        self.settle_as(permit, admission, kind, retryable, penalty)

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), kind=st.sampled_from(list(OutcomeKind)))
    def settle_as_another(self, data: st.DataObject, kind: OutcomeKind) -> None:
        permit, _ = data.draw(st.sampled_from(self.permits))
        held = at.contents(self.client)
        other = structs.replace(permit, token=permit.token[::-1])
        assert self.gate.settle(other, Outcome(kind, "77")).status == "FENCED"
        assert at.contents(self.client) == held

    @precondition(lambda self: self.shadow.open)
    @rule(data=st.data(), kind=st.sampled_from(list(OutcomeKind)), retryable=st.booleans())
    def settle_what_has_lapsed(self, data: st.DataObject, kind: OutcomeKind, retryable: bool) -> None:
        self.time_passes(LAPSE_MS)
        open_still = [pair for pair in self.permits if pair[1] in self.shadow.open]
        permit, admission = data.draw(st.sampled_from(open_still))
        assert self.gate.lookup(admission.id) is None
        self.settle_as(permit, admission, kind, retryable, (True, 0, 0, False))

    @rule(scope=st.sampled_from(["entries", "all"]))
    def halt(self, scope: str) -> None:
        self.gate.halt(by="ops", reason="test", scope=scope)
        self.shadow.halt = "all" if "all" in (scope, self.shadow.halt) else "entries"

    @precondition(lambda self: self.shadow.halt)
    @rule()
    def resume(self) -> None:
        assert self.gate.resume(by="ops", reason="test").before == self.shadow.halt
        self.shadow.halt = ""

    @rule(what=st.sampled_from(["safe_mode", "cooldowns", "failures", "all"]))
    def reset(self, what: str) -> None:
        self.gate.reset(what, by="ops", reason="test")
        if what in ("safe_mode", "all"):
            self.shadow.switches.pop("safe_mode", None)
        if what in ("cooldowns", "all"):
            for name in [name for name in self.shadow.switches if name.startswith("cooldown")]:
                del self.shadow.switches[name]
        if what in ("failures", "all"):
            self.shadow.failures.clear()


def run(kind: type[Account], store: Store, client: redis.Redis, policy: Policy, examples: int, steps: int) -> None:
    machine: Any = type("AccountOnTheStore", (kind,), {"client": client, "url": store.url, "policy": policy})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_account_says_what_its_shadow_says(store: Store, redis_client: redis.Redis) -> None:
    run(BusyAccount, store, redis_client, POLICY, 30, 40)


@pytest.mark.parametrize("limit", [1, 3])
def test_slots_given_back_open_a_window_that_exits_have_filled_no_further(
    limit: int, store: Store, redis_client: redis.Redis
) -> None:
    """Only few guards deny, so the global window decides."""
    policy = dataclasses.replace(POLICY, rate_symbol_limit=50, rate_global_limit=limit, max_in_flight=50)
    run(Account, store, redis_client, policy, 40, 30)
