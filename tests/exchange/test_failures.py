"""How an exception of the client library becomes a failure, and the outcome that the gate gets."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import requests
from binance.exceptions import BinanceAPIException

from gate import Gate, Intent, Outcome, Penalty, Phase, Policy
from gate.exchange.consequences import outcome_of, penalty_of
from gate.exchange.failures import (
    Consequence,
    ExchangeFailure,
    Failure,
    failure_of,
    failure_of_answer,
    posted,
    retry_after_s,
)
from gate.executor.execution import Terminal
from gate.paper import Account, Fault, FaultKind, PaperExchange
from gate.values.outcome import OutcomeKind
from gate.values.policy import LONGEST_MS
from tests.exchange.failing_calls import (
    CALLERS,
    KEY,
    MAY_EXIST,
    NO_ORDER,
    ORDER,
    SECRET,
    Caller,
    closed_port,
    http,
    judged,
    raw_server,
    sync_client,
    sync_error,
)
from tests.executor.conftest import Desk
from tests.servers.store import Store

POLICY = Policy(
    cooldown_symbol_ms=100_000, cooldown_global_ms=200_000, unknown_cooldown_ms=300_000, safe_mode_ttl_ms=400_000
)
NOW_MS = 1_800_000_000_000
SWITCHES = {"failures", "cooldown_symbol", "cooldown_global", "safe_mode"}


def test_a_failure_goes_from_one_process_to_another() -> None:
    failed = ExchangeFailure(Failure(may_exist=True, code="-1007", detail="timeout", rest_ms=5_000))
    copy = pickle.loads(pickle.dumps(failed))  # noqa: S301  # its own bytes
    assert (copy.failure, str(copy)) == (failed.failure, str(failed))


@CALLERS
@pytest.mark.parametrize("code", [[-2019], {}, "text", None, True, 1e308, float("inf"), -(10**9)], ids=str)
async def test_a_code_of_any_shape_can_be_judged(caller: Caller, code: object) -> None:
    with raw_server(lambda _: http("400 Bad Request", json.dumps({"code": code, "msg": None}))) as url:
        failure = judged(await caller(url))

    assert (failure.may_exist, failure.code, failure.detail) == (NO_ORDER, "HTTP_400", "")


@CALLERS
async def test_a_code_is_a_code_also_as_a_text(caller: Caller) -> None:
    with raw_server(lambda _: http("400 Bad Request", '{"code": "-1007"}')) as url:
        assert judged(await caller(url)).may_exist is MAY_EXIST


@CALLERS
@pytest.mark.parametrize(
    ("header", "rest_ms"),
    [
        ("17", 17_000),
        ("17.2", 18_000),
        ("99999999999999999999", 259_200_000),
        ("1e400", 259_200_000),
        ("0", 60_000),
        ("-1", 60_000),
        ("inf", 60_000),
        ("nan", 60_000),
        ("1e999999999999999999999", 60_000),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60_000),
        ("Wed, 21 Oct 9998 07:28:00 GMT", 259_200_000),
        ("Wed, 21 Oct 99999 07:28:00 GMT", 60_000),
        ("Wed, 21 Oct 2026", 60_000),
    ],
)
async def test_any_retry_after_can_be_read(caller: Caller, header: str, rest_ms: int) -> None:
    with raw_server(lambda _: http("429 Too Many", "{}", more=f"Retry-After: {header}")) as url:
        assert judged(await caller(url)).rest_ms == rest_ms


@CALLERS
async def test_a_retry_after_that_is_a_date_lasts_until_then(caller: Caller) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    with raw_server(lambda _: http("418 I'm a teapot", "{}", more=f"Retry-After: {until}")) as url:
        rest_ms = judged(await caller(url)).rest_ms

    assert rest_ms is not None
    assert 7_100_000 < rest_ms <= 7_200_000


@pytest.mark.parametrize(
    ("date", "now_ms", "seconds"),
    [
        ("Fri, 15 Jan 2027 08:00:20 GMT", NOW_MS, 20),
        ("Fri, 15 Jan 2027 08:00:20 GMT", NOW_MS - 1, 21),
        ("Fri, 15 Jan 2027 08:00:20", NOW_MS, 20),
        ("Fri, 15 Jan 2027 09:00:20 +0100", NOW_MS, 20),
        ("Fri, 15 Jan 2027 08:00:00 GMT", NOW_MS, 0),
        ("Fri, 15 Jan 2027 07:59:59 GMT", NOW_MS, 0),
    ],
)
def test_such_a_date_counts_by_the_exchanges_clock_and_is_never_below_0(date: str, now_ms: int, seconds: int) -> None:
    assert retry_after_s(SimpleNamespace(headers={"Retry-After": date}), now_ms=now_ms) == seconds


BANNED_UNTIL = "Way too many requests; IP banned until {}. Please use the websocket for live updates to avoid bans."


@CALLERS
@pytest.mark.parametrize("status", ["418 I'm a teapot", "429 Too Many", "403 Forbidden", "400 Bad Request"])
async def test_a_ban_lasts_until_the_time_in_its_text(caller: Caller, status: str) -> None:
    until_ms = time.time_ns() // 1_000_000 + 7_200_000
    body = json.dumps({"code": -1003, "msg": BANNED_UNTIL.format(until_ms)})

    with raw_server(lambda _: http(status, body)) as url:
        failure = judged(await caller(url))

    assert failure.consequence is Consequence.STOP
    assert failure.rest_ms is not None
    assert 7_100_000 < failure.rest_ms <= 7_200_000


@pytest.mark.parametrize(
    ("until_ms", "retry_after_s", "rest_ms"),
    [
        (NOW_MS + 120_000, None, 120_000),
        (NOW_MS + 120_000, 30, 30_000),
        (NOW_MS + 30_000, 120, 120_000),
        (NOW_MS, None, 60_000),
        (NOW_MS - 1, None, 60_000),
        (NOW_MS + 10**12, None, 259_200_000),
        ("soon", None, 60_000),
    ],
)
def test_a_header_counts_before_the_text_which_counts_by_the_exchanges_clock(
    until_ms: object, retry_after_s: int | None, rest_ms: int
) -> None:
    text = BANNED_UNTIL.format(until_ms)

    assert failure_of_answer(418, -1003, text, retry_after_s, now_ms=NOW_MS).rest_ms == rest_ms


@pytest.mark.parametrize(
    ("until_ms", "told"),
    [
        (NOW_MS + 243_000, "IP banned until 2027-01-15T08:04:03Z (243 s after this answer). Please"),
        (NOW_MS, "IP banned until 2027-01-15T08:00:00Z. Please"),
    ],
)
def test_a_person_reads_the_end_of_a_ban_in_utc_and_what_is_left(until_ms: int, told: str) -> None:
    failure = failure_of_answer(418, -1003, BANNED_UNTIL.format(until_ms), None, now_ms=NOW_MS)

    assert told in failure.detail


async def test_after_refused_keys_what_can_wait_asks_nothing_for_a_minute(desk: Desk) -> None:
    """The exchange says no time, as it does with a ban, and whoever goes on is banned."""
    desk.paper.inject(Fault(kind=FaultKind.ERROR, method="GET", status=401, code=-2015))

    with pytest.raises(ExchangeFailure) as refused:
        await desk.exchange.find_order("BTCUSDT", "mine", conditional=False)

    assert refused.value.failure.silence_ms == 60_000
    assert desk.exchange.rest_ms() is not None


async def test_a_ban_is_told_by_the_exchanges_clock_where_that_is_known(desk: Desk) -> None:
    desk.paper.hold_clock(NOW_MS)
    await desk.exchange._rest.set_clock(5)
    desk.paper.inject(Fault(kind=FaultKind.BANNED_418, retry_after_s=600, retry_after_header=False, method="GET"))

    with pytest.raises(ExchangeFailure) as banned:
        await desk.exchange.find_order("BTCUSDT", "mine", conditional=False)

    assert 590_000 < (banned.value.failure.rest_ms or 0) <= 600_000


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (-9999, "the symbol rests"),
        (-2021, "protects no position"),
        (-4142, "protects no position"),
        (-4118, "reduce-only orders that rest cover it"),
        (-4400, "exits only"),
        (-4088, "takes no orders"),
    ],
)
async def test_what_the_exchanges_text_leaves_out_is_said_in_result_record_and_log(
    desk: Desk, caplog: pytest.LogCaptureFixture, code: int, advice: str
) -> None:
    desk.paper.inject(Fault(kind=FaultKind.ERROR, code=code, msg="Its text."))
    intent = desk.intent()

    execution = await desk.executor.execute(intent)

    assert execution.detail.startswith("Its text.; ")
    assert advice in execution.detail
    assert (
        f'REFUSED id={intent.id} symbol={intent.symbol} side={intent.side} code={code} detail="{execution.detail}"'
        in caplog.messages
    )
    record = await desk.gate.lookup(intent.id)
    assert execution.retryable or (record is not None and advice in record.note)


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_refusal_that_no_row_tells_of_rests_the_symbol(desk: Desk, status: int) -> None:
    desk.paper.inject(Fault(kind=FaultKind.ERROR, status=status, code=-9999, msg=""))

    await desk.executor.execute(desk.intent())
    rests = await desk.executor.execute(desk.intent())
    other = await desk.executor.execute(desk.intent("ETHUSDT"))
    exit_ = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    assert (rests.state, rests.reason) == (Terminal.DENIED, "COOLDOWN_SYMBOL")
    assert rests.detail.startswith("-9999 the gate's table doesn't know this refusal: ")
    assert other.state is Terminal.FILLED
    assert exit_.state is not Terminal.DENIED


async def test_a_place_that_the_exchange_does_not_serve_stops_entries_of_the_account_and_no_exit(desk: Desk) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01"))
    text = "Service unavailable from a restricted location according to 'b. Eligibility'"
    desk.paper.inject(Fault(kind=FaultKind.ERROR, times=1, status=451, code=0, msg=text))

    refused = await desk.executor.execute(desk.intent())
    stopped = await desk.executor.execute(desk.intent("ETHUSDT"))
    closed = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    assert (refused.state, refused.reason, refused.retryable) == (Terminal.REJECTED_EXCHANGE, "HTTP_451", True)
    assert refused.detail == text
    assert (stopped.state, stopped.reason) == (Terminal.DENIED, "SAFE_MODE")
    assert desk.exchange.rest_ms() is not None
    assert closed.state is Terminal.FILLED


async def test_only_reduce_only_is_taken_so_entries_rest_and_exits_go_on(desk: Desk) -> None:
    await desk.executor.execute(desk.intent(quantity="0.01"))
    desk.paper.inject(Fault(kind=FaultKind.ERROR, code=-4087))

    refused = await desk.executor.execute(desk.intent())
    rests = await desk.executor.execute(desk.intent("ETHUSDT"))
    closed = await desk.executor.execute(desk.intent(side="SELL", quantity="0.01", reduce_only=True))

    assert (refused.reason, refused.retryable) == ("-4087", True)
    assert (rests.state, rests.reason) == (Terminal.DENIED, "COOLDOWN_GLOBAL")
    assert closed.state is Terminal.FILLED


@CALLERS
async def test_an_answer_that_repeats_the_request_gives_nothing_away(caller: Caller) -> None:
    def echo(request: str) -> str:
        *_, body = request.splitlines()
        words = f"{KEY} sent {body} with 'signature=1a'\nto https://fapi.example/ \x1b[31m {SECRET} " + "again " * 99
        return http("400 Bad Request", json.dumps({"code": -1102, "msg": words}))

    with raw_server(echo) as url:
        failure = judged(await caller(url))

    assert failure.detail.startswith("… sent … with … to … … … again")
    assert len(failure.detail) == 120


def test_a_look_up_that_fails_does_not_show_its_signed_address() -> None:
    with closed_port() as url, sync_client(url) as client, pytest.raises(requests.ConnectionError) as caught:
        client.futures_get_order(symbol="BTCUSDT", origClientOrderId="mine")

    assert "signature=" in str(caught.value)
    assert judged(caught.value).detail == "the exchange was not reached"


def test_an_earlier_request_that_never_left_says_nothing_of_this_one() -> None:
    with closed_port() as url:
        earlier = sync_error(url)
    with raw_server(lambda _: "") as url:
        try:
            raise earlier
        except requests.ConnectionError:
            error = sync_error(url)

    assert type(error) is type(earlier)
    assert earlier in _chain(error), "Python has chained the two"
    assert (judged(earlier).may_exist, judged(error).may_exist) == (NO_ORDER, MAY_EXIST)


def test_a_failure_that_was_judged_keeps_its_meaning() -> None:
    failure = Failure(NO_ORDER, "-2019", "as asked for")

    assert failure_of(ExchangeFailure(failure)) is failure


@pytest.mark.parametrize(("status", "may_exist"), [(400, NO_ORDER), ("?", MAY_EXIST)])
def test_an_answer_by_the_websocket_can_be_judged_too(status: object, may_exist: bool) -> None:
    error = BinanceAPIException({"id": 1}, status, '{"code": -2022, "msg": "ReduceOnly Order is rejected."}')

    assert judged(error).may_exist is may_exist, "its response is a dict, without headers"


@pytest.mark.parametrize(
    "error", [requests.ConnectionError(), type("Long" * 30, (Exception,), {})()], ids=["bare", "long"]
)
def test_any_exception_can_be_settled(error: Exception) -> None:
    assert outcome_of(error, POLICY).kind is OutcomeKind.UNKNOWN


def test_reading_the_table_loads_no_client_library() -> None:
    program = "import sys, gate.exchange.consequences\nprint(*{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert {"binance", "requests", "aiohttp", "urllib3"}.isdisjoint(result.stdout.split())


@pytest.mark.parametrize(
    ("consequence", "rest_ms", "penalty"),
    [
        (Consequence.NONE, None, None),
        (Consequence.NONE, 500, None),
        (Consequence.MARGIN, None, Penalty(True, 100_000)),
        (Consequence.REST_SYMBOL, None, Penalty(cooldown_symbol_ms=100_000)),
        (Consequence.REST_SYMBOL, 500, Penalty(cooldown_symbol_ms=500)),
        (Consequence.REST_ACCOUNT, None, Penalty(cooldown_global_ms=200_000)),
        (Consequence.REST_ACCOUNT, 500, Penalty(cooldown_global_ms=500)),
        (Consequence.REST_ACCOUNT, LONGEST_MS + 1, Penalty(cooldown_global_ms=LONGEST_MS)),
        (Consequence.STOP, None, Penalty(safe_mode=True)),
        (Consequence.STOP, 500_000, Penalty(cooldown_global_ms=500_000, safe_mode=True)),
    ],
)
def test_what_a_consequence_costs(consequence: Consequence, rest_ms: int | None, penalty: Penalty | None) -> None:
    failure = Failure(NO_ORDER, "-1", "", consequence=consequence, rest_ms=rest_ms)

    assert penalty_of(failure, POLICY) == penalty


@pytest.fixture
def gate(store: Store, redis_client: redis.Redis) -> Iterator[Gate]:
    with Gate.from_url(store.url, policy=POLICY, timeout_ms=2_000) as gate:
        yield gate


@pytest.mark.parametrize(
    ("fault", "phase", "switches"),
    [
        (Fault(kind=FaultKind.ERROR, code=-4164), Phase.REJECTED, set()),
        (Fault(kind=FaultKind.ERROR, code=-2019), None, {"failures", "cooldown_symbol"}),
        (Fault(kind=FaultKind.ERROR, code=-2015), Phase.REJECTED, {"safe_mode"}),
        (Fault(kind=FaultKind.ACCEPT_THEN_DROP), Phase.UNKNOWN, {"cooldown_symbol"}),
        (Fault(kind=FaultKind.EMPTY_200), Phase.UNKNOWN, {"cooldown_symbol"}),
        (Fault(kind=FaultKind.UNAVAILABLE_503), None, set()),
    ],
    ids=lambda value: f"{value.kind} {value.code}" if isinstance(value, Fault) else None,
)
def test_a_service_that_places_its_own_orders_settles_what_an_exception_means(
    gate: Gate, fault: Fault, phase: Phase | None, switches: set[str]
) -> None:
    intent = Intent.from_mapping({"id": "sig-1", "timestamp": time.time_ns() // 1_000_000, **ORDER})
    with (
        PaperExchange([Account(KEY, SECRET)], faults=[fault]) as paper,
        sync_client(paper.url) as client,
        gate.guard(intent) as held,
    ):
        try:
            order = client.futures_create_order(**ORDER, type="MARKET", newClientOrderId=held.client_order_id)
            held.placed(order["orderId"])
        except Exception as error:
            held.settle(outcome_of(error, gate.policy))

    record = gate.lookup(intent.id)
    assert held.settlement
    assert (record.phase if record else None) is phase, "what may come again is forgotten"
    assert {each.name for each in gate.status().standing} & SWITCHES == switches


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        (Failure(NO_ORDER, "-1121", ""), True),
        (Failure(MAY_EXIST, "ReadTimeout", ""), True),
        (Failure(NO_ORDER, "HTTP_418", "", True, Consequence.STOP, 60_000), True),
        (Failure(NO_ORDER, "-2015", "", False, Consequence.STOP), False),
    ],
)
def test_what_fails_before_the_order_is_sent_may_come_again_unless_keys_do_not_work(
    failure: Failure, again: bool
) -> None:
    outcome = outcome_of(failure, POLICY, sent=False)

    assert outcome == Outcome.unsent(failure.code, retryable=again, penalty=penalty_of(failure, POLICY))


@pytest.mark.parametrize(
    ("code", "switches"),
    [
        (-2019, {"failures", "cooldown_symbol"}),
        (-2027, {"cooldown_symbol"}),
        (-4131, {"cooldown_symbol"}),
        (-1121, {"cooldown_symbol"}),
        (-1015, {"cooldown_global"}),
        (-2015, {"safe_mode"}),
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
    assert on & SWITCHES == switches
    assert desk.orders() == []


async def test_an_exchange_that_is_not_there_places_nothing(desk: Desk) -> None:
    await desk.exchange.filters("BTCUSDT")
    desk.paper.stop()

    execution = await desk.executor.execute(desk.intent())

    assert (execution.state, execution.retryable) == (Terminal.REJECTED_EXCHANGE, True)
    desk.paper.start()


def _chain(error: BaseException | None) -> list[BaseException]:
    """An exception and its chain."""
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__context__
    return chain


def test_a_value_whose_text_cannot_be_had_shows_no_request() -> None:
    """It is the service's own: a quantity of some class. The block must be settled all the same."""

    class Untold:
        def __repr__(self) -> str:
            raise ValueError("no text")

    transport: dict[str, Any] = {"__name__": "requests.sessions"}
    exec("def send(data, method='POST'):\n    raise ConnectionError('lost')", transport)  # noqa: S102  # a frame of theirs
    with pytest.raises(ConnectionError) as caught:
        transport["send"]({"quantity": Untold(), "newClientOrderId": "g-1"})

    assert posted(caught.value, "g-1") is False
