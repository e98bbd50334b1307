"""A sample of each kind of fault. `scripts/crash-matrix --memory --clocks …`, with each group, does thousands."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pytest
from click.testing import CliRunner

from gate import Intent, Permit, StoreUnavailable
from gate.paper import Account, PaperExchange
from tests.crash.__main__ import main
from tests.faults.arena import Arena
from tests.faults.clocks import stopped_under_way
from tests.faults.command import take_through
from tests.faults.desk import POLICY, SYMBOLS, Admitted, Desk, Findings, MachineTooBusyError, Told
from tests.faults.hand import Came, Hand
from tests.faults.kinds import GROUPS, KINDS, Kind
from tests.faults.runs import run_batch
from tests.faults.stalls import stand

SAMPLED: Final = [name for name, kind in KINDS.items() if kind.available]
NOON_MS: Final = 1_800_000_000_000


async def test_no_fault_makes_a_second_order_or_a_late_one_or_exceeds_a_window() -> None:
    """All kinds at once, since they mostly wait."""
    *samples, by_streams = await asyncio.gather(
        *(run_batch(name, "suite", 0, accounts=2) for name in SAMPLED),
        run_batch("flush", "suite", 0, accounts=2, streams=True),
    )
    found = dict(zip(SAMPLED, samples, strict=True))
    for name in SAMPLED:
        for number in range(1, 4):
            if not found[name].runs:  # beside all the others the machine was too busy for it
                found[name] = await run_batch(name, "suite", number, accounts=2)

    assert (by_streams.violations, by_streams.orders > 0) == ([], True)
    assert {name: each.violations for name, each in found.items() if each.violations} == {}
    for name in SAMPLED:
        assert found[name].redelivered > 0, name
        if KINDS[name].group == "memory":
            assert found[name].orders > 0, name
            assert found[name].denied_young > 0, f"{name}: entries wait after a loss"
        if KINDS[name].group == "halts":
            assert found[name].halted == found[name].runs, f"{name}: every halt is confirmed"
    assert found["late order"].late > 0
    assert sum(each.verified for each in found.values()) > 0


async def a_desk() -> Desk:
    """Of an account that trades nowhere."""
    account = Account(key="key", secret="paper", name="account")  # noqa: S106  # of a paper account
    desk = Desk("d", account, "http://127.0.0.1:1", random.Random(1))
    await desk.hire("redis://127.0.0.1:1/0")
    return desk


async def judged(orders: list[int], admissions: list[int], *, exits: bool = False) -> Findings:
    """What the judge says: of the first of some intents, admitted so many ms after noon, which has orders that were
    accepted so long after its permit's end."""
    desk = await a_desk()
    for fence, at_ms in enumerate(admissions, 1):
        intent = desk.new_intent(exits=exits and fence < len(admissions), symbol=SYMBOLS[fence % len(SYMBOLS)])
        line = f"admitted token {fence} print {NOON_MS + at_ms} {intent.symbol} {intent.side} 2500 0 - 0"
        permit = Permit(intent.id, intent.symbol, intent.side, "token", fence, "", 0, 0, admission=line)
        placed = [f"{number}" for number in range(len(orders))] if fence == 1 else []
        desk.admitted.append(Admitted(intent, permit, POLICY, NOON_MS + at_ms + POLICY.lock_ttl_ms, Told(placed)))
    rows: list[Mapping[str, Any]] = [
        {"orderId": number, "account": "account", "time": NOON_MS + admissions[0] + POLICY.lock_ttl_ms + late_ms}
        for number, late_ms in enumerate(orders)
    ]
    await desk.close()
    return desk.judge({desk.gate(0).client_order_id(desk.intents[0].id): rows})


async def test_the_judge_acquits_one_order_in_time_and_a_window_that_is_just_full() -> None:
    found = await judged([-1], [600 * number for number in range(POLICY.rate_global_limit)])
    assert found.violations == []
    assert found.orders == 1


@pytest.mark.parametrize(
    ("orders", "admissions", "exits", "said"),
    [
        ([-100, -50], [0], False, "2 orders"),
        ([2], [0], False, "accepted 2 ms after its deadline"),
        ([-100], [0] * 10, False, "10 in the account's window"),
        ([-100], [0] * 10, True, "10 in the account's window"),
        ([-100], [number * 555 for number in range(10)], False, "10 in the account's window"),
    ],
)
async def test_the_judge_can_condemn(orders: list[int], admissions: list[int], exits: bool, said: str) -> None:
    assert any(said in each for each in (await judged(orders, admissions, exits=exits)).violations)


async def test_the_judge_condemns_an_order_after_its_own_permit_though_a_later_permit_lives() -> None:
    desk = await a_desk()
    intent = desk.new_intent()
    permit = Permit(intent.id, intent.symbol, intent.side, "token", 1, "", 0, 0, admission="")
    later = msgspec.structs.replace(permit, fence=2)
    desk.admitted = [Admitted(intent, permit, POLICY, 1_000, Told(["7"])), Admitted(intent, later, POLICY, 5_000)]
    ledger = {desk.gate(0).client_order_id(intent.id): [{"orderId": 7, "account": "account", "time": 1_500}]}
    await desk.close()

    found = desk.judge(ledger, windows=False)

    assert found.violations == ["d-0: accepted 500 ms after its deadline"]


