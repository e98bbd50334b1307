"""`gate audit` shows who did what, when and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from tests.cli.conftest import Run

AUDIT, JOURNAL = "quantum:safety:audit", "quantum:exec:audit"


def note(client: redis.Redis, key: str, entry: str, **fields: str) -> None:
    client.execute_command("XADD", key, entry, *(part for pair in fields.items() for part in pair))


def test_without_an_entry_it_says_so(gate: Run) -> None:
    result = gate("audit")
    assert result.stdout.startswith("Nothing was done to quantum at ")
    assert result.exit_code == 0


def test_each_entry_is_a_line_and_the_latest_stands_last(gate: Run, redis_client: redis.Redis) -> None:
    note(redis_client, AUDIT, "1000-0", what="halt entries", by="ops", reason="CPI print", user="anna")
    note(redis_client, JOURNAL, "2000-0", what="trip safe_mode", by="gate", reason="5 failures in 300 s", user="")
    note(redis_client, "quantum:observe:safety:audit", "3000-0", what="memory lost", by="gate", reason="?", user="")
    headline, headings, *lines = gate("audit").stdout.splitlines()
    assert headline.startswith("All entries of the audit of quantum at ")
    assert headings.split() == ["when", "what", "by", "reason"]
    assert [[cell for cell in map(str.strip, line.split("   ")) if cell][1:] for line in lines] == [
        ["halt entries", "ops (anna)", "CPI print"],
        ["trip safe_mode", "gate (noted by a worker)", "5 failures in 300 s"],
        ["memory lost (observe)", "gate", "?"],
    ]
    assert all(line.startswith("1970-01-01T00:00:0") for line in lines)


def test_the_one_user_of_a_store_without_users_is_left_out(gate: Run, redis_client: redis.Redis) -> None:
    note(redis_client, AUDIT, "1000-0", what="resume", by="ops", reason="over", user="default")
    assert "default" not in gate("audit").stdout


def test_only_the_latest_and_it_says_so(gate: Run, redis_client: redis.Redis) -> None:
    for number in range(1, 4):
        note(redis_client, AUDIT, f"{number}-0", what=f"act {number}", by="ops", reason="why")
    lines = gate("audit", "--last", "2").stdout.splitlines()
    assert lines[0].startswith("The latest 2 entries of the audit of quantum at ")
    assert "act 1" not in "\n".join(lines)
    assert "act 3" in lines[-1]


def test_the_last_hours_alone(gate: Run, redis_client: redis.Redis) -> None:
    note(redis_client, AUDIT, "1000-0", what="resume", by="ops", reason="over")
    assert " in the last 1.5 h" in gate("audit", "--hours", "1.5").stdout
    assert "resume" not in gate("audit", "--hours", "1.5").stdout
    assert gate("audit", "--hours", "0.0000000001").exit_code == 0


def test_what_is_no_number_of_hours_is_refused(gate: Run) -> None:
    for hours in ("nan", "inf", "-1", "0", "1e9"):
        assert gate("audit", "--hours", hours).exit_code == 2


def test_what_a_hand_has_written_changes_no_terminal(gate: Run, redis_client: redis.Redis) -> None:
    note(redis_client, AUDIT, "1000-0", what="a\x1b[2Jb", by="c\nd", reason="e\n\x07f")
    out = gate("audit").stdout
    assert "\x1b" not in out
    assert "\x07" not in out
    assert len(out.splitlines()) == 3


def test_as_json(gate_json: Callable[..., Any], redis_client: redis.Redis) -> None:
    note(redis_client, AUDIT, "1000-0", what="resume", by="ops", reason="over", user="")
    answer = gate_json("audit")
    assert answer["prefix"] == "quantum"
    assert answer["more"] is False
    assert answer["unread"] == []
    assert answer["entries"] == [
        {
            "at_ms": 1000,
            "what": "resume",
            "by": "ops",
            "reason": "over",
            "user": None,
            "by_worker": False,
            "observing": False,
            "key": AUDIT,
            "entry": "1000-0",
        }
    ]


def test_a_damaged_stream_is_said_and_the_exit_code_tells(gate: Run, redis_client: redis.Redis) -> None:
    note(redis_client, JOURNAL, "1000-0", what="trip safe_mode", by="gate", reason="5 failures")
    redis_client.set(AUDIT, "1")
    result = gate("audit")
    assert result.exit_code == 1
    assert result.stdout.startswith("What can be read of the audit of quantum at ")
    assert "trip safe_mode" in result.stdout
    assert f"{AUDIT} can't be read, so its entries are missing here: WRONGTYPE" in result.stderr


def test_without_a_store_nothing_is_known(bare: Run) -> None:
    result = bare("--url", "redis://127.0.0.1:1/0", "audit")
    assert result.exit_code == 3
    assert "what was done is unknown" in result.stderr
