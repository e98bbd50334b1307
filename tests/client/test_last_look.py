"""Right before sending: whether a permit still holds, its lock, and no stop since the verdict."""

from __future__ import annotations

from decimal import Decimal

import pytest
import redis
from msgspec import structs

from gate import Intent, LastLook, Outcome, Permit, PlacedOrders, Policy, Reason
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.servers.wire import Wire

ROOMY = Policy(rate_symbol_limit=100, rate_global_limit=100)
NEEDED_MS = 6_000


def test_a_permit_holds_after_its_admission_and_nothing_is_written(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    for intent in (at.entry(), at.exit_("sig-2")):
        permit = at.admitted(gate.evaluate(intent))
        held = at.contents(redis_client)
        look = gate.last_look(permit, needed_ms=NEEDED_MS)
        assert look
        assert look.reason == "HOLDS"
        assert at.contents(redis_client) == held


@pytest.mark.parametrize("exits", [False, True])
def test_another_permit_or_none_in_the_record_loses_the_permit(
    exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.intent(exits)))
    other = structs.replace(permit, token=permit.token[::-1])
    assert gate.last_look(other, needed_ms=NEEDED_MS).reason == "PERMIT_LOST"
    redis_client.delete(at.RECORD)
    assert gate.last_look(permit, needed_ms=NEEDED_MS).reason == "PERMIT_LOST"


