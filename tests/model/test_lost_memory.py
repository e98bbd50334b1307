"""Whatever memory the store loses, and whoever brings which policy: one order for an intent, and no window exceeded.

The exchange is a list of orders. A worker looks at its permit; its order arrives a little later, or never. The store
goes back to what it held earlier, as after a failover to a replica that lags, or forgets everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

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

from gate import Gate, Outcome, Permit, Policy
from tests.client import account as at
from tests.model.passing_time import let_pass
from tests.servers.session import declare_whole
from tests.servers.store import Store

_FIGURES: dict[str, Any] = {"lock_ttl_ms": 30_000, "max_age_ms": 900_000, "dedup_ttl_ms": 1_000_000}
TIGHT = Policy(rate_symbol_limit=1, rate_symbol_window_ms=200_000, rate_global_limit=3, **_FIGURES)
LOOSE = Policy(rate_symbol_limit=2, rate_symbol_window_ms=100_000, rate_global_limit=4, **_FIGURES)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
# Signed before the look, an order is accepted for recvWindow and the exchange's tolerance.
ACCEPTED_FOR_MS = 6_500
SPANS_MS = [1_000, 7_000, 20_000, 40_000, 70_000, 250_000, 950_000]


@dataclass
class Worker:
    """One permit on its way to an order."""

    permit: Permit
    policy: Policy
    at_ms: int
    epoch: int
    """How often the store had lost its memory by then."""
    looked_ms: int | None = None
    done: bool = False

    @property
    def deadline_ms(self) -> int:
        return self.at_ms + self.policy.lock_ttl_ms


class Losses(RuleBasedStateMachine):
    """Workers with two policies on one account, whose store loses its memory."""

    client: ClassVar[redis.Redis]
    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.gates = {policy: [self._open(policy) for _ in range(2)] for policy in (TIGHT, LOOSE)}
        self.in_force = TIGHT
        self.workers: list[Worker] = []
        self.ledger: list[str] = []
        self.intents: list[tuple[str, str, bool, int]] = []
        self.admitted: list[tuple[int, str, Worker]] = []
        self.held: dict[str, tuple[bytes, int]] = {}
        self.held_at_ms = 0
        self.passed_ms = self.epoch = 0

    def _open(self, policy: Policy) -> Gate:
        return Gate.from_url(self.url, policy=policy, timeout_ms=10_000)

    @initialize()
    def begin(self) -> None:
        self.client.flushall()
        declare_whole(self.client)
        self.gates[TIGHT][0].apply_policy(by="ops", reason="as deployed")

    def teardown(self) -> None:
        for gate in (gate for gates in self.gates.values() for gate in gates):
            gate.close()

    def now(self) -> int:
        return at.server_ms(self.client) + self.passed_ms

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        exits=st.booleans(),
        policy=st.sampled_from([TIGHT, LOOSE]),
        who=st.integers(0, 1),
    )
    def an_intent_comes(self, symbol: str, exits: bool, policy: Policy, who: int) -> None:
        self.intents.append((f"sig-{len(self.intents)}", symbol, exits, self.now()))
        self._deliver(self.intents[-1], self.gates[policy][who])

    @precondition(lambda self: self.intents)
    @rule(data=st.data(), policy=st.sampled_from([TIGHT, LOOSE]), who=st.integers(0, 1))
    def an_intent_comes_again(self, data: st.DataObject, policy: Policy, who: int) -> None:
        self._deliver(data.draw(st.sampled_from(self.intents[-8:])), self.gates[policy][who])

    @precondition(lambda self: self.ledger)
    @rule(data=st.data(), policy=st.sampled_from([TIGHT, LOOSE]), who=st.integers(0, 1))
    def an_intent_with_an_order_comes_again(self, data: st.DataObject, policy: Policy, who: int) -> None:
        id = data.draw(st.sampled_from(self.ledger[-8:]))
        worker = self._deliver(next(each for each in self.intents if each[0] == id), self.gates[policy][who])
        self._send_at_once(worker, "placed")

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        exits=st.booleans(),
        who=st.integers(0, 1),
        said=st.sampled_from(["placed", "unknown", "nothing"]),
        after=st.sampled_from([None, 1_000, 250_000]),
    )
    def a_failover_loses_the_last_admission(
        self, symbol: str, exits: bool, who: int, said: str, after: int | None
    ) -> None:
        """An intent is admitted and sent, the replica that is promoted doesn't know it, and others follow."""
        self.a_replica_falls_behind()
        gates = self.gates[self.in_force]
        self.intents.append((f"sig-{len(self.intents)}", symbol, exits, self.now()))
        lost = self.intents[-1]
        self._send_at_once(self._deliver(lost, gates[who]), "nothing")
        self.the_replica_is_promoted()
        for _ in range(2):  # an exit is admitted at once, and brings the fence back to its height
            self.an_intent_comes("BTCUSDT", True, self.in_force, 1 - who)
        if after is not None:
            self.time_passes(after)
            self._send_at_once(self._deliver(lost, self.gates[self.in_force][who]), said)

    def _send_at_once(self, worker: Worker | None, said: str) -> None:
        if worker is None or not self._may_send(worker):
            return
        gate = self.gates[worker.policy][0]
        if gate.last_look(worker.permit, needed_ms=1):
            worker.done = True
            self.ledger.append(worker.permit.intent_id)
            if said != "nothing":
                gate.settle(worker.permit, Outcome.placed(1) if said == "placed" else Outcome.unknown("timed out"))

    def _deliver(self, intent: tuple[str, str, bool, int], gate: Gate) -> Worker | None:
        id, symbol, exits, decided_ms = intent
        verdict = gate.evaluate(at.intent(exits, id, symbol=symbol, timestamp=decided_ms - self.passed_ms))
        if verdict.permit is None:
            return None
        admitted_ms = verdict.permit.deadline_ms - gate.policy.lock_ttl_ms + self.passed_ms
        worker = Worker(verdict.permit, gate.policy, admitted_ms, self.epoch)
        if verdict.look and self._may_send(worker) and len(self.workers) % 2:
            worker.looked_ms = self.now()  # its caller waits for nothing: the verdict is its last look
        self.workers.append(worker)
        if not exits:
            self.admitted.append((admitted_ms, symbol, worker))
            self._within_the_limits(gate.policy, admitted_ms, symbol)
        return worker

    def _within_the_limits(self, policy: Policy, now: int, symbol: str) -> None:
        assert policy is self.in_force, "an entry under another policy than the one in force"
        recent = [each for each in self.admitted if each[0] > now - policy.rate_global_window_ms]
        assert len(recent) <= policy.rate_global_limit, "the account's window"
        of_symbol = [
            each for each in self.admitted if each[1] == symbol and each[0] > now - policy.rate_symbol_window_ms
        ]
        assert len(of_symbol) <= policy.rate_symbol_limit, "the symbol's window"

    def _some(self, data: st.DataObject, which: Callable[[Worker], bool]) -> Worker | None:
        some = [worker for worker in self.workers if not worker.done and which(worker)]
        return data.draw(st.sampled_from(some)) if some else None

    def _may_send(self, worker: Worker) -> bool:
        """A permit that says verify sends only where the exchange has no order, and none can be on its way."""
        if not worker.permit.verify:
            return True
        age_ms = (worker.permit.memory_age_ms or 0) + self.now() - worker.at_ms
        return age_ms >= ACCEPTED_FOR_MS and worker.permit.intent_id not in self.ledger

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_worker_looks(self, data: st.DataObject) -> None:
        worker = self._some(
            data, lambda each: each.looked_ms is None and each.deadline_ms > self.now() and self._may_send(each)
        )
        if worker is None:
            return
        # The old primary may still serve whoever is partitioned with it. Its exits are a fault that isn't held.
        split = worker.epoch < self.epoch and not worker.permit.is_exit and data.draw(st.booleans())
        if split or self.gates[worker.policy][0].last_look(worker.permit, needed_ms=1):
            worker.looked_ms = self.now()
        else:
            worker.done = True

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), said=st.sampled_from(["placed", "unknown", "nothing"]))
    def an_order_arrives(self, data: st.DataObject, said: str) -> None:
        now = self.now()
        worker = self._some(
            data,
            lambda each: each.looked_ms is not None and now < min(each.looked_ms + ACCEPTED_FOR_MS, each.deadline_ms),
        )
        if worker is None:
            return
        worker.done = True
        self.ledger.append(worker.permit.intent_id)
        if said != "nothing":
            outcome = Outcome.placed(1) if said == "placed" else Outcome.unknown("timed out")
            self.gates[worker.policy][0].settle(worker.permit, outcome)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_worker_stops_before_it_sends(self, data: st.DataObject) -> None:
        worker = self._some(data, lambda each: each.looked_ms is None)
        if worker is None:
            return
        worker.done = True
        outcome = Outcome.unknown("may have been sent before") if worker.permit.verify else Outcome.unsent("STOPPED")
        if self.gates[worker.policy][0].settle(worker.permit, outcome) and not worker.permit.verify:
            self.admitted = [each for each in self.admitted if each[2] is not worker]  # its slots are given back

    @rule()
    def what_is_in_doubt_is_reconciled(self) -> None:
        gate = self.gates[self.in_force][0]
        doubt = gate.in_doubt(1000)
        for each in doubt.permits:
            if each.record.intent_id in self.ledger:
                gate.settle(each.permit, Outcome.placed(1))
            elif doubt.now_ms - each.permit.deadline_ms > ACCEPTED_FOR_MS:
                gate.settle(each.permit, Outcome.not_placed("reconciled"))

    @rule()
    def a_replica_falls_behind(self) -> None:
        self.held = {key: (self.client.dump(key) or b"", self.client.pttl(key)) for key in at.keys(self.client)}
        self.held_at_ms = self.now()

    @precondition(lambda self: self.held)
    @rule()
    def the_replica_is_promoted(self) -> None:
        self.client.flushall()
        older_ms = self.now() - self.held_at_ms
        for key, (value, ttl_ms) in self.held.items():
            self.client.restore(key, max(ttl_ms, 0), value)
        let_pass(self.client, older_ms)
        self.client.hset(at.STATE, "run_id", "f" * 40)  # of the server that this one was a replica of
        self._lost()

    @rule()
    def everything_is_lost(self) -> None:
        self.client.flushall()
        self._lost()

    def _lost(self) -> None:
        self.epoch += 1
        policy = self.client.hget(at.STATE, "policy")
        if policy is None:
            # A person puts a policy in force again, so the judge knows which it is.
            self.gates[self.in_force][0].apply_policy(by="ops", reason="after the loss")
        else:
            self.in_force = TIGHT if at.text(policy) == TIGHT.fingerprint else LOOSE
        # The gate can't tell the windows of before from those after: it has to wait for them.

    @rule(policy=st.sampled_from([TIGHT, LOOSE]))
    def a_policy_is_applied(self, policy: Policy) -> None:
        self.gates[policy][0].apply_policy(by="ops", reason="a change")
        self.in_force = policy

    @rule(span_ms=st.sampled_from(SPANS_MS))
    def time_passes(self, span_ms: int) -> None:
        let_pass(self.client, span_ms)
        self.passed_ms += span_ms

    @invariant()
    def no_intent_has_two_orders(self) -> None:
        assert len(self.ledger) == len(set(self.ledger)), "two orders for one intent"


def test_no_loss_of_memory_and_no_policy_makes_a_second_order(store: Store, redis_client: redis.Redis) -> None:
    machine: Any = type("LossesOnTheStore", (Losses,), {"client": redis_client, "url": store.url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
