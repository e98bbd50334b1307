"""A service that places its own orders, with the gate in front of them.

It reads signals from standard input, one JSON object a line, and sends market orders with python-binance's Client.
A blank line is skipped. A line that can't be read is named, and the others go on.

`timestamp` is when the strategy decided, in epoch milliseconds; `"reduce_only": true` marks an exit. For a trial,
`GATE_PAPER_SECRETS=demo gate paper --port 8890 --key demo` is the exchange, and `gate init` says once that the account
is new:

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
from typing import Any

from binance import Client

from gate import Gate, GuardedPermit, Intent
from gate.exchange.order_finder import find_order

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
    with Gate.from_url(os.environ["GATE_URL"], find_order=find_order(client)) as gate:
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
    if intent.order_type != "MARKET" or intent.quantity is None or intent.side == "CLOSE":
        raise ValueError("this service sends market orders of a given quantity")
    return intent


def handle(gate: Gate, client: Client, intent: Intent) -> str:
    """Takes one intent to its end, and says what came of it."""
    try:
        with gate.guard(intent) as permit:  # one round trip: everything is checked, and claimed
            if permit.found:  # the store had lost its memory, and the gate has asked the exchange
                return f"PLACED {permit.found.order_id} by an earlier delivery"
            if not permit:
                return f"DENIED {permit.reason} {permit.detail}"
            order = send(client, intent, permit)
            permit.placed(order)
            return f"PLACED {order['orderId']}"
    except Exception as error:
        # The end of the block has settled what it means for the order. Its own text may hold a signed request.
        outcome = permit.outcome
        return f"{outcome.kind.upper()} {outcome.note}" if outcome else f"UNKNOWN {type(error).__name__}"


def send(client: Client, intent: Intent, permit: GuardedPermit) -> dict[str, Any]:
    """The order placement that the service had before. Only its client order id is new."""
    terms = {"symbol": intent.symbol, "side": intent.side, "type": "MARKET", "quantity": f"{intent.quantity:f}"}
    if permit.is_exit:
        terms["reduceOnly"] = "true"
    answer: dict[str, Any] = client.futures_create_order(**terms, **permit.id_parameter("MARKET"))
    return answer


if __name__ == "__main__":
    main()