async def test_the_judge_condemns_an_entry_that_comes_after_another_permit_had_its_symbol() -> None:
    desk = await a_desk()
    first, then = (desk.new_intent(exits=False, symbol="BTCUSDT") for _ in range(2))
    permits = [Permit(each.id, each.symbol, each.side, "token", 1, "", 0, 0) for each in (first, then)]
    later = msgspec.structs.replace(permits[1], fence=2)
    desk.admitted = [
        Admitted(first, permits[0], POLICY, 5_000, Told(["7"])),
        Admitted(then, later, POLICY, 6_000, Told(["8"])),
    ]
    numbers = {first.id: (7, 4_000), then.id: (8, 3_000)}
    ledger = {
        desk.gate(0).client_order_id(each.id): [
            {"orderId": numbers[each.id][0], "account": "account", "time": numbers[each.id][1]}
        ]
        for each in (first, then)
    }
    await desk.close()

    found = desk.judge(ledger, windows=False)

    assert found.violations == ["d-0: 1000 ms after d-1, which had its symbol by then"]
    assert desk.judge(ledger, windows=False, by_look=True).violations == []
    desk.admitted[0].told.looked_ms = 3_001
    assert desk.judge(ledger, windows=False, by_look=True).violations == found.violations


async def test_the_judge_condemns_an_entry_that_is_accepted_after_a_halt_was_confirmed() -> None:
    desk = await a_desk()
    intents = [desk.new_intent(exits=exits) for exits in (False, True)]
    desk.admitted = [
        Admitted(each, Permit(each.id, each.symbol, each.side, "token", 1, "", 0, 0), POLICY, 9_000) for each in intents
    ]
    ledger = {
        desk.gate(0).client_order_id(each.id): [{"orderId": 7, "account": "account", "time": 3_000}] for each in intents
    }
    await desk.close()

    desk.clear_ms = 2_999
    assert desk.judge(ledger, windows=False).violations == []
    desk.clear_ms = 2_500
    assert desk.judge(ledger, windows=False).violations == ["d-0: accepted 500 ms after the halt was confirmed"]


async def test_the_judge_condemns_an_order_of_no_intent() -> None:
    desk = await a_desk()
    await desk.close()

    found = desk.judge({"stray": [{"orderId": 7, "account": "account", "time": 1_500}]})

    assert found.violations == ["stray: an order of no intent"]


async def _no_fault(arena: Arena) -> None:
    await arena.each(lambda desk: desk.deliver(desk.new_intent(), 0))


async def test_the_judge_condemns_what_a_broken_ledger_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "none", Kind("memory", _no_fault))
    whole = PaperExchange.ledger
    monkeypatch.setattr(PaperExchange, "ledger", lambda paper: whole(paper) * 2)

    found = await run_batch("none", "suite", 0, accounts=2)

    assert found.intents == 2
    assert len(found.violations) == 2
    assert all("2 orders" in each for each in found.violations)


async def _waits_and_is_too_late(arena: Arena) -> None:
    _under_way[:] = []

    async def begin(desk: Desk) -> None:
        standing, go_on = asyncio.Event(), arena.new_go_on()
        delivery = asyncio.create_task(stand(desk, desk.new_intent(exits=False), standing, go_on, "place"))
        _under_way.append((delivery, go_on))
        await standing.wait()

    await arena.each(begin)
    raise MachineTooBusyError


_under_way: list[tuple[asyncio.Task[None], asyncio.Event]] = []


async def test_a_batch_that_breaks_off_lets_what_stands_still_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "too late", Kind("memory", _waits_and_is_too_late))

    found = await run_batch("too late", "suite", 0, accounts=2)

    try:
        assert (found.runs, found.unfit) == (0, 2)
        _, standing = await asyncio.wait([delivery for delivery, _ in _under_way], timeout=10)
        assert (len(_under_way), standing) == (2, set())
    finally:
        for _, go_on in _under_way:
            go_on.set()  # else this test wouldn't end: what stands still doesn't hear that it is cancelled


async def test_a_halt_while_no_worker_had_a_permit_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def denied(desk: Desk, intent: Intent, standing: asyncio.Event, *_: object) -> None:
        standing.set()

    monkeypatch.setattr("tests.faults.halts.stand", denied)

    found = await run_batch("halt, worker stands still", "suite", 0, accounts=1)

    assert (found.runs, found.unfit, found.violations) == (0, 1, [])


class _StoppedHand(Hand):
    """A process that has stopped itself, as it says."""

    async def stopped(self) -> bool:
        return True


