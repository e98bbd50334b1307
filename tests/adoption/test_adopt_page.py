"""docs/adopt.md, run in a shell from top to bottom: beside the old service, over to `gate run` and back."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gate import Gate, Outcome, Penalty, Policy, Reason
from tests.adoption.old_service import FILLED, OldService
from tests.adoption.test_adopting import BesideService, client_of, deliver, orders, signal
from tests.client import account as at
from tests.service.conftest import desk, paper  # noqa: F401  # fixtures
from tests.service.desk import Desk, Worker, until

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adopt.md").read_text("utf-8")
LOG = "/var/log/quantum/execution.log"

# What a host has and a test's machine may not.
REDIS_CLI = """
import os, sys, redis
client = redis.Redis.from_url(os.environ["GATE_URL"], decode_responses=True)
words = sys.argv[1:]
try:
    said = [*client.scan_iter(words[2])] if words[:2] == ["--scan", "--pattern"] else client.execute_command(*words)
except redis.ResponseError as error:
    said = str(error)
for each in said if isinstance(said, list) else [said]:
    print("" if each is None else each)
"""


class Host:
    """A shell on the host of the old service."""

    def __init__(self, desk: Desk) -> None:  # noqa: F811
        self.desk: Desk = desk
        self.worker: Worker | None = None
        self.log = desk.folder / "old.log"
        self.bin = desk.folder / "bin"
        self.bin.mkdir()
        self._program("redis-cli", REDIS_CLI)
        self._program("gate", "import sys\nsys.path.insert(0, {0!r})\nfrom gate.cli import main\nmain()\n", str(ROOT))
        (desk.folder / "gate.toml").write_text(f'url = "{desk.url}"\n', "utf-8")

    def _program(self, name: str, code: str, *given: str) -> None:
        file = self.bin / name
        file.write_text(f"#!{sys.executable}\n{code.format(*given) if given else code}", "utf-8")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def run(self, line: str, *, fails: bool = False) -> str:
        """Runs a line of the page. What it prints; it must succeed."""
        if line == "systemctl start gate":
            self.worker = self.desk.worker().consumes()
            self.log = self.worker.log_file
            return ""
        if line == "systemctl stop gate":
            assert self.worker is not None
            assert self.worker.stop() == 0
            return ""
        if line.startswith("curl "):
            assert self.worker is not None
            return str(self.worker.health())
        environ = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "GATE_URL": self.desk.url,
            "GATE_EXCHANGE_URL": self.desk.paper.url,
            "BINANCE_API_KEY": "key",
            "BINANCE_API_SECRET": "secret",
        }
        command = ["bash", "-o", "pipefail", "-c", line.replace(LOG, str(self.log))]
        done = subprocess.run(command, cwd=self.desk.folder, env=environ, capture_output=True, text=True, timeout=60)
        assert fails or done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout


def section(number: int) -> str:
    return re.split(r"^## \d\. ", PAGE, flags=re.MULTILINE)[number]


def commands(number: int) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", section(number), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def verifying() -> list[str]:
    """The lines of the replaced service's verification, as the page has them."""
    found = re.findall(r"^\| `((?:redis-cli|grep) .*?)` \|", section(5), re.MULTILINE)
    return [line.replace("\\|", "|") for line in found]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_every_step_says_how_it_is_undone() -> None:
    steps = re.split(r"^## (?=\d\. )", PAGE, flags=re.MULTILINE)[1:]
    assert [step[:2] for step in steps] == ["1.", "2.", "3.", "4.", "5.", "6."]
    assert [step[:2] for step in steps[:-1] if step.count("\n**Undo:** ") != 1] == []


def test_what_each_side_says_is_what_they_say() -> None:
    rows = re.findall(r"^\| ([A-Z_]+|nothing) \| ([A-Z_, ]+) \|", section(3), re.MULTILINE)
    assert len(rows) > 5
    code = "".join(path.read_text("utf-8") for path in (ROOT / "gate" / "executor").glob("*.py"))
    for old, ours in rows:
        assert old == "nothing" or f'"{old}"' in code
        assert {each.strip() for each in ours.split(",")} <= set(Reason)


