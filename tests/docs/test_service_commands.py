"""The commands of docs/service.md, of the README's part about the service, and of docs/security.md run as printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.servers.ports import free_port
from tests.service.conftest import desk, paper  # noqa: F401  # fixtures
from tests.service.desk import Desk, until

ROOT = Path(__file__).resolve().parents[2]
PRINTED = "127.0.0.1:9109"
"""Where a service listens by default. Tests run side by side, so each has a port of its own."""


def commands(page: str, of: str) -> list[str]:
    """The lines of the page's shell blocks that have those words, without their comments."""
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    shell = "\n".join(block for kind, block in blocks if kind in ("", "sh"))
    lines = [line.partition(" #")[0].strip() for line in shell.splitlines()]
    return [line for line in lines if of in line]


@pytest.mark.parametrize(("page", "count"), [("README.md", 2), ("docs/service.md", 3)])
def test_a_service_is_checked_runs_and_answers_an_intent_by_hand(
    page: str,
    count: int,
    desk: Desk,  # noqa: F811
) -> None:
    address = f"127.0.0.1:{free_port()}"
    (desk.folder / "gate.toml").write_text(f'url = "{desk.url}"\n[service]\nlisten = "{address}"\n', "utf-8")
    keys = {"GATE_EXCHANGE_URL": desk.paper.url, "BINANCE_API_KEY": "key", "BINANCE_API_SECRET": "secret"}
    environ = {**os.environ, **keys, "PYTHONPATH": str(ROOT)}
    check, run, *by_hand = commands(page, "gate --config gate.toml")
    assert len([check, run, *by_hand]) == count

    def of_program(line: str) -> list[str]:
        program, *words = line.split()
        assert program == "gate"
        return [sys.executable, "-m", "gate", *words]

    def done(words: list[str]) -> str:
        ended = subprocess.run(words, cwd=desk.folder, env=environ, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), (words, ended.stdout, ended.stderr)
        return ended.stdout

    assert "WRONG" not in done(of_program(check))
    log = desk.folder / "service.log"
    with log.open("wb") as out:
        service = subprocess.Popen(of_program(run), cwd=desk.folder, env=environ, stdout=out, stderr=out)
    try:
        until(lambda: f"listening={address}" in log.read_text("utf-8"), told=lambda: log.read_text("utf-8"))
        for line in by_hand:
            assert re.search(r"^state +FILLED$", done(of_program(line)), re.MULTILINE)
        for line in commands(page, "curl -s"):  # which a test's machine may not have
            with urllib.request.urlopen(line.removeprefix("curl -s ").replace(PRINTED, address), timeout=5) as answer:
                assert answer.status == 200
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0, log.read_text("utf-8")


def test_the_users_of_a_store_are_printed_into_its_file(tmp_path: Path) -> None:
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    for name in ("worker", "alice"):
        (tmp_path / f"{name}.password").write_text("of-the-tests-and-of-nobody-else")
    lines = commands("docs/security.md", "scripts/deploy/acl ")
    assert len(lines) == 2
    for line in lines:
        subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True, timeout=30)
    users = (tmp_path / "users.acl").read_text("utf-8").splitlines()
    assert [line.split()[:2] for line in users if line] == [["user", "gate-worker"], ["user", "alice"]]
