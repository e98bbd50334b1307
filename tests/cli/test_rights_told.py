"""What a role may not do is told by its right and its key, and what helps."""

from __future__ import annotations

import json

import pytest
import redis

from gate.client import symbols
from gate.client.status import _KEYS_AT_MOST
from tests.cli.conftest import EVAL, Run
from tests.servers.store import Store
from tests.servers.users import url_of_user

MANY = "since the server has too many keys to look through"
NO_RIGHT = "since this user has no right to SCAN, or to INFO"
GRANT = "an administrator grants it by ACL SETUSER … +scan, which shows the names of other accounts' keys, too"


def test_status_tells_many_keys_from_a_user_that_may_not_look(
    bare: Run, store: Store, redis_client: redis.Redis
) -> None:
    observer = url_of_user(store, "observer")

    assert NO_RIGHT in bare("--url", observer, "status").stdout
    assert json.loads(bare("--url", observer, "status", "--json").stdout)["unseen"] in NO_RIGHT

    redis_client.mset({f"other:{number}": 1 for number in range(symbols.FEW_KEYS + 1)})
    said = bare("--url", store.url, "status").stdout
    assert (MANY in said, NO_RIGHT in said) == (True, False)


def test_status_tells_a_user_that_may_not_ask_how_many(bare: Run, store: Store, redis_client: redis.Redis) -> None:
    blind = url_of_user(store, "worker", name="blind", more=("-info",))

    assert NO_RIGHT in bare("--url", blind, "status").stdout


def test_status_tells_that_it_shows_not_all_keys(bare: Run, store: Store, redis_client: redis.Redis) -> None:
    redis_client.mset({f"quantum:safety:cooldown_symbol:S{number}USDT": "1" for number in range(_KEYS_AT_MOST + 1)})

    said = bare("--url", store.url, "status")

    assert "Symbols: 4,000 of their locks, windows and cooldowns are shown; there are more." in said.stdout


@pytest.mark.parametrize("command", ["intents", "leftovers"])
def test_what_looks_for_keys_names_the_right_that_an_observer_lacks(
    command: str, bare: Run, store: Store, redis_client: redis.Redis
) -> None:
    said = bare("--url", url_of_user(store, "observer"), command)

    assert said.exit_code == 3
    assert "'scan' command" in said.stderr
    assert GRANT in said.stderr


def test_with_the_right_an_observer_sees_the_intents(gate: Run, bare: Run, store: Store) -> None:
    gate(*EVAL)
    said = bare("--url", url_of_user(store, "observer", name="seeing", more=("+scan",)), "intents")

    assert (said.exit_code, "sig-81" in said.stdout) == (0, True)


def test_submit_names_the_keys_that_it_needs(bare: Run, store: Store, redis_client: redis.Redis) -> None:
    words = ("submit", "--id", "sig-1", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200")

    said = bare("--url", url_of_user(store, "operator"), *words)

    assert said.exit_code == 3
    assert "it needs XADD on quantum:stream:trade.intent, a producer's right" in said.stderr
    assert "for --wait it needs XREAD and XREVRANGE on quantum:stream:execution.result" in said.stderr
    assert not redis_client.exists("quantum:stream:trade.intent")
