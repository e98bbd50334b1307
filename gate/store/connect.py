"""Makes the wire to the store at a URL."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from hiredis import pack_command
from redis.backoff import NoBackoff

from gate.protocol.codec import identify
from gate.protocol.keyspace import Keyspace
from gate.store.address import LOGIN, TLS, StoreAddress, parse_url, unknown_option
from gate.store.async_server_wire import AsyncServerWire
from gate.store.cluster_wire import AsyncClusterWire, ClusterWire, Slot
from gate.store.connection import connection_settings
from gate.store.server_wire import ServerWire
from gate.store.wire import DEFAULT_TIMEOUT_MS, AsyncWire, Wire
from gate.values.errors import InvalidField

if TYPE_CHECKING:
    from gate.store.embedded import EmbeddedStore

_UNKNOWN_OPTION: Final = re.compile(r"unexpected keyword argument '(\w+)'")
_KNOWN: Final = LOGIN | TLS | {"ssl_ca_path", "ssl_password", "ssl_min_version", "ssl_ciphers", "socket_keepalive"}
_BAD_VALUE: Final = re.compile(r"Invalid value for '(\w+)' in connection URL")


def refuse_cluster_without_hash_tag(keyspace: Keyspace) -> None:
    """Raises InvalidField unless one slot of a cluster holds all keys of the account."""
    if not keyspace.has_hash_tag:
        raise InvalidField(
            "prefix",
            keyspace.prefix,
            "has no hash tag, which a cluster needs to keep all keys of an account in one slot: "
            f"use {{{keyspace.prefix}}}",
        )


class _Kind(NamedTuple):
    """redis-py's classes: those that block, or those for asyncio."""

    server: Any
    sentinels: Any
    cluster: Any
    node: Any
    retry: Any

    def no_retries(self) -> Any:
        """The setting that turns redis-py's own retries off. Without one it takes some of its own."""
        return self.retry(NoBackoff(), 0)


def _opened(url: str) -> tuple[StoreAddress, EmbeddedStore | None]:
    """The address to connect to, and the store's embedded server if the URL asks for one: it runs then. Raises
    InvalidField for a bad URL, StoreUnavailable when the embedded server doesn't start."""
    address = parse_url(url)
    if address.scheme != "embedded":
        return address, None
    from gate.store.embedded import EmbeddedStore

    embedded = EmbeddedStore.open(Path(address.url))
    return parse_url(embedded.url), embedded


def _client_settings(kind: _Kind, address: StoreAddress, timeout_ms: int) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "socket_timeout": timeout_ms / 1000,
        "socket_connect_timeout": timeout_ms / 1000,
        "retry": kind.no_retries(),
        **_tls_settings(address),
        **dict(address.options),
    }
    if address.username:
        settings["username"] = address.username
    if address.password:
        settings["password"] = address.password
    return settings


def _tls_settings(address: StoreAddress) -> dict[str, Any]:
    """The server's certificate must carry the name or the address that the connection goes to; before redis-py 6 any
    certificate of the authority would do. An option of the URL says otherwise."""
    if not address.tls:
        return {}
    # redis-py takes TLS from a rediss:// by itself, and an argument `ssl` beside it for a mistake.
    return {"ssl_check_hostname": not address.any_certificate} | ({"ssl": True} if "+" in address.scheme else {})


def _sentinel_settings(kind: _Kind, address: StoreAddress, timeout_ms: int) -> dict[str, Any]:
    """The settings of the sentinels' own clients: with TLS and its options where the store has it.

    Whoever answers for a sentinel names the server that gets the store's password. The password itself isn't theirs.

    Each sentinel gets a share of the time-out, so one that hangs leaves time for the others and the master. Retries
    are off: redis-py would spend seconds on them before it asks the next sentinel.
    """
    share = timeout_ms / 1000 / (len(address.hosts) + 1)
    return {
        "socket_timeout": share,
        "socket_connect_timeout": share,
        "retry": kind.no_retries(),
        "protocol": 2,
        **_tls_settings(address),
        **dict(address.options),
        **dict(address.sentinel_login),
    }


_UNREADABLE: Final = "what a sentinel answers can't be read"


class _Sentinels(redis.sentinel.Sentinel):
    """redis-py's, which takes every reply of a sentinel for a well-formed one."""

    def discover_master(self, service_name: str) -> Any:
        """Raises RedisError, OSError, and nothing else whatever answers for a sentinel."""
        discover: Any = super().discover_master  # redis-py has no types for it
        try:
            return discover(service_name)
        except (redis.RedisError, OSError):
            raise
        except Exception as error:
            raise redis.sentinel.MasterNotFoundError(f"{_UNREADABLE}: {type(error).__name__}") from None


class _AsyncSentinels(redis.asyncio.Sentinel):
    """_Sentinels for asyncio, on one event loop at a time."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def discover_master(self, service_name: str) -> Any:
        """As _Sentinels.discover_master."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            for each in self.sentinels:
                each.connection_pool.reset()  # its connections work only on the loop that made them
            self._loop = loop
        discover: Any = super().discover_master
        try:
            return await discover(service_name)
        except (redis.RedisError, OSError):
            raise
        except Exception as error:
            raise redis.sentinel.MasterNotFoundError(f"{_UNREADABLE}: {type(error).__name__}") from None


_BLOCKING: Final = _Kind(redis.Redis, _Sentinels, redis.RedisCluster, redis.cluster.ClusterNode, redis.retry.Retry)
_ASYNCIO: Final = _Kind(
    redis.asyncio.Redis,
    _AsyncSentinels,
    redis.asyncio.RedisCluster,
    redis.asyncio.cluster.ClusterNode,
    redis.asyncio.retry.Retry,
)


