"""A service that places its own orders, with the gate in front of them.

It reads signals from standard input, one JSON object a line, and sends market orders with python-binance's Client.
A blank line is skipped. A line that can't be read is named, and the others go on.

`timestamp` is when the strategy decided, in epoch milliseconds; `"reduce_only": true` marks an exit. For a trial,
`gate paper --port 8890 --key demo --secret demo` is the exchange, and `gate init` says once that the account is new:

    export GATE_URL=redis://127.0.0.1:6379/0 GATE_EXCHANGE_URL=http://127.0.0.1:8890
    export BINANCE_API_KEY=demo BINANCE_API_SECRET=demo
    gate init --by ME --reason "a new account"
    echo '{"id": "drop-in-1", "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.002", "timestamp": '$(date +%s)000'}' |
        python examples/drop_in.py
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from binance import Client
from binance.exceptions import BinanceAPIException

from gate import Gate, Intent, Permit, Policy
from gate.exchange.consequences import outcome_of

ON_ITS_WAY_MS = 6_500
"""The exchange may accept a request so long after its signing: recvWindow, and what its clock allows beyond it."""
NO_SUCH_ORDER = -2013
REQUEST_TIMEOUT_S = 10


def main() -> None:
    client = Client(
        os.environ["BINANCE_API_KEY"],
        os.environ["BINANCE_API_SECRET"],
        # A client that follows a redirect may send an order twice. The time-out is a third of a permit's life.
        requests_params={"allow_redirects": False, "timeout": REQUEST_TIMEOUT_S},
        ping=False,
    )
    client.FUTURES_URL = os.environ["GATE_EXCHANGE_URL"] + "/fapi"  # without this line it is the real exchange
    with Gate.from_url(os.environ["GATE_URL"], policy=Policy()) as gate:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            if not line.strip():
                continue
            try:
                intent = read(line)
            except Exception as problem:  # one bad line doesn't hold up the others
                print(f"INVALID line {number}: {problem}", flush=True)
            else:
                print(handle(gate, client, intent), flush=True)


def read(line: bytes) -> Intent:
    """The intent of one line. Raises what says why this service can't send it."""
    signal = json.loads(line)
    try:
        intent = Intent(**signal)
    except TypeError as problem:  # not an object, a field is missing, or one that no intent has
        raise ValueError(repr(str(problem))) from None  # repr: whatever the field's name, it stays on one line
    if intent.order_type != "MARKET" or intent.quantity is None:
        raise ValueError("this service sends market orders of a given quantity")
    return intent


def handle(gate: Gate, client: Client, intent: Intent) -> str:
    """Takes one intent to its end, and says what came of it."""
    with gate.guard(intent) as held:  # one round trip: everything is checked, and claimed
        if not held:
            return f"DENIED {held.verdict.reason} {held.verdict.detail}"

        if held.permit.verify:
            # The store is new, or has lost its memory: an earlier delivery may have placed the order already.
            try:
                order_id = earlier_order(client, held.permit)
            except Exception as error:
                held.unknown(f"look-up failed: {error}")  # it stays in doubt until `gate reconcile` finds out
                return f"UNKNOWN {error}"
            if order_id is not None:
                held.placed(order_id)
                return f"PLACED {order_id} by an earlier delivery"
            if held.permit.remaining_ms < (REQUEST_TIMEOUT_S + 2) * 1000:
                held.unsent("DEADLINE")  # too late to send; the intent may be delivered again
                return "UNSENT too little of the permit is left"

        try:
            order = send(client, intent, held.client_order_id)
        except Exception as error:
            outcome = outcome_of(error, gate.policy)  # refused for certain, or unknown: one table decides
            held.settle(outcome)
            return f"{outcome.kind.upper()} {outcome.note}"
        held.placed(order["orderId"])
        return f"PLACED {order['orderId']}"


def send(client: Client, intent: Intent, client_order_id: str) -> dict[str, Any]:
    """The order placement that the service had before. Only newClientOrderId is new."""
    terms = {"symbol": intent.symbol, "side": intent.side, "type": "MARKET", "quantity": f"{intent.quantity:f}"}
    if intent.reduce_only:
        terms["reduceOnly"] = "true"
    answer: dict[str, Any] = client.futures_create_order(**terms, newClientOrderId=client_order_id)
    return answer


def earlier_order(client: Client, permit: Permit) -> int | None:
    """The id of the order that an earlier delivery has placed; None once it is certain that there is none."""
    time.sleep(max(0, ON_ITS_WAY_MS - (permit.memory_age_ms or 0)) / 1000)
    try:
        order = client.futures_get_order(symbol=permit.symbol, origClientOrderId=permit.client_order_id)
    except BinanceAPIException as refusal:
        if refusal.code == NO_SUCH_ORDER:
            return None
        raise
    return int(order["orderId"])


if __name__ == "__main__":
    main()
