"""`scripts/soak`: the course of tests/service/chaos.py, for as long as asked."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from gate.paper import Account, PaperExchange
from tests.servers.process import ProcessStore
from tests.servers.session import declare_whole
from tests.service.chaos import ON_DISK, take_course
from tests.service.desk import Desk


def main() -> int:
    """Exits 1 where anything isn't as promised."""
    asked = argparse.ArgumentParser(
        prog="scripts/soak",
        description="Lets services run while workers are killed and stopped, the store is killed and the exchange is "
        "away. Counts at the end: each intent one result, each order one intent.",
        epilog="Exits 1 when an intent has no result or several, an order no intent, or anything isn't as promised.",
    )
    asked.add_argument("--minutes", type=float, default=60.0, help="60 by default")
    asked.add_argument("--intents", type=int, help="how many in all; by default three a second")
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    store = ProcessStore(ON_DISK)
    account = Account(key="key", secret="secret", balance="1000000000")  # noqa: S106  # of a paper account
    try:
        with (
            tempfile.TemporaryDirectory(prefix="gate-soak-") as folder,
            PaperExchange(accounts=[account], limits=None) as paper,
            store.client() as client,
        ):
            declare_whole(client)
            desk = Desk(client, store.url, paper, Path(folder))
            try:
                count = take_course(
                    desk,
                    store,
                    for_s=given.minutes * 60,
                    intents=given.intents or int(given.minutes * 180),
                    seed=given.seed,
                    told=lambda line: print(line, flush=True),
                )
            finally:
                for worker in desk.workers:
                    if worker.process.poll() is None:
                        worker.kill()
    finally:
        store.close()
    print(count)
    return 1 if count.faults else 0


if __name__ == "__main__":
    sys.exit(main())
