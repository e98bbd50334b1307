"""A service on threads that leaves the orders to the executor: no event loop, no `await`.

It reads intents from standard input, one JSON object a line, in any shape that a stream carries, and executes them on
four threads. A blank line is skipped. A line that can't be read is named, and the others go on.

For a trial, `GATE_PAPER_SECRETS=demo gate paper --port 8890 --key demo` is the exchange. `gate init` says once that the
account is new. Without it, entries are denied for a minute, then the executor asks for an earlier order before it
sends one.

    export GATE_URL=redis://127.0.0.1:6379/0 GATE_EXCHANGE_URL=http://127.0.0.1:8890
    export BINANCE_API_KEY=demo BINANCE_API_SECRET=demo
    gate init --by ME --reason "a new account"
    echo '{"id": "blocking-1", "symbol": "BNBUSDT", "side": "BUY", "notional": "500", "timestamp": '$(date +%s)000'}' |
        python examples/blocking.py
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from gate import Reason
from gate.blocking import BlockingExecutor


def main() -> None:
    with (
        BlockingExecutor(  # one for the process; it also settles what is in doubt while it has nothing else to do
            os.environ["GATE_URL"],
            os.environ["BINANCE_API_KEY"],
            os.environ["BINANCE_API_SECRET"],
            base_url=os.environ["GATE_EXCHANGE_URL"],  # without this line it is the real exchange
        ) as executor,
        ThreadPoolExecutor(max_workers=4) as threads,
    ):
        lines = ((number, line) for number, line in enumerate(sys.stdin.buffer, start=1) if line.strip())
        for answer in threads.map(lambda numbered: handle(executor, *numbered), lines):
            print(answer, flush=True)


def handle(executor: BlockingExecutor, number: int, line: bytes) -> str:
    """Takes one intent to its end: an order that is filled or placed, or the reason why there is none."""
    try:
        intent = json.loads(line, parse_float=Decimal)  # a figure is never a float
    except Exception as problem:  # one bad line doesn't hold up the others
        return f"INVALID line {number}: {problem}"
    execution = executor.execute(intent)  # raises nothing that an intent, the store or the exchange can cause
    if execution.reason == Reason.INVALID:
        return f"INVALID line {number}: {execution.detail}"
    again = ", may be delivered again while it is fresh" if execution.retryable else ""
    return f"{execution.intent_id} {execution.state} {execution.reason} {execution.order_id or '-'}{again}"


if __name__ == "__main__":
    main()
