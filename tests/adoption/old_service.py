"""The shape of the service that the gate replaces: guards of one command each, read and written apart, as they ran.

Its faults are kept: an intent that a later guard denies is used up, safe mode is written and never read, a crash
between SETNX and EXPIRE leaves a lock for good.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from decimal import ROUND_DOWN, Decimal
from typing import Any

import redis
from binance import Client
from binance.exceptions import BinanceAPIException

FILLED = "TERMINAL STATE: FILLED"
_NO_MARGIN = -2019


class OldService:
    """Reads intents from the stream and executes them, one after the other."""

    def __init__(self, store: redis.Redis, client: Client, prefix: str = "quantum") -> None:
        self.store, self.client, self.p = store, client, prefix
        self.stream = f"{prefix}:stream:trade.intent"
        self.group = f"{prefix}:group:execution:trade.intent"
        self.order_id = ""
        info = client.futures_exchange_info()
        self.steps = {
            row["symbol"]: Decimal(each["stepSize"])
            for row in info["symbols"]
            for each in row["filters"]
            if each["filterType"] == "LOT_SIZE"
        }

    def take(self) -> list[str]:
        """Handles what is new in the stream. What became of each, in the words of its log."""
        with suppress(redis.ResponseError):  # BUSYGROUP: there is one
            self.store.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        read: Any = self.store.xreadgroup(self.group, "execution-host-1", {self.stream: ">"}, count=100)
        said = []
        for _, messages in read:
            for number, fields in messages:
                said.append(self.handle(json.loads(fields[b"payload"])))
                self.store.xack(self.stream, self.group, number)
        return said

    def handle(self, payload: Mapping[str, Any]) -> str:
        symbol, side = payload["symbol"], payload["side"]
        store, p = self.store, self.p
        processed, lock = f"{p}:exec:processed:{symbol}_{payload['timestamp']}", f"{p}:exec:lock:{symbol}:{side}"
        if not store.setnx(processed, "1"):
            return "IDEMPOTENCY_SKIP"
        store.expire(processed, 3600)
        if not store.setnx(lock, "1"):
            return "LOCK_SKIP"
        store.expire(lock, 30)
        try:
            if store.exists(f"{p}:exec:rate:symbol:{symbol}"):
                return "RATE_LIMIT_SKIP"
            orders: Any = store.get(f"{p}:exec:rate:global")
            if orders is not None and int(orders) >= 5:
                store.execute_command("SETEX", f"{p}:safety:cooldown_global", 300, "1")
                return "GLOBAL_RATE_LIMIT"
            return self._send(payload)
        finally:
            store.delete(lock)

    def _send(self, payload: Mapping[str, Any]) -> str:
        symbol, store, p = payload["symbol"], self.store, self.p
        price = Decimal(self.client.futures_symbol_ticker(symbol=symbol)["price"])
        step = self.steps[symbol]
        quantity = (Decimal(str(payload["position_size_usd"])) / price / step).to_integral_value(ROUND_DOWN) * step
        try:
            order = self.client.futures_create_order(
                symbol=symbol, side=payload["side"], type="MARKET", quantity=f"{quantity:f}"
            )
        except BinanceAPIException as error:
            if error.code != _NO_MARGIN:
                raise
            failures: Any = store.incr(f"{p}:exec:margin_failures")
            store.expire(f"{p}:exec:margin_failures", 300)
            store.execute_command("SETEX", f"{p}:safety:cooldown_symbol:{symbol}", 300, "1")
            if failures >= 5:
                store.execute_command("SETEX", f"{p}:safety:safe_mode", 900, "1")
                return "SAFE MODE TRIGGERED"
            return "INSUFFICIENT MARGIN"
        self.order_id = str(order["orderId"])
        store.execute_command("SETEX", f"{p}:exec:rate:symbol:{symbol}", 30, "1")
        store.incr(f"{p}:exec:rate:global")
        store.expire(f"{p}:exec:rate:global", 60)
        store.xadd(f"{p}:stream:execution.result", {"symbol": symbol, "order_id": self.order_id, "status": "filled"})
        return FILLED


# What its operators and the programs beside it do, as they do it with redis-cli.


def safety_kernel_says_safe_mode(store: redis.Redis) -> bool:
    """It reads safe mode by comparing."""
    return store.get("quantum:safety:safe_mode") == b"1"


def telemetry_of_safe_mode(store: redis.Redis) -> int:
    """It reads it as a number."""
    value: Any = store.get("quantum:safety:safe_mode")
    return int(value or 0)


def verified(store: redis.Redis) -> tuple[list[str], int]:
    """`--scan --pattern 'quantum:safety:*'`, GET and TTL of two of them, and the count of what was processed."""
    safety = sorted(key.decode() for key in store.scan_iter(match="quantum:safety:*"))
    for key in ("quantum:safety:safe_mode", "quantum:safety:cooldown_global"):
        assert store.get(key) in (None, b"1")
        assert store.ttl(key) != -1, "none stays on for good"
    return safety, sum(1 for _ in store.scan_iter(match="quantum:exec:processed:*"))


def delete_safety_keys(store: redis.Redis) -> None:
    """The first roll-back: trading goes on at once."""
    store.delete("quantum:safety:safe_mode", "quantum:safety:cooldown_global")
    for key in store.scan_iter(match="quantum:safety:cooldown_symbol:*"):
        store.delete(key)


def delete_exec_keys(store: redis.Redis) -> None:
    """The second: all that the executor remembers."""
    for key in store.scan_iter(match="quantum:exec:*"):
        store.delete(key)
