"""A gate offers what reconciling and the command line need under public names."""

from __future__ import annotations

import pytest
import redis

from gate import Halt, Outcome, Settled
from gate.protocol.keyspace import Keyspace
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.model.passing_time import let_pass


def test_a_client_order_id_is_known_before_and_after_the_permit(open_gate: OpenGate) -> None:
    gate, elsewhere = open_gate(), open_gate(prefix="acct7")
    before = gate.client_order_id("sig-1")
    assert at.admitted(gate.evaluate(at.entry())).client_order_id == before == gate.client_order_id("sig-1")
    assert before == Keyspace("quantum").client_order_id("sig-1")
    assert elsewhere.client_order_id("sig-1") != before, "accounts share an exchange's ids"


@pytest.mark.parametrize("exits", [False, True], ids=["entry", "exit"])
def test_what_is_in_doubt_comes_with_the_permit_to_settle_it_by(
    exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate()
    given = at.admitted(gate.evaluate(at.intent(exits)))
    let_pass(redis_client, 100_000)
    doubt = gate.in_doubt()
    [doubtful] = doubt.permits
    assert doubt.records == (doubtful.record,)
    permit = doubtful.permit
    assert not permit.live, "it would send an order"
    assert (permit.intent_id, permit.token, permit.fence) == (given.intent_id, given.token, given.fence)
    assert (permit.symbol, permit.side, permit.is_exit) == (given.symbol, given.side, exits)
    assert (permit.client_order_id, permit.reserved) == (given.client_order_id, given.reserved)
    assert permit.deadline_ms == doubtful.record.deadline_ms
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED
    assert gate.in_doubt().permits == ()


def test_an_account_has_run_once_something_was_admitted(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    assert not gate.ever_run()
    at.admitted(gate.evaluate(at.entry()))
    assert gate.ever_run()
    assert not open_gate(prefix="acct7").ever_run()


def test_the_halt_in_force(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate()
    assert gate.halt_in_force() is None
    gate.halt(by="ann", reason="CPI print", scope="all")
    halt = gate.halt_in_force()
    assert halt == gate.status().halt
    assert halt is not None
    assert (halt.scope, halt.by, halt.reason) == ("all", "ann", "CPI print")
    gate.resume(by="ann", reason="CPI is out")
    assert gate.halt_in_force() is None


@pytest.mark.parametrize("at_ms", ["²", "soon", ""])
def test_a_halt_made_by_hand_is_shown_as_far_as_it_goes(
    at_ms: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    redis_client.hset(at.HALT, mapping={"by": "ops", "at": at_ms})
    gate = open_gate()
    assert gate.halt_in_force() == gate.status().halt == Halt("entries", "ops", "?", None)


def test_a_halt_that_can_not_be_read_is_a_halt(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    redis_client.set(at.HALT, "1")
    assert open_gate().halt_in_force() == Halt("?", "?", "its key is damaged, so exits are stopped too", None)


def test_what_was_settled_as_absent_comes_newest_first_wherever_it_is_noted(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    now_ms = at.server_ms(redis_client)
    noted = [(at.AUDIT, f"{now_ms - 300}-0"), (at.JOURNAL, f"{now_ms - 200}-0"), (at.AUDIT, f"{now_ms - 100}-0")]
    for key, entry in noted:
        redis_client.xadd(key, {"what": "settled as absent", "by": "gate", "reason": "sig-1"}, id=entry)
    found = open_gate().absences(60_000)
    assert [each.entry for each in found] == [entry for _, entry in reversed(noted)]
