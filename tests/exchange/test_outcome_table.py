"""The table of failures, row by row: raised by python-binance as it is, sync and async, and judged.

The expected rows are written out again, from the facts in docs/exchange.md, so that a changed row fails.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import aiohttp
import pytest
import requests
import urllib3

from gate.exchange.failure_table import CODES, FILTER_CODES, NEVER_LEFT, STATUSES, TEXTS_OF_503, Consequence
from gate.paper import Account, Fault, FaultKind, PaperExchange
from tests.exchange.failing_calls import (
    AMPLE_S,
    BRIEF_S,
    CALLERS,
    KEY,
    MAY_EXIST,
    NO_ORDER,
    SECRET,
    Caller,
    Row,
    by_async_client,
    closed_port,
    full_port,
    http,
    judged,
    nowhere,
    raw_server,
    row_of,
)

DOUBT: Row = (MAY_EXIST, False, Consequence.NONE, None)
TERMINAL: Row = (NO_ORDER, False, Consequence.NONE, None)
AGAIN: Row = (NO_ORDER, True, Consequence.NONE, None)
TOO_FAST: Row = (NO_ORDER, True, Consequence.REST_ACCOUNT, 60_000)
REST_ACCOUNT: Row = (NO_ORDER, True, Consequence.REST_ACCOUNT, None)
OVERLOADED: Row = (NO_ORDER, True, Consequence.REST_ACCOUNT, 5_000)
BANNED: Row = (NO_ORDER, True, Consequence.STOP, 60_000)
KEYS: Row = (NO_ORDER, False, Consequence.STOP, None)
MARGIN: Row = (NO_ORDER, True, Consequence.MARGIN, None)
REST_SYMBOL: Row = (NO_ORDER, True, Consequence.REST_SYMBOL, None)
REST_SHORTLY: Row = (NO_ORDER, True, Consequence.REST_SYMBOL, 30_000)
SYMBOL_OFF: Row = (NO_ORDER, False, Consequence.REST_SYMBOL, None)
UNLISTED: Row = (NO_ORDER, False, Consequence.REST_SYMBOL, None)
ACCOUNT_STOPPED: Row = (NO_ORDER, False, Consequence.STOP, None)

EXPECTED: dict[int, Row] = {
    -1006: DOUBT,
    -1007: DOUBT,
    -1000: DOUBT,
    -1001: AGAIN,
    -1008: OVERLOADED,
    -1003: TOO_FAST,
    -1015: REST_ACCOUNT,
    -1021: REST_ACCOUNT,
    -5028: REST_ACCOUNT,
    -1022: KEYS,
    -2014: KEYS,
    -2015: KEYS,
    -1002: KEYS,
    -4192: KEYS,
    -2018: MARGIN,
    -2019: MARGIN,
    -2027: REST_SYMBOL,
    -2028: REST_SYMBOL,
    -4164: TERMINAL,
    -1111: TERMINAL,
    -1013: TERMINAL,
    -4003: TERMINAL,
    -4004: TERMINAL,
    -4005: TERMINAL,
    -4014: TERMINAL,
    -4023: TERMINAL,
    -4016: REST_SHORTLY,
    -4024: REST_SHORTLY,
    -4131: REST_SHORTLY,
    -2022: TERMINAL,
    -4118: TERMINAL,
    -4130: TERMINAL,
    -4061: AGAIN,
    -4116: DOUBT,
    -2013: DOUBT,
    -2025: REST_SYMBOL,
    -4045: REST_SYMBOL,
    -4120: TERMINAL,
    -4140: SYMBOL_OFF,
    -4141: SYMBOL_OFF,
    -1121: SYMBOL_OFF,
    -5021: TERMINAL,
    -5022: TERMINAL,
    # what came in 2025 and 2026
    -2017: ACCOUNT_STOPPED,
    -2023: ACCOUNT_STOPPED,
    -4088: ACCOUNT_STOPPED,
    -4109: ACCOUNT_STOPPED,
    -4087: REST_ACCOUNT,
    -4189: REST_ACCOUNT,
    -4105: REST_SYMBOL,
    -4106: REST_SYMBOL,
    -4107: REST_SYMBOL,
    -4400: REST_SYMBOL,
    -4401: REST_SYMBOL,
    -4402: SYMBOL_OFF,
    -2021: TERMINAL,
    -4142: TERMINAL,
    -1112: REST_SHORTLY,
    -2020: REST_SHORTLY,
    -4002: REST_SHORTLY,
    -4013: REST_SHORTLY,
    -4183: REST_SHORTLY,
    -4184: REST_SHORTLY,
    -4210: REST_SHORTLY,
    -4211: REST_SHORTLY,
    -5041: REST_SHORTLY,
    -1106: AGAIN,
    -4067: AGAIN,
    -4068: AGAIN,
    -4531: AGAIN,
    # leverage
    -4028: TERMINAL,
    -4161: TERMINAL,
    -4202: TERMINAL,
    -4203: TERMINAL,
    -4205: TERMINAL,
    -4206: TERMINAL,
    -4208: TERMINAL,
    -4209: TERMINAL,
    -4403: TERMINAL,
}

# Status, code (None: a body without one), text, and the meaning. If status and code disagree, doubt wins.
ANSWERS: list[tuple[int, int | None, str, Row]] = [
    (400, -9999, "a code that nobody has heard of", UNLISTED),
    (400, None, "a refusal without a code", UNLISTED),
    (401, None, "", UNLISTED),
    (404, None, "", UNLISTED),
    (403, None, "", BANNED),
    (451, None, "", BANNED),
    (418, None, "", BANNED),
    (418, -1003, "", BANNED),
    (403, -1003, "", BANNED),
    (403, -2015, "", KEYS),
    (403, -2023, "", ACCOUNT_STOPPED),
    (429, -1003, "Way too many requests; IP banned until 1000000000000.", BANNED),
    (429, None, "", TOO_FAST),
    (429, -1015, "", TOO_FAST),
    (429, -2019, "", TOO_FAST),
    (429, -1007, "", DOUBT),
    (418, -1006, "", DOUBT),
    (401, -2014, "", KEYS),
    (408, None, "", DOUBT),
    (408, -1007, "", DOUBT),
    (408, -1001, "", DOUBT),
    (408, -2019, "", DOUBT),
    (500, None, "", DOUBT),
    (500, -1001, "", AGAIN),
    (500, -2019, "", DOUBT),
    (500, -2015, "", DOUBT),
    (500, -9999, "", DOUBT),
    (502, -1008, "", OVERLOADED),
    (504, -1007, "", DOUBT),
    (503, -1008, "", OVERLOADED),
    (503, -1000, "Service Unavailable.", DOUBT),
    (503, -1008, "Unknown error, please check your request or try again later.", DOUBT),
    (503, -2019, "", DOUBT),
    (503, None, "", DOUBT),
    (503, None, "Service Unavailable.", AGAIN),
    (503, None, "Internal error; unable to process your request. Please try again.", AGAIN),
    (503, None, "Unknown error, please check your request or try again later.", DOUBT),
    (503, None, "upstream says: Service Unavailable", DOUBT),
    (500, None, "Service Unavailable.", DOUBT),
]


@pytest.fixture(scope="module")
def venue() -> Iterator[PaperExchange]:
    """One paper exchange for all rows: a fault acts once, and an order doesn't affect the next one."""
    with PaperExchange(accounts=[Account(KEY, SECRET)], limits=None) as paper:
        yield paper


