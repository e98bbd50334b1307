"""docs/exchange.md: what to say for a client library whose exceptions the gate doesn't read, shown with ccxt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gate import Gate, OutcomeKind, Phase, Policy
from gate.paper import Fault, FaultKind, PaperExchange
from tests.client import account as at
from tests.servers.session import declare_whole
from tests.servers.store import Store

pytest.importorskip("ccxt", reason="the test group `clients` is not installed")
import ccxt

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "exchange.md").read_text("utf-8")
BTC = "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """What the page defines."""
    section = PAGE.partition("\n## Another client library\n")[2].partition("\n## ")[0]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)  # noqa: S102  # the page's own code
    return names


@pytest.fixture
def exchange(paper_exchange: PaperExchange) -> Iterator[ccxt.binanceusdm]:
    url = paper_exchange.futures_url
    names = ("fapiPublic", "fapiPublicV2", "fapiPublicV3", "fapiPrivate", "fapiPrivateV2", "fapiPrivateV3")
    api = {name: f"{url}/v{name[-1] if name[-2] == 'V' else 1}" for name in names}
    exchange = ccxt.binanceusdm(
        {
            "apiKey": paper_exchange.key,
            "secret": paper_exchange.secret,
            "urls": {"api": api},
            "options": {"fetchCurrencies": False},
        }
    )
    exchange.load_markets()
    yield exchange
    exchange.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind=FaultKind.ERROR, code=-2019), OutcomeKind.REJECTED),
        (Fault(kind=FaultKind.ERROR, code=-2015, status=401), OutcomeKind.REJECTED),
        (Fault(kind=FaultKind.ERROR, code=-1007, status=408), OutcomeKind.UNKNOWN),
        (Fault(kind=FaultKind.UNKNOWN_503), OutcomeKind.UNKNOWN),
        (Fault(kind=FaultKind.HTML_502), OutcomeKind.UNKNOWN),
        (Fault(kind=FaultKind.DROP_BEFORE_ACCEPT), OutcomeKind.UNKNOWN),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else value.value,
)
def test_what_a_failure_of_ccxt_comes_to(
    shown: dict[str, Any],
    exchange: ccxt.binanceusdm,
    paper_exchange: PaperExchange,
    fault: Fault,
    kind: OutcomeKind,
) -> None:
    paper_exchange.inject(fault)

    with pytest.raises(ccxt.BaseError) as failed:
        exchange.create_order(BTC, "market", "buy", 0.01)

    outcome = shown["outcome_of_ccxt"](failed.value, Policy())
    assert outcome.kind is kind
    if kind is OutcomeKind.REJECTED:
        assert outcome.code == str(fault.code)
        assert outcome.penalty is not None
        assert outcome.penalty.safe_mode is (fault.code == -2015)


def test_an_order_of_ccxt_goes_under_the_permits_id_and_is_found_by_it(
    shown: dict[str, Any], exchange: ccxt.binanceusdm, store: Store, redis_client: redis.Redis
) -> None:
    declare_whole(redis_client)
    find = shown["find_order_by_ccxt"](exchange)
    with Gate.from_url(store.url, find_order=find) as gate:
        intent = at.entry()
        with gate.guard(intent) as held:
            order = exchange.create_order(BTC, "market", "buy", 0.01, params=held.id_parameter("MARKET"))
            held.placed(order["info"])
        record = gate.lookup(intent.id)
        assert record is not None
        found = find("BTCUSDT", gate.client_order_id(intent.id))

    assert (record.phase, record.order_id) == (Phase.PLACED, order["id"])
    assert (found.order_id, found.status) == (order["id"], "FILLED")
    assert find("BTCUSDT", "nobody") is None
