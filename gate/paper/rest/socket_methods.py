"""The methods of the WebSocket API, each as the REST request that it stands for. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from gate.paper.market.errors import Code, refuse
from gate.paper.rest.answers import Answer
from gate.paper.rest.endpoints import Route
from gate.paper.trading.params import Params

PATH = "/ws-fapi/v1"
HANDSHAKE_WEIGHT = 5

METHODS: Mapping[str, Route] = {
    "order.place": ("POST", "/fapi/v1/order"),
    "order.test": ("POST", "/fapi/v1/order/test"),
    "order.modify": ("PUT", "/fapi/v1/order"),
    "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.status": ("GET", "/fapi/v1/order"),
    "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
    "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
    "account.status": ("GET", "/fapi/v2/account"),
    "v2/account.status": ("GET", "/fapi/v3/account"),
    "account.balance": ("GET", "/fapi/v2/balance"),
    "v2/account.balance": ("GET", "/fapi/v3/balance"),
    "account.position": ("GET", "/fapi/v2/positionRisk"),
    "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
    "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
    "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
    "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
    "depth": ("GET", "/fapi/v1/depth"),
    "ticker.price": ("GET", "/fapi/v1/ticker/price"),
    "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
}

Number = int | str | None


class _Message(Struct):
    method: str = ""
    id: Number = None
    params: dict[str, msgspec.Raw] = {}


class SocketCall(Struct, frozen=True):
    """One message. `signed` is what the signature is over, with the signature, as a REST query would have it."""

    id: Number
    method: str
    route: Route
    params: Params
    signed: str
    api_key: str | None
    tells_limits: bool


class UnreadableCall(Exception):
    """A message that is no call; `answer` is the exchange's answer to it."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


def read_call(text: bytes) -> SocketCall:
    """Reads a message. The parameters keep the text in which they came, since that is what the client has signed."""
    try:
        message = msgspec.json.decode(text, type=_Message)
        values = {name: _text(raw) for name, raw in message.params.items()}
    except msgspec.MsgspecError:
        raise UnreadableCall(_refusal(None, Code.ILLEGAL_REQUEST)) from None
    route = METHODS.get(message.method)
    if route is None:
        raise UnreadableCall(_refusal(message.id, Code.UNSUPPORTED_OPERATION))
    rest = sorted((name, value) for name, value in values.items() if name != "signature")
    signed = "&".join(f"{name}={value}" for name, value in rest)
    return SocketCall(
        id=message.id,
        method=message.method,
        route=route,
        params=Params(values),
        signed=f"{signed}&signature={values.get('signature', '')}",
        api_key=values.get("apiKey"),
        tells_limits=values.get("returnRateLimits", "true").lower() != "false",
    )


def _text(raw: msgspec.Raw) -> str:
    """A parameter as the client has signed it: a string without its quotes, anything else as it is written."""
    written = bytes(raw)
    return msgspec.json.decode(written, type=str) if written.startswith(b'"') else written.decode()


def _refusal(number: Number, code: Code) -> bytes:
    refusal = refuse(code)
    error = {"code": refusal.code, "msg": refusal.message}
    return msgspec.json.encode({"id": number, "status": refusal.status, "error": error})


def socket_answer(call: SocketCall, status: int, body: bytes, limits: list[Answer]) -> bytes:
    """The answer of REST, as the WebSocket API wraps it."""
    answer: Answer = {"id": call.id, "status": status, ("result" if status < 400 else "error"): msgspec.Raw(body)}
    if call.tells_limits:
        answer["rateLimits"] = limits
    return msgspec.json.encode(answer)
