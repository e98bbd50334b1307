"""Users of a store with the rights that scripts/deploy gives to each role."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import redis

from tests.servers.store import Store

DEPLOY: Final = Path(__file__).parents[2] / "scripts" / "deploy"
_WORD: Final = "of-the-tests-and-of-nobody-else"
IN_ROLES: Final = bool(os.environ.get("GATE_TEST_ROLES"))
"""Whether the gates of the tests have the rights of scripts/deploy: an operator's for an operator's acts, else a
worker's. Tests of what no role does, or of one caller that does both, are left out then."""


@cache
def line_of(role: str, prefix: str, name: str) -> str:
    """What scripts/deploy/acl prints."""
    words = [str(DEPLOY / "acl"), role, prefix, name]
    return subprocess.run(words, input=_WORD, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def url_of_user(store: Store, role: str, prefix: str = "quantum", name: str = "", more: tuple[str, ...] = ()) -> str:
    """The store's URL for a user of a role, whom the store knows from now on. `more`: clauses behind the role's."""
    name = name or f"gate-{role}-{prefix}"
    name = "".join(sign if sign.isalnum() or sign == "-" else "." for sign in name)
    with store.client() as client:
        _know(client, line_of(role, prefix, name), more)
    parts = urlsplit(store.url)
    return urlunsplit(parts._replace(netloc=f"{name}:{_WORD}@{parts.hostname}:{parts.port}"))


def _know(client: redis.Redis, line: str, more: tuple[str, ...]) -> None:
    word, name, *rules = line.split()
    assert word == "user"
    client.execute_command("ACL", "SETUSER", name, *rules, *more)
