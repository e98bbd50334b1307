"""The wire to a cluster: to the node that holds the account's slot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from redis.exceptions import (
    RedisClusterException,
    RedisError,
)

from gate.protocol.scripts import Command, Message, Pipeline
from gate.store.async_server_wire import AsyncServerWire
from gate.store.failures import NodeAddress, ScriptMissing, SlotMoved
from gate.store.server_wire import ServerWire
from gate.store.unreached import unreached
from gate.store.wire import Reply
from gate.values.errors import StoreUnavailable

# The second isn't a subclass of the first. The last three are redis-py's for a layout that makes no sense.
_NO_CLUSTER: Final = (RedisError, RedisClusterException, OSError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot of a cluster, and how a wire reaches the node that holds it."""

    make_client: Callable[[], Any]
    """Makes redis-py's client of the cluster, blocking or for asyncio as the wire is."""
    key: str
    """A key that lies in the slot."""
    timeout_ms: int
    identify: Command
    """The command that asks a node who it is, sent first on each connection."""
    owns_client: bool
    """Whether the client is made for the wire, which closes it then."""
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)  # a password is among them
    """Those of the client's connections, as far as they are known."""


class ClusterWire:
    """A wire to the cluster node that holds the account's slot. Follows the slot to another node."""

    def __init__(self, slot: Slot) -> None:
        self._slot: Final = slot
        self._lock: Final = threading.Lock()
        self._client: Any = None
        self._forgotten = False
        self._wire: ServerWire | None = None

    def round_trip(self, message: Message) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""
        wire = self._node()
        try:
            return _where_it_is(message, wire.round_trip(message))
        except SlotMoved as moved:
            self._forget(wire)
            return self._node(moved.holder).round_trip(message)
        except ScriptMissing:
            raise
        except StoreUnavailable:
            self._forget(wire)
            raise

    def beside(self, slot_key: str, identify: Command) -> ClusterWire:
        """A wire to the node that holds another key's slot."""
        return ClusterWire(replace(self._slot, key=slot_key, identify=identify))

    def _node(self, holder: NodeAddress | None = None) -> ServerWire:
        with self._lock:
            if self._wire is None:
                try:
                    if self._client is None:
                        self._client = self._slot.make_client()
                    elif self._forgotten:
                        with suppress(*_NO_CLUSTER):  # then the node of before may be there again
                            self._client.nodes_manager.initialize()
                    node = self._client.get_redis_connection(_holding(self._client, self._slot.key, holder))
                    self._wire = ServerWire(node, self._slot.timeout_ms, self._slot.identify)
                except _NO_CLUSTER as error:
                    raise unreached(error, self._slot.settings) from None
            return self._wire

    def _forget(self, wire: ServerWire) -> None:
        """Has the next command read the cluster's layout: what is read now may be old by then.

        Of many callers whose commands failed on one node, only the first has it read, else each would wait for all.
        """
        with self._lock:
            if self._wire is wire:
                self._wire, self._forgotten = None, True
        wire.close()

    def close(self) -> None:
        """Closes every connection, also those by which older versions of redis-py have read the layout."""
        if self._wire is not None:
            self._wire.close()
        with self._lock:
            client = self._client if self._slot.owns_client else None
            if client is not None:
                self._client, self._wire = None, None
        if client is not None:
            with suppress(*_NO_CLUSTER):  # a connection that breaks while it is closed is closed
                client.close()


class AsyncClusterWire:
    """ClusterWire for asyncio."""

    def __init__(self, slot: Slot) -> None:
        self._slot: Final = slot
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forgotten = False
        self._wire: AsyncServerWire | None = None

    async def round_trip(self, message: Message) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""
        wire = await self._node()
        try:
            return _where_it_is(message, await wire.round_trip(message))
        except SlotMoved as moved:
            await self._forget(wire)
            return await (await self._node(moved.holder)).round_trip(message)
        except ScriptMissing:
            raise
        except StoreUnavailable:
            await self._forget(wire)
            raise

    def beside(self, slot_key: str, identify: Command) -> AsyncClusterWire:
        """As ClusterWire.beside."""
        return AsyncClusterWire(replace(self._slot, key=slot_key, identify=identify))

    async def _node(self, holder: NodeAddress | None = None) -> AsyncServerWire:
        if self._wire is None:
            try:
                if self._client is None:
                    self._client, self._loop = self._slot.make_client(), asyncio.get_running_loop()
                client = self._client  # close may take it away meanwhile
                await client.initialize()
                if self._forgotten:
                    with suppress(*_NO_CLUSTER):
                        await client.nodes_manager.initialize()
                if self._wire is not None:
                    return self._wire  # another caller was quicker
                node: Any = _NodeClient(_holding(client, self._slot.key, holder))
                self._wire = AsyncServerWire(node, self._slot.timeout_ms, self._slot.identify)
            except _NO_CLUSTER as error:
                raise unreached(error, self._slot.settings) from None
        return self._wire

    async def _forget(self, wire: AsyncServerWire) -> None:
        """As ClusterWire._forget."""
        if self._wire is wire:
            self._wire, self._forgotten = None, True
        await wire.close()

    async def close(self) -> None:
        """Closes every connection, also those by which the client has read the layout."""
        if self._wire is not None:
            await self._wire.close()
        # On another event loop than that of its connections they can't be closed.
        if self._slot.owns_client and self._client is not None and self._loop is asyncio.get_running_loop():
            client, self._client = self._client, None
            with suppress(*_NO_CLUSTER):  # a connection that breaks while it is closed is closed
                await client.aclose()


def _where_it_is(message: Message, reply: Reply) -> Reply:
    """The reply, if this node holds the slot. Raises SlotMoved, also where a pipeline begins with commands without a
    key: all of it is asked again then, or half of a status would tell of another node. Its writes come first."""
    moved = [each for each in reply if isinstance(each, SlotMoved)] if isinstance(message, Pipeline) else []
    if moved:
        raise moved[0]
    return reply


def _holding(client: Any, slot_key: str, holder: NodeAddress | None) -> Any:
    """The node that holds the key's slot: the one that was named, if the layout has it. Right after a failover the
    layout may come from a node that hasn't heard of it yet. Raises StoreUnavailable where the layout has none."""
    named = client.get_node(host=holder[0], port=holder[1]) if holder else None
    node = named or client.get_node_from_key(slot_key)
    if node is None:
        raise StoreUnavailable(f"no cluster node holds the slot of {slot_key}")
    return node


class _NodeClient:
    """A cluster node with the attributes of a client, since redis-py's asyncio nodes are pools under other names."""

    def __init__(self, node: Any) -> None:
        self.connection_pool = self
        self.connection_class = node.connection_class
        self.connection_kwargs = node.connection_kwargs
