"""The client never acts on another call's reply. Its operations are generators, so these tests need no store."""

from __future__ import annotations

from asyncio import CancelledError
from contextlib import suppress

import pytest

from gate import Intent, Outcome, Permit, Policy, Reason, Verdict
from gate.client.caller import Caller
from gate.client.copies import Server, copies_of, followed_by_waits, look_at, server_of
from gate.client.looks import last_look
from gate.client.settling import settle
from gate.client.symbols import Unseen, keys_of_few
from gate.client.verdicts import evaluate, permit_without_store
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import Encoded, Message, Pipeline
from gate.store.failures import Forbidden, ReplyLate, ReplyLost, ScriptMissing
from gate.values.errors import StoreError, StoreUnavailable

LATE = ReplyLate("no answer in 250 ms")
ENTRY = Intent(id="sig-1", symbol="BTCUSDT", side="BUY", notional="200", timestamp=1_766_550_734_000)
OF_ANOTHER_CALL = f"admitted somebodys-token1 7 {ENTRY.fingerprint} 1766550734000 BTCUSDT BUY 30000 0 - 0"
NO_HALT: list[bytes | None] = [None] * 4
HALT_OF_ALL: list[bytes | None] = [b"all", b"ops", b"CPI print", b"1"]
EXIT = Intent(id="out-1", symbol="BTCUSDT", side="CLOSE", close_position=True, timestamp=1_766_550_734_000)
UNDER_ANOTHER_POLICY = f"admitted its-own-token123 7 {EXIT.fingerprint} 1766550734000 BTCUSDT CLOSE 30000 0 xd 0"


def test_a_permit_with_another_calls_token_is_no_permit() -> None:
    asking = evaluate(Caller("quantum", Policy()), ENTRY)
    next(asking)

    with pytest.raises(StopIteration) as answered:
        asking.send(OF_ANOTHER_CALL.encode())

    verdict = answered.value.value
    assert (verdict.admitted, verdict.reason) == (False, Reason.STORE_ERROR)


def _asked(intent: Intent, *answers: object, caller: Caller | None = None) -> tuple[list[str], Verdict]:
    """What an evaluation asks while it gets these answers, and how it ends."""
    asking, asked = evaluate(caller or Caller("quantum", Policy()), intent), list[str]()
    message = next(asking)
    try:
        for answer in answers:
            asked.append(_words_of(message))
            message = asking.throw(answer) if isinstance(answer, Exception) else asking.send(answer)
        asked.append(_words_of(message))
    except StopIteration as done:
        return asked, done.value
    raise AssertionError(asked)


def _words_of(message: Message) -> str:
    if isinstance(message, Pipeline):
        return " + ".join(map(_words_of, message.commands))
    return message.script if isinstance(message, Encoded) else str(message[0])


def test_an_exit_waits_twice_for_a_store_that_stands_still_and_asks_for_a_halt_meanwhile() -> None:
    """Each of the questions takes as long as the time-out."""
    asked, verdict = _asked(EXIT, LATE, LATE)
    assert (asked, verdict.reason) == (["evaluate", "HMGET + evaluate"], Reason.STORE_UNAVAILABLE)


def test_an_exit_that_a_store_may_have_admitted_is_given_back_also_where_the_store_tells_of_the_halt_alone() -> None:
    """Its writes are paused: the verdict comes later, and nobody hears of it."""
    caller = Caller("quantum", Policy())
    for halt, reason in ((NO_HALT, Reason.STORE_UNAVAILABLE), (HALT_OF_ALL, Reason.HALTED)):
        asked, verdict = _asked(EXIT, LATE, [halt, ReplyLate("no answer in 250 ms")], caller=caller)
        assert (asked, verdict.reason) == (["evaluate", "HMGET + evaluate"], reason)
        assert caller.unheard


