"""The table of failures: what is certain about an order whose request failed. What isn't in it is unknown."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from gate.exchange.failures import failure_of_answer, failure_of_transport
from gate.exchange.orders import Consequence, Placement
from gate.execution import Terminal
from gate.paper import Fault, FaultKind
from tests.executor.conftest import Desk

NOT_PLACED, UNKNOWN = Placement.NOT_PLACED, Placement.UNKNOWN


@pytest.mark.parametrize("code", [-1000, -1006, -1007, -4116])
def test_codes_that_leave_the_order_open(code: int) -> None:
    assert failure_of_answer(400, code, "", None).placement is UNKNOWN


@pytest.mark.parametrize("code", [-1001, -1008, -1021, -2018, -2019, -2022, -4164, -1111, -4061, -1121, -5022, -9999])
def test_codes_that_mean_there_is_no_order(code: int) -> None:
    assert failure_of_answer(400, code, "", None).placement is NOT_PLACED


@pytest.mark.parametrize(
    ("status", "message", "placement"),
    [
        (503, "Service Unavailable", NOT_PLACED),
        (503, "Internal error; unable to process your request. Please try again.", NOT_PLACED),
        (503, "Unknown error, please check your request or try again later.", UNKNOWN),
        (503, "", UNKNOWN),
        (500, "", UNKNOWN),
        (502, "<html>", UNKNOWN),
        (408, "", UNKNOWN),
        (302, "", UNKNOWN),
        (404, "", NOT_PLACED),
        (429, "", NOT_PLACED),
        (418, "", NOT_PLACED),
        (403, "", NOT_PLACED),
    ],
)
def test_statuses_without_a_code(status: int, message: str, placement: Placement) -> None:
    assert failure_of_answer(status, None, message, None).placement is placement


@pytest.mark.parametrize("status", [418, 403])
def test_a_ban_stops_the_account_at_least_until_it_ends(status: int) -> None:
    failure = failure_of_answer(status, None, "", 120)
    assert (failure.consequence, failure.rest_ms) == (Consequence.STOP, 120_000)


@pytest.mark.parametrize("code", [-1022, -2014, -2015, -1002, -4192])
def test_keys_that_do_not_work_are_never_tried_again(code: int) -> None:
    failure = failure_of_answer(401, code, "", None)
    assert (failure.consequence, failure.retryable) == (Consequence.STOP, False)


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError(104, "reset"),
        aiohttp.SocketTimeoutError(),
        aiohttp.ClientPayloadError(),
        TimeoutError(),
        asyncio.CancelledError(),
        AttributeError("'list' object has no attribute 'get'"),
        Exception("something new"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_have_arrived_is_unknown(error: BaseException) -> None:
    assert failure_of_transport(error).placement is UNKNOWN


def test_a_transport_failure_tells_nothing_of_the_request() -> None:
    failure = failure_of_transport(aiohttp.ClientOSError("POST https://host/fapi/v1/order?signature=abc"))
    assert "signature" not in f"{failure}"


@pytest.mark.parametrize(
    ("code", "switches"),
    [
        (-2019, {"failures", "cooldown_symbol", "cooldown_global"}),
        (-2027, {"cooldown_symbol"}),
        (-1015, {"cooldown_global"}),
        (-2015, {"cooldown_global"}),
        (-2022, set()),
        (-4164, set()),
        (-5022, set()),
    ],
)
async def test_a_refusal_by_the_real_client_has_its_consequence(desk: Desk, code: int, switches: set[str]) -> None:
    desk.paper.inject(Fault(kind=FaultKind.ERROR, times=1, code=code, msg="as asked for"))

    execution = await desk.executor.execute(desk.intent())

    on = {each.name for each in (await desk.gate.status()).standing}
    assert execution.state in (Terminal.REJECTED_EXCHANGE, Terminal.REJECTED_MARGIN)
    assert execution.reason == str(code)
    assert on & {"failures", "cooldown_symbol", "cooldown_global", "safe_mode"} == switches
    assert desk.orders() == []


async def test_an_exchange_that_is_not_there_places_nothing(desk: Desk) -> None:
    await desk.exchange.filters("BTCUSDT")
    desk.paper.stop()

    execution = await desk.executor.execute(desk.intent())

    assert (execution.state, execution.retryable) == (Terminal.REJECTED_EXCHANGE, True)
    desk.paper.start()
