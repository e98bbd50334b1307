"""The gate beside the guards that a service has: it only observes, and they decide.

Run it so for some days before the gate takes over. Every line of output says what the old guards decided on one signal,
and what the gate would say. Where they disagree, look at the reason. Then set mode="enforce" and delete the old guards.

**What the old guards admit is sent, whatever the gate would say**: an order for a STALE signal too. Nothing is sent
during a halt (`gate halt`), which binds those that observe too, and when the gate gets no sound answer from the store.

All that the gate writes is under keys of its own, `quantum:observe:…`: it can stand beside guards whose keys have the
same prefix.

It reads signals from standard input, one JSON object a line. A blank line is skipped. A line that can't be read is
named, and the others go on.

For a trial, `GATE_PAPER_SECRETS=demo gate paper --port 8890 --key demo` is the exchange. The store is the Redis of
the old guards, to which the gate's account is new:

    export GATE_URL=redis://127.0.0.1:6379/0 GATE_EXCHANGE_URL=http://127.0.0.1:8890
    export BINANCE_API_KEY=demo BINANCE_API_SECRET=demo
    echo '{"id": "observe-1", "symbol": "SOLUSDT", "side": "BUY", "quantity": "2", "timestamp": '$(date +%s)000'}' |
        python examples/observe.py
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from typing import Any

import redis
from binance import Client

from gate import Gate, Intent, Policy
from gate.exchange.consequences import outcome_of


def main() -> None:
    client = Client(
        os.environ["BINANCE_API_KEY"],
        os.environ["BINANCE_API_SECRET"],
        requests_params={"allow_redirects": False, "timeout": 10},
        ping=False,
    )
    client.FUTURES_URL = os.environ["GATE_EXCHANGE_URL"] + "/fapi"  # without this line it is the real exchange
    url = os.environ["GATE_URL"]
    with (
        closing(redis.Redis.from_url(url)) as store,
        Gate.from_url(url, policy=Policy(mode="observe")) as gate,
    ):
        for number, line in enumerate(sys.stdin.buffer, start=1):
            if not line.strip():
                continue
            try:
                intent = read(line)
            except Exception as problem:  # one bad line doesn't hold up the others
                print(f"INVALID line {number}: {problem}", flush=True)
            else:
                print(handle(gate, client, store, intent), flush=True)


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


def handle(gate: Gate, client: Client, store: redis.Redis, intent: Intent) -> str:
    """Does what the old guards say, and tells what the gate would say."""
    with gate.guard(intent) as held:
        if not held:
            # Observing, the gate denies only during a person's halt, or without a sound answer from the store.
            return f"{intent.id} gate: {held.verdict.reason} {held.verdict.detail}"
        old_says = old_guards(store, intent)
        # Here the gate's reason is ADMITTED, or that of the guard that would deny. Observing, it stops nothing.
        both = f"{intent.id} old guards: {old_says}, gate would say: {held.verdict.reason}"
        if old_says != "ADMITTED":
            held.unsent("OLD_GUARDS", old_says)  # the gate takes back what it has counted
            return both
        # The old guards decide: the order is sent for a STALE intent too, as without the gate.
        try:
            order = send(client, intent, held.client_order_id)
        except Exception as error:
            outcome = outcome_of(error, gate.policy)
            held.settle(outcome)
            return f"{both}, {outcome.kind.upper()} {outcome.note}"
        held.placed(order["orderId"])
        return f"{both}, PLACED {order['orderId']}"


def old_guards(store: redis.Redis, intent: Intent) -> str:
    """What the service has: each signal once an hour, ten orders a minute. They keep the dedup while the gate observes,
    for then the gate lets a duplicate pass."""
    if not store.set(f"bot:seen:{intent.id}", 1, nx=True, ex=3600):
        return "SEEN"
    orders = store.incr("bot:orders")
    if orders == 1:
        store.expire("bot:orders", 60)
    return "ADMITTED" if orders <= 10 else "TOO_MANY"


def send(client: Client, intent: Intent, client_order_id: str) -> dict[str, Any]:
    """The order placement that the service has. Only newClientOrderId is new."""
    terms = {"symbol": intent.symbol, "side": intent.side, "type": "MARKET", "quantity": f"{intent.quantity:f}"}
    if intent.reduce_only:
        terms["reduceOnly"] = "true"
    answer: dict[str, Any] = client.futures_create_order(**terms, newClientOrderId=client_order_id)
    return answer


if __name__ == "__main__":
    main()
