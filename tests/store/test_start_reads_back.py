"""A start reads the append-only file as the server's user `default`. What the gate says of that is what happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from gate import Copies
from gate.values.diagnosis import Grade
from gate.values.server import server_facts
from tests.client.gates import OpenGate
from tests.servers.store import PrivateStore

ADMIN = "an-admins-own-password"
PAGE = Path(__file__).parents[2] / "docs" / "security.md"
KEPT = re.search(r"leave it its rights: `user default off (.+?)`", PAGE.read_text("utf-8"))
assert KEPT is not None
# `default` stays on here, since the tests' own client asks by it whether the server has started.
RIGHTS = {
    "all taken": "-@all +@connection +info",
    "but other keys": "~app:* +@all",
    "but text and connections": "~* +@string +@connection +info",
    "but the executor's keys": "~quantum:exec:* +@all",
    "hashes taken": "~* +@all -@hash",
    "as the page has them": KEPT[1],
}


@pytest.mark.outside_roles("it makes users of its own")
@pytest.mark.parametrize("rights", RIGHTS)
def test_a_halt_is_said_to_outlive_a_start_where_it_does(
    rights: str, new_private_store: Callable[..., PrivateStore], open_gate: OpenGate
) -> None:
    users = ("--user", "default", "on", "nopass", "resetkeys", *RIGHTS[rights].split())
    admin = ("--user", "admin", "on", f">{ADMIN}", "~*", "&*", "+@all")
    store = new_private_store("--appendonly", "yes", "--appendfsync", "always", *users, *admin)
    url = store.url.replace("redis://", f"redis://admin:{ADMIN}@")
    gate = open_gate(url=url)

    copies = gate.halt(by="ops", reason="CPI print").copies
    wrong = [check.says for check in gate.diagnose(proof=False).checks if check.what == "disk"]
    with store.client(username="admin", password=ADMIN) as client:
        known = _needs_no_rights(client)
    store.stop()
    store.start()
    there = open_gate(url=url).halt_in_force() is not None

    keeps = rights == "as the page has them" or known
    assert (copies.replayed, there) == (keeps, keeps)
    assert copies.survives_restart is not True or there
    assert bool(wrong) is not there
    assert all("a start loses halts, records and policy" in each for each in wrong)


def test_a_user_who_may_not_ask_is_told_that_it_is_unknown(
    new_private_store: Callable[..., PrivateStore], open_gate: OpenGate
) -> None:
    store = new_private_store("--appendonly", "yes")
    with store.client() as client:
        known = _needs_no_rights(client)
        client.acl_setuser("asks", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-acl", "+acl|whoami"])
    gate = open_gate(url=store.url.replace("redis://", "redis://asks:any@"))

    disk = [(check.grade, check.says) for check in gate.diagnose(proof=False).checks if check.what == "disk"]
    replayed = gate.halt(by="ops", reason="CPI print").copies.replayed

    if known:
        assert (disk, replayed) == ([], True)
    else:
        [(grade, says)] = disk
        assert (grade, replayed) == (Grade.WARNING, None)
        assert "isn't known: " in says
        assert says.endswith("; an operator's user may ask (+acl|dryrun)")


def _needs_no_rights(client: redis.Redis) -> bool:
    """Whether the server is known to read it back without asking for rights."""
    told = client.info("server")
    assert isinstance(told, dict)
    return server_facts("\r\n".join(f"{name}:{value}" for name, value in told.items())).replays_as_nobody


@pytest.mark.parametrize(
    ("said", "asks_nobody"),
    [
        ("redis_version:7.2.4\r\nvalkey_version:9.1.2", True),
        ("redis_version:7.2.4\r\nvalkey_version:10.0.0", True),
        ("redis_version:7.2.4\r\nvalkey_version:9.1.1", False),
        ("redis_version:7.2.4\r\nvalkey_version:8.1.10", False),
        ("redis_version:9.9.9", False),
        ("", False),
    ],
)
def test_only_servers_of_which_it_is_known_need_no_rights_to_read_it(said: str, asks_nobody: bool) -> None:
    assert server_facts(said).replays_as_nobody is asks_nobody


@pytest.mark.parametrize(
    ("on_disk", "replayed", "survives"),
    [(True, True, True), (True, None, None), (None, True, None), (True, False, False), (False, None, False)],
)
def test_an_act_outlives_a_restart_where_it_is_on_disk_and_read_back(
    on_disk: bool | None, replayed: bool | None, survives: bool | None
) -> None:
    assert Copies(0, 0, True, on_disk, replayed=replayed).survives_restart is survives
