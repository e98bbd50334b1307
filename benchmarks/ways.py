"""What a user would pick instead of the gate, and the gate itself, behind one face: admit an intent, finish it.

Each way is written once, for threads and for asyncio. It yields what a client gives back, which is the reply, or the
awaitable of it, and is sent the reply. Whoever drives a way may stop it between two commands.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

import limits
import limits.aio
import limits.aio.storage
import limits.aio.strategies
import limits.storage
import limits.strategies
import redis
import redis.asyncio
import throttled
import throttled.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import LockError
from redis.retry import Retry

from gate import AsyncGate, Gate, Intent, Outcome, Permit, Policy, Reason
from gate.protocol.keyspace import DEFAULT_PREFIX

T = TypeVar("T")
Steps = Generator[Any, Any, T]
"""One yield for each round trip."""

PATIENT_MS: Final = 5_000
_MOST_CONNECTIONS: Final = 256
_ORDER_ID: Final = "83897651234"
_DENIED: Final = {Reason.DUPLICATE: "duplicate", Reason.LOCKED: "locked"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a way says to an intent."""

    denied: str = ""
    """Empty for an admission, else `duplicate`, `locked`, `rate` or `switched`."""
    held: object = None
    """What the admitted one must give back."""


class Way(Protocol):
    """A way to decide whether an intent may become an order."""

    def admit(self, intent: Intent) -> Steps[Answer]:
        """Decides, and claims what an admission needs."""

    def finish(self, intent: Intent, answer: Answer) -> Steps[None]:
        """After the order of an admitted intent."""


class TheGate:
    """One script decides, another one settles."""

    def __init__(self, gate: Gate | AsyncGate) -> None:
        self._gate: Final = gate

    def admit(self, intent: Intent) -> Steps[Answer]:
        verdict = yield self._gate.evaluate(intent)
        if verdict.permit is None:
            return Answer(_DENIED.get(verdict.reason, "rate" if "RATE" in verdict.reason else "switched"))
        return Answer(held=verdict.permit)

    def finish(self, intent: Intent, answer: Answer) -> Steps[None]:
        assert isinstance(answer.held, Permit)
        yield self._gate.settle(answer.held, Outcome.placed(_ORDER_ID))


class _Plain:
    """Plain keys of one account, as the replaced services named them."""

    def __init__(self, client: Any, policy: Policy, name: str) -> None:
        self._client: Final = client
        self._policy: Final = policy
        self._name: Final = name

    def _record(self, intent: Intent) -> str:
        return f"{self._name}:exec:processed:{intent.id}"

    def _lock(self, intent: Intent) -> str:
        return f"{self._name}:exec:lock:{intent.symbol}:{intent.side}"

    def _rate_symbol(self, intent: Intent) -> str:
        return f"{self._name}:exec:rate:symbol:{intent.symbol}"

    @property
    def _rate_global(self) -> str:
        return f"{self._name}:exec:rate:global"

    @property
    def _safe_mode(self) -> str:
        return f"{self._name}:safety:safe_mode"


class TenCommands(_Plain):
    """One after the other, as the replaced services sent them; nine within a window that has begun.

    A symbol has one order in its window, whatever its limit.
    """

    def admit(self, intent: Intent) -> Steps[Answer]:
        client, policy = self._client, self._policy
        if not (yield client.setnx(self._record(intent), "1")):
            return Answer("duplicate")
        yield client.pexpire(self._record(intent), policy.dedup_ttl_ms)
        if (yield client.exists(self._rate_symbol(intent))):
            return Answer("rate")
        if int((yield client.get(self._rate_global)) or 0) >= policy.rate_global_limit:
            return Answer("rate")
        known = yield client.exists(self._rate_global)
        yield client.incr(self._rate_global)
        if not known:
            yield client.pexpire(self._rate_global, policy.rate_global_window_ms)
        if not (yield client.setnx(self._lock(intent), "1")):
            return Answer("locked")
        yield client.pexpire(self._lock(intent), policy.lock_ttl_ms)
        if (yield client.get(self._safe_mode)):
            return Answer("switched")
        return Answer()

    def finish(self, intent: Intent, answer: Answer) -> Steps[None]:
        yield self._client.set(self._rate_symbol(intent), "1", px=self._policy.rate_symbol_window_ms)
        yield self._client.delete(self._lock(intent))


