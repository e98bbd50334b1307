"""The answers that faults give in place of the exchange's."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from gate.paper.market.errors import MESSAGES, Code, error_of
from gate.paper.rest.answers import error_body
from gate.paper.rest.limits import banned, too_many_requests
from gate.paper.serving.faults import Fault, FaultKind
from gate.paper.serving.venue import Arrival

_JSON = "application/json"

# The live exchange's 503s carry a path and no code.
_TEXTS_503 = {
    FaultKind.UNKNOWN_503: "Unknown error, please check your request or try again later.",
    FaultKind.UNAVAILABLE_503: "Service Unavailable.",
    FaultKind.INTERNAL_503: "Internal error; unable to process your request. Please try again.",
}


class BrokenAnswer(Struct, frozen=True):
    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    content_type: str = _JSON


def broken_answer(fault: Fault, arrival: Arrival) -> BrokenAnswer:
    """The answer of a fault, for the kinds that send one."""
    kind = fault.kind
    if kind in _TEXTS_503:
        text = _TEXTS_503[kind]
        body = {"timestamp": arrival.received_ms, "path": arrival.request.path, "msg": text}
        return BrokenAnswer(503, msgspec.json.encode(body))
    if kind is FaultKind.TIMEOUT_1007:
        return BrokenAnswer(408, msgspec.json.encode({"code": int(Code.TIMEOUT), "msg": MESSAGES[Code.TIMEOUT]}))
    if kind is FaultKind.ERROR:
        refusal = error_of(fault.code, fault.msg, fault.status)
        return BrokenAnswer(refusal.status, msgspec.json.encode(error_body(refusal)))
    if kind is FaultKind.HTML_502:
        page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
        return BrokenAnswer(502, page.encode(), content_type="text/html")
    if kind is FaultKind.EMPTY_200:
        return BrokenAnswer(200, b"")
    if kind is FaultKind.JSON_LIST:
        return BrokenAnswer(500, b"[]")
    if kind is FaultKind.REDIRECT_302:
        return BrokenAnswer(302, b"", {"Location": "/fapi/v1/ping"}, "application/octet-stream")
    if kind is FaultKind.RATE_LIMITED_429:
        refusal = too_many_requests(2_400, arrival.request.address, fault.retry_after_s)
    else:
        refusal = banned(arrival.received_ms + fault.retry_after_s * 1_000, fault.retry_after_s)
    headers = {"Retry-After": str(fault.retry_after_s)} if fault.retry_after_header else {}
    return BrokenAnswer(refusal.status, msgspec.json.encode(error_body(refusal)), headers)
