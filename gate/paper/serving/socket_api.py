"""The WebSocket API: requests over one connection, through the same door as those over HTTP."""

from __future__ import annotations

import asyncio

import msgspec

from gate.paper.market.errors import MESSAGES, Code
from gate.paper.rest.socket_methods import SocketCall, UnreadableCall, read_call, socket_answer
from gate.paper.serving.broken_answers import BrokenAnswer, broken_answer
from gate.paper.serving.faults import Fault, FaultKind
from gate.paper.serving.holding import Holds
from gate.paper.serving.socket_line import Drop, SocketLine
from gate.paper.serving.venue import Arrival, Reply, Request, Venue

_HELD_ANSWERS = (FaultKind.SLOW_BODY, FaultKind.LATE_ANSWER)
_DROPS = (FaultKind.ACCEPT_THEN_DROP, FaultKind.DROP_BEFORE_ACCEPT, FaultKind.RESET, FaultKind.REDIRECT_302)


class SocketApi:
    """Answers the requests of one connection. Those that a fault holds don't hold the others."""

    def __init__(self, venue: Venue, line: SocketLine, holds: Holds, address: str) -> None:
        self._venue = venue
        self._line = line
        self._holds = holds
        self._address = address
        self._suffering: set[asyncio.Task[None]] = set()

    def hear(self, text: bytes) -> None:
        try:
            call = read_call(text)
        except UnreadableCall as problem:
            self._line.say(problem.answer)
            return
        method, path = call.route
        request = Request(method, path, call.signed, "", call.api_key, self._address, name=call.method)
        arrival = self._venue.arrive(request, call.params)
        fault = self._venue.fault_for(arrival)
        if fault is None:
            self._answer_now(call, arrival)
            return
        task = asyncio.create_task(self._suffer(call, arrival, fault))
        self._suffering.add(task)
        task.add_done_callback(self._suffering.discard)

    def end(self) -> None:
        for task in self._suffering:
            task.cancel()

    def _answer_now(self, call: SocketCall, arrival: Arrival, skew_ms: int = 0, *, self_trade: bool = False) -> None:
        """The answer of now. Then its events are made, as behind an answer over HTTP."""
        self._answer(call, self._venue.answer_first(arrival, skew_ms, self_trade=self_trade))
        asyncio.get_running_loop().call_soon(self._venue.hub.tell)

    def _answer(self, call: SocketCall, reply: Reply) -> None:
        self._line.say(socket_answer(call, reply.status, reply.body, self._venue.limits_of(reply)))

    async def _suffer(self, call: SocketCall, arrival: Arrival, fault: Fault) -> None:
        if fault.kind is FaultKind.CLOCK_SKEW:
            self._answer_now(call, arrival, fault.skew_ms)
        elif fault.kind is FaultKind.EXPIRED_IN_MATCH:
            self._answer_now(call, arrival, self_trade=True)
        elif fault.kind is FaultKind.DELAY:
            async with self._holds.hold(fault.delay_ms):
                self._answer_now(call, arrival)
        else:
            reply = None
            if fault.late_ms is not None:
                self._venue.answer_late(arrival, fault.late_ms)
            elif fault.accepts:
                reply = self._venue.answer(arrival)
            if fault.kind in _DROPS:
                self._line.put(Drop())
            elif fault.kind in _HELD_ANSWERS and reply is not None:
                async with self._holds.hold(fault.delay_ms):
                    self._answer(call, reply)
            else:
                self._line.say(_broken(call, broken_answer(fault, arrival)))


def _broken(call: SocketCall, broken: BrokenAnswer) -> bytes:
    """A broken answer as far as it makes sense without HTTP: a page or a list comes as it is, a text with a code."""
    try:
        body = msgspec.json.decode(broken.body or b"{}")
    except msgspec.DecodeError:
        return broken.body
    if not isinstance(body, dict):
        return broken.body
    if broken.status >= 400 and "code" not in body:
        # Over HTTP these come without a code, which this API's shape has no room for.
        code = Code.UNEXPECTED_RESPONSE if "Unknown" in str(body.get("msg")) else Code.DISCONNECTED
        body = {"code": int(code), "msg": body.get("msg") or MESSAGES[code]}
    return socket_answer(call, broken.status, msgspec.json.encode(body), [])