def test_a_settled_permit_is_lost(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    gate.settle(permit, Outcome.unknown("who knows"))
    assert gate.last_look(permit, needed_ms=NEEDED_MS).reason == "PERMIT_LOST"


def test_a_lock_that_ends_too_early_is_lost(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """As after a step of the server's clock: the holder's own clock says that it has time."""
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.pexpire(at.LOCK, NEEDED_MS - 1_000)
    look = gate.last_look(permit, needed_ms=NEEDED_MS)
    assert (look.holds, look.reason) == (False, "LOCK_LOST")
    assert gate.last_look(permit, needed_ms=NEEDED_MS - 3_000)


@pytest.mark.parametrize("holder", [None, "somebody"])
def test_a_lock_of_another_permit_or_none_is_lost(
    holder: str | None, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    redis_client.delete(at.LOCK)
    if holder:
        redis_client.set(at.LOCK, holder, px=30_000)
    assert gate.last_look(permit, needed_ms=NEEDED_MS).reason == "LOCK_LOST"


@pytest.mark.parametrize(("scope", "exits_hold"), [("entries", True), ("all", False)])
def test_a_halt_binds_permits_that_are_out(scope: str, exits_hold: bool, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    entry, leaving = (at.admitted(gate.evaluate(each)) for each in (at.entry(), at.exit_("sig-2")))
    gate.halt(by="ops", reason="CPI print", scope=scope)
    look = gate.last_look(entry, needed_ms=NEEDED_MS)
    assert (look.holds, look.reason) == (False, "HALTED")
    assert "ops: CPI print" in look.detail
    assert bool(gate.last_look(leaving, needed_ms=NEEDED_MS)) is exits_hold


def test_safe_mode_binds_entries_that_are_out(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    entry, leaving = (at.admitted(gate.evaluate(each)) for each in (at.entry(), at.exit_("sig-2")))
    redis_client.set(at.SAFE_MODE, "-2015", ex=900)
    assert gate.last_look(entry, needed_ms=NEEDED_MS).reason == "SAFE_MODE"
    assert gate.last_look(leaving, needed_ms=NEEDED_MS)
    redis_client.set(at.SAFE_MODE, "0")
    assert gate.last_look(entry, needed_ms=NEEDED_MS)


def test_a_halt_that_can_not_be_read_stops_exits_too(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    """As at the verdict: it may be one of all."""
    gate = open_gate(ROOMY)
    leaving = at.admitted(gate.evaluate(at.exit_()))
    redis_client.rpush(at.HALT, "damaged")
    look = gate.last_look(leaving, needed_ms=NEEDED_MS)
    assert (look.holds, look.reason) == (False, "STORE_LOST")
    assert at.HALT in look.detail
    assert gate.evaluate(at.exit_("sig-2")).reason == "HALTED"
    found = gate.status()
    assert found.halt is not None
    assert (found.halt, found.halt.stops_exits, found.stops_exits) == (gate.halt_in_force(), True, True)


@pytest.mark.parametrize("key", [at.LOCK, at.SAFE_MODE])
def test_damage_stops_an_entry_and_no_exit(key: str, redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    entry, leaving = (at.admitted(gate.evaluate(each)) for each in (at.entry(), at.exit_("sig-2")))
    redis_client.delete(key)
    redis_client.rpush(key, "damaged")
    look = gate.last_look(entry, needed_ms=NEEDED_MS)
    assert (look.holds, look.reason) == (False, "STORE_LOST")
    assert key in look.detail
    assert gate.last_look(leaving, needed_ms=NEEDED_MS)


@pytest.mark.parametrize("exits", [False, True])
def test_a_permit_whose_deadline_comes_too_soon_does_not_hold(
    exits: bool, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """A machine that was suspended: its own clock has stood still."""
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.intent(exits)))
    words = permit.admission.split(" ")
    words[4] = str(int(words[4]) - 25_000)
    redis_client.set(at.RECORD, " ".join(words))
    look = gate.last_look(permit, needed_ms=NEEDED_MS)
    assert (look.holds, look.reason) == (False, "DEADLINE")
    assert gate.last_look(permit, needed_ms=NEEDED_MS - 4_000)


def _placed_order(gate: AnyGate, intent: Intent) -> Permit:
    permit = at.admitted(gate.evaluate(intent))
    assert gate.settle(permit, Outcome.placed(81))
    return permit


def _told(gate: AnyGate, permit: Permit, placed_after: str = "") -> PlacedOrders:
    look = gate.last_look(permit, needed_ms=NEEDED_MS, placed_after=placed_after)
    assert look.placed is not None
    return look.placed


def test_what_was_placed_since_the_look_before_is_told_with_the_margin_that_was_reserved(open_gate: OpenGate) -> None:
    """Its margin isn't reserved any more, but another worker's figure of the account may be from before."""
    gate = open_gate(ROOMY)
    _placed_order(gate, at.entry("first", "ETHUSDT", notional="100"))
    permit = at.admitted(gate.evaluate(at.entry()))
    assert permit.reserved_ahead == 0

    first = _told(gate, permit)
    nothing_new = _told(gate, permit, first.newest)
    second_permit = _placed_order(gate, at.entry("second", "SOLUSDT"))
    second = _told(gate, permit, first.newest)

    assert [(each.intent_id, each.reserved) for each in first.orders] == [("first", Decimal(25))]
    assert first.complete
    assert 0 <= first.now_ms - first.orders[0].settled_ms < 60_000
    assert (nothing_new.orders, nothing_new.newest) == ((), first.newest)
    assert [each.intent_id for each in second.orders] == ["second"]
    assert second.orders[0].reserved == second_permit.reserved
    assert [each.intent_id for each in _told(gate, permit).orders] == ["second", "first"], "all that are kept"


def test_an_entry_is_told_whose_margin_its_caller_did_not_know(open_gate: OpenGate) -> None:
    """A block by quantity, at market."""
    gate = open_gate(ROOMY)
    assert _placed_order(gate, at.entry("first", "ETHUSDT", notional=None, quantity="1")).reserved == 0

    told = _told(gate, at.admitted(gate.evaluate(at.entry())))

    assert [(each.intent_id, each.reserved) for each in told.orders] == [("first", Decimal(0))]


def test_an_order_in_doubt_counts_as_placed_from_the_moment_when_it_is_known(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    doubtful = at.admitted(gate.evaluate(at.entry("doubtful", "ETHUSDT")))
    gate.settle(doubtful, Outcome.unknown("who knows"))
    permit = at.admitted(gate.evaluate(at.entry()))
    assert permit.reserved_ahead == doubtful.reserved
    assert _told(gate, permit).orders == (), "it is reserved still"

    gate.settle(doubtful, Outcome.placed(81))

    assert [each.intent_id for each in _told(gate, permit).orders] == ["doubtful"]


@pytest.mark.parametrize(
    "outcome", [Outcome.unsent("WHY"), Outcome.rejected("-2019", "why"), Outcome.unknown("who knows")]
)
def test_what_isnt_placed_isnt_told(open_gate: OpenGate, outcome: Outcome) -> None:
    gate = open_gate(ROOMY)
    gate.settle(at.admitted(gate.evaluate(at.entry("first", "ETHUSDT"))), outcome)

    assert _told(gate, at.admitted(gate.evaluate(at.entry()))).orders == ()


def test_an_exit_takes_no_margin_and_is_not_told_of(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    _placed_order(gate, at.exit_("first", "ETHUSDT"))

    assert _told(gate, at.admitted(gate.evaluate(at.entry()))).orders == ()


def test_an_exit_is_told_what_was_placed(open_gate: OpenGate) -> None:
    """What there is to close may be more than its caller knows."""
    gate = open_gate(ROOMY)
    leaving = at.admitted(gate.evaluate(at.exit_("second")))
    _placed_order(gate, at.entry("first", "ETHUSDT"))

    assert [each.intent_id for each in _told(gate, leaving).orders] == ["first"]


def test_where_the_list_is_damaged_an_exit_is_told_nothing_and_an_entry_that_nobody_knows(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    gate = open_gate(ROOMY)
    entry, leaving = (at.admitted(gate.evaluate(each)) for each in (at.entry(), at.exit_("second")))
    redis_client.set(at.PLACED, "damaged")

    look = gate.last_look(leaving, needed_ms=NEEDED_MS, placed_after="")

    assert (look.holds, look.placed) == (True, None)
    told = _told(gate, entry)
    assert (told.orders, told.complete) == ((), False)
    _placed_order(gate, at.entry("unwritten", "ETHUSDT"))
    redis_client.delete(at.PLACED)
    assert not _told(gate, entry, told.newest).complete
    assert gate.settle(entry, Outcome.placed(1)), "the outcome is written all the same"


def test_a_line_that_is_none_stops_an_entry_and_no_exit(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    entry, leaving = (at.admitted(gate.evaluate(each)) for each in (at.entry(), at.exit_("second")))
    redis_client.lpush(at.PLACED, "damaged")

    look = gate.last_look(leaving, needed_ms=NEEDED_MS, placed_after="")

    assert (look.holds, look.placed) == (True, None)
    assert gate.last_look(entry, needed_ms=NEEDED_MS, placed_after="").reason == "STORE_LOST"


def test_who_does_not_ask_is_told_nothing(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    _placed_order(gate, at.entry("first", "ETHUSDT"))

    assert gate.last_look(at.admitted(gate.evaluate(at.entry())), needed_ms=NEEDED_MS).placed is None


def test_the_oldest_orders_are_forgotten_and_the_reply_says_so(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    _placed_order(gate, at.entry("first", "ETHUSDT"))
    first = _told(gate, permit)
    for number in range(60):
        _placed_order(gate, at.entry(f"{number:0128}", f"A{number}USDT"))
        assert redis_client.llen(at.PLACED) < 24 + 16
    last = _told(gate, permit, first.newest)

    assert not last.complete
    assert len(last.orders) >= 24
    assert [int(each.intent_id) for each in last.orders] == list(range(59, 59 - len(last.orders), -1))
    assert _told(gate, permit, last.newest).complete


@pytest.mark.parametrize(("placed", "kept", "complete"), [(23, 23, True), (24, 24, False), (40, 24, False)])
def test_who_knows_none_hears_whether_older_ones_may_have_been_cut_off(
    placed: int, kept: int, complete: bool, open_gate: OpenGate
) -> None:
    """At forty, the list has just been cut."""
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    for number in range(placed):
        _placed_order(gate, at.entry(f"placed-{number}", f"A{number}USDT"))

    told = _told(gate, permit)

    assert (len(told.orders), told.complete) == (kept, complete)


def test_ids_as_long_as_they_may_be_stop_no_entry(open_gate: OpenGate) -> None:
    """An id has 128 characters at most, but in UTF-8 each may take four bytes."""
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    for number in range(39):
        _placed_order(gate, at.entry(f"{number:02}" + "\U00020000" * 126, f"A{number}USDT"))

    assert len(_told(gate, permit).orders) == 39, "the most that are ever kept"


@pytest.mark.parametrize("since", [1, 7, 8, 9, 23])
def test_it_tells_those_since_the_last_look_and_no_others(since: int, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    _placed_order(gate, at.entry("first", "ETHUSDT"))
    first = _told(gate, permit)
    for number in range(since):
        _placed_order(gate, at.entry(f"placed-{number}", f"A{number}USDT"))

    told = _told(gate, permit, first.newest)

    assert [each.intent_id for each in told.orders] == [f"placed-{number}" for number in reversed(range(since))]
    assert told.complete


def test_who_knows_one_that_is_gone_hears_that_others_may_be_gone_too(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """A person has deleted the list, or the server has evicted it."""
    gate = open_gate(ROOMY)
    permit = at.admitted(gate.evaluate(at.entry()))
    _placed_order(gate, at.entry("first", "ETHUSDT"))
    first = _told(gate, permit)
    redis_client.delete(at.PLACED)

    assert not _told(gate, permit, first.newest).complete
    _placed_order(gate, at.entry("second", "SOLUSDT"))
    told = _told(gate, permit, first.newest)
    assert ([each.intent_id for each in told.orders], told.complete) == (["second"], False)


def test_an_order_that_is_settled_after_its_permit_ended_is_not_told(
    redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """It was sent at least as long ago as a permit lives, and nothing was reserved for it any more."""
    gate = open_gate(ROOMY)
    late = at.admitted(gate.evaluate(at.entry()))
    words = late.admission.split(" ")
    words[4] = str(int(words[4]) - 31_000)
    redis_client.set(at.RECORD, " ".join(words))
    assert gate.settle(late, Outcome.placed(81))

    assert _told(gate, at.admitted(gate.evaluate(at.entry("second", "ETHUSDT")))).orders == ()


def _look_of(gate: AnyGate, intent: Intent, placed_after: str | None = "") -> LastLook | None:
    verdict = gate.evaluate(intent, placed_after=placed_after)
    assert verdict.admitted
    return verdict.look


@pytest.mark.parametrize("exits", [False, True])
def test_a_verdict_tells_what_a_last_look_would_tell_at_its_moment(exits: bool, open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    _placed_order(gate, at.entry("first", "ETHUSDT"))
    known = _told(gate, at.admitted(gate.evaluate(at.entry("other", "XRPUSDT"))))
    _placed_order(gate, at.entry("second", "SOLUSDT"))

    verdict = gate.evaluate(at.intent(exits), placed_after=known.newest)

    assert verdict.look is not None
    assert verdict.look.placed is not None
    assert [each.intent_id for each in verdict.look.placed.orders] == ["second"]
    asked = _told(gate, at.admitted(verdict), known.newest)
    assert structs.replace(verdict.look.placed, now_ms=0) == structs.replace(asked, now_ms=0)
    assert 0 <= asked.now_ms - verdict.look.placed.now_ms < 1_000


def test_the_first_verdict_of_a_caller_tells_all_orders_that_are_kept(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    _placed_order(gate, at.entry("first", "ETHUSDT"))
    look = _look_of(gate, at.entry())
    assert look is not None
    assert look.placed is not None
    assert [each.intent_id for each in look.placed.orders] == ["first"]
    assert look.placed.complete


def test_a_verdict_that_is_not_asked_for_orders_tells_that_its_permit_holds(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    _placed_order(gate, at.entry("first", "ETHUSDT"))
    assert _look_of(gate, at.entry(), None) == LastLook(True, "HOLDS")


@pytest.mark.parametrize("exits", [False, True])
@pytest.mark.parametrize("damage", ["another type", "no line"])
def test_a_verdict_beside_a_damaged_list_is_no_look(
    exits: bool, damage: str, redis_client: redis.Redis, open_gate: OpenGate
) -> None:
    """It admits all the same. Its caller asks for a look, and gets that one's answer."""
    gate = open_gate(ROOMY)
    if damage == "no line":
        redis_client.lpush(at.PLACED, "damaged")
    else:
        redis_client.set(at.PLACED, "damaged")
    assert _look_of(gate, at.intent(exits)) is None


def test_a_denial_and_an_observed_verdict_have_no_look(open_gate: OpenGate) -> None:
    gate = open_gate(ROOMY)
    at.admitted(gate.evaluate(at.entry()))
    for placed_after in ("", None):
        assert gate.evaluate(at.entry(), placed_after=placed_after).look is None
    observing = open_gate(Policy(mode="observe", rate_symbol_limit=1, rate_global_limit=100))
    at.admitted(observing.evaluate(at.entry("one")))
    for number, placed_after in enumerate(("", None)):
        verdict = observing.evaluate(at.entry(f"more-{number}"), placed_after=placed_after)
        assert verdict.permit is not None
        assert verdict.permit.observed
        assert verdict.look is None


@pytest.mark.parametrize("placed_after", ["", None])
def test_a_verdict_behind_which_the_policy_was_read_is_no_look(open_gate: OpenGate, placed_after: str | None) -> None:
    """An exit is admitted by a caller's older policy, and its answer waits for the one in force."""
    open_gate(ROOMY).apply_policy(by="ops", reason="test")
    follows = open_gate()
    assert _look_of(follows, at.exit_(), placed_after) is None
    assert follows.policy == ROOMY
    assert _look_of(follows, at.exit_("sig-2"), placed_after) is not None


@pytest.mark.parametrize("placed_after", ["", None])
def test_the_verdict_of_a_call_that_was_repeated_is_no_look(
    wire: Wire, open_gate: OpenGate, placed_after: str | None
) -> None:
    """The first call was admitted, and its reply lost: nobody knows how long ago."""
    gate = open_gate(ROOMY, url=wire.url, timeout_ms=300)
    at.admitted(gate.evaluate(at.entry("warm", "ETHUSDT")))
    wire.lose_next_reply("EVALSHA")
    assert _look_of(gate, at.entry(), placed_after) is None


@pytest.mark.parametrize("placed_after", ["", None])
def test_the_verdict_of_a_claim_that_was_not_heard_of_is_no_look(
    wire: Wire, open_gate: OpenGate, placed_after: str | None
) -> None:
    gate = open_gate(ROOMY, url=wire.url, timeout_ms=300)
    at.admitted(gate.evaluate(at.entry("warm", "ETHUSDT")))
    for _ in range(2):
        wire.lose_next_reply("EVALSHA")
    assert not gate.evaluate(at.entry(), placed_after=placed_after)
    assert _look_of(gate, at.entry(), placed_after) is None


def test_the_verdict_of_an_exit_that_made_its_caller_learn_the_policy_is_no_look(open_gate: OpenGate) -> None:
    """A trip lies between the two: a halt may have come meanwhile, of exits too."""
    gate, ops = open_gate(), open_gate(ROOMY)
    at.admitted(gate.evaluate(at.entry()))
    ops.apply_policy(by="ops", reason="test")
    assert _look_of(gate, at.exit_("first"), None) is None
    assert _look_of(gate, at.exit_("second", "ETHUSDT"), None) == LastLook(True, "HOLDS"), "it has learnt it"


def test_an_observers_verdict_is_no_look_though_nothing_would_deny_its_intent(open_gate: OpenGate) -> None:
    """It leaves its name after a verdict, which is a trip more."""
    gate = open_gate(Policy(mode="observe", rate_symbol_limit=100, rate_global_limit=100))
    assert _look_of(gate, at.entry(), None) is None


def test_a_line_that_is_no_text_is_a_denial_and_one_that_nobody_has_told_is_not_found(open_gate: OpenGate) -> None:
    """As for any other input, there is one answer."""
    gate = open_gate(ROOMY)
    verdict = gate.evaluate(at.entry(), placed_after=5)  # type: ignore[arg-type]  # a caller's mistake
    assert (verdict.admitted, verdict.reason) == (False, Reason.INVALID)
    look = _look_of(gate, at.entry(), "\udcff")
    assert look is not None
    assert look.placed is not None
    assert not look.placed.complete