# Addresses that no request can reach, and the exceptions: aiohttp's, and those of requests or of urllib3 inside it.
Place = Callable[[], AbstractContextManager[str]]
UNREACHED: list[tuple[Place, type[BaseException], type[BaseException]]] = [
    (closed_port, aiohttp.ClientConnectorError, urllib3.exceptions.NewConnectionError),
    (nowhere, aiohttp.ClientConnectorError, urllib3.exceptions.NewConnectionError),
    (full_port, aiohttp.ConnectionTimeoutError, requests.ConnectTimeout),
]


def test_every_row_of_the_table_has_its_tests() -> None:
    assert EXPECTED.keys() == CODES.keys()
    without_code = [(status, text) for status, code, text, _ in ANSWERS if code is None]
    assert STATUSES.keys() <= {status for status, _ in without_code}
    for beginning in TEXTS_OF_503:
        assert [text for status, text in without_code if status == 503 and text.startswith(beginning)]
    evidence = [each for _, *both in UNREACHED for each in both]
    assert NEVER_LEFT.keys() == {f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in evidence}


def test_the_codes_after_which_filters_are_read_again() -> None:
    filters = {-4164, -1111, -1013, -4003, -4004, -4005, -4014, -4023}
    symbol_off = {-4140, -4141, -1121, -4402}
    assert {str(code) for code in filters | symbol_off} == FILTER_CODES