@pytest.mark.parametrize(
    ("told", "reason"),
    [(NO_HALT, Reason.STORE_UNAVAILABLE), (HALT_OF_ALL, Reason.HALTED), (LATE, Reason.STORE_UNAVAILABLE)],
    ids=["no halt", "a halt of all", "nothing"],
)
def test_an_exit_that_has_a_claim_to_give_back_waits_twice_too(told: object, reason: Reason) -> None:
    caller = Caller("quantum", Policy())
    _asked(EXIT, LATE, LATE, caller=caller)
    unsent = settle(caller, permit_without_store(caller, EXIT), Outcome.unsent("STORE_LOST"))
    next(unsent)
    unsent.throw(LATE)
    with pytest.raises(StopIteration):
        unsent.throw(LATE)

    asked, verdict = _asked(EXIT, LATE, told, caller=caller)

    assert (asked, verdict.reason) == (["settle", "HMGET"], reason)


def test_a_script_that_has_gone_meanwhile_is_loaded_for_an_exit_too() -> None:
    asked, verdict = _asked(
        EXIT, LATE, [NO_HALT, ScriptMissing("NOSCRIPT")], ScriptMissing("NOSCRIPT"), b"its digest", LATE
    )
    assert asked == ["evaluate", "HMGET + evaluate", "evaluate", "SCRIPT", "evaluate"]
    assert verdict.reason is Reason.STORE_UNAVAILABLE


@pytest.mark.parametrize("intent", [ENTRY, EXIT], ids=["entry", "exit"])
def test_what_was_admitted_unheard_is_not_lost_by_a_delivery_that_reaches_no_store(intent: Intent) -> None:
    """It would hold its lock, or be DUPLICATE without an order, and nobody could give it back."""
    caller, away = Caller("quantum", Policy()), StoreUnavailable("refused")
    _asked(intent, LATE, LATE, caller=caller)
    _asked(intent, *([away] * (1 + intent.is_exit)), caller=caller)
    assert caller.unheard


@pytest.mark.parametrize("reply", [b"NONSENSE -2 x", OF_ANOTHER_CALL.encode()], ids=["unreadable", "another's"])
@pytest.mark.parametrize(("told", "reason"), [(NO_HALT, Reason.STORE_ERROR), (HALT_OF_ALL, Reason.HALTED)])
def test_an_exit_whose_reply_is_no_verdict_on_it_is_held_by_a_halt_of_all(
    reply: bytes, told: object, reason: Reason
) -> None:
    asked, verdict = _asked(EXIT, reply, told)
    assert (asked, verdict.reason) == (["evaluate", "HMGET"], reason)


@pytest.mark.parametrize(
    ("intent", "answers"),
    [
        (ENTRY, [b"NONSENSE -2 x"]),
        (EXIT, [b"NONSENSE -2 x", NO_HALT]),
        (ENTRY, [OF_ANOTHER_CALL.encode()]),
        (EXIT, [OF_ANOTHER_CALL.encode(), NO_HALT]),
        (EXIT, [UNDER_ANOTHER_POLICY.encode(), CancelledError()]),
    ],
    ids=["unreadable entry", "unreadable exit", "another's for an entry", "another's for an exit", "cancelled"],
)
def test_what_may_be_admitted_though_nobody_has_its_verdict_comes_again_by_its_token(
    intent: Intent, answers: list[object]
) -> None:
    """By another token it would be DUPLICATE: an order that nobody sends."""
    caller = Caller("quantum", None)
    asking = evaluate(caller, intent)
    question = next(asking)
    with suppress(StopIteration, CancelledError):
        for answer in answers:
            asking.throw(answer) if isinstance(answer, BaseException) else asking.send(answer)

    assert next(evaluate(caller, intent)) == question


def test_an_exit_that_may_be_admitted_is_given_back_also_where_its_script_has_gone() -> None:
    caller = Caller("quantum", Policy())
    _asked(EXIT, LATE, [NO_HALT, ScriptMissing("NOSCRIPT")], StoreUnavailable("refused"), caller=caller)
    assert caller.unheard


def test_a_connection_that_is_lost_costs_an_exit_no_wait_so_it_is_asked_as_an_entry_is() -> None:
    lost, away = ReplyLost("closed"), StoreUnavailable("refused")
    asked, verdict = _asked(EXIT, lost, away, away)
    assert (asked, verdict.reason) == (["evaluate", "evaluate", "HMGET"], Reason.STORE_UNAVAILABLE)


