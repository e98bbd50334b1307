"""`gate paper` names a file or port that it can't use, in one line."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.mark.parametrize("option", ["--faults", "--exchange-info"])
@pytest.mark.parametrize("content", ["", '[{"id": 1}]', "{"])
def test_a_file_that_cannot_be_used_is_named(bare: Run, tmp_path: Path, option: str, content: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(content)
    done = bare("paper", option, str(file))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"gate: {file}: ")
    assert done.stderr.count(str(file)) == 1


def test_a_ledger_that_cannot_be_written_is_named(bare: Run, tmp_path: Path) -> None:
    ledger = tmp_path / "none" / "ledger.jsonl"
    done = bare("paper", "--ledger", str(ledger))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"gate: {ledger}: No such file" in done.stderr


def test_a_port_in_use_is_one_line(bare: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = bare("paper", "--port", str(port))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"gate: port {port} of 127.0.0.1: address already in use; give another --port\n"
