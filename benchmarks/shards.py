"""Accounts over one, two and three primaries of a cluster: what a verdict costs its server there.

An account lives in one slot, so in one primary, and no verdict asks another one. Where that holds, the server's time
of a verdict is the same however many primaries there are. The rate of this machine isn't: all servers and the callers
share its processors.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final

import redis
from redis.crc import key_slot
from rich.table import Table

from benchmarks.server import Server, free_port
from benchmarks.workload import WITHOUT_LIMITS, Account
from gate import AsyncGate, Intent, Outcome, Permit

ACCOUNTS: Final = 6
_CALLERS: Final = 16
"""Of each account."""
_SLOTS: Final = 16_384
_PATIENT_MS: Final = 5_000
_UP_WITHIN_S: Final = 30
_MANY: Final = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    bursts: int
    """In a round, twice: in each burst every caller asks once."""
    primaries: tuple[int, ...] = (1, 2, 3)


FULL: Final = Plan(rounds=24, bursts=8)
QUICK: Final = Plan(rounds=5, bursts=2)


@dataclass(frozen=True, slots=True)
class Sharded:
    """One number of primaries."""

    primaries: int
    accounts_each: tuple[int, ...]
    """How many accounts each primary has."""
    verdicts: int
    a_second: float
    """Of all accounts together, on this machine; the upper quartile of the rounds."""
    script_us: float
    """The server's time within the script; the lower quartile of the rounds, as the next."""
    processor_us: float
    """Processor time of all primaries for one verdict, with reading it and answering."""
    settled_us: float
    """The same for a settlement."""
    redirected: int
    """Calls that a primary has sent on to another one."""

    @property
    def of_many(self) -> float:
        """Orders a second, verdict and settlement, that a hundred primaries have processor time for, a core each."""
        return _MANY * 1e6 / (self.processor_us + self.settled_us)


def measure(kind: str, plan: Plan, begin: Callable[[str], None] = lambda _: None) -> list[Sharded]:
    """Starts all clusters, and lets them take turns."""
    with ExitStack() as stack:
        begin("the clusters' start")
        clusters = [stack.enter_context(_Cluster(kind, primaries)) for primaries in plan.primaries]
        for each in clusters:
            each.wait_until_whole()
        begin("the clusters in turn")
        return asyncio.run(_in_turn(clusters, plan))


class _Cluster:
    """Primaries without replicas. Use it in a `with` block."""

    def __init__(self, kind: str, primaries: int) -> None:
        self._stack: Final = ExitStack()
        try:
            self.servers: Final = [self._started(kind) for _ in range(primaries)]
            self._join()
        except BaseException:
            self._stack.close()
            raise
        self.url: Final = "redis+cluster://" + ",".join(f"127.0.0.1:{each.port}" for each in self.servers)

    def _started(self, kind: str) -> Server:
        settings = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        return self._stack.enter_context(Server(kind, settings=settings))

    def _join(self) -> None:
        bounds = [round(part * _SLOTS / len(self.servers)) for part in range(len(self.servers) + 1)]
        for epoch, (server, (first, behind)) in enumerate(
            zip(self.servers, itertools.pairwise(bounds), strict=True), start=1
        ):
            _ask(server, "CLUSTER", "ADDSLOTSRANGE", first, behind - 1)
            _ask(server, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for other in self.servers[1:]:
            bus = int(_ask(other, "CONFIG", "GET", "cluster-port")[1])
            _ask(self.servers[0], "CLUSTER", "MEET", "127.0.0.1", other.port, bus)

    def wait_until_whole(self) -> None:
        """Until every primary knows the others and serves its slots."""
        deadline_s = time.monotonic() + _UP_WITHIN_S
        while not all(self._is_whole(each) for each in self.servers):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"a cluster of {len(self.servers)} doesn't come up")
            time.sleep(0.05)

    def _is_whole(self, server: Server) -> bool:
        said = _ask(server, "CLUSTER", "INFO").decode()
        return "cluster_state:ok" in said and f"cluster_known_nodes:{len(self.servers)}\r" in said

    def place_of(self, prefix: str) -> int:
        """The primary that has the account."""
        return int(key_slot(prefix.encode())) * len(self.servers) // _SLOTS

    def accounts(self, over: int) -> list[str]:
        """Prefixes, spread evenly over so many of the primaries."""
        chosen: list[str] = []
        for number in itertools.count():
            prefix = f"{{account{number}of{over}}}"
            if self.place_of(prefix) == len(chosen) % over:
                chosen.append(prefix)
            if len(chosen) == ACCOUNTS:
                return chosen
        raise AssertionError  # there is no end of numbers

    def __enter__(self) -> _Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _client(server: Server) -> Any:
    client = redis.Redis(host="127.0.0.1", port=server.port, protocol=2)
    client.response_callbacks.clear()
    return client


