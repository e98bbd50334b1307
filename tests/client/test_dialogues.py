"""The client never acts on another call's reply. Its operations are generators, so these tests need no store."""

from __future__ import annotations

import pytest

from gate import Intent, Policy, Reason
from gate.client.copies import LOOK, Server, copies_of, followed_by_waits, server_of
from gate.client.dialogues import Calls
from gate.values.errors import StoreError


def test_a_permit_with_another_calls_token_is_no_permit() -> None:
    intent = Intent(id="sig-1", symbol="BTCUSDT", side="BUY", notional="200", timestamp=1_766_550_734_000)
    asking = Calls("quantum", Policy()).evaluate(intent)
    next(asking)
    line = f"admitted somebodys-token1 7 {intent.fingerprint} 1766550734000 BTCUSDT BUY 30000 0 - 0"

    with pytest.raises(StopIteration) as answered:
        asking.send(line.encode())

    verdict = answered.value.value
    assert (verdict.admitted, verdict.reason) == (False, Reason.STORE_ERROR)


def test_an_act_waits_for_what_its_server_has() -> None:
    act, wait, file = ("EVALSHA", "…"), ("WAIT", 2, 300), ("WAITAOF", 1, 0, 1200)
    assert followed_by_waits(act, Server(0, False)).commands == (act,)
    assert followed_by_waits(act, Server(2, False)).commands == (act, wait)
    assert followed_by_waits(act, Server(2, True)).commands == (act, wait, file)
    assert followed_by_waits(act, Server(None, None)).commands == (act, ("WAIT", 1, 300), file), "the waits find out"


def test_a_server_whose_answer_has_no_figures_is_unknown() -> None:
    assert len(LOOK.commands) == 3
    replies = [b"# Replication\r\nconnected_slaves:2\r\n", b"aof_enabled:1\r\n", b"alice"]
    assert server_of(replies) == Server(2, True, user="alice")
    assert server_of([b"role:master\r\n", None, None]) == Server(None, None)


def test_a_users_name_is_one_short_line_in_the_audit() -> None:
    assert server_of([None, None, b"a\nTERMINAL STATE: FILLED"]).user == "a?TERMINAL STATE: FILLED"
    assert len(server_of([None, None, b"x" * 5_000]).user) == 100
    assert server_of([None, None, StoreError("NOPERM")]) == Server()


def test_a_replica_that_connects_meanwhile_is_counted() -> None:
    pipeline = followed_by_waits(("EVALSHA",), Server(1, False))
    copies = copies_of(Server(1, False), pipeline, [[1], 2])
    assert (copies.replicas, copies.on_replicas, copies.survives_failover) == (2, 2, True)