@pytest.mark.parametrize("admitted", [False, True])
async def test_a_stop_that_no_permit_sees_proves_nothing(monkeypatch: pytest.MonkeyPatch, admitted: bool) -> None:
    async def act(arena: Arena) -> None:
        if admitted:
            await arena.desks[0].gate(0).evaluate(arena.desks[0].new_intent(exits=False))
        await stopped_under_way(arena, _StoppedHand())

    monkeypatch.setitem(KINDS, "stopped", Kind("clocks", act))

    found = await run_batch("stopped", "suite", 0, accounts=2)

    assert (found.runs, found.unfit) == ((2, 0) if admitted else (0, 2))


async def test_a_process_that_ends_without_a_stop_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(hand: Hand) -> bool:
        return False

    monkeypatch.setattr(Hand, "stopped", never)

    found = await run_batch("halt, process stopped", "suite", 0, accounts=1)

    assert (found.runs, found.unfit, found.violations) == (0, 1, [])


@pytest.mark.parametrize("streams", [False, True])
async def test_a_process_that_is_stopped_goes_by_the_streams_only_when_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, streams: bool
) -> None:
    came: list[Came] = []
    ends = Hand.end

    async def end(hand: Hand) -> list[Came]:
        came.extend(await ends(hand))
        return list(came)

    monkeypatch.setattr(Hand, "end", end)

    found = await run_batch("halt, stopped at a point", "suite", 0, accounts=2, streams=streams)

    assert (found.violations, len(came)) == ([], 2)
    assert {each.by_streams for each in came} == {True if streams else None}
    assert all(each.permit for each in came)


async def _halt_is_not_confirmed(desk: Desk, worker: int) -> None:
    raise StoreUnavailable("for a test")


async def test_a_halt_that_is_not_confirmed_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Desk, "halt", _halt_is_not_confirmed)

    found = await run_batch("halt, stopped at a point", "suite", 0, accounts=2)

    assert (found.runs, found.unfit, found.violations) == (0, 2, [])


def test_a_kind_of_which_nothing_was_judged_is_amiss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def batch(name: str, *_: object, **__: object) -> Findings:
        return Findings(unfit=20) if name == "flush" else Findings(runs=20)

    monkeypatch.setattr("tests.faults.command.run_batch", batch)

    assert take_through(["flush", "stale replica"], 20, "s", None, on_redis=False) == 1

    said = capsys.readouterr().out
    assert "nothing was judged" in said
    assert "20 more runs not counted" in said


def test_clocks_that_the_server_cannot_step_are_skipped_and_alone_prove_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def judged(*_: object, **__: object) -> Findings:
        return Findings(runs=20)

    monkeypatch.setattr("tests.faults.command.run_batch", judged)
    monkeypatch.setattr("tests.faults.kinds.FAKETIME", "a library")
    monkeypatch.setattr("tests.faults.command.FAKETIME", "a library")
    monkeypatch.setattr("tests.faults.store._by_clock", lambda clock, command: ["false"])

    assert take_through(["store's clock steps"], 20, "s", None, on_redis=False) == 1
    assert take_through(["flush", "store's clock steps"], 20, "s", None, on_redis=False) == 0

    assert capsys.readouterr().out.count("doesn't start under libfaketime") == 2


@pytest.mark.parametrize("options", [["--on-redis"], ["--restarts", "--only", "1"], ["--restarts", "--memory"]])
def test_the_command_refuses_what_it_would_not_do(options: list[str]) -> None:
    assert CliRunner().invoke(main, options).exit_code == 2


async def _fails(arena: Arena) -> None:
    raise RuntimeError("for a test")


def test_a_violation_is_printed_with_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(KINDS, "failing", Kind("memory", _fails))

    assert take_through(["failing"], 1, "s", None, on_redis=False) == 1

    said = capsys.readouterr().out
    assert "batch 0: broke off: RuntimeError('for a test')" in said
    assert 'scripts/crash-matrix --kind "failing" --seed s --only 0\n' in said


def test_a_batch_that_breaks_beside_its_fault_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broke = asyncio.Event()

    async def batch(name: str, seed: str, number: int, *, on_redis: bool, streams: bool) -> Findings:
        if number == 0:
            broke.set()
            raise RuntimeError("for a test")
        await broke.wait()
        await asyncio.sleep(0)  # what would cancel this batch has run by now
        return Findings(runs=20)

    monkeypatch.setattr("tests.faults.command.run_batch", batch)

    assert take_through(["flush"], 40, "s", None, on_redis=False) == 1

    said = capsys.readouterr().out
    assert "batch 0: broke off beside its fault: RuntimeError('for a test')" in said
    assert re.search(r"flush +20 ", said)


def test_every_fault_belongs_to_a_switch_of_the_command() -> None:
    assert set(GROUPS) == {"memory", "clocks", "halts", "policies", "acl", "exits", "evict", "late"}


async def test_the_log_has_an_error_for_every_order_that_shows_up_late(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "gate.reconcile"):
        found = await run_batch("late order", "suite", 1, accounts=2)

    assert found.violations == []
    said = {line.split()[2] for line in caplog.messages if line.startswith("LATE ORDER ")}
    assert len(said) == found.late > 0