class OnePipeline(_Plain):
    """The same commands in one round trip. All of them are done, whatever the first ones say."""

    def admit(self, intent: Intent) -> Steps[Answer]:
        policy, pipeline = self._policy, self._client.pipeline(transaction=False)
        pipeline.setnx(self._record(intent), "1")
        pipeline.pexpire(self._record(intent), policy.dedup_ttl_ms)
        pipeline.exists(self._rate_symbol(intent))
        pipeline.get(self._rate_global)
        pipeline.exists(self._rate_global)
        pipeline.incr(self._rate_global)
        pipeline.pexpire(self._rate_global, policy.rate_global_window_ms, nx=True)
        pipeline.setnx(self._lock(intent), "1")
        pipeline.pexpire(self._lock(intent), policy.lock_ttl_ms)
        pipeline.get(self._safe_mode)
        new, _, recent, _, _, count, _, unlocked, _, switched = yield pipeline.execute()
        if not new:
            denied = "duplicate"
        elif recent or count > policy.rate_global_limit:
            denied = "rate"
        elif not unlocked:
            denied = "locked"
        else:
            denied = "switched" if switched else ""
        if denied and unlocked:
            yield self._client.delete(self._lock(intent))
        return Answer(denied)

    def finish(self, intent: Intent, answer: Answer) -> Steps[None]:
        yield self._client.set(self._rate_symbol(intent), "1", px=self._policy.rate_symbol_window_ms)
        yield self._client.delete(self._lock(intent))


Hit = Callable[[str, str], Any]
"""Takes a place in the window of that kind (`symbol`, `account`) and name. Says whether there was one."""


class Parts(_Plain):
    """Good parts, put together with care: MGET of the switches, SET NX, redis-py's Lock, a limiter twice.

    What was claimed is given back by whom a later part denies.
    """

    def __init__(self, client: Any, policy: Policy, name: str, hit: Hit) -> None:
        super().__init__(client, policy, name)
        self._hit: Final = hit

    def admit(self, intent: Intent) -> Steps[Answer]:
        client, safety = self._client, f"{self._name}:safety"
        switches = ("halt", "safe_mode", "cooldown_global", f"cooldown_symbol:{intent.symbol}")
        if any((yield client.mget([f"{safety}:{each}" for each in switches]))):
            return Answer("switched")
        if not (yield client.set(self._record(intent), "1", nx=True, px=self._policy.dedup_ttl_ms)):
            return Answer("duplicate")
        lock = client.lock(self._lock(intent), timeout=self._policy.lock_ttl_ms / 1000, thread_local=False)
        if not (yield lock.acquire(blocking=False)):
            yield client.delete(self._record(intent))
            return Answer("locked")
        for kind, name in (("symbol", intent.symbol), ("account", self._name)):
            if not (yield self._hit(kind, name)):
                yield from self._release(lock)
                yield client.delete(self._record(intent))
                return Answer("rate")
        return Answer(held=lock)

    def finish(self, intent: Intent, answer: Answer) -> Steps[None]:
        yield from self._release(answer.held)

    def _release(self, lock: Any) -> Steps[None]:
        with suppress(LockError):  # it has lapsed
            yield lock.release()


@contextmanager
def sync_ways(url: str, policy: Policy, names: Collection[str]) -> Iterator[dict[str, Way]]:
    """For threads. `names`: of WAYS."""
    with ExitStack() as stack:
        client = stack.enter_context(
            redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), max_connections=_MOST_CONNECTIONS)
        )

        def gate() -> Way:
            return TheGate(stack.enter_context(Gate.from_url(url, policy=policy, timeout_ms=PATIENT_MS)))

        def hits_of_limits() -> Hit:
            storage = limits.storage.RedisStorage(url, max_connections=_MOST_CONNECTIONS)
            stack.callback(storage.storage.close)
            limiter = limits.strategies.MovingWindowRateLimiter(storage)
            items = _items(policy)
            return lambda kind, name: limiter.hit(items[kind], name)

        def hits_of_throttled() -> Hit:
            store = throttled.RedisStore(server=url, options={"REUSE_CONNECTION": False})
            its_client: Any = store._backend.get_client()
            stack.callback(its_client.connection_pool.disconnect)
            of_kind = {
                kind: throttled.Throttled(
                    using="sliding_window", quota=throttled.per_duration(window, limit), store=store
                )
                for kind, (window, limit) in _quotas(policy).items()
            }
            return lambda kind, name: not of_kind[kind].limit(f"{kind}:{name}").limited

        yield _made(names, client, policy, gate, hits_of_limits, hits_of_throttled)


