"""Endpoints of the listen key. They take the API key without a signature."""

from __future__ import annotations

from gate.paper.rest.endpoints import Body, KeyedEndpoint, Route, SignedCall


def open_key(call: SignedCall) -> Body:
    return {"listenKey": call.account.listen_key.open(call.now_ms)}


def extend_key(call: SignedCall) -> Body:
    return {"listenKey": call.account.listen_key.extend(call.now_ms)}


def close_key(call: SignedCall) -> Body:
    call.account.listen_key.close()
    return {}


ENDPOINTS: dict[Route, KeyedEndpoint] = {
    ("POST", "/fapi/v1/listenKey"): KeyedEndpoint(open_key),
    ("PUT", "/fapi/v1/listenKey"): KeyedEndpoint(extend_key),
    ("DELETE", "/fapi/v1/listenKey"): KeyedEndpoint(close_key),
}
