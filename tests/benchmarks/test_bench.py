"""The bench runs, and its report has every figure. No time is judged here."""

from __future__ import annotations

from benchmarks.batches import load_scripts
from benchmarks.floor import Floor
from benchmarks.report import as_json, as_table
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from benchmarks.suite import measure
from benchmarks.workload import Account, Step

TINY = Sizes(
    call_rounds=2,
    calls=3,
    batch_rounds=2,
    batch=24,
    growth_rounds=2,
    records=2_000,
    settled=500,
    burst_rounds=2,
    bursts=1,
    shell_rounds=2,
)
TO_REACH = {
    "call_admission": 1.25,
    "call_sequence": 6,
    "server_admission": 12,
    "server_duplicate": 7,
    "server_locked": 7,
    "growth_records": 1.15,
    "growth_limit": 1.15,
    "growth_symbols": 1.15,
    "growth_in_flight": 1.15,
    "record_memory": 256,
    "async_rate": 1.8,
    "shell_eval": 1.2,
}


def test_every_figure_is_measured_and_reported() -> None:
    with Server("valkey") as server:
        figures = measure(server, TINY)
        report = as_json(figures, server.version, quick=True)
        assert as_table(figures, server.version, quick=True).row_count == len(figures)

    rows = {row["name"]: row for row in report["figures"]}  # type: ignore[attr-defined]
    assert len(rows) == len(figures)
    assert {name: rows[name]["at_most"] or rows[name]["at_least"] for name in TO_REACH} == TO_REACH
    for row in rows.values():
        assert row["measured"] is None or row["measured"] > 0, row
        assert row["measured"] is not None or row["detail"].startswith("skipped: "), row


def test_the_floor_of_an_admission_is_made_of_its_own_commands() -> None:
    def called(step: Step) -> dict[str, int]:
        client.config_resetstat()
        assert client.execute_command(*step.call).startswith(step.expected)
        told = client.info("commandstats")
        for command in step.clean_up:
            client.execute_command(*command)
        return {name: row["calls"] for name, row in told.items() if name != "cmdstat_config|resetstat"}

    with Server("valkey") as server, server.client() as client:
        load_scripts(client)
        account, floor = Account("quantum", on=client), Floor(client)
        for _ in range(2):  # the first one puts the policy in force
            admission = called(account.admission())
        assert called(floor.step("floor_commands")) == admission
        assert sum(called(floor.step("floor_nine")).values()) == 9 + 1  # and the EVALSHA
