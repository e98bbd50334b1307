"""The wire to a cluster: to the node that holds the account's slot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import (
    RedisClusterException,
    RedisError,
)

from gate.protocol.scripts import Command, Message
from gate.store.failures import ScriptMissing, SlotMoved, one_line
from gate.store.server_wire import AsyncServerWire, ServerWire
from gate.store.wire import Reply
from gate.values.errors import StoreUnavailable

# The second isn't a subclass of the first. The last three are redis-py's for a layout that makes no sense.
_NO_CLUSTER: Final = (RedisError, RedisClusterException, OSError, LookupError, TypeError, ValueError)


class ClusterWire:
    """A wire to the cluster node that holds the account's slot. Follows the slot to another node."""

    def __init__(self, make_client: Callable[[], Any], slot_key: str, timeout_ms: int, identify: Command) -> None:
        self._make_client: Final = make_client
        self._slot_key: Final = slot_key
        self._timeout_ms: Final = timeout_ms
        self._identify: Final = identify
        self._lock: Final = threading.Lock()
        self._client: Any = None
        self._forgotten = False
        self._wire: ServerWire | None = None

    def round_trip(self, message: Message) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""
        wire = self._node()
        try:
            return wire.round_trip(message)
        except SlotMoved:
            self._forget(wire)
            return self._node().round_trip(message)
        except ScriptMissing:
            raise
        except StoreUnavailable:
            self._forget(wire)
            raise

    def beside(self, slot_key: str, identify: Command) -> ClusterWire:
        """A wire to the node that holds another key's slot."""
        return ClusterWire(self._make_client, slot_key, self._timeout_ms, identify)

    def _node(self) -> ServerWire:
        with self._lock:
            if self._wire is None:
                try:
                    if self._client is None:
                        self._client = self._make_client()
                    elif self._forgotten:
                        with suppress(*_NO_CLUSTER):  # then the node of before may be there again
                            self._client.nodes_manager.initialize()
                    node = self._client.get_node_from_key(self._slot_key)
                    if node is None:
                        raise StoreUnavailable(f"no cluster node holds the slot of {self._slot_key}")
                    self._wire = ServerWire(self._client.get_redis_connection(node), self._timeout_ms, self._identify)
                except _NO_CLUSTER as error:
                    raise StoreUnavailable(one_line(error)) from None
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
        """Closes every connection."""
        if self._wire is not None:
            self._wire.close()


class AsyncClusterWire:
    """ClusterWire for asyncio."""

    def __init__(self, make_client: Callable[[], Any], slot_key: str, timeout_ms: int, identify: Command) -> None:
        self._make_client: Final = make_client
        self._slot_key: Final = slot_key
        self._timeout_ms: Final = timeout_ms
        self._identify: Final = identify
        self._client: Any = None
        self._forgotten = False
        self._wire: AsyncServerWire | None = None

    async def round_trip(self, message: Message) -> Reply:
        """Raises ReplyLost, ScriptMissing, StoreUnavailable, StoreError."""
        wire = await self._node()
        try:
            return await wire.round_trip(message)
        except SlotMoved:
            await self._forget(wire)
            return await (await self._node()).round_trip(message)
        except ScriptMissing:
            raise
        except StoreUnavailable:
            await self._forget(wire)
            raise

    def beside(self, slot_key: str, identify: Command) -> AsyncClusterWire:
        """As ClusterWire.beside."""
        return AsyncClusterWire(self._make_client, slot_key, self._timeout_ms, identify)

    async def _node(self) -> AsyncServerWire:
        if self._wire is None:
            try:
                if self._client is None:
                    self._client = self._make_client()
                await self._client.initialize()
                if self._forgotten:
                    with suppress(*_NO_CLUSTER):
                        await self._client.nodes_manager.initialize()
                if self._wire is not None:
                    return self._wire  # another caller was quicker
                node = self._client.get_node_from_key(self._slot_key)
                if node is None:
                    raise StoreUnavailable(f"no cluster node holds the slot of {self._slot_key}")
                self._wire = AsyncServerWire(_NodeClient(node), self._timeout_ms, self._identify)  # type: ignore[arg-type]
            except _NO_CLUSTER as error:
                raise StoreUnavailable(one_line(error)) from None
        return self._wire

    async def _forget(self, wire: AsyncServerWire) -> None:
        """As ClusterWire._forget."""
        if self._wire is wire:
            self._wire, self._forgotten = None, True
        await wire.close()

    async def close(self) -> None:
        """Closes every connection."""
        if self._wire is not None:
            await self._wire.close()


class _NodeClient:
    """A cluster node with the attributes of a client, since redis-py's asyncio nodes are pools under other names."""

    def __init__(self, node: Any) -> None:
        self.connection_pool = self
        self.connection_class = node.connection_class
        self.connection_kwargs = node.connection_kwargs
