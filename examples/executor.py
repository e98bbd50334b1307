"""A service on asyncio that leaves the orders to the executor.

It reads intents from standard input, one JSON object a line, in any shape that a stream carries, and executes them all
at once. A blank line is skipped. A line that can't be read is named, and the others go on.

For a trial, `GATE_PAPER_SECRETS=demo gate paper --port 8890 --key demo` is the exchange. `gate init` says once that the
account is new. Without it, entries are denied for a minute, then the executor asks for an earlier order before it
sends one.

    export GATE_URL=redis://127.0.0.1:6379/0 GATE_EXCHANGE_URL=http://127.0.0.1:8890
    export BINANCE_API_KEY=demo BINANCE_API_SECRET=demo
    gate init --by ME --reason "a new account"
    echo '{"id": "executor-1", "symbol": "ETHUSDT", "side": "BUY", "notional": "500", "timestamp": '$(date +%s)000'}' |
        python examples/executor.py
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from decimal import Decimal

from gate import AsyncGate, Reason
from gate.exchange.binance import BinanceFutures
from gate.executor import Executor


async def main() -> None:
    logging.basicConfig(level=logging.INFO)  # the executor's log: one line for each terminal state
    async with (
        AsyncGate.from_url(os.environ["GATE_URL"]) as gate,
        BinanceFutures(
            os.environ["BINANCE_API_KEY"],
            os.environ["BINANCE_API_SECRET"],
            base_url=os.environ["GATE_EXCHANGE_URL"],  # without this line it is the real exchange
        ) as exchange,
        Executor(gate, exchange) as executor,  # settles what is in doubt while it has nothing else to do
        asyncio.TaskGroup() as tasks,
    ):
        for number, line in enumerate(sys.stdin.buffer, start=1):
            if line.strip():
                tasks.create_task(handle(executor, number, line))


async def handle(executor: Executor, number: int, line: bytes) -> None:
    """Takes one intent to its end: an order that is filled or placed, or the reason why there is none.

    It raises nothing: an exception in one task of the group would cancel all the others, exits too.
    """
    try:
        intent = json.loads(line, parse_float=Decimal)  # a figure is never a float
    except Exception as problem:
        print(f"INVALID line {number}: {problem}", flush=True)
        return
    execution = await executor.execute(intent)  # raises nothing that an intent, the store or the exchange can cause
    if execution.reason == Reason.INVALID:
        print(f"INVALID line {number}: {execution.detail}", flush=True)
        return
    print(execution.intent_id, execution.state, execution.reason, execution.order_id or "-", flush=True)
    if execution.retryable:
        print(execution.intent_id, "may be delivered again, while it is fresh", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
