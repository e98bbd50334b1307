"""Faults on demand: the requests and the streams' events that a fault hits, and what the client gets. Pure.

The table below tells the effect of each kind on the books. `accepts` is True (the request takes effect), False (it
doesn't), or None when the real fault leaves it open; then the fault's `accept` decides.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

ANY = "*"
_SPENT_SHOWN = 100


class FaultKind(StrEnum):
    ACCEPT_THEN_DROP = "accept_then_drop"
    DROP_BEFORE_ACCEPT = "drop_before_accept"
    DELAY = "delay"
    SLOW_BODY = "slow_body"
    RESET = "reset"
    UNKNOWN_503 = "unknown_503"
    UNAVAILABLE_503 = "unavailable_503"
    INTERNAL_503 = "internal_503"
    TIMEOUT_1007 = "timeout_1007"
    HTML_502 = "html_502"
    EMPTY_200 = "empty_200"
    JSON_LIST = "json_list"
    REDIRECT_302 = "redirect_302"
    RATE_LIMITED_429 = "rate_limited_429"
    BANNED_418 = "banned_418"
    CLOCK_SKEW = "clock_skew"
    EXPIRED_IN_MATCH = "expired_in_match"
    ERROR = "error"
    LATE_ANSWER = "late_answer"
    SILENT_STREAM = "silent_stream"
    DROP_STREAM = "drop_stream"
    LAG_STREAM = "lag_stream"
    LOSE_EVENT = "lose_event"
    DOUBLE_EVENT = "double_event"
    EXPIRE_KEY = "expire_key"


STREAM_KINDS = frozenset(
    {
        FaultKind.SILENT_STREAM,
        FaultKind.DROP_STREAM,
        FaultKind.LAG_STREAM,
        FaultKind.LOSE_EVENT,
        FaultKind.DOUBLE_EVENT,
        FaultKind.EXPIRE_KEY,
    }
)


class Nature(Struct, frozen=True):
    """The effect of a kind of fault on the books, and the default of an open one."""

    accepts: bool | None
    default: bool


NATURE: dict[FaultKind, Nature] = {
    FaultKind.ACCEPT_THEN_DROP: Nature(True, True),
    FaultKind.DROP_BEFORE_ACCEPT: Nature(False, False),
    FaultKind.DELAY: Nature(True, True),
    FaultKind.SLOW_BODY: Nature(True, True),
    FaultKind.RESET: Nature(None, False),
    FaultKind.UNKNOWN_503: Nature(None, True),
    FaultKind.UNAVAILABLE_503: Nature(False, False),
    FaultKind.INTERNAL_503: Nature(False, False),
    FaultKind.TIMEOUT_1007: Nature(None, True),
    FaultKind.HTML_502: Nature(None, True),
    FaultKind.EMPTY_200: Nature(None, True),
    FaultKind.JSON_LIST: Nature(None, True),
    FaultKind.REDIRECT_302: Nature(False, False),
    FaultKind.RATE_LIMITED_429: Nature(False, False),
    FaultKind.BANNED_418: Nature(False, False),
    FaultKind.CLOCK_SKEW: Nature(True, True),
    FaultKind.EXPIRED_IN_MATCH: Nature(True, True),
    FaultKind.ERROR: Nature(None, False),
    FaultKind.LATE_ANSWER: Nature(True, True),
    **dict.fromkeys(STREAM_KINDS, Nature(True, True)),  # an event is told of what has happened already
}


ANSWERS_AT_ONCE = (
    frozenset(FaultKind)
    - STREAM_KINDS
    - {
        FaultKind.DELAY,
        FaultKind.SLOW_BODY,
        FaultKind.LATE_ANSWER,
        FaultKind.CLOCK_SKEW,
        FaultKind.EXPIRED_IN_MATCH,
    }
)
"""The kinds whose answer doesn't depend on the books, so the request may take effect later."""


