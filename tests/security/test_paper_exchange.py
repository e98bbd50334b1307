"""The paper exchange listens on loopback, where a page in a browser and every user of the machine can reach it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gate.cli.commands.paper import paper as command
from gate.paper import PaperExchange
from tests.security.effort import EFFORT

PRICE = {"symbol": "BTCUSDT", "price": "50000"}


@pytest.fixture(scope="module")
def paper() -> Iterator[PaperExchange]:
    with PaperExchange() as exchange:
        yield exchange


def post(paper: PaperExchange, path: str, body: Any, **headers: str) -> requests.Response:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return requests.post(f"{paper.url}{path}", data=data, headers=headers, timeout=10)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8890", "file://"])
def test_a_page_in_a_browser_controls_nothing(paper: PaperExchange, origin: str) -> None:
    """A browser sends such a request without asking first, since its content type may be text/plain."""
    before = requests.get(f"{paper.url}/paper/price", timeout=10).json()
    answer = post(paper, "/paper/price", PRICE, Origin=origin)
    assert answer.status_code == 403
    assert "Origin" in answer.json()["error"]
    assert requests.get(f"{paper.url}/paper/price", timeout=10).json() == before


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]:1"],
)
def test_a_name_that_was_rebound_to_loopback_gets_nothing(paper: PaperExchange, host: str) -> None:
    """A page whose name points to 127.0.0.1 by now is of the same origin, so only the Host tells."""
    for method, path in (("GET", "/paper/ledger"), ("POST", "/paper/price"), ("POST", "/paper/release")):
        answer = requests.request(method, f"{paper.url}{path}", headers={"Host": host}, data="{}", timeout=10)
        assert answer.status_code == 403
        assert "Host" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:5", "127.8.9.1", "[::1]", "[::1]:7"])
def test_whoever_names_loopback_is_served(paper: PaperExchange, host: str) -> None:
    assert requests.get(f"{paper.url}/paper/price", headers={"Host": host}, timeout=10).status_code == 200


def test_two_hosts_are_none(paper: PaperExchange) -> None:
    where = urlsplit(paper.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(b"GET /paper/price HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(200).split(b" ", 2)[1] in (b"400", b"403")


@pytest.mark.parametrize(
    "figure", ["1E999999999", "-1E999999999", "1E-999999999", "9" * 5000, "NaN", "sNaN", "Infinity"]
)
@pytest.mark.parametrize("field", ["balance", "price", "mark", "depth"])
def test_a_monstrous_figure_is_a_clear_refusal(paper: PaperExchange, figure: str, field: str) -> None:
    path = "/paper/balance" if field == "balance" else "/paper/price"
    body = {"balance": figure} if field == "balance" else {**PRICE, field: figure}
    answer = post(paper, path, body)
    assert answer.status_code == 400
    assert field in answer.json()["error"]
    assert len(answer.json()["error"]) < 300


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/paper/clock", {"hold": 10**30}),
        ("/paper/clock", {"hold": -1}),
        ("/paper/clock", {"advance_ms": 10**30}),
        ("/paper/clock", {"advance_ms": -(10**18)}),
        ("/paper/balance", {"balance": "1", "asset": "X" * 1_000_000}),
        ("/paper/balance", {"balance": "1", "asset": "a\nb"}),
        ("/paper/balance", "[" * 100_000),
        ("/paper/faults", "[" * 100_000),
        ("/paper/faults", '{"kind":' * 2000),
        ("/paper/price", b"\xff\xfe"),
        ("/paper/price", "9" * 10_000),
        ("/paper/release", f'{{"at_least": {"9" * 5000}}}'),
        ("/paper/release", "[" * 100_000),
    ],
)
def test_what_nobody_can_mean_is_a_refusal(paper: PaperExchange, path: str, body: Any) -> None:
    answer = post(paper, path, body)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) < 300
    assert requests.get(f"{paper.url}/paper/clock", timeout=10).json()["held"] is False


scalars = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["1E999999999", "NaN", "-0"])
)
names = st.sampled_from(["symbol", "price", "mark", "depth", "balance", "asset", "hold", "advance_ms", "kind", "times"])
bodies = st.dictionaries(names, scalars | st.lists(scalars, max_size=2) | st.sampled_from(["BTCUSDT", 1.5]), max_size=4)
PATHS = ["price", "balance", "clock", "faults", "nothing"]


@EFFORT
@given(st.sampled_from(PATHS), bodies | st.lists(bodies, max_size=2) | scalars)
def test_every_control_request_is_answered(path: str, body: object) -> None:
    from gate.paper.market.market_data import built_in
    from gate.paper.serving.control import control
    from gate.paper.serving.settings import Account, Settings
    from gate.paper.serving.venue import Venue

    venue = Venue(Settings(market=built_in(), accounts=[Account()]))
    raw = json.dumps(body).encode()
    status, answer = control(venue, "POST", f"/paper/{path}", raw)
    assert status in (200, 400, 404)
    assert len(str(answer)) < 5_000


def test_no_secret_stands_on_the_command_line(tmp_path: Path) -> None:
    """`ps` shows the command line of every process to every user."""
    file = tmp_path / "secrets"
    file.write_text("first secret\nsecond\n")
    refused = CliRunner().invoke(command, ["--key", "a", "--secret", "s3cr3t"])
    assert refused.exit_code == 2
    assert "GATE_PAPER_SECRETS" in refused.output
    assert "--secrets" in refused.output
    assert "s3cr3t" not in refused.output
    for arguments, environment, secrets in (
        (["--secrets", str(file)], {}, ["first secret", "second"]),
        ([], {"GATE_PAPER_SECRETS": "one two"}, ["one", "two"]),
    ):
        line = [sys.executable, "-m", "gate", "paper", "--key", "a", "--key", "b", "--json", *arguments]
        with subprocess.Popen(line, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                url = json.loads(server.stdout.readline())["url"]
                shown = Path(f"/proc/{server.pid}/cmdline").read_text()
                assert [secret for secret in secrets if secret in shown] == []
                for key, secret in zip("ab", secrets, strict=True):
                    assert signed(url, key, secret).status_code == 200
            finally:
                server.terminate()


def signed(url: str, key: str, secret: str) -> requests.Response:
    import hashlib
    import hmac

    now = requests.get(f"{url}/fapi/v1/time", timeout=10).json()["serverTime"]
    query = f"timestamp={now}"
    signature = hmac.new(secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    headers = {"X-MBX-APIKEY": key}
    return requests.get(f"{url}/fapi/v3/account?{query}&signature={signature}", headers=headers, timeout=10)


def test_secrets_that_do_not_fit_their_keys_are_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("one\n")
    for arguments, says in (
        (["--key", "a", "--key", "b", "--secrets", str(file)], "each key needs its own"),
        (["--secrets", str(tmp_path / "none")], "none"),
    ):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 2
        assert says in result.output
