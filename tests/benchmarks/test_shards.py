"""No verdict of an account asks another primary than the account's own, so its server's time is all that it costs."""

from __future__ import annotations

from benchmarks.shards import ACCOUNTS, Plan, measure, shards_as_json, shards_as_table


def test_accounts_are_spread_and_no_verdict_is_sent_on() -> None:
    found = measure("valkey", Plan(rounds=2, bursts=1))

    assert [each.accounts_each for each in found] == [(6,), (3, 3), (2, 2, 2), (6, 0, 0)]
    assert [each.redirected for each in found] == [0, 0, 0, 0]
    assert {each.verdicts for each in found} == {2 * ACCOUNTS * 16}, "one call for each"
    assert all(each.script_us > 0 and each.of_many > 0 and each.a_second > 0 for each in found)
    assert shards_as_table(found, "x").row_count == len(shards_as_json(found)) == len(found)
