"""A service's own block, under faults of the exchange and losses of memory, by seeds: one order per intent."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import closing, suppress
from typing import Final

import pytest
import redis
from binance import Client

from gate import Gate, Phase, Reason
from gate.exchange.order_finder import find_order
from gate.paper import Fault, FaultKind, PaperExchange
from tests.client import account as at
from tests.client.blocks import ROOMY, place
from tests.servers.store import Store

INTENTS: Final = 12
DELIVERIES: Final = 4
ORDER_FAULTS: Final = (
    Fault(kind=FaultKind.ACCEPT_THEN_DROP),
    Fault(kind=FaultKind.DROP_BEFORE_ACCEPT),
    Fault(kind=FaultKind.RESET, accept=True),
    Fault(kind=FaultKind.UNKNOWN_503, accept=True),
    Fault(kind=FaultKind.UNAVAILABLE_503),
    Fault(kind=FaultKind.TIMEOUT_1007, accept=True),
    Fault(kind=FaultKind.HTML_502, accept=True),
    Fault(kind=FaultKind.EMPTY_200, accept=True),
    Fault(kind=FaultKind.JSON_LIST, accept=True),
    Fault(kind=FaultKind.REDIRECT_302),
    Fault(kind=FaultKind.RATE_LIMITED_429),
    Fault(kind=FaultKind.ERROR, code=-2019),
    Fault(kind=FaultKind.ERROR, code=-1008),
)
LOOK_UP_FAULTS: Final = (
    Fault(kind=FaultKind.INTERNAL_503, method="GET"),
    Fault(kind=FaultKind.EMPTY_200, method="GET"),
    Fault(kind=FaultKind.ERROR, method="GET", status=401, code=-2015),
)


@pytest.mark.parametrize("seed", range(4))
def test_no_intent_has_two_orders_and_its_record_tells_the_truth(
    store: Store, redis_client: redis.Redis, paper_exchange: PaperExchange, seed: int
) -> None:
    chance, seen = random.Random(seed), Counter[str]()
    client = Client(paper_exchange.key, paper_exchange.secret, requests_params={"allow_redirects": False}, ping=False)
    client.FUTURES_URL = paper_exchange.futures_url
    with closing(client.session), Gate.from_url(store.url, policy=ROOMY, find_order=find_order(client)) as gate:
        for number in range(INTENTS):
            intent = at.entry(f"sig-{seed}-{number}")
            for _ in range(DELIVERIES):
                if chance.random() < 0.4:
                    redis_client.flushall()
                    assert gate.evaluate(at.entry("first")).reason is Reason.MEMORY_YOUNG
                    at.wait_out(redis_client)
                if chance.random() < 0.6:
                    paper_exchange.inject(chance.choice(ORDER_FAULTS))
                if chance.random() < 0.3:
                    paper_exchange.inject(chance.choice(LOOK_UP_FAULTS))
                with suppress(Exception):  # python-binance raises more than it names
                    seen[place(gate, client, intent)] += 1
                paper_exchange.clear_faults()
                gate.reset("all", by="test", reason="the next delivery")
                redis_client.delete(at.LOCK)

            name = gate.client_order_id(intent.id)
            orders = [order for order in paper_exchange.ledger() if order["clientOrderId"] == name]
            record = gate.lookup(intent.id)
            assert len(orders) <= 1, intent.id
            if record is not None and record.phase is not Phase.UNKNOWN:
                assert len(orders) == (record.phase is Phase.PLACED), record
        assert seen["FOUND"] > 0
        assert paper_exchange.ledger()
