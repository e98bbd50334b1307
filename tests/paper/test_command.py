"""`gate paper` as a process: it says when it accepts, its ledger survives a kill, its faults come from a file."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from binance import Client
from binance.exceptions import BinanceAPIException
from click.testing import CliRunner

from gate.cli.commands.paper import paper

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
ROOT = Path(__file__).resolve().parents[2]
RUN = "import sys; from gate.cli.commands.paper import paper; paper(sys.argv[1:])"


class Running:
    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()
        self.url = self.said.removeprefix("listening on ")

    def client(self, key: str = "paper-key", secret: str = "paper-secret") -> Client:
        client = Client(key, secret, ping=False)
        client.FUTURES_URL = f"{self.url}/fapi"
        return client


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    server = Running(*arguments)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def test_it_accepts_once_it_has_said_so() -> None:
    with running() as server:
        assert server.said.startswith("listening on http://127.0.0.1:")
        assert requests.get(f"{server.url}/fapi/v1/ping", timeout=5).json() == {}
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_the_ledger_file_survives_a_kill_and_is_continued(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with running("--ledger", str(ledger)) as server:
        ids = [server.client().futures_create_order(**ORDER, newClientOrderId=f"k-{n}")["orderId"] for n in range(3)]
        server.process.kill()
        server.process.wait()
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [(row["clientOrderId"], row["orderId"], row["status"]) for row in rows] == [
        (f"k-{n}", order_id, "FILLED") for n, order_id in enumerate(ids)
    ]
    with ledger.open("a") as file:
        file.write('{"clientOrderId":"torn')  # as a kill in the middle of a line leaves it
    with running("--ledger", str(ledger)) as server:
        fresh = server.client().futures_create_order(**ORDER, newClientOrderId="k-3")["orderId"]
        listed = requests.get(f"{server.url}/paper/ledger", timeout=5).json()["orders"]
        found = server.client().futures_get_order(symbol="BTCUSDT", origClientOrderId="k-1")
    assert (found["orderId"], found["status"], found["avgPrice"]) == (ids[1], "FILLED", "100000.10000")
    assert [row["clientOrderId"] for row in listed] == ["k-0", "k-1", "k-2", "k-3"]
    assert fresh > max(ids)
    assert [json.loads(line)["clientOrderId"] for line in ledger.read_text().splitlines()] == [
        "k-0",
        "k-1",
        "k-2",
        "k-3",
    ]


def test_a_full_disk_leaves_no_torn_line_behind(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with running("--ledger", str(ledger)) as server:
        client, pid = server.client(), server.process.pid
        client.futures_create_order(**ORDER, newClientOrderId="k-0")
        unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE, (ledger.stat().st_size + 50, resource.RLIM_INFINITY))
        for number in (1, 2):  # the first is cut short by the limit, the second can't be written at all
            with pytest.raises(BinanceAPIException) as error:
                client.futures_create_order(**ORDER, newClientOrderId=f"k-{number}")
            assert (error.value.status_code, error.value.code) == (408, -1007)
        assert client.futures_get_order(symbol="BTCUSDT", origClientOrderId="k-2")["status"] == "FILLED"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        client.futures_create_order(**ORDER, newClientOrderId="k-3")
        names = [json.loads(line)["clientOrderId"] for line in ledger.read_text().splitlines()]
        assert names == ["k-0", "k-1", "k-2", "k-3"]
        server.process.terminate()
        said = server.process.communicate()[1]
    assert said.strip() == f"{ledger} can't be written: File too large"


ROW = {
    "clientOrderId": "k-0", "orderId": 8000000001, "account": "account-1", "symbol": "BTCUSDT", "side": "BUY",
    "positionSide": "BOTH", "type": "MARKET", "origType": "MARKET", "timeInForce": "GTC", "status": "FILLED",
    "price": "0", "origQty": "0.001", "executedQty": "0.001", "avgPrice": "100000.1", "reduceOnly": False,
    "closePosition": False, "time": 1, "updateTime": 1, "receiveTime": 1, "requestCount": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        pytest.param('{"clientOrd' + json.dumps(ROW), "line 2: ", id="torn in mid-file"),
        pytest.param("", "line 2: ", id="empty line"),
        pytest.param(json.dumps({**ROW, "status": "LOST"}), "line 2: 'LOST'", id="unknown status"),
        pytest.param(json.dumps({**ROW, "avgPrice": "lots"}), "line 2: a figure", id="unreadable figure"),
        pytest.param(json.dumps({**ROW, "executedQty": "NaN"}), "line 2: a figure", id="no figure"),
    ],
)
def test_a_bad_row_is_an_error_that_names_its_line(tmp_path: Path, bad: str, says: str) -> None:
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text(f"{json.dumps(ROW)}\n{bad}\n{json.dumps(ROW)}\n")
    before = ledger.read_bytes()
    result = CliRunner().invoke(paper, ["--ledger", str(ledger)])
    assert result.exit_code == 2
    assert f"{ledger} is not a ledger: {says}" in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert ledger.read_bytes() == before


def test_an_order_that_rested_when_the_server_died_has_expired(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    limit = {**ORDER, "type": "LIMIT", "timeInForce": "GTC", "price": "95000", "newClientOrderId": "resting"}
    with running("--ledger", str(ledger)) as server:
        server.client().futures_create_order(**limit)
    with running("--ledger", str(ledger)) as server:
        assert server.client().futures_get_open_orders() == []
        found = server.client().futures_get_order(symbol="BTCUSDT", origClientOrderId="resting")
        assert found["status"] == "EXPIRED"
        assert requests.get(f"{server.url}/paper/ledger", timeout=5).json()["orders"][0]["status"] == "EXPIRED"


def test_several_keys_are_several_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_PAPER_SECRETS", "s1 s2")
    with running("--key", "k1", "--key", "k2", "--balance", "7", "--balance", "8") as server:
        balances = [server.client(f"k{n}", f"s{n}").futures_account(version=3)["totalWalletBalance"] for n in (1, 2)]
    assert balances == ["7.00000000", "8.00000000"]


def test_faults_come_from_a_file(tmp_path: Path) -> None:
    plan = tmp_path / "faults.json"
    plan.write_text(json.dumps([{"kind": "accept_then_drop", "client_order_id": "lost"}]))
    with running("--faults", str(plan)) as server:
        with pytest.raises(requests.ConnectionError):
            server.client().futures_create_order(**ORDER, newClientOrderId="lost")
        listed = requests.get(f"{server.url}/paper/ledger", timeout=5).json()["orders"]
    assert [row["clientOrderId"] for row in listed] == ["lost"]


def test_a_secret_beyond_ascii_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_PAPER_SECRETS", "geheimniß")
    result = CliRunner().invoke(paper, [])
    assert (result.exit_code, "secret: has" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param(["--key", "a", "--key", "b"], 2, "each key needs its own", id="a key without a secret"),
        pytest.param(["--balance", "lots"], 2, "balance: 'lots'", id="unreadable balance"),
        pytest.param(["--balance", "-1"], 2, "balance: '-1'", id="negative balance"),
        pytest.param(["--balance", "nan"], 2, "balance: 'nan'", id="balance not a number"),
        pytest.param(["--balance", "1e16"], 2, "balance: '1e16'", id="balance beyond reason"),
        pytest.param(["--key", ""], 2, "key: ''", id="empty key"),
        pytest.param(["--host", "0.0.0.0"], 2, "host: '0.0.0.0' is not a loopback address", id="any address"),
        pytest.param(["--exchange-info", str(ROOT / "pyproject.toml")], 2, "pyproject.toml", id="no capture"),
        pytest.param(["--faults", str(ROOT / "pyproject.toml")], 2, "not JSON", id="no plan"),
        pytest.param(["--ledger", str(ROOT / "pyproject.toml")], 2, "not a ledger", id="no ledger"),
        pytest.param(["--key", "k", "--key", "k"], 2, "accounts", id="a key twice"),
    ],
)
def test_bad_settings_end_in_one_line(
    arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "k" in arguments:
        monkeypatch.setenv("GATE_PAPER_SECRETS", "a b")
    before = (ROOT / "pyproject.toml").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as taken:  # were a setting taken, the port would end it
        result = CliRunner().invoke(paper, ["--port", str(taken.getsockname()[1]), *arguments])
    assert result.exit_code == code
    assert says in result.output
    assert len(result.output.strip().splitlines()) == (4 if "Usage" in result.output else 1)
    assert "Traceback" not in result.output
    assert (ROOT / "pyproject.toml").read_bytes() == before


def test_it_answers_orders_as_before_july_2026_when_told_to() -> None:
    with running() as today, running("--old-answers") as before:
        answers = [
            server.client().futures_create_order(**ORDER, newOrderRespType="RESULT") for server in (today, before)
        ]
    assert ["avgPrice" in answer for answer in answers] == [False, True]


def test_prices_walk_when_told_to() -> None:
    with running("--walk", "7") as server:
        client = server.client()
        requests.post(f"{server.url}/paper/clock", json={"hold": True}, timeout=5)
        before = client.futures_symbol_ticker(symbol="BTCUSDT")["price"]
        assert client.futures_symbol_ticker(symbol="BTCUSDT")["price"] == before
        requests.post(f"{server.url}/paper/clock", json={"advance_ms": 60_000}, timeout=5)
        assert client.futures_symbol_ticker(symbol="BTCUSDT")["price"] != before


def test_the_address_can_be_had_as_json() -> None:
    with running("--json") as server:
        url = json.loads(server.said)["url"]
        assert requests.get(f"{url}/fapi/v1/ping", timeout=5).json() == {}


def test_a_taken_port_ends_in_one_line() -> None:
    with running() as server:
        result = CliRunner().invoke(paper, ["--port", server.url.rpartition(":")[2]])
    assert result.exit_code == 1
    assert "address already in use" in result.output


def test_help_tells_how_to_point_a_client_at_it() -> None:
    result = CliRunner().invoke(paper, ["--help"])
    assert result.exit_code == 0
    assert "FUTURES_URL" in result.output
    assert "--ledger" in result.output


def test_the_command_loads_no_server_before_it_runs() -> None:
    code = "import sys; import gate.cli.commands.paper; print('aiohttp' in sys.modules, 'gate.paper' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False False"


def test_the_package_imports_nothing_of_the_gate() -> None:
    code = "import sys; import gate.paper; print(*sorted(m for m in sys.modules if m.startswith('gate')))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    beside = subprocess.run(
        [sys.executable, "-c", code.replace("gate.paper", "gate")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {name for name in loaded if not name.startswith("gate.paper")} == set(beside.stdout.split())