def _client(kind: _Kind, address: StoreAddress, timeout_ms: int, **more: Any) -> Any:
    """A client of one server, or of the master that a sentinel names. `more`: settings beside the usual ones."""
    settings = _client_settings(kind, address, timeout_ms) | more
    if not address.scheme.endswith("+sentinel"):
        return _from_url(kind, address, settings)
    own = _sentinel_settings(kind, address, timeout_ms)
    sentinel = kind.sentinels(list(address.hosts), sentinel_kwargs=own, **settings)
    return sentinel.master_for(address.service, db=address.db)


def _cluster_maker(kind: _Kind, address: StoreAddress, timeout_ms: int, **more: Any) -> Callable[[], Any]:
    """What makes a client of a cluster. One that blocks asks the cluster at once for its layout."""
    nodes = [kind.node(host, port) for host, port in address.hosts]
    settings = _client_settings(kind, address, timeout_ms) | more
    return lambda: kind.cluster(startup_nodes=nodes, **settings)


def _slot(kind: _Kind, address: StoreAddress, keyspace: Keyspace, timeout_ms: int) -> Slot:
    make = _cluster_maker(kind, address, timeout_ms)
    settings = _client_settings(kind, address, timeout_ms)
    return Slot(make, keyspace.state, timeout_ms, identify(keyspace), owns_client=True, settings=settings)


def _from_url(kind: _Kind, address: StoreAddress, settings: dict[str, Any]) -> Any:
    """A client of one server. Makes a connection without connecting it, to find options that redis-py refuses."""
    try:
        client = kind.server.from_url(address.url, **settings)
        pool = client.connection_pool
        pool.connection_class(**connection_settings(pool.connection_kwargs, None))
    except (TypeError, ValueError, redis.RedisError) as error:
        raise InvalidField("url", address.shown, _refused(str(error))) from None
    return client


def _refused(said: str) -> str:
    """What is wrong with an option, of which redis-py has said something. Its words may quote a value, and in an odd
    URL any word may be a part of the password: only names that are known are shown."""
    unknown, bad = _UNKNOWN_OPTION.search(said), _BAD_VALUE.search(said)
    if unknown is not None and unknown[1] not in _KNOWN:
        return unknown_option(unknown[1], _KNOWN)
    named = unknown or bad
    about = f": {named[1]}" if named is not None and named[1] in _KNOWN else ""
    return f"has an option that redis-py refuses{about}"


def connect(url: str, keyspace: Keyspace, timeout_ms: int = DEFAULT_TIMEOUT_MS) -> tuple[Wire, EmbeddedStore | None]:
    """A wire to the store, and the store's embedded server if the URL asks for one. Connects at the first call.

    Raises InvalidField for a bad URL, StoreUnavailable when the embedded server doesn't start.
    """
    address, embedded = _opened(url)
    asking = identify(keyspace)
    if address.cluster:
        refuse_cluster_without_hash_tag(keyspace)
        return ClusterWire(_slot(_BLOCKING, address, keyspace, timeout_ms)), embedded
    return ServerWire(_client(_BLOCKING, address, timeout_ms), timeout_ms, asking, owns_client=True), embedded


def connect_async(
    url: str, keyspace: Keyspace, timeout_ms: int = DEFAULT_TIMEOUT_MS
) -> tuple[AsyncWire, EmbeddedStore | None]:
    """connect for asyncio."""
    address, embedded = _opened(url)
    asking = identify(keyspace)
    if address.cluster:
        refuse_cluster_without_hash_tag(keyspace)
        return AsyncClusterWire(_slot(_ASYNCIO, address, keyspace, timeout_ms)), embedded
    return AsyncServerWire(_client(_ASYNCIO, address, timeout_ms), timeout_ms, asking, owns_client=True), embedded


class _QuickPacking:
    """For a connection of redis-py: its asyncio side packs commands in Python, which takes a tenth of the service's
    time. Its commands have texts and numbers."""

    def pack_command(self, *words: Any) -> list[bytes]:
        """The command's bytes on the wire. A name such as XGROUP CREATE is two words there."""
        name, *others = words
        packed: bytes = pack_command((*(name.split() if isinstance(name, str) else [name]), *others))
        return [packed]


PlainClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster
"""redis-py's own, for asyncio."""


def plain_client(url: str, timeout_ms: int) -> PlainClient:
    """redis-py's own client for asyncio on the store, for commands that block. Replies are bytes, nothing is retried.

    An embedded store that doesn't run is started, and ends with this process. `timeout_ms` bounds each wait for an
    answer. Raises InvalidField, and StoreUnavailable when the embedded server doesn't start.
    """
    address, _ = _opened(url)
    replies: dict[str, Any] = {"protocol": 2, "decode_responses": False}
    if address.cluster:
        cluster: redis.asyncio.RedisCluster = _cluster_maker(_ASYNCIO, address, timeout_ms, **replies)()
        return cluster
    client: redis.asyncio.Redis = _client(_ASYNCIO, address, timeout_ms, **replies)
    pool: Any = client.connection_pool
    pool.connection_class = type("Connection", (_QuickPacking, pool.connection_class), {})
    return client


async def load_script(client: Any, source: str, key: str) -> None:
    """Loads a script for calls on that key. On a cluster only the node that holds its slot gets it: another one may be
    away, or not know the user. `client`: as plain_client makes it."""
    if isinstance(client, redis.asyncio.RedisCluster):
        await client.initialize()
        await client.execute_command("SCRIPT LOAD", source, target_nodes=client.get_node_from_key(key))
    else:
        await client.script_load(source)
