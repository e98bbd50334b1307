"""The gate beside what a user would pick instead: every way is measured, and the gate alone is never wrong."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

pytest.importorskip("limits", reason="the test group `bench` is not installed")
pytest.importorskip("throttled", reason="the test group `bench` is not installed")

from benchmarks import charts, growth, versus, wrongness
from benchmarks.__main__ import main
from benchmarks.growth_report import growth_as_json, growth_as_table, rows_of
from benchmarks.server import Server
from benchmarks.versus_report import timings_as_json, timings_as_table, wrongness_as_json, wrongness_as_table
from benchmarks.ways import WAYS, async_ways, run, run_async, sync_ways
from benchmarks.workload import Account
from benchmarks.wrongness import Call, judged
from gate import Policy
from tests.benchmarks.test_bench import TINY

STRICT = Policy(rate_symbol_limit=1, rate_symbol_window_ms=60_000, rate_global_limit=3, lock_ttl_ms=30_000)
S_NS = 1_000_000_000


@pytest.mark.parametrize("name", [*WAYS])
@pytest.mark.parametrize("kind", versus.KINDS)
def test_each_way_keeps_the_limits_while_nobody_else_is_there(name: str, kind: str) -> None:
    with Server("valkey") as server, server.client() as client:
        account = Account(on=client)
        new, again = account.intent("BTCUSDT"), account.intent("BTCUSDT")
        more = [account.intent(symbol) for symbol in ("ETHUSDT", "SOLUSDT", "XRPUSDT")]

        async def answers() -> list[str]:
            async with async_ways(server.url(), STRICT, (name,)) as ways:
                way = ways[name]
                first = await run_async(way.admit(new))
                told = [first, await run_async(way.admit(new)), await run_async(way.admit(again))]
                await run_async(way.finish(new, first))
                return [each.denied for each in (*told, *[await run_async(way.admit(each)) for each in more])]

        def answers_to_threads() -> list[str]:
            with sync_ways(server.url(), STRICT, (name,)) as ways:
                way = ways[name]
                first = run(way.admit(new))
                told = [first, run(way.admit(new)), run(way.admit(again))]
                run(way.finish(new, first))
                return [each.denied for each in (*told, *[run(way.admit(each)) for each in more])]

        told = asyncio.run(answers()) if kind == "asyncio" else answers_to_threads()
    # Three places: the single commands have counted the one that was locked too, the pipeline also the duplicate.
    places = {"ten": ["", "rate", "rate"], "pipeline": ["rate", "rate", "rate"]}.get(name, ["", "", "rate"])
    assert told == ["", "duplicate", "locked", *places]


def test_every_way_is_measured_by_threads_and_by_asyncio() -> None:
    plan = versus.Plan(rounds=2, calls=2, callers=(1, 2))
    with Server("valkey") as server:
        timings = versus.measure(server, plan)
    assert [(each.kind, each.callers, each.name) for each in timings] == [
        (kind, callers, name) for kind in versus.KINDS for callers in (1, 2) for name in (*versus.FLOOR, *WAYS)
    ]
    assert all(len(each.calls_us) == 4 and 0 < each.at(0.5) <= each.at(0.99) for each in timings)
    assert all(each.against_gate == 1 for each in timings if each.name == "gate")
    assert len(timings_as_json(timings)) == len(timings)
    assert timings_as_table(timings, "x").row_count == len(timings) / 2
    assert charts_as_text(charts.of_ways(timings, "x")) >= {each.what for each in timings}


def test_growth_is_measured_at_each_size() -> None:
    with Server("valkey") as server:
        rows = rows_of(growth.curves(server, TINY))
    assert [row.size for row in rows] == [1_000, 5, 60, 300, 1_200, 1, 10, 100, 1_000, 1, 8, 32, 64]
    assert growth_as_table(rows, "x").row_count == len(growth_as_json(rows)) == len(rows)
    assert charts_as_text(charts.of_growth(rows, "x")) >= {row.what for row in rows}


def charts_as_text(chart: str) -> set[str]:
    return {text for each in ElementTree.fromstring(chart).iter() if (text := each.text or "").strip()}


def test_the_gate_is_never_wrong_while_processes_die() -> None:
    plan = wrongness.Plan(seconds=2.0, processes=6)
    for _ in range(10):  # on a busy machine none may die in so short a time
        with Server("valkey") as server:
            (found,) = wrongness.measure(server, plan, ["gate"])
        wrong = (found.twice, found.over_account, found.over_symbol, found.held_by_two, found.without_ttl, found.lost)
        assert wrong == (0, 0, 0, 0, 0, 0)
        assert found.wrong == 0
        if found.killed and found.calls > found.admitted > 0:
            break
    else:
        pytest.fail(f"nobody has died, or nothing was admitted and denied: {found}")
    assert wrongness_as_table([found], "x", plan).row_count == len(wrongness_as_json([found])) == 1


@pytest.mark.parametrize(("way", "lost", "code"), [("gate", 0, 0), ("gate", 1, 1), ([*WAYS][-1], 1, 0)])
def test_the_command_fails_where_the_gate_is_wrong(
    monkeypatch: pytest.MonkeyPatch, way: str, lost: int, code: int
) -> None:
    found = replace(judged(way, []), lost=lost)
    monkeypatch.setattr(wrongness, "measure", lambda *_, **__: [found])

    ended = CliRunner().invoke(main, ["--wrongness", "--quick"])

    assert ended.exit_code == code, ended.output
    assert ("the gate was wrong 1 times" in ended.output) is bool(code)


def admitted(intent: int, symbol: str, at_s: float, *, told_s: float = 0, held_s: float = 0) -> Call:
    told_s = told_s or at_s + 0.001
    return Call(intent, symbol, "admitted", int(at_s * S_NS), int(told_s * S_NS), int((told_s + held_s) * S_NS))


def denied(intent: int, why: str, at_s: float) -> Call:
    return Call(intent, "A", why, int(at_s * S_NS), int((at_s + 0.001) * S_NS))


def test_each_kind_of_wrongness_is_seen() -> None:
    assert judged("x", [admitted(1, "A", 1), admitted(1, "B", 2)]).twice == 1
    crowd = [admitted(number, f"S{number}", 1 + number / 100) for number in range(12)]
    assert (judged("x", crowd).over_account, judged("x", crowd).most_account) == (2, 12)
    pair = [admitted(1, "A", 1), admitted(2, "A", 1.5)]
    assert (judged("x", pair).over_symbol, judged("x", pair).most_symbol) == (1, 2)
    assert judged("x", [admitted(1, "A", 1, held_s=1.5), admitted(2, "A", 2.1, held_s=0.1)]).held_by_two == 1
    assert judged("x", [denied(1, "rate", 1), denied(1, "duplicate", 1.2)]).lost == 1


def test_what_may_be_right_is_no_wrongness() -> None:
    apart = [admitted(1, "A", 1), admitted(2, "A", 2.1)]
    assert judged("x", apart).over_symbol == judged("x", apart).held_by_two == 0
    long_asked = [admitted(1, "A", 0.9, told_s=1.3), admitted(2, "A", 1.5, told_s=2.1)]
    assert judged("x", long_asked).over_symbol == 0, "the first one may have been decided at once, the second at last"
    assert judged("x", [denied(1, "rate", 1), denied(1, "duplicate", 1.0005)]).lost == 0, "asked at the same time"
    assert judged("x", [denied(1, "rate", 1), denied(1, "duplicate", 1.2), Call(1)]).lost == 0, "one died over it"
    had = [denied(1, "rate", 1), admitted(1, "A", 1.1), denied(1, "duplicate", 1.2)]
    assert judged("x", had).lost == 0