@asynccontextmanager
async def async_ways(url: str, policy: Policy, names: Collection[str]) -> AsyncIterator[dict[str, Way]]:
    """For asyncio. `names`: of WAYS."""
    async with AsyncExitStack() as stack:
        client = redis.asyncio.Redis.from_url(url, max_connections=_MOST_CONNECTIONS)
        stack.push_async_callback(client.aclose)

        def gate() -> Way:
            opened = AsyncGate.from_url(url, policy=policy, timeout_ms=PATIENT_MS)
            stack.push_async_callback(opened.close)
            return TheGate(opened)

        def hits_of_limits() -> Hit:
            storage = limits.aio.storage.RedisStorage(
                f"async+{url}", implementation="redispy", max_connections=_MOST_CONNECTIONS
            )
            bridge: Any = storage.bridge
            stack.push_async_callback(bridge.storage.aclose)
            limiter = limits.aio.strategies.MovingWindowRateLimiter(storage)
            items = _items(policy)
            return lambda kind, name: limiter.hit(items[kind], name)

        def hits_of_throttled() -> Hit:
            store = throttled.asyncio.RedisStore(server=url)
            its_client: Any = store._backend.get_client()
            stack.push_async_callback(its_client.connection_pool.disconnect)
            of_kind = {
                kind: throttled.asyncio.Throttled(
                    using="sliding_window", quota=throttled.asyncio.per_duration(window, limit), store=store
                )
                for kind, (window, limit) in _quotas(policy).items()
            }

            async def hit(kind: str, name: str) -> bool:
                return not (await of_kind[kind].limit(f"{kind}:{name}")).limited

            return hit

        yield _made(names, client, policy, gate, hits_of_limits, hits_of_throttled)


def _made(
    names: Collection[str],
    client: Any,
    policy: Policy,
    gate: Callable[[], Way],
    hits_of_limits: Callable[[], Hit],
    hits_of_throttled: Callable[[], Hit],
) -> dict[str, Way]:
    makers: dict[str, Callable[[], Way]] = {
        "gate": gate,
        "ten": lambda: TenCommands(client, policy, "ten"),
        "pipeline": lambda: OnePipeline(client, policy, "pipeline"),
        "limits": lambda: Parts(client, policy, "limits", hits_of_limits()),
        "throttled": lambda: Parts(client, policy, "throttled", hits_of_throttled()),
    }
    return {name: makers[name]() for name in names}


WAYS: Final = {
    "gate": "the gate",
    "ten": "ten single commands",
    "pipeline": "a pipeline of them",
    "limits": "limits twice, Lock, SET NX, MGET",
    "throttled": "throttled-py twice, Lock, SET NX, MGET",
}


def keys_of_the_account(name: str) -> frozenset[bytes]:
    """Keys that are meant to have no TTL: one of each for a whole account, never one for an intent or a symbol."""
    if name != "gate":
        return frozenset()
    exec_names = ("exec:state", "exec:inflight", "exec:inflight:exits", "exec:placed", "exec:audit")
    names = (*exec_names, "safety:audit", "safety:reasons")
    return frozenset(f"{DEFAULT_PREFIX}:{each}".encode() for each in names)


def _quotas(policy: Policy) -> dict[str, tuple[timedelta, int]]:
    return {
        "symbol": (timedelta(milliseconds=policy.rate_symbol_window_ms), policy.rate_symbol_limit),
        "account": (timedelta(milliseconds=policy.rate_global_window_ms), policy.rate_global_limit),
    }


def _items(policy: Policy) -> dict[str, limits.RateLimitItem]:
    # Whole seconds are all that the package knows.
    return {
        kind: limits.RateLimitItemPerSecond(limit, int(window.total_seconds()))
        for kind, (window, limit) in _quotas(policy).items()
    }


def run(steps: Steps[T]) -> T:
    """Drives a way of threads to its end."""
    reply = None
    try:
        while True:
            reply = steps.send(reply)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_async(steps: Steps[T]) -> T:
    """Drives a way of asyncio to its end."""
    try:
        waiting = next(steps)
        while True:
            try:
                reply = await waiting if inspect.isawaitable(waiting) else waiting
            except Exception as error:
                waiting = steps.throw(error)
            else:
                waiting = steps.send(reply)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
