"""The calls of one checkout, measured on a server that another process has started. benchmarks/compare.py runs this
file once for each checkout, so it uses nothing of the gate but what all checkouts have.

Reads lines `KIND CALLS` and answers each with a line of JSON.
"""

from __future__ import annotations

import itertools
import json
import secrets
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final

import redis

from gate.protocol.codec import Protocol
from gate.protocol.keyspace import Keyspace
from gate.protocol.scripts import script
from gate.values.intent import Intent
from gate.values.outcome import Outcome
from gate.values.policy import Policy

Words = tuple[str | int | bytes, ...]
_EMPTY: Final = "#!lua flags=no-writes\nreturn 1"
_FULL_WINDOW: Final = 5
_IN_FLIGHT: Final = 64
_EXPECTED: Final = {
    "admission": b"admitted ",
    "window": b"admitted ",
    "in_flight": b"admitted ",
    "exit": b"admitted ",
    "duplicate": b"DUPLICATE ",
    "locked": b"LOCKED ",
    "rate_symbol": b"RATE_SYMBOL ",
    "settle": b"SETTLED ",
}


class OneKind:
    """One account and one kind of call. Every call finds the account as the call before has found it."""

    def __init__(self, client: redis.Redis, run_id: str, empty_sha: str, prefix: str, kind: str) -> None:
        self._client, self._run_id, self._empty_sha, self._kind = client, run_id, empty_sha, kind
        self._numbers = itertools.count()
        self._began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        limit = _FULL_WINDOW if kind == "window" else 100_000
        self._policy = Policy(
            rate_symbol_limit=1,
            rate_symbol_window_ms=600_000,
            rate_global_limit=limit,
            max_in_flight=1_000,
            lock_ttl_ms=300_000,
        )
        self._keys = Keyspace(f"{prefix}:{kind}")
        self._protocol = Protocol(self._keys, self._policy)
        client.hset(self._keys.state, mapping={"fence": 0, "since": 1, "run_id": run_id})
        if kind == "in_flight":
            for _ in range(_IN_FLIGHT - 1):
                self._ask(self._evaluate(self._intent())[0], b"admitted ")
        elif kind == "window":
            client.rpush(self._keys.rate_global, *[self._old()] * _FULL_WINDOW)
        elif kind in ("duplicate", "locked", "rate_symbol"):
            self._first = self._intent()
            first, token = self._evaluate(self._first)
            self._ask(first, b"admitted ")
            if kind != "locked":
                self._client.execute_command(*self._settlement(self._first, token))

    def calls(self, count: int) -> list[tuple[Words, list[Words], list[Words]]]:
        """Calls, and for each the commands that restore the account after it, and those that go before it."""
        made: list[tuple[Words, list[Words], list[Words]]] = []
        for _ in range(count):
            if self._kind in ("duplicate", "locked", "rate_symbol"):
                intent = self._first if self._kind == "duplicate" else self._intent(self._first.symbol)
                made.append((self._evaluate(intent)[0], [], []))
                continue
            intent = self._intent()
            call, token = self._evaluate(intent)
            forget = ("DEL", self._keys.record(intent.id), self._keys.rate_symbol(intent.symbol))
            if self._kind == "settle":
                admit = ("EVAL", script("evaluate").source, *call[2:])
                settle = ("EVALSHA", script("settle").sha, *self._settlement(intent, token)[2:])
                made.append((settle, [forget, ("LTRIM", self._keys.rate_global, 0, 3)], [admit]))
                continue
            restore: list[Words] = [self._settlement(intent, token), forget]
            if self._kind == "window":
                restore.append(("LSET", self._keys.rate_global, 0, self._old()))
            else:
                restore.append(("LTRIM", self._keys.rate_global, 0, 3))
            made.append((call, restore, []))
        return made

    def run(self, count: int) -> tuple[float, float]:
        """Server time of one call and of an empty script behind it, in µs."""
        made = self.calls(count)
        pipeline: Any = self._client.pipeline(transaction=False)
        places = []
        empty = ("EVALSHA_RO", self._empty_sha, 0)
        for number, (call, restore, prepare) in enumerate(made, start=1):
            for command in prepare:
                pipeline.execute_command(*command)
            places.append(len(pipeline))
            # One more after every 48: benchmarks/batches.py tells why.
            for command in (call, *[empty] * (2 if number % 48 == 0 else 1), *restore):
                pipeline.execute_command(*command)
        self._client.config_resetstat()
        replies = pipeline.execute(raise_on_error=False)
        spent: Any = self._client.info("commandstats")
        for place in places:
            if not isinstance(replies[place], bytes) or not replies[place].startswith(_EXPECTED[self._kind]):
                raise SystemExit(f"{self._kind}: not what is to be measured: {replies[place]!r}")
        return spent["cmdstat_evalsha"]["usec_per_call"], spent["cmdstat_evalsha_ro"]["usec_per_call"]

    def words(self) -> dict[str, object]:
        """The commands and arguments of one call."""
        ((call, restore, prepare),) = self.calls(1)
        for command in prepare:
            self._client.execute_command(*command)
        self._client.config_resetstat()
        self._client.execute_command(*call)
        spent: Any = self._client.info("commandstats")
        for command in restore:
            self._client.execute_command(*command)
        inside = {
            name.removeprefix("cmdstat_").upper(): each["calls"]
            for name, each in spent.items()
            if name not in ("cmdstat_evalsha", "cmdstat_info", "cmdstat_config|resetstat")
        }
        return {"commands": inside, "arguments": len(call) - 3}

    def _old(self) -> int:
        return time.time_ns() // 1_000_000 - 10 * self._policy.rate_global_window_ms

    def _intent(self, on_symbol: str | None = None) -> Intent:
        number = next(self._numbers)
        letters, left = "", number
        for _ in range(4):
            left, letter = divmod(left, 26)
            letters = chr(ord("A") + letter) + letters
        symbol = on_symbol or f"{letters}USDT"
        return Intent(
            id=f"{symbol}_{self._began}.{number:06}",
            symbol=symbol,
            side="SELL" if self._kind == "exit" else "BUY",
            notional="200",
            leverage=5,
            reduce_only=self._kind == "exit",
            timestamp=time.time_ns() // 1_000_000,
        )

    def _evaluate(self, intent: Intent) -> tuple[Words, str]:
        token = secrets.token_urlsafe(12)
        call = self._protocol.evaluate(intent, token, 0, self._protocol.reserve(intent))
        return self._words(call), token

    def _settlement(self, intent: Intent, token: str) -> Words:
        """As EVAL, which commandstats doesn't count as EVALSHA."""
        permit: Any = SimpleNamespace(
            intent_id=intent.id, symbol=intent.symbol, side=intent.side, token=token, admission=""
        )
        call = self._words(self._protocol.settle(permit, Outcome.placed("83897651234")))
        return ("EVAL", script("settle").source, *call[2:])

    def _words(self, call: Any) -> Words:
        """The call word by word, as this checkout has it: older ones give the words themselves."""
        if hasattr(call, "words"):
            words: Words = call.words(self._run_id)
            return words
        return tuple(self._run_id if word == "-server-" else word for word in call)

    def _ask(self, call: Words, expected: bytes) -> None:
        reply: Any = self._client.execute_command(*call)
        if not reply.startswith(expected):
            raise SystemExit(f"{self._kind}: {reply!r}")


def main(port: int, prefix: str) -> None:
    """Answers until its input ends."""
    client = redis.Redis(host="127.0.0.1", port=port)
    about: Any = client.info("server")
    for name in ("evaluate", "settle"):
        client.script_load(script(name).source)
    empty_sha = client.script_load(_EMPTY)
    kinds: dict[str, OneKind] = {}
    for line in sys.stdin:
        kind, count = line.split()
        if kind not in kinds:
            kinds[kind] = OneKind(client, about["run_id"], empty_sha, prefix, kind)
        answer = kinds[kind].run(int(count)) if int(count) else kinds[kind].words()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
