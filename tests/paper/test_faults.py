"""Every fault leaves the ledger in the state of its name, and gives the client the real exchange's symptoms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
import requests
from binance import AsyncClient, Client
from binance.exceptions import BinanceAPIException

from gate.paper import Fault, FaultError, FaultKind, PaperExchange
from tests.paper.conftest import futures_client

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001", "newClientOrderId": "mine"}
SHORT = {"requests_params": {"timeout": (1, 0.05)}}  # an impatient client; the server's clock isn't involved

Evidence = Callable[[BaseException | None, object], bool]


def api(status: int, code: int | None) -> Evidence:
    return lambda error, _: isinstance(error, BinanceAPIException) and (error.status_code, error.code) == (status, code)


def raised(kind: type[BaseException]) -> Evidence:
    return lambda error, _: isinstance(error, kind)


def answered(expected: object) -> Evidence:
    return lambda error, answer: error is None and answer == expected


DROPPED = raised(requests.ConnectionError)

CASES = [
    pytest.param(Fault(kind=FaultKind.ACCEPT_THEN_DROP), True, DROPPED, id="accept then drop"),
    pytest.param(Fault(kind=FaultKind.DROP_BEFORE_ACCEPT), False, DROPPED, id="drop before accept"),
    pytest.param(Fault(kind=FaultKind.RESET), False, DROPPED, id="reset"),
    pytest.param(Fault(kind=FaultKind.RESET, accept=True), True, DROPPED, id="reset, accepted"),
    pytest.param(Fault(kind=FaultKind.UNKNOWN_503), True, api(503, None), id="503 unknown"),
    pytest.param(Fault(kind=FaultKind.UNKNOWN_503, accept=False), False, api(503, None), id="503 unknown, not so"),
    pytest.param(Fault(kind=FaultKind.UNAVAILABLE_503), False, api(503, None), id="503 unavailable"),
    pytest.param(Fault(kind=FaultKind.INTERNAL_503), False, api(503, None), id="503 internal"),
    pytest.param(Fault(kind=FaultKind.TIMEOUT_1007), True, api(408, -1007), id="-1007"),
    pytest.param(Fault(kind=FaultKind.TIMEOUT_1007, accept=False), False, api(408, -1007), id="-1007, not so"),
    pytest.param(Fault(kind=FaultKind.HTML_502), True, api(502, 0), id="html 502"),
    pytest.param(Fault(kind=FaultKind.HTML_502, accept=False), False, api(502, 0), id="html 502, not so"),
    pytest.param(Fault(kind=FaultKind.EMPTY_200), True, answered({}), id="empty 200"),
    pytest.param(Fault(kind=FaultKind.EMPTY_200, accept=False), False, answered({}), id="empty 200, not so"),
    pytest.param(Fault(kind=FaultKind.JSON_LIST), True, raised(AttributeError), id="json list"),
    pytest.param(Fault(kind=FaultKind.JSON_LIST, accept=False), False, raised(AttributeError), id="json list, not so"),
    pytest.param(Fault(kind=FaultKind.REDIRECT_302), False, answered({}), id="302"),
    pytest.param(Fault(kind=FaultKind.RATE_LIMITED_429), False, api(429, -1003), id="429"),
    pytest.param(Fault(kind=FaultKind.BANNED_418), False, api(418, -1003), id="418"),
    pytest.param(Fault(kind=FaultKind.ERROR, status=500, code=-1006), False, api(500, -1006), id="any error"),
    pytest.param(Fault(kind=FaultKind.ERROR, code=-1000, accept=True), True, api(400, -1000), id="any error, accepted"),
    pytest.param(Fault(kind=FaultKind.CLOCK_SKEW), False, api(400, -1021), id="clock ahead"),
    pytest.param(Fault(kind=FaultKind.CLOCK_SKEW, skew_ms=-60_000), False, api(400, -1021), id="clock behind"),
]


@pytest.mark.parametrize(("fault", "accepted", "evidence"), CASES)
def test_a_fault_does_what_its_name_says(
    client: Client, paper_exchange: PaperExchange, fault: Fault, accepted: bool, evidence: Evidence
) -> None:
    paper_exchange.inject(fault)
    error: BaseException | None = None
    answer: object = None
    try:
        answer = client.futures_create_order(**ORDER)
    except Exception as raised_error:
        error = raised_error
    assert evidence(error, answer), (error, answer)
    assert [row["clientOrderId"] for row in paper_exchange.ledger()] == ["mine"] * accepted
    client.futures_create_order(**{**ORDER, "newClientOrderId": "next"})
    assert len(paper_exchange.ledger()) == accepted + 1, "a fault strikes once unless told otherwise"


@pytest.mark.parametrize("kind", [FaultKind.RATE_LIMITED_429, FaultKind.BANNED_418])
def test_refusals_say_when_to_come_back(client: Client, paper_exchange: PaperExchange, kind: FaultKind) -> None:
    paper_exchange.inject(Fault(kind=kind, retry_after_s=17))
    with pytest.raises(BinanceAPIException) as error:
        client.futures_create_order(**ORDER)
    assert error.value.response.headers["Retry-After"] == "17"


def test_a_held_order_is_accepted_after_the_client_has_given_up(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.DELAY))
    with pytest.raises(requests.ReadTimeout):
        client.futures_create_order(**ORDER, **SHORT)
    paper_exchange.wait_held()
    assert paper_exchange.ledger() == []
    with pytest.raises(BinanceAPIException) as error:
        client.futures_get_order(symbol="BTCUSDT", origClientOrderId="mine")
    assert error.value.code == -2013, "absence now proves nothing: the order is still under way"
    assert paper_exchange.release_held() == 1
    assert client.futures_get_order(symbol="BTCUSDT", origClientOrderId="mine")["status"] == "FILLED"


LATE_MS = 25_000
ANSWERS_LATE = [
    FaultKind.ACCEPT_THEN_DROP,
    FaultKind.RESET,
    FaultKind.UNKNOWN_503,
    FaultKind.TIMEOUT_1007,
    FaultKind.HTML_502,
    FaultKind.EMPTY_200,
    FaultKind.JSON_LIST,
    FaultKind.ERROR,
]


@pytest.mark.parametrize("kind", ANSWERS_LATE)
def test_an_order_is_accepted_25_s_late_though_its_recv_window_is_over_and_no_look_up_finds_it_before(
    client: Client, paper_exchange: PaperExchange, kind: FaultKind
) -> None:
    paper_exchange.hold_clock()
    sent_ms = paper_exchange.now_ms()
    paper_exchange.inject(Fault(kind=kind, late_ms=LATE_MS))
    with suppress(Exception):
        client.futures_create_order(**ORDER, recvWindow=1_000)
    for so_far_ms in (LATE_MS - 1, 1):
        assert paper_exchange.late() == 1
        assert paper_exchange.ledger() == []
        with pytest.raises(BinanceAPIException) as error:
            client.futures_get_order(symbol="BTCUSDT", origClientOrderId="mine", recvWindow=60_000)
        assert error.value.code == -2013
        paper_exchange.move_clock(so_far_ms)
        client.timestamp_offset += so_far_ms
    assert paper_exchange.late() == 0
    [order] = paper_exchange.ledger()
    assert (order["status"], order["receiveTime"], order["time"]) == ("FILLED", sent_ms, sent_ms + LATE_MS)


def test_late_orders_are_accepted_in_the_order_in_which_they_fall_due(
    client: Client, paper_exchange: PaperExchange
) -> None:
    for name, late_ms in (("last", 30_000), ("first", 10_000), ("second", 20_000)):
        paper_exchange.inject(Fault(kind=FaultKind.TIMEOUT_1007, late_ms=late_ms))
        with pytest.raises(BinanceAPIException):
            client.futures_create_order(**{**ORDER, "newClientOrderId": name})
    paper_exchange.move_clock(60_000)
    assert [row["clientOrderId"] for row in paper_exchange.ledger()] == ["first", "second", "last"]


@pytest.mark.parametrize(
    ("kind", "accept"),
    [
        (FaultKind.DELAY, None),
        (FaultKind.SLOW_BODY, None),
        (FaultKind.LATE_ANSWER, None),
        (FaultKind.LOSE_EVENT, None),
        (FaultKind.CLOCK_SKEW, None),
        (FaultKind.EXPIRED_IN_MATCH, None),
        (FaultKind.DROP_BEFORE_ACCEPT, None),
        (FaultKind.INTERNAL_503, None),
        (FaultKind.TIMEOUT_1007, False),
    ],
)
def test_no_order_is_late_whose_answer_waits_for_it_or_that_is_not_accepted(
    kind: FaultKind, accept: bool | None
) -> None:
    with pytest.raises(FaultError, match=r"^late_ms: "):
        Fault(kind=kind, accept=accept, late_ms=LATE_MS)


def test_late_orders_are_armed_and_counted_over_http(client: Client, paper_exchange: PaperExchange) -> None:
    url = f"{paper_exchange.url}/paper/faults"
    requests.post(url, json={"kind": "timeout_1007", "late_ms": LATE_MS}, timeout=10)
    with pytest.raises(BinanceAPIException):
        client.futures_create_order(**ORDER)
    assert requests.get(url, timeout=10).json()["late"] == 1
    requests.post(f"{paper_exchange.url}/paper/clock", json={"advance_ms": LATE_MS}, timeout=10)
    assert requests.get(url, timeout=10).json()["late"] == 0
    assert len(paper_exchange.ledger()) == 1


def test_an_order_held_when_the_server_stops_is_never_accepted(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    delay = Fault(kind=FaultKind.DELAY)
    with PaperExchange(ledger_file=ledger, faults=[delay]) as paper:
        with pytest.raises(requests.ReadTimeout):
            futures_client(paper).futures_create_order(**ORDER, **SHORT)
        paper.wait_held()
    assert ledger.read_text() == ""


def test_a_held_order_keeps_its_arrival_time_and_takes_effect_later(
    client: Client, paper_exchange: PaperExchange
) -> None:
    paper_exchange.hold_clock()
    paper_exchange.inject(Fault(kind=FaultKind.DELAY))
    with pytest.raises(requests.ReadTimeout):
        client.futures_create_order(**ORDER, **SHORT)
    paper_exchange.wait_held()
    paper_exchange.move_clock(30_000)
    paper_exchange.release_held()
    row = paper_exchange.ledger()[0]
    assert row["time"] == int(str(row["receiveTime"])) + 30_000


def test_a_timed_delay_ends_by_itself(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.DELAY, delay_ms=1))
    assert client.futures_create_order(**ORDER)["orderId"]


def test_a_slow_body_is_accepted_before_its_answer_is_complete(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.SLOW_BODY))
    with ThreadPoolExecutor(1) as pool:
        order = pool.submit(client.futures_create_order, **ORDER)
        paper_exchange.wait_held()
        assert [row["clientOrderId"] for row in paper_exchange.ledger()] == ["mine"]
        assert not order.done()
        paper_exchange.release_held()
        assert order.result()["clientOrderId"] == "mine"


def test_a_slow_body_outlasts_an_impatient_client(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.SLOW_BODY))
    with pytest.raises(requests.RequestException, match="Read timed out"):
        client.futures_create_order(**ORDER, **SHORT)
    paper_exchange.wait_held()
    assert [row["clientOrderId"] for row in paper_exchange.ledger()] == ["mine"]


def test_release_over_http_can_wait_for_what_is_to_be_held(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.DELAY))
    with ThreadPoolExecutor(1) as pool:
        order = pool.submit(client.futures_create_order, **ORDER)
        answer = requests.post(f"{paper_exchange.url}/paper/release", json={"at_least": 1}, timeout=15)
        assert answer.json() == {"released": 1}
        assert order.result()["clientOrderId"] == "mine"


@pytest.mark.parametrize(
    ("kind", "accepted", "error"),
    [
        (FaultKind.ACCEPT_THEN_DROP, 1, aiohttp.ServerDisconnectedError),
        (FaultKind.DROP_BEFORE_ACCEPT, 0, aiohttp.ServerDisconnectedError),
        (FaultKind.RESET, 0, aiohttp.ClientOSError),
    ],
)
async def test_the_async_client_sees_them_too(
    async_client: AsyncClient,
    paper_exchange: PaperExchange,
    kind: FaultKind,
    accepted: int,
    error: type[BaseException],
) -> None:
    paper_exchange.inject(Fault(kind=kind))
    with pytest.raises(error):
        await async_client.futures_create_order(**ORDER)
    assert len(paper_exchange.ledger()) == accepted


async def test_a_cancelled_async_order_is_accepted_all_the_same(
    async_client: AsyncClient, paper_exchange: PaperExchange
) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.DELAY))
    order = asyncio.create_task(async_client.futures_create_order(**ORDER))
    await asyncio.to_thread(paper_exchange.wait_held)
    order.cancel()
    with pytest.raises(asyncio.CancelledError):
        await order
    await asyncio.to_thread(paper_exchange.release_held)
    assert len(paper_exchange.ledger()) == 1


def test_a_fault_hits_only_what_it_is_aimed_at(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.UNAVAILABLE_503, client_order_id="mine", times=2, skip=1))
    outcomes = []
    for name in ("other", "mine", "mine", "other", "mine", "mine"):
        try:
            client.futures_create_order(**{**ORDER, "newClientOrderId": name})
            outcomes.append("placed")
        except BinanceAPIException:
            outcomes.append("refused")
    assert outcomes == ["placed", "placed", "refused", "placed", "refused", "placed"]


def test_a_fault_may_hit_any_endpoint(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.HTML_502, method="GET", path="/fapi/v3/account"))
    client.futures_account()
    with pytest.raises(BinanceAPIException):
        client.futures_account(version=3)


def test_probability_repeats_with_its_seed(client: Client, paper_exchange: PaperExchange) -> None:
    def course(seed: int) -> list[bool]:
        paper_exchange.clear_faults()
        before = len(paper_exchange.ledger())
        paper_exchange.inject(Fault(kind=FaultKind.UNAVAILABLE_503, probability=Decimal("0.5"), seed=seed))
        placed = []
        for _ in range(24):
            try:
                client.futures_create_order(**ORDER)
                placed.append(True)
            except BinanceAPIException:
                placed.append(False)
        assert len(paper_exchange.ledger()) - before == sum(placed)
        return placed

    first = course(7)
    assert first == course(7) != course(8)
    assert 0 < sum(first) < 24


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": FaultKind.ACCEPT_THEN_DROP, "accept": False},
        {"kind": FaultKind.DROP_BEFORE_ACCEPT, "accept": True},
        {"kind": FaultKind.UNAVAILABLE_503, "accept": True},
    ],
)
def test_a_fault_that_contradicts_its_name_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(FaultError, match="accept"):
        Fault(**fields)  # type: ignore[arg-type]


def test_requests_that_were_never_accepted_are_counted(client: Client, paper_exchange: PaperExchange) -> None:
    paper_exchange.inject(Fault(kind=FaultKind.DROP_BEFORE_ACCEPT, times=2))
    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            client.futures_create_order(**ORDER)
    client.futures_create_order(**ORDER)
    assert [row["requestCount"] for row in paper_exchange.ledger()] == [3]
