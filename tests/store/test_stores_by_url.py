"""The gate reaches its store in every form of URL, and on a client that exists already."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import redis.asyncio

from gate import AsyncGate, Gate, InvalidField, Outcome, Policy, Reason, Settled
from gate.store.address import parse_url
from gate.store.embedded import EmbeddedStore
from tests.client import account as at
from tests.client.gates import AnyGate, OpenGate
from tests.servers.process import ProcessStore
from tests.servers.session import holds_only_a_whole_memory
from tests.servers.store import Store, connect

ROOMY = Policy(rate_symbol_limit=99, rate_global_limit=99)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A short path, since the path of a socket in it must be short."""
    with tempfile.TemporaryDirectory(prefix="gate-") as name:
        yield Path(name)


def works(gate: AnyGate) -> int:
    """Calls each operation of a gate once, and returns the fence of its admission."""
    intent = at.entry()
    gate.init(by="ops", reason="a new account")
    assert gate.inspect(intent).admitted
    verdict = gate.evaluate(intent, placed_after="")
    permit = at.admitted(verdict)
    for look in (verdict.look, gate.last_look(permit, needed_ms=1, placed_after="")):
        assert look
        assert look.placed is not None
    assert gate.settle(permit, Outcome.placed(1)).status is Settled.SETTLED
    record = gate.lookup(intent.id)
    assert record is not None
    assert record.order_id == "1"
    gate.halt(by="ops", reason="test")
    assert gate.status().halt is not None
    gate.resume(by="ops", reason="test")
    gate.reset("all", by="ops", reason="test")
    return permit.fence


def test_tcp_with_a_database_and_credentials(redis_client: redis.Redis, store: Store, open_gate: OpenGate) -> None:
    parts = urlsplit(store.url)
    url = parts._replace(path="/3").geturl()
    assert works(open_gate(url=url)) == 1
    assert holds_only_a_whole_memory(redis_client)
    with connect(url) as other:
        assert other.exists(at.RECORD) == 1


def test_a_unix_socket(short_directory: Path, open_gate: OpenGate) -> None:
    path = short_directory / "valkey.sock"
    store = ProcessStore(["--unixsocket", str(path)])
    try:
        assert works(open_gate(url=f"unix://{path}")) == 1
        with store.client() as client:
            assert client.exists(at.RECORD) == 1
    finally:
        store.close()


def test_two_accounts_on_one_server_know_nothing_of_each_other(redis_client: redis.Redis, open_gate: OpenGate) -> None:
    one, other = open_gate(prefix="acct1"), open_gate(prefix="acct2")
    one.halt(by="ops", reason="test", scope="all")
    assert works(other) == 1
    assert not one.evaluate(at.entry())
    assert {key.partition(":")[0] for key in at.keys(redis_client)} == {"acct1", "acct2", "quantum"}


@pytest.mark.parametrize(
    "options", [{}, {"decode_responses": True}, {"protocol": 3}, {"protocol": 3, "decode_responses": True}]
)
def test_an_existing_client_is_used_as_it_is(options: dict[str, Any], redis_client: redis.Redis, store: Store) -> None:
    client = redis.Redis.from_url(store.url, **options)
    with Gate(client=client, policy=ROOMY, timeout_ms=5_000) as gate:
        assert works(gate) == 1
    client.set("still", "open")
    assert client.get("still") in ("open", b"open")
    client.close()


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}])
async def test_an_existing_asyncio_client_is_used_as_it_is(
    options: dict[str, Any], redis_client: redis.Redis, store: Store
) -> None:
    client = redis.asyncio.Redis.from_url(store.url, **options)
    async with AsyncGate(client=client, policy=ROOMY, timeout_ms=5_000) as gate:
        permit = at.admitted(await gate.evaluate(at.entry()))
        assert (await gate.settle(permit, Outcome.placed(1))).status is Settled.SETTLED
        assert (await gate.lookup("sig-1")) is not None
    await client.set("still", "open")
    await client.aclose()


def test_an_embedded_store_is_shared_and_keeps_its_records(short_directory: Path, open_gate: OpenGate) -> None:
    url = f"embedded:{short_directory / 'store'}"
    first = open_gate(ROOMY, url=url)
    fence = works(first)
    second = open_gate(ROOMY, url=url)
    assert second.lookup("sig-1") is not None
    assert at.admitted(second.evaluate(at.entry("sig-2", "ETHUSDT"))).fence == fence + 1
    second.close()
    assert first.lookup("sig-2") is not None, "who shares it doesn't stop it"
    first.close()

    again = open_gate(ROOMY, url=url)
    record = again.lookup("sig-1")
    assert record is not None
    assert record.order_id == "1"
    assert not again.evaluate(at.entry())
    assert again.evaluate(at.entry("sig-3", "SOLUSDT")).reason is Reason.MEMORY_YOUNG, "the server has restarted"
    assert at.admitted(again.evaluate(at.exit_("sig-3", "SOLUSDT"))).fence == fence + 1_000_002
    again.close()


def test_an_embedded_store_works_in_a_directory_with_a_long_name(short_directory: Path, open_gate: OpenGate) -> None:
    gate = open_gate(url=f"embedded:{short_directory / ('long' * 30)}")
    assert works(gate) == 1
    gate.close()


def test_an_embedded_store_that_a_plain_client_has_started_ends_with_its_process(short_directory: Path) -> None:
    """`gate submit` on an embedded store that nobody else runs."""
    program = (
        "import asyncio, sys\n"
        "from gate.store.connect import plain_client\n"
        "async def ask():\n"
        "    client = plain_client(sys.argv[1], 5_000)\n"
        "    await client.set('kept', 'yes')\n"
        "    print((await client.info('server'))['process_id'])\n"
        "    await client.aclose()\n"
        "asyncio.run(ask())\n"
    )
    command = [sys.executable, "-c", program, f"embedded:{short_directory}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    with pytest.raises(ProcessLookupError):
        os.kill(int(result.stdout), 0)
    with EmbeddedStore.open(short_directory) as again, connect(again.url) as client:
        assert client.get("kept") == b"yes"


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "http://127.0.0.1", "redis://", "embedded:", "redis+sentinel://127.0.0.1:1", "redis+cluster://"],
)
def test_what_is_no_store_is_refused_at_once(url: str) -> None:
    for kind in (Gate, AsyncGate):
        with pytest.raises(InvalidField, match=r"^url: "):
            kind.from_url(url, prefix="{quantum}")


def test_a_refused_url_shows_no_password() -> None:
    with pytest.raises(InvalidField) as caught:
        Gate.from_url("redis+sentinel://user:geheim@127.0.0.1:1")
    assert "geheim" not in str(caught.value)


def test_a_client_of_one_event_loop_is_not_needed_to_make_a_gate(store: Store, redis_client: redis.Redis) -> None:
    gate = AsyncGate.from_url(store.url, timeout_ms=5_000)

    async def ask() -> bool:
        try:
            return bool(await gate.evaluate(at.entry()))
        finally:
            await gate.close()

    assert asyncio.run(ask())


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:123/secret@host/0",
        "redis+sentinel://user:pa/secret@host:1/mymaster",
        "redis+cluster://u:p@ss/secret@host:1",
        "redis://user:123?secret@host/0",
    ],
)
def test_a_password_that_breaks_its_url_is_not_quoted(url: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)
