"""The API key goes to the exchange that is named, over TLS, or to this machine."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from gate.blocking import BlockingExecutor
from gate.exchange.address import exchange_address
from gate.exchange.binance import BinanceFutures
from gate.exchange.failures import ExchangeFailure
from gate.values.errors import InvalidField
from tests.cli.conftest import Run
from tests.client import account as at
from tests.servers.store import Store

KEYS = {"BINANCE_API_KEY": "the-key", "BINANCE_API_SECRET": "the-secret"}


@pytest.fixture
def listener() -> Iterator[tuple[int, list[str | None]]]:
    """A server of the attacker's, and the API keys that it hears."""
    heard: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers["X-MBX-APIKEY"])
            self.send_error(404)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1], heard
        server.shutdown()


@pytest.mark.parametrize(
    "form", ["http://fapi.binance.com@127.0.0.1:{}", "http://fapi.binance.com:443@127.0.0.1:{}/fapi"]
)
async def test_a_host_behind_an_at_hears_no_key(form: str, listener: tuple[int, list[str | None]]) -> None:
    port, heard = listener
    with pytest.raises((InvalidField, ExchangeFailure)):
        async with BinanceFutures("the-key", "the-secret", base_url=form.format(port)) as exchange:
            await exchange.account()
    assert heard == []


REFUSED = {
    "http://fapi.binance.com": "would send the API key in plain text",
    "http://10.0.0.5:8000": "would send the API key in plain text",
    "http://paper:8000": "would send the API key in plain text",
    "http://localhost.evil.example": "would send the API key in plain text",
    "http://127.0.0.1.evil.example": "would send the API key in plain text",
    "http://0.0.0.0:8000": "would send the API key in plain text",
    "http://[::]:8000": "would send the API key in plain text",
    "HTTP://fapi.binance.com": "would send the API key in plain text",
    "https://fapi.binance.com@evil.example": "names a user in front of the host",
    "https://key:secret@fapi.binance.com": "names a user in front of the host",
    "https://evil.example\\@fapi.binance.com": "names a user in front of the host",
    "https://evil.example\\.binance.com": "is not an address",
    "https://fapi.binance.com/?u=@evil.example": "is not an address",
    "https://fapi.binance.com/fapi?x=1": "is not an address",
    "https://fapi.binance.com/#x": "is not an address",
    "https://fapi.binance.com/../x": "is not an address",
    "https://fapi.binance.com\n.evil.example": "is not an address",
    "https://fapi.b\u0131nance.com": "is not an address",
    "https://fapi.binance\u3002com": "is not an address",
    "https:///fapi": "is not an address",
    "https://fapi.binance.com:port": "is not an address",
    "https:fapi.binance.com": "is not an address",
    "https://" + "a" * 400: "is not an address",
    "": "is not an address",
}


@pytest.mark.parametrize(("url", "problem"), REFUSED.items())
def test_what_leads_elsewhere_is_refused(url: str, problem: str) -> None:
    with pytest.raises(InvalidField, match=problem) as refused:
        exchange_address(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://fapi.binance.com", "https://fapi.binance.com"),
        ("https://fapi.binance.com/fapi/", "https://fapi.binance.com"),
        ("https://proxy.example:8443/binance/fapi", "https://proxy.example:8443/binance"),
        ("https://203.0.113.5", "https://203.0.113.5"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://127.8.9.1:8000", "http://127.8.9.1:8000"),
        ("http://localhost:8000/fapi", "http://localhost:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_the_exchange_and_this_machine_are_taken(url: str, address: str) -> None:
    assert exchange_address(url) == address


@given(
    st.one_of(
        st.text(max_size=60),
        st.builds(
            "{}://{}{}".format,
            st.sampled_from(["http", "https", "HTTP", "hTTps", "ftp"]),
            st.text(alphabet="a1.-@:[]/\\%?#\t\u3002\u0131", max_size=12),
            st.sampled_from(["127.0.0.1", "localhost", "evil.example", "[::1]", "[::ffff:127.0.0.1]", "127.1", ""]),
        ),
    )
)
@example("http://127.0.0.1\t.evil.example")
def test_what_is_taken_means_the_same_to_the_client_that_sends(url: str) -> None:
    try:
        address = exchange_address(url)
    except InvalidField:
        return
    sent = URL(address + "/fapi/v1/order")
    assert (sent.user, sent.password, sent.query_string, sent.fragment) == (None, None, "", "")
    assert sent.host is not None
    assert sent.host in url.lower()
    assert sent.path.endswith("/fapi/v1/order")
    if sent.scheme != "https":
        assert sent.host == "localhost" or ipaddress.ip_address(sent.host).is_loopback


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1", "https://fapi.binance.com"])
async def test_demo_beside_an_address_is_refused(base_url: str) -> None:
    with pytest.raises(InvalidField, match="and demo name two exchanges"):
        BinanceFutures("the-key", "the-secret", demo=True, base_url=base_url)


def test_demo_beside_an_address_is_refused_without_an_event_loop_too() -> None:
    with pytest.raises(InvalidField, match="and demo name two exchanges"):
        BlockingExecutor("redis://127.0.0.1:1", "the-key", "the-secret", demo=True, base_url="http://127.0.0.1:1")


@pytest.mark.parametrize("command", ["reconcile", "flatten --yes --by ops --reason test"])
def test_a_command_sends_no_key_in_plain_text(
    command: str, store: Store, redis_client: redis.Redis, bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = at.keys(redis_client)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    done = bare("--url", store.url, *command.split(), "--base-url", "http://fapi.example")
    assert done.exit_code == 2
    assert "would send the API key in plain text" in done.stderr
    assert at.keys(redis_client) == holds, "nothing was done"


def test_a_halt_stands_though_the_address_is_refused(
    store: Store, redis_client: redis.Redis, bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**KEYS, "GATE_EXCHANGE_URL": "http://fapi.example"}.items():
        monkeypatch.setenv(name, value)
    done = bare("--url", store.url, "halt", "--by", "ops", "--reason", "CPI print")
    assert done.exit_code == 0, done.output
    assert "How many orders rest at http://fapi.example is unknown: base_url:" in done.stdout