def _ask(server: Server, *words: str | int) -> Any:
    with _client(server) as client:
        return client.execute_command(*words)


@dataclass(frozen=True, slots=True)
class _Spent:
    """What the primaries have spent since they were last asked, on EVALSHA and as a whole."""

    calls: int
    script_us: float
    processor_us: float
    redirected: int


class _Meter:
    """Reads the primaries' own figures, by connections that stay, since the primaries' time counts."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._clients: Final = [_client(server) for server in servers]
        self._processor_us = self._used_us()

    def read(self) -> _Spent:
        """Since the last time."""
        calls, script_us, redirected = 0, 0.0, 0
        used_us = self._used_us()
        for client in self._clients:
            spent = _rows(client.execute_command("INFO", "commandstats")).get("cmdstat_evalsha", "calls=0,usec=0")
            figures = dict(each.split("=") for each in spent.split(","))
            calls += int(figures["calls"])
            script_us += float(figures["usec"])
            errors = _rows(client.execute_command("INFO", "errorstats"))
            redirected += sum(
                int(row.partition("=")[2])
                for name, row in errors.items()
                if name in ("errorstat_MOVED", "errorstat_ASK")
            )
            client.execute_command("CONFIG", "RESETSTAT")
        passed_us, self._processor_us = used_us - self._processor_us, self._used_us()
        return _Spent(calls, script_us, passed_us, redirected)

    def _used_us(self) -> float:
        rows = [_rows(client.execute_command("INFO", "cpu")) for client in self._clients]
        return sum(float(row[f"used_cpu_{part}"]) for row in rows for part in ("user", "sys")) * 1e6


def _rows(raw: Any) -> dict[str, str]:
    return dict(line.split(":", 1) for line in raw.decode().splitlines() if ":" in line)


async def _in_turn(clusters: Sequence[_Cluster], plan: Plan) -> list[Sharded]:
    async with AsyncExitStack() as stack:
        sides = [await _Side.opened(cluster, len(cluster.servers), stack) for cluster in clusters]
        # The largest cluster, where only one primary works: several that take turns find colder caches.
        sides.append(await _Side.opened(clusters[-1], 1, stack))
        for number in range(plan.rounds + 1):
            for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
                await side.round(plan.bursts, counts=number > 0)
        return [side.result() for side in sides]


class _Side:
    """One cluster with its accounts."""

    def __init__(self, cluster: _Cluster, gates: Sequence[AsyncGate]) -> None:
        self._cluster, self._gates = cluster, gates
        self._work: Final = Account()  # makes the intents
        self._meter: Final = _Meter(cluster.servers)
        self._rounds: list[tuple[float, _Spent, _Spent]] = []

    @classmethod
    async def opened(cls, cluster: _Cluster, over: int, stack: AsyncExitStack) -> _Side:
        gates = []
        for prefix in cluster.accounts(over):
            gate = AsyncGate.from_url(cluster.url, prefix=prefix, policy=WITHOUT_LIMITS, timeout_ms=_PATIENT_MS)
            gates.append(await stack.enter_async_context(gate))
            await gate.init(by="bench", reason="a new account")
        return cls(cluster, gates)

    async def round(self, bursts: int, *, counts: bool) -> None:
        """All accounts at once, for the rate; then one after the other, for what each costs its primary alone."""
        asked = [self._intents(gate, bursts) for gate in self._gates]
        started_s = time.perf_counter()
        permits = await asyncio.gather(*(_all_admitted(gate, of_gate) for gate, of_gate in asked))
        took_s = time.perf_counter() - started_s
        for gate, of_gate in zip(self._gates, permits, strict=True):
            await _all_settled(gate, of_gate)
        self._meter.read()
        permits = [await _all_admitted(*self._intents(gate, bursts)) for gate in self._gates]
        verdicts = self._meter.read()
        for gate, of_gate in zip(self._gates, permits, strict=True):
            await _all_settled(gate, of_gate)
        settled = self._meter.read()
        if counts:
            self._rounds.append((len(self._gates) * _CALLERS * bursts / took_s, verdicts, settled))

    def _intents(self, gate: AsyncGate, bursts: int) -> tuple[AsyncGate, list[list[Intent]]]:
        return gate, [[self._work.intent() for _ in range(bursts)] for _ in range(_CALLERS)]

    def result(self) -> Sharded:
        places = [self._cluster.place_of(gate.prefix) for gate in self._gates]
        verdicts = [verdict for _, verdict, _ in self._rounds]
        return Sharded(
            primaries=len(self._cluster.servers),
            accounts_each=tuple(places.count(place) for place in range(len(self._cluster.servers))),
            verdicts=sum(each.calls for each in verdicts),
            a_second=statistics.quantiles([rate for rate, _, _ in self._rounds], n=4, method="inclusive")[2],
            script_us=_low([each.script_us / each.calls for each in verdicts]),
            processor_us=_low([each.processor_us / each.calls for each in verdicts]),
            settled_us=_low([each.processor_us / each.calls for _, _, each in self._rounds]),
            redirected=sum(each.redirected for _, *both in self._rounds for each in both),
        )


def _low(figures: list[float]) -> float:
    return statistics.quantiles(figures, n=4, method="inclusive")[0]


async def _all_admitted(gate: AsyncGate, asked: Sequence[Sequence[Intent]]) -> list[list[Permit]]:
    return await asyncio.gather(*(_admitted(gate, intents) for intents in asked))


async def _all_settled(gate: AsyncGate, permits: Sequence[Sequence[Permit]]) -> None:
    await asyncio.gather(*(_settled(gate, each) for each in permits))


async def _admitted(gate: AsyncGate, intents: Sequence[Intent]) -> list[Permit]:
    permits = []
    for intent in intents:
        verdict = await gate.evaluate(intent)
        if verdict.permit is None:
            raise RuntimeError(f"an admission was to be measured: {verdict}")
        permits.append(verdict.permit)
    return permits


async def _settled(gate: AsyncGate, permits: Sequence[Permit]) -> None:
    for permit in permits:
        if not await gate.settle(permit, Outcome.placed("83897651234")):
            raise RuntimeError("not settled")


def shards_as_json(found: Sequence[Sharded]) -> list[dict[str, object]]:
    """For programs."""
    return [{**asdict(each), "of_many": round(each.of_many)} for each in found]


def shards_as_table(found: Sequence[Sharded], where: str) -> Table:
    """For people."""
    table = Table(
        title=f"{ACCOUNTS} accounts with {_CALLERS} callers each, on clusters of {where}",
        caption="A second: all accounts at once, on one machine for servers and callers, so the rate is the machine's."
        " Then µs for one verdict, the accounts one after the other, lower quartiles: within the script; processor"
        " time of the primaries; the same for a settlement.",
    )
    table.add_column("primaries")
    for name in ("accounts each", "verdicts", "a second", "script", "processor", "settlement", "redirected"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"orders a second of {_MANY}", justify="right", no_wrap=True)
    for each in found:
        table.add_row(
            str(each.primaries),
            " ".join(map(str, each.accounts_each)),
            f"{each.verdicts:,}",
            f"{each.a_second:,.0f}",
            f"{each.script_us:.1f}",
            f"{each.processor_us:.1f}",
            f"{each.settled_us:.1f}",
            f"{each.redirected}",
            f"{each.of_many:,.0f}",
        )
    return table