@CALLERS
@pytest.mark.parametrize(("code", "row"), EXPECTED.items(), ids=map(str, EXPECTED))
async def test_a_code_has_its_documented_meaning(venue: PaperExchange, caller: Caller, code: int, row: Row) -> None:
    venue.inject(Fault(kind=FaultKind.ERROR, code=code, msg="as asked for"))

    error = await caller(venue.url)

    assert row_of(error) == row
    assert (judged(error).code, judged(error).detail) == (str(code), "as asked for")


@CALLERS
@pytest.mark.parametrize(
    ("status", "code", "text", "row"),
    ANSWERS,
    ids=[f"{row[0]} {row[1]} {row[2][:19]}" for row in ANSWERS],
)
async def test_status_code_and_text_together_decide_what_a_failure_means(
    caller: Caller, status: int, code: int | None, text: str, row: Row
) -> None:
    body = {"msg": text} if code is None else {"code": code, "msg": text}
    with raw_server(lambda _: http(f"{status} As-Asked-For", json.dumps(body))) as url:
        error = await caller(url)

    assert row_of(error) == row
    assert judged(error).code == (f"HTTP_{status}" if code is None else str(code))


@CALLERS
@pytest.mark.parametrize(
    ("fault", "row"),
    [
        (Fault(kind=FaultKind.RATE_LIMITED_429, retry_after_s=17), (*REST_ACCOUNT[:3], 17_000)),
        (Fault(kind=FaultKind.BANNED_418, retry_after_s=1_800), (*BANNED[:3], 1_800_000)),
        (Fault(kind=FaultKind.RATE_LIMITED_429, retry_after_s=0), TOO_FAST),
        (Fault(kind=FaultKind.BANNED_418, retry_after_s=10**12), (*BANNED[:3], 3 * 24 * 3600 * 1000)),
        (Fault(kind=FaultKind.CLOCK_SKEW), REST_ACCOUNT),
        (Fault(kind=FaultKind.UNKNOWN_503), DOUBT),
        (Fault(kind=FaultKind.UNAVAILABLE_503), AGAIN),
        (Fault(kind=FaultKind.INTERNAL_503), AGAIN),
        (Fault(kind=FaultKind.TIMEOUT_1007), DOUBT),
        (Fault(kind=FaultKind.HTML_502), DOUBT),
        (Fault(kind=FaultKind.REDIRECT_302), DOUBT),
        (Fault(kind=FaultKind.JSON_LIST), DOUBT),
        (Fault(kind=FaultKind.EMPTY_200), DOUBT),
        (Fault(kind=FaultKind.ACCEPT_THEN_DROP), DOUBT),
        (Fault(kind=FaultKind.DROP_BEFORE_ACCEPT), DOUBT),
        (Fault(kind=FaultKind.RESET), DOUBT),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else None,
)
async def test_a_fault_of_the_exchange_has_its_documented_meaning(
    venue: PaperExchange, caller: Caller, fault: Fault, row: Row
) -> None:
    venue.inject(fault)

    assert row_of(await caller(venue.url)) == row


@CALLERS
@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (http("200 OK", '{"orderId": 1', length=999), {"ClientPayloadError", "ChunkedEncodingError"}),
        (http("200 OK", "not JSON"), {"BinanceRequestException"}),
        (http("200 OK", "<html>", kind="text/html"), {"ContentTypeError", "BinanceRequestException"}),
        (http("200 OK", '{"code": -2019, "msg": "Margin is insufficient."}'), {"KeyError"}),
        (http("500 Oops", "null"), {"AttributeError"}),
        (http("400 Bad Request", "[]"), {"AttributeError"}),
        (http("503 Service Unavailable", "Service Unavailable", kind="text/plain"), {"BinanceAPIException"}),
        (http("302 Found", "", more="Location: http://127.0.0.1:1/"), {"BinanceAPIException"}),
        ("what is HTTP?\r\n\r\n", {"ClientResponseError", "ConnectionError"}),
    ],
    ids=[
        "truncated",
        "200 that isn't JSON",
        "200 of a page",
        "200 with an error",
        "body null",
        "400 with a list",
        "503 that isn't JSON",
        "redirect",
        "not HTTP",
    ],
)
async def test_an_answer_that_cannot_be_the_exchanges_leaves_the_order_in_doubt(
    caller: Caller, answer: str, raised: set[str]
) -> None:
    with raw_server(lambda _: answer) as url:
        error = await caller(url)

    assert type(error).__name__ in raised
    assert row_of(error) == DOUBT


