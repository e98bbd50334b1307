"""A desk on the shared store, and one on a store that the test may harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gate.paper import Account, PaperExchange
from tests.servers.session import declare_whole
from tests.servers.store import PrivateStore, Store
from tests.service.desk import Desk
from tests.service.webhooks import Receiver, receiving


@pytest.fixture
def paper() -> Iterator[PaperExchange]:
    account = Account(key="key", secret="secret", balance="1000000")  # noqa: S106  # of a paper account
    with PaperExchange(accounts=[account], limits=None) as paper:
        yield paper


@pytest.fixture
def desk(store: Store, redis_client: redis.Redis, paper: PaperExchange, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(redis_client, store.url, paper, tmp_path)
    yield desk
    _end(desk)


@pytest.fixture
def harmed(private_store: PrivateStore, paper: PaperExchange, tmp_path: Path) -> Iterator[Desk]:
    """On `private_store`."""
    with private_store.client() as client:
        declare_whole(client)
        desk = Desk(client, private_store.url, paper, tmp_path)
        yield desk
        _end(desk)


def _end(desk: Desk) -> None:
    for worker in desk.workers:
        if worker.process.poll() is None:
            worker.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver
