"""An account for the tests: its intents, its keys written out, and the contents of Redis."""

from __future__ import annotations

import time
from typing import Any

import redis

from gate import Intent, Permit, Verdict

# The keys of docs/protocol.md, for the prefix and the intent that the tests use. Written out on purpose.
RECORD = "quantum:exec:processed:sig-1"
LOCK = "quantum:exec:lock:BTCUSDT:BUY"
RATE_SYMBOL = "quantum:exec:rate:symbol:BTCUSDT"
RATE_GLOBAL = "quantum:exec:rate:global"
FAILURES = "quantum:exec:failures"
INFLIGHT = "quantum:exec:inflight"
STATE = "quantum:exec:state"
HALT = "quantum:safety:halt"
SAFE_MODE = "quantum:safety:safe_mode"
COOLDOWN_GLOBAL = "quantum:safety:cooldown_global"
COOLDOWN_SYMBOL = "quantum:safety:cooldown_symbol:BTCUSDT"
AUDIT = "quantum:safety:audit"
REASONS = "quantum:safety:reasons"
APPLIED = "quantum:safety:policy"
EXITS = "quantum:exec:inflight:exits"
PLACED = "quantum:exec:placed"
JOURNAL = "quantum:exec:audit"
TRIP = "quantum:exec:trip"

SYMBOLS = tuple(f"{name}USDT" for name in ("BTC", "ETH", "SOL", "XRP", "ADA", "BNB", "DOT", "LTC", "TRX", "UNI"))


def kept_of(text: str, phase: str) -> str:
    """What a record keeps of a token or a fingerprint, once its order is placed."""
    return text[:8] if phase == "placed" else text


def entry(id: str = "sig-1", symbol: str = "BTCUSDT", side: str = "BUY", **changes: Any) -> Intent:
    """An entry, decided now."""
    figures: dict[str, Any] = {"notional": "200", "leverage": 5, "timestamp": int(time.time() * 1000)}
    return Intent(id=id, symbol=symbol, side=side, **(figures | changes))


def exit_(id: str = "sig-1", symbol: str = "BTCUSDT", side: str = "BUY", **changes: Any) -> Intent:
    """An intent that only reduces."""
    return entry(id, symbol, side, **({"reduce_only": True} | changes))


def intent(exits: bool, id: str = "sig-1", **changes: Any) -> Intent:
    return exit_(id, **changes) if exits else entry(id, **changes)


def admitted(verdict: Verdict) -> Permit:
    """The permit of a verdict that must be an admission."""
    assert verdict.admitted, f"denied: {verdict.reason} {verdict.detail}"
    assert verdict.permit is not None
    return verdict.permit


def wait_out(client: redis.Redis, wait_ms: int = 60_000) -> None:
    """Makes a new memory older, by what its entries have to wait."""
    for field in ("since", "lost"):
        client.hincrby(STATE, field, -wait_ms)


def server_ms(client: redis.Redis) -> int:
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def text(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def keys(client: redis.Redis) -> set[str]:
    """The names of all keys."""
    return {text(key) for key in client.keys("*")}


def contents(client: redis.Redis) -> dict[str, tuple[object, int]]:
    """Every key with its exact bytes and the time of its expiry."""
    return {key: (_held(client, key), client.pexpiretime(key)) for key in sorted(keys(client))}


def _held(client: redis.Redis, key: str) -> object:
    # The server moves a hash's fields about in its memory while it grows, reads included, and DUMP shows that.
    return client.hgetall(key) if client.type(key) == b"hash" else client.dump(key)


def in_flight(client: redis.Redis) -> set[str]:
    """The intents of all permits without a final outcome, of entries and of exits."""
    return {text(each).partition(":")[2] for key in (INFLIGHT, EXITS) for each in client.zrange(key, 0, -1)}


def audit(client: redis.Redis) -> list[dict[str, str]]:
    """The audit stream, and what callers with users of their own note beside it, oldest first."""
    entries = [entry for key in (AUDIT, JOURNAL) for entry in client.xrange(key) or ()]
    entries.sort(key=lambda entry: [int(part) for part in text(entry[0]).split("-")])
    return [{text(name): text(value) for name, value in (fields or {}).items()} for _, fields in entries]
