"""The bench of an order's way runs, and counts requests and connections as they are. No time is judged here."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.order_path import Plan, run
from benchmarks.order_path_desks import ways
from benchmarks.order_path_report import as_chart, as_json, as_tables, rows_of


def test_every_way_is_measured_and_reported() -> None:
    rows = [row for row in ways(streams=False) if not row.name.endswith("_first")]  # they wait
    samples = run(rows, Plan(delays_ms=(1.0,), rounds=2, warm_ups=1, round_s=0))

    report = {row.name: row for row in rows_of(rows, samples)}
    assert report.keys() == {row.name for row in rows}
    assert len(as_json(rows, samples)["rows"]) == len(rows)
    assert [table.row_count for table in as_tables(rows, samples)] == [len(rows)]
    assert len(ElementTree.fromstring(as_chart(rows, samples))) > 2 * len(rows)
    counts = ("bare", 1, 0), ("bare_cold", 1, 1), ("bare_20", 1, 0), ("replaced", 2, 0), ("replaced_20", 2, 0)
    for name, requests, connections in counts:
        counted = report[name]
        assert (counted.requests, counted.connections) == (requests, connections), counted
    for row in report.values():
        assert 1 < row.had_order_ms < row.answered_ms - 1, row