def test_an_entry_asks_again_and_for_nothing_else() -> None:
    asked, verdict = _asked(ENTRY, LATE, LATE)
    assert (asked, verdict.reason) == (["evaluate", "evaluate"], Reason.STORE_UNAVAILABLE)


@pytest.mark.parametrize(("is_exit", "times"), [(True, 1), (False, 2)])
def test_a_last_look_of_an_exit_asks_a_store_that_stands_still_once(is_exit: bool, times: int) -> None:
    permit = Permit("sig-1", "BTCUSDT", "SELL", "token", 7, "id", 0, 0, is_exit=is_exit)
    asking = last_look(Caller("quantum", Policy()), permit, 1_000)
    next(asking)
    for _ in range(times - 1):
        asking.throw(LATE)
    with pytest.raises(StopIteration) as done:
        asking.throw(LATE)
    assert done.value.value.reason == "STORE_LOST"


def test_an_act_waits_for_what_its_server_has() -> None:
    act, wait, file = ("EVALSHA", "…"), ("WAIT", 2, 300), ("WAITAOF", 1, 0, 1200)
    assert followed_by_waits(act, Server(0, False)).commands == (act,)
    assert followed_by_waits(act, Server(2, False)).commands == (act, wait)
    assert followed_by_waits(act, Server(2, True)).commands == (act, wait, file)
    assert followed_by_waits(act, Server(None, None)).commands == (act, ("WAIT", 1, 300), file), "the waits find out"


def test_a_server_whose_answer_has_no_figures_is_unknown() -> None:
    asked = look_at(Keyspace("quantum")).commands
    assert {command[:3] for command in asked[4:]} == {("ACL", "DRYRUN", "default")}
    replies = [b"# Replication\r\nconnected_slaves:2\r\n", b"aof_enabled:1\r\n", b"alice", None, b"OK"]
    assert server_of(replies) == Server(2, True, user="alice", replays=True)
    assert server_of([*replies, b"OK", b"no"]).replays is False
    assert server_of([*replies, b"no", StoreError("NOPERM")]).replays is False
    assert server_of([*replies, StoreError("NOPERM")]) == Server(2, True, user="alice", replay_doubt="NOPERM")
    newer = server_of([*replies[:3], b"redis_version:8.4.0", b"no"])
    assert (newer.replays, "Redis 8.4.0 wasn't" in newer.replay_doubt) == (None, True)
    assert server_of([*replies[:3], b"redis_version:8.2.9", b"no"]).replays is False
    forbidden = server_of([b"role:master\r\n", None, None, None, Forbidden("NOPERM acl")])
    assert forbidden == Server(None, None, replay_doubt="NOPERM acl; an operator's user may ask (+acl|dryrun)")


@pytest.mark.parametrize(
    ("failure", "why"),
    [(Forbidden("NOPERM"), Unseen.FORBIDDEN), (StoreError("ERR unknown command 'INFO'"), Unseen.UNTOLD)],
)
def test_a_server_that_does_not_say_how_many_keys_it_has_is_not_looked_through(
    failure: StoreError, why: Unseen
) -> None:
    asking = keys_of_few("quantum:*")
    next(asking)
    with pytest.raises(StopIteration) as done:
        asking.throw(failure)
    assert done.value.value is why


def test_a_users_name_is_one_short_line_in_the_audit() -> None:
    assert server_of([None, None, b"a\nTERMINAL STATE: FILLED", None, None]).user == "a?TERMINAL STATE: FILLED"
    assert len(server_of([None, None, b"x" * 5_000, None, None]).user) == 100
    assert server_of([None, None, StoreError("NOPERM"), None, StoreError("NOPERM")]) == Server(replay_doubt="NOPERM")


def test_a_replica_that_connects_meanwhile_is_counted() -> None:
    pipeline = followed_by_waits(("EVALSHA",), Server(1, False))
    copies = copies_of(Server(1, False), pipeline, [[1], 2])
    assert (copies.replicas, copies.on_replicas, copies.survives_failover) == (2, 2, True)
