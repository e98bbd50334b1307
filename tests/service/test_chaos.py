"""All at once, on real processes: every intent has one result, every order one intent, nothing stays in doubt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gate.paper import PaperExchange
from tests.servers.session import declare_whole
from tests.servers.store import PrivateStore
from tests.service.chaos import ON_DISK, take_course
from tests.service.desk import Desk


def test_through_everything_each_intent_has_one_result_and_each_order_one_intent(
    new_private_store: Callable[..., PrivateStore], paper: PaperExchange, tmp_path: Path
) -> None:
    store = new_private_store(*ON_DISK)
    with store.client() as client:
        declare_whole(client)
        desk = Desk(client, store.url, paper, tmp_path)
        try:
            count = take_course(desk, store, for_s=12, intents=200)
        finally:
            for worker in desk.workers:
                worker.kill()
    assert count.faults == []
    assert count.store_kills == 2
    assert count.kills >= 2
    assert len(count.sent) == 200
    assert count.states["FILLED"] > 50, str(count)