def test_the_page_runs_from_top_to_bottom_and_back(
    desk: Desk,  # noqa: F811
    stack: ExitStack,
) -> None:
    host, client = Host(desk), desk.client
    old = OldService(client, client_of(desk.paper))
    first = signal("XRPUSDT")
    deliver(client, first, first)
    assert old.take() == [FILLED, "IDEMPOTENCY_SKIP"]
    client.set("quantum:exec:lock:NEARUSDT:BUY", "1")  # it died between SETNX and EXPIRE

    # 1. What is there
    leftovers, check = (host.run(line) for line in commands(1))
    assert "quantum:exec:lock:NEARUSDT:BUY (no TTL)" in leftovers
    assert "lag 0, pending 0" in check

    # 2. Beside the old guards; 3. Compare
    with Gate.from_url(desk.url, policy=Policy(mode="observe")) as observing:
        beside = BesideService(observing, client, client_of(desk.paper))
        deliver(client, second := signal("ETHUSDT"), second)
        said = beside.take()
        host.log.write_text("".join(f"GATE WOULD SAY {each}\n" for each in beside.gate_says) + "\n".join(said) + "\n")
    ours, theirs = (host.run(line).split() for line in commands(3))
    assert ours == ["1", "GATE", "WOULD", "SAY", "ADMITTED", "1", "GATE", "WOULD", "SAY", "DUPLICATE"]
    assert theirs == ["1", "IDEMPOTENCY_SKIP"]

    # 4. The switch
    for line in commands(4):
        host.run(line)
    assert not client.exists("quantum:exec:lock:NEARUSDT:BUY")
    deliver(client, first, second)

    def answered() -> list[str]:
        return [row["reason"] for row in desk.results() if "reason" in row]  # the old service has written some too

    until(lambda: answered() == ["DUPLICATE", "DUPLICATE"], told=answered)

    # 5. Verify
    status, health, bought, closed = (host.run(line) for line in commands(5))
    assert "OPEN" in status
    assert "'ok': True" in health
    assert re.search(r"^state +FILLED$", bought, re.MULTILINE)
    assert re.search(r"^state +FILLED$", closed, re.MULTILINE)
    with Gate.from_url(desk.url) as gate:
        permit = at.admitted(gate.evaluate(at.entry("trip", "ADAUSDT")))
        lock = client.get("quantum:exec:lock:BTCUSDT:BUY")
        gate.settle(permit, Outcome.rejected(-2019, penalty=Penalty(safe_mode=True, cooldown_global_ms=300_000)))
        now = {line: host.run(line, fails=True).split("\n")[:-1] for line in verifying()}
        assert len(now) == 16
        expected = {
            "redis-cli --scan --pattern 'quantum:safety:*'": r".*quantum:safety:safe_mode.*",
            "redis-cli GET quantum:safety:safe_mode": "1",
            "redis-cli TTL quantum:safety:safe_mode": r"(900|8\d\d)",
            "redis-cli GET quantum:safety:cooldown_global": "1",
            "redis-cli TTL quantum:safety:cooldown_global": r"(300|2\d\d)",
            "redis-cli --scan --pattern 'quantum:exec:processed:*' | wc -l": r"\s*5",
            "redis-cli GET quantum:exec:rate:global": "WRONGTYPE.*",
            "redis-cli GET quantum:exec:lock:BTCUSDT:BUY": lock.decode() if isinstance(lock, bytes) else "",
            f"grep -c IDEMPOTENCY_SKIP {LOG}": "2",
            f"grep 'TERMINAL STATE: FILLED' {LOG}": "(.* id=(first|out)-by-hand .*){2}",
        }
        for line, pattern in expected.items():
            assert re.fullmatch(pattern, " ".join(now.pop(line)), re.DOTALL), line
        assert [line for line, told in now.items() if line.startswith("grep -c ") != told[0].isdigit()] == [], now
        assert host.run("redis-cli LLEN quantum:exec:rate:global").strip().isdigit()
        gate.reset("all", by="ops", reason="verified")

    # 6. Three ways back: the third
    until(lambda: desk.pending() == 0)
    for line in commands(6):
        host.run(line)
    third = signal("DOGEUSDT")
    deliver(client, first, second, third)
    assert OldService(client, client_of(desk.paper)).take() == ["IDEMPOTENCY_SKIP", "IDEMPOTENCY_SKIP", FILLED]
    assert orders(desk.paper) == {"XRPUSDT": 1, "ETHUSDT": 1, "BTCUSDT": 2, "DOGEUSDT": 1}