class FaultError(ValueError):
    """A fault that contradicts itself; the text names the field."""


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault to arm.

    It hits requests with this method and path (`*` for any), and with this symbol and client order id if given; the
    path may also be a method of the WebSocket API, such as `order.place`. A stream's fault hits events instead: those
    whose name (`e` in their text) is `event`, on any connection. `pong` is the answer to a client's ping.

    Of these it lets `skip` pass, then hits the next `times`, or each with `probability`, drawn from a generator with
    `seed`. `delay_ms` is real time; a `delay`, `slow_body`, `late_answer` or `lag_stream` without it waits for a
    release. `retry_after_s` goes into the header of a 429 or 418, without `retry_after_header` only into the text of a
    ban. `skew_ms`: how far the server's clock runs ahead for the request. `late_ms`: the client gets the fault's answer
    at once, and the request takes effect when the server's clock has gone that far on, though its recvWindow ended long
    before. An `error` answers `status` with a body of `code` and `msg`; without them it takes the exchange's own for
    the code.
    """

    kind: FaultKind
    method: str = "POST"
    path: str = "/fapi/v1/order"
    event: str = ANY
    symbol: str | None = None
    client_order_id: str | None = None
    times: Annotated[int, Meta(ge=1)] | None = None
    skip: Annotated[int, Meta(ge=0)] = 0
    probability: Decimal | None = None
    seed: int = 0
    accept: bool | None = None
    delay_ms: Annotated[int, Meta(ge=0)] | None = None
    retry_after_s: Annotated[int, Meta(ge=0)] = 30
    retry_after_header: bool = True
    skew_ms: int = 60_000
    late_ms: Annotated[int, Meta(ge=1)] | None = None
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    code: int = -1000
    msg: str | None = None

    def __post_init__(self) -> None:
        accepts = NATURE[self.kind].accepts
        if self.accept is not None and accepts is not None and self.accept is not accepts:
            raise FaultError(f"accept: a {self.kind} always means {str(accepts).lower()}")
        if self.late_ms is not None:
            if self.kind not in ANSWERS_AT_ONCE:
                raise FaultError(f"late_ms: the answer of a {self.kind} waits for the request's effect")
            if accepts is False or self.accept is False:
                raise FaultError("late_ms: the request must take effect")
        chance = self.probability
        if chance is not None and not (chance.is_finite() and 0 <= chance <= 1):
            raise FaultError(f"probability: {chance} is not between 0 and 1")

    @property
    def accepts(self) -> bool:
        """Whether the hit requests take effect, at once or late."""
        if self.late_ms is not None:
            return True
        return NATURE[self.kind].default if self.accept is None else self.accept

    @property
    def limit(self) -> int | None:
        """How many requests the fault hits: `times`; without it any number with a probability, else one."""
        return self.times if self.times is not None or self.probability is not None else 1


class RequestView(Struct, frozen=True):
    """The parts of a request that a fault can match. `name` is its method in the WebSocket API."""

    method: str
    path: str
    symbol: str | None
    client_order_id: str | None
    name: str | None = None


class EventView(Struct, frozen=True):
    """The parts of a stream's event that a fault can match."""

    event: str
    symbol: str | None = None
    client_order_id: str | None = None


class _Armed:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.hits = 0
        self._draws = random.Random(fault.seed)

    @property
    def spent(self) -> bool:
        return self.fault.limit is not None and self.hits >= self.fault.limit

    def strikes(self, request: RequestView | EventView) -> bool:
        if self.spent or not _matches(self.fault, request):
            return False
        self.seen += 1
        if self.seen <= self.fault.skip:
            return False
        # In millionths, so that no float decides; one draw per matching request keeps a seed's course repeatable.
        chance = self.fault.probability
        if chance is not None and self._draws.randrange(1_000_000) >= chance * 1_000_000:
            return False
        self.hits += 1
        return True


def _matches(fault: Fault, request: RequestView | EventView) -> bool:
    of_stream = fault.kind in STREAM_KINDS
    if isinstance(request, EventView):
        named = of_stream and fault.event in (ANY, request.event)
    elif request.name is not None and fault.path == request.name:
        named = not of_stream
    else:
        named = not of_stream and fault.method in (ANY, request.method) and fault.path in (ANY, request.path)
    return named and fault.symbol in (None, request.symbol) and fault.client_order_id in (None, request.client_order_id)


class FaultPlan:
    """The armed faults, in the order of their arming. The first fault that matches a request or an event hits it.

    A spent fault is looked at no more. The report shows the last of them.
    """

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self._spent: deque[_Armed] = deque(maxlen=_SPENT_SHOWN)

    def arm(self, faults: Sequence[Fault]) -> None:
        self._armed.extend(_Armed(fault) for fault in faults)

    def clear(self) -> None:
        self._armed.clear()
        self._spent.clear()

    def strike(self, request: RequestView | EventView) -> Fault | None:
        """The fault that hits this request or event, or None. Counts the hit."""
        armed = next((armed for armed in self._armed if armed.strikes(request)), None)
        if armed is None:
            return None
        if armed.spent:
            self._armed.remove(armed)
            self._spent.append(armed)
        return armed.fault

    def report(self) -> list[dict[str, object]]:
        """The armed faults with their hits, after those that were spent last."""
        return [
            {**msgspec.to_builtins(armed.fault), "hits": armed.hits, "spent": armed.spent}
            for armed in (*self._spent, *self._armed)
        ]


def parse_faults(text: bytes) -> list[Fault]:
    """Reads one fault or a list of faults from JSON. Raises FaultError, which names the problem."""
    try:
        if text.lstrip()[:1] == b"[":
            return msgspec.json.decode(text, type=list[Fault])
        return [msgspec.json.decode(text, type=Fault)]
    except msgspec.ValidationError as problem:
        raise FaultError(str(problem)) from problem
    except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as problem:
        raise FaultError(f"not JSON: {problem}") from problem
