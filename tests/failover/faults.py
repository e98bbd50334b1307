"""The faults, each as what happens between the start of the load and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gate.values.policy import Policy
from tests.failover.deployments import DOWN_AFTER_MS, Cluster, Deployment, Sentinels, ask, until
from tests.failover.plan import POLICY, PREFIX
from tests.failover.run import Run

WARM_S: Final = 4.0
_STOPPED_S: Final = 5.0
_CUT_S: Final = 0.7


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault, and the store that it befalls."""

    store: Callable[[bool], Deployment]
    """Starts it; True: of Redis servers instead of Valkey's."""
    happens: Callable[[Run], Awaitable[None]]


def young_s(policy: Policy = POLICY) -> float:
    """How long entries wait in a new memory."""
    return policy.memory_wait_ms / 1000


async def killed(run: Run) -> None:
    """The primary is gone at once."""
    old = await asyncio.to_thread(run.deployment.primary)
    run.strike()
    old.stop()
    run.takeover = await run.deployment.new_primary(old)


async def restarted(run: Run) -> None:
    """A supervisor starts the primary again, empty, before anybody takes it for dead. The replicas follow it."""
    old = await asyncio.to_thread(run.deployment.primary)
    run.strike()
    old.stop()
    await asyncio.to_thread(old.start)


async def lagging(run: Run) -> None:
    """The replicas hear nothing any more, then the primary dies: what it admitted meanwhile is lost."""
    old = await asyncio.to_thread(run.deployment.primary)
    replicas = await asyncio.to_thread(run.deployment.cut_replicas_off)
    await asyncio.sleep(_CUT_S)
    run.strike()
    old.stop()
    run.report.notes.append(f"{len(run.of_late(_CUT_S))} intents were new while the replicas were cut off")
    lost = run.of_late(_CUT_S + 0.3)
    run.takeover = await run.deployment.new_primary(old)
    run.deployment.let_replicas_follow(replicas)
    for intent in lost:
        run.deliver(intent)


async def by_hand(run: Run) -> None:
    """A person asks for the failover."""
    old = await asyncio.to_thread(run.deployment.primary)
    assert isinstance(run.deployment, Sentinels | Cluster)
    run.strike()
    run.deployment.fail_over()
    run.takeover = await run.deployment.new_primary(old)


async def stopped(run: Run) -> None:
    """The primary stands still for longer than anybody waits for it, then goes on as if nothing had been.

    Some workers have heard of nothing meanwhile: they have open connections to it, and use them at once.
    """
    old = await asyncio.to_thread(run.deployment.primary)
    quiet = run.processes - 1
    run.quiet = {quiet}
    await asyncio.sleep(0.3)  # what is under way there ends
    run.strike()
    old.pause()
    run.takeover = await run.deployment.new_primary(old)
    await asyncio.sleep(max(_STOPPED_S - DOWN_AFTER_MS / 1000, 0.5))
    old.resume()
    # What the new primary has admitted, or will, comes to those who still ask the old one.
    for intent in run.of_late(_STOPPED_S):
        run.deliver(intent, to=quiet)
        run.deliver(intent, to=0)
        await asyncio.sleep(0.002)
    run.quiet = set()


async def stopped_when_old(run: Run) -> None:
    """As `stopped`, but until the new memory admits entries again: both sides can."""
    old = await asyncio.to_thread(run.deployment.primary)
    quiet = run.processes - 1
    run.quiet = {quiet}
    await asyncio.sleep(0.3)
    run.strike()
    old.pause()
    run.takeover = await run.deployment.new_primary(old)
    await asyncio.sleep(young_s() + 2)
    old.resume()
    for intent in run.of_late(3):
        run.deliver(intent, to=quiet)
        run.deliver(intent, to=0)
        await asyncio.sleep(0.002)
    run.quiet = set()


async def slot_moved(run: Run) -> None:
    """Key by key."""
    cluster = run.deployment
    assert isinstance(cluster, Cluster)
    there = await asyncio.to_thread(cluster.elsewhere)
    run.strike()
    moved = await asyncio.to_thread(cluster.move_slot, there, 10, 0.3)
    run.takeover = await cluster.new_primary(cluster.servers[0])
    run.report.notes.append(f"{moved} keys moved")


async def slot_moved_at_once(run: Run) -> None:
    """By the server itself, in one step."""
    cluster = run.deployment
    assert isinstance(cluster, Cluster)
    there = await asyncio.to_thread(cluster.elsewhere)
    run.strike()
    await asyncio.to_thread(cluster.move_slot_at_once, there)
    run.takeover = await cluster.new_primary(cluster.servers[0])


async def replica_lost(run: Run) -> None:
    """Where a replica must acknowledge, its loss stops writes."""
    old = await asyncio.to_thread(run.deployment.primary)
    run.strike()
    for each in run.deployment.replicas_of(old):
        each.pause()
    await asyncio.sleep(5)
    for each in run.deployment.servers:
        if each is not old:
            each.resume()
    await until(lambda: ask(old, "PING") is not None, "it answers")


def _sentinels(on_redis: bool) -> Deployment:
    return Sentinels(on_redis=on_redis)


def _careful(on_redis: bool) -> Deployment:
    return Sentinels(min_replicas=1, on_redis=on_redis)


def _cluster(on_redis: bool) -> Deployment:
    return Cluster(f"{PREFIX}:exec:state", on_redis=on_redis)


FAULTS: Final[dict[str, Fault]] = {
    "sentinel-killed": Fault(_sentinels, killed),
    "sentinel-restarted": Fault(_sentinels, restarted),
    "sentinel-lagging": Fault(_sentinels, lagging),
    "sentinel-by-hand": Fault(_sentinels, by_hand),
    "sentinel-stopped": Fault(_sentinels, stopped),
    "sentinel-stopped-long": Fault(_sentinels, stopped_when_old),
    "careful-killed": Fault(_careful, killed),
    "careful-stopped": Fault(_careful, stopped),
    "careful-stopped-long": Fault(_careful, stopped_when_old),
    "careful-replicas-lost": Fault(_careful, replica_lost),
    "cluster-slot-moved": Fault(_cluster, slot_moved),
    "cluster-slot-at-once": Fault(_cluster, slot_moved_at_once),
    "cluster-killed": Fault(_cluster, killed),
    "cluster-lagging": Fault(_cluster, lagging),
    "cluster-by-hand": Fault(_cluster, by_hand),
    "cluster-stopped": Fault(_cluster, stopped),
    "cluster-stopped-long": Fault(_cluster, stopped_when_old),
}

ONLY_VALKEY: Final = ("cluster-slot-at-once",)
"""What Redis servers don't do."""