@CALLERS
@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found"])
async def test_a_page_in_place_of_an_answer_is_judged_by_its_status(caller: Caller, status: str) -> None:
    with raw_server(lambda _: http(status, f"<html><h1>{status}</h1></html>", kind="text/html")) as url:
        error = await caller(url)

    assert row_of(error) == (BANNED if status.startswith("403") else UNLISTED)


@CALLERS
@pytest.mark.parametrize(
    ("place", "by_aiohttp", "by_requests"), UNREACHED, ids=["nobody listens", "no such name", "full queue"]
)
async def test_a_request_that_never_left_placed_nothing(
    caller: Caller, place: Place, by_aiohttp: type[BaseException], by_requests: type[BaseException]
) -> None:
    with place() as url:
        error = await caller(url, connect_s=BRIEF_S if place is full_port else AMPLE_S)

    reason = getattr(error.args[0], "reason", None)
    assert isinstance(error, by_aiohttp) or by_requests in (type(error), *type(reason).__mro__)
    assert row_of(error) == AGAIN


@CALLERS
@pytest.mark.parametrize("kind", [FaultKind.DELAY, FaultKind.SLOW_BODY])
async def test_an_answer_that_does_not_come_in_time_leaves_the_order_in_doubt(
    venue: PaperExchange, caller: Caller, kind: FaultKind
) -> None:
    venue.inject(Fault(kind=kind))

    error = await caller(venue.url, read_s=BRIEF_S)

    assert row_of(error) == DOUBT
    await asyncio.to_thread(venue.wait_held)
    venue.release_held()


async def test_a_time_limit_of_the_caller_leaves_the_order_in_doubt(venue: PaperExchange) -> None:
    venue.inject(Fault(kind=FaultKind.DELAY))

    async def limited() -> None:
        async with asyncio.timeout(None) as limit:
            held = asyncio.create_task(asyncio.to_thread(venue.wait_held))
            held.add_done_callback(lambda _: limit.reschedule(0))
            raise await by_async_client(venue.url)

    with pytest.raises(TimeoutError) as caught:
        await limited()
    assert row_of(caught.value) == DOUBT
    venue.release_held()


async def test_a_cancelled_request_leaves_the_order_in_doubt(venue: PaperExchange) -> None:
    venue.inject(Fault(kind=FaultKind.DELAY))
    request = asyncio.create_task(by_async_client(venue.url))
    await asyncio.to_thread(venue.wait_held)

    request.cancel()

    error = await request
    assert isinstance(error, asyncio.CancelledError)
    assert row_of(error) == DOUBT
    venue.release_held()
