"""The gate beside the guards that a service has: it only observes, and they decide.

Run it so for some days before the gate takes over. Every line of output says what the old guards and the gate think of
one signal; where they disagree, look at the reason. Then set mode="enforce" and delete the old guards.

It reads signals from standard input, one JSON object a line:

    {"id": "sig-81", "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.002", "timestamp": 1790000000000}

For a trial, `gate paper --port 8890 --key demo --secret demo` is the exchange. The store is the Redis of
the old guards:

    export GATE_URL=redis://127.0.0.1:6379/0 GATE_EXCHANGE_URL=http://127.0.0.1:8890
    export BINANCE_API_KEY=demo BINANCE_API_SECRET=demo
    python examples/observe.py < signals.jsonl
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from typing import Any

import redis
from binance import Client

from gate import Gate, Intent, InvalidIntent, Policy
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
        for line in sys.stdin:
            print(handle(gate, client, store, json.loads(line)), flush=True)


def handle(gate: Gate, client: Client, store: redis.Redis, signal: dict[str, Any]) -> str:
    """Takes one signal to its end, and says what the old guards and the gate think of it."""
    try:
        intent = Intent(**signal)
    except (InvalidIntent, TypeError) as problem:
        return f"INVALID {problem}"
    if intent.order_type != "MARKET" or intent.quantity is None:
        return "INVALID this service sends market orders of a given quantity"

    with gate.guard(intent) as held:
        if not held:
            # Observing, the gate denies only without an answer from the store.
            return f"{intent.id} gate: {held.verdict.reason} {held.verdict.detail}"
        old_says = old_guards(store, intent)
        # The gate says ADMITTED, or the reason for which it would deny.
        both = f"{intent.id} old guards: {old_says}, gate: {held.verdict.reason}"
        if old_says != "ADMITTED":
            held.unsent("OLD_GUARDS", old_says)  # the gate takes back what it has counted
            return both
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
