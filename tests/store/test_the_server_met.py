"""The first connection of a process looks at the server: what it is, and what can make it forget."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

from gate import Reason, StoreError
from gate.cli.program import program
from gate.store import identity
from gate.values.server import server_facts
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.old_redis import INFO, OldRedis
from tests.servers.store import PrivateStore

NewStore = Callable[..., PrivateStore]
WHO = ("--by", "ops", "--reason", "a")
TOO_OLD = "Redis 6.2.14 is too old: the gate needs Redis 7.0 or newer, or Valkey"


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(identity, "_told", set())
    caplog.set_level(logging.INFO, "gate.store")


@pytest.fixture
def old_redis() -> Iterator[OldRedis]:
    with OldRedis() as server:
        yield server


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(each.levelno, each.getMessage()) for each in caplog.records if each.name == "gate.store"]


def test_a_server_that_keeps_everything_is_one_line_of_information(
    new_private_store: NewStore, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_private_store("--appendonly", "yes").url
    for _ in range(3):
        open_gate(url=url).lookup("a")
    ((level, said),) = lines(caplog)
    said, _, hole = said.partition(' warning="whoever may call a script can run code')  # of an old version
    assert level == (logging.WARNING if hole else logging.INFO)
    assert said.startswith(('STORE server="Redis ', 'STORE server="Valkey '))
    assert said.endswith(', eviction noeviction, append-only file on"')


def test_a_server_that_may_forget_is_one_warning_that_says_what_follows(
    new_private_store: NewStore, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    store = new_private_store("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no")
    open_gate(url=store.url).evaluate(at.entry())
    ((level, said),) = lines(caplog)
    assert level == logging.WARNING
    assert ', eviction allkeys-lru, append-only file OFF" warning="it may drop records, locks and halts' in said
    assert "set maxmemory-policy noeviction; a restart loses records and halts" in said
    with store.client() as client:
        client.config_set("maxmemory", 0)
    open_gate(url=store.url).lookup("a")
    assert (
        'allkeys-lru (but without a limit of memory), append-only file OFF" warning="a restart' in lines(caplog)[1][1]
    )


def test_what_the_server_says_of_itself_does_not_travel_with_the_calls(
    new_private_store: NewStore, open_gate: OpenGate
) -> None:
    """The scripts compare the word with the run id that the state keeps."""
    store = new_private_store("--appendonly", "no")
    gate = open_gate(url=store.url)
    gate.init(by="ops", reason="a new account")
    assert not at.admitted(gate.evaluate(at.entry())).verify, "a word of more than the run id isn't trusted"
    with store.client() as client:
        assert client.hget(at.STATE, "run_id") == client.info("server")["run_id"].encode()


def test_a_redis_that_is_too_old_is_refused_by_name(old_redis: OldRedis, open_gate: OpenGate) -> None:
    gate = open_gate(url=old_redis.url)
    for intent in (at.entry(), at.exit_()):
        verdict = gate.evaluate(intent)
        assert verdict.reason is Reason.STORE_ERROR
        assert verdict.detail == f"{TOO_OLD}. There is no permit and no order until that is put right"
    for ask in (
        gate.status,
        gate.halt_in_force,
        lambda: gate.lookup("a"),
        lambda: gate.inspect(at.entry()),
        lambda: gate.halt(by="ops", reason="a"),
        lambda: gate.init(by="ops", reason="a"),
    ):
        with pytest.raises(StoreError, match=TOO_OLD):
            ask()


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("show", "a"),
        ("halt", *WHO),
        ("resume", *WHO),
        ("reset", "all", *WHO),
        ("policy", "apply", "--defaults", *WHO),
        ("init", *WHO),
        ("eval", "--id", "a", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200"),
        ("eval", "--id", "a", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200", "--commit"),
    ],
    ids=" ".join,
)
def test_every_command_refuses_it_with_exit_code_3(old_redis: OldRedis, words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(program, ["--url", old_redis.url, *words])
    assert done.exit_code == 3
    assert TOO_OLD in done.output


@pytest.mark.parametrize(
    ("info", "said", "too_old"),
    [
        (INFO.decode(), "Redis 6.2.14", True),
        ("redis_version:7.0.15\nmaxmemory_policy:noeviction\naof_enabled:1", None, False),
        ("redis_version:10.0.0", "Redis 10.0.0", False),
        ("redis_version:6.2.0\nvalkey_version:9.1.2", "Valkey 9.1.2", False),
        ("redis_version:unstable", "Redis unstable", False),
        ("", "a server that doesn't say which", False),
    ],
)
def test_facts_are_read_from_whatever_there_is(info: str, said: str | None, too_old: bool) -> None:
    facts = server_facts(info)
    assert facts.too_old is too_old
    assert str(facts) == (said or "Redis 7.0.15, eviction noeviction, append-only file on")
    assert [each for each in facts.complaints if "CVE" not in each] == []
