"""A connection from a URL; the package says which forms there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff

from gate.protocol.keyspace import Keyspace
from gate.store.masking import masked
from gate.store.wire import (
    DEFAULT_TIMEOUT_MS,
    AsyncClusterWire,
    AsyncServerWire,
    AsyncWire,
    ClusterWire,
    ServerWire,
    Wire,
    connection_settings,
    no_retries,
)
from gate.values.errors import InvalidField

if TYPE_CHECKING:
    from gate.store.embedded import EmbeddedStore

SCHEMES: Final = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
    "embedded",
)
_FORMS: Final = "is not a store; give redis://, rediss://, unix://, redis+sentinel://, redis+cluster:// or embedded:DIR"
_UNKNOWN_OPTION: Final = re.compile(r"unexpected keyword argument '(\w+)'")
_NO_URL: Final = "is not a URL; special characters of a password are percent-encoded there, / as %2F"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store URL, taken apart."""

    scheme: str
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None

    @property
    def tls(self) -> bool:
        """Whether it is reached over TLS."""
        return self.scheme.startswith("rediss")

    @property
    def cluster(self) -> bool:
        """Whether it is a cluster."""
        return self.scheme.endswith("+cluster")

    def __repr__(self) -> str:
        return f"StoreAddress({masked(self.url)!r})"


def parse_url(url: str) -> StoreAddress:
    """Takes a store URL apart. Raises InvalidField."""
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in SCHEMES:
        raise InvalidField("url", masked(url), _FORMS)
    if scheme == "embedded":
        directory = rest.removeprefix("//")
        if not directory:
            raise InvalidField("url", url, "names no directory; give embedded:DIR")
        return StoreAddress(scheme, directory)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidField("url", masked(url), _NO_URL) from None
    if scheme != "unix" and "@" in parts.path + parts.query + parts.fragment:
        # Whatever stands before it may be a password, so nothing of it is quoted.
        raise InvalidField("url", masked(url), "has an @ behind the host; write / ? # in a password as %2F %3F %23")
    if "+" not in scheme:
        _check_single(scheme, url, parts)
        return StoreAddress(scheme, url)
    kind = scheme.partition("+")[2]
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    service, _, db = parts.path.lstrip("/").partition("/")
    if kind == "sentinel" and not service:
        raise InvalidField("url", masked(url), "names no service; give redis+sentinel://host:port/service")
    if db and not db.isdigit():
        raise InvalidField("url", masked(url), f"has {db!r} where the number of the database should stand")
    default_port = 26379 if kind == "sentinel" else 6379
    return StoreAddress(
        scheme,
        url,
        tuple(_host(url, each, default_port) for each in hosts.split(",")),
        unquote(service),
        int(db or 0),
        unquote(username) or None,
        unquote(password) or None,
    )


def _check_single(scheme: str, url: str, parts: SplitResult) -> None:
    """redis-py takes a database that it can't read for 0: a store of this caller's own, unnoticed."""
    if scheme == "unix":
        if not parts.path:
            raise InvalidField("url", masked(url), "names no socket; give unix:///path/to.sock")
        return
    try:
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidField("url", masked(url), _NO_URL) from None
    if not host:
        raise InvalidField("url", masked(url), "names no host")
    _check_host(url, host)
    db = parts.path.strip("/")
    if db and not (db.isascii() and db.isdigit()):
        raise InvalidField("url", masked(url), f"has {db!r} where the number of the database should stand")


def _check_host(url: str, host: str) -> None:
    """What a resolver can't be asked for it refuses by UnicodeError, in the middle of a call."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise InvalidField("url", masked(url), f"has {host!r} where the name of a host should stand") from None


def _host(url: str, text: str, default_port: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, "", str(default_port))
    if not host or not port.isdigit():
        raise InvalidField("url", masked(url), f"has {text!r} where host:port should stand")
    _check_host(url, host)
    return host.strip("[]"), int(port)


def refuse_cluster_without_hash_tag(keyspace: Keyspace) -> None:
    """All keys of an account must live in one slot. Raises InvalidField."""
    if not keyspace.has_hash_tag:
        raise InvalidField(
            "prefix",
            keyspace.prefix,
            "has no hash tag, and a cluster keeps all keys of an account in one slot only by one: "
            f"use {{{keyspace.prefix}}}",
        )


def _client_settings(address: StoreAddress, timeout_ms: int) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "socket_timeout": timeout_ms / 1000,
        "socket_connect_timeout": timeout_ms / 1000,
        "retry": no_retries(),
    }
    if address.username:
        settings["username"] = address.username
    if address.password:
        settings["password"] = address.password
    if address.tls and address.hosts:
        settings["ssl"] = True
    return settings


def _sentinel_settings(address: StoreAddress, timeout_ms: int, retry: Any) -> dict[str, Any]:
    """For the sentinels' own clients. Each has its share of the time-out, so that one that hangs leaves the others
    and the master theirs; and no retries, which redis-py would spend seconds on: the next sentinel is asked instead.
    """
    share = timeout_ms / 1000 / (len(address.hosts) + 1)
    return {"socket_timeout": share, "socket_connect_timeout": share, "retry": retry}


def _from_url(kind: Any, url: str, settings: dict[str, Any]) -> Any:
    """A client of one server. A connection is made, not connected: an option that it refuses shows here already."""
    try:
        client = kind.from_url(url, **settings)
        pool = client.connection_pool
        pool.connection_class(**connection_settings(pool.connection_kwargs, None))
    except (TypeError, ValueError, redis.RedisError) as error:
        unknown = _UNKNOWN_OPTION.search(str(error))
        problem = f"unknown option '{unknown[1]}'" if unknown else str(error)
        raise InvalidField("url", masked(url), f"has an option that redis-py refuses: {problem}") from None
    return client


def connect(url: str, keyspace: Keyspace, timeout_ms: int = DEFAULT_TIMEOUT_MS) -> tuple[Wire, EmbeddedStore | None]:
    """A wire to the store, and the embedded server if one was started. Connects at the first call.

    Raises InvalidField for a URL that is none.
    """
    address = parse_url(url)
    embedded = None
    if address.scheme == "embedded":
        from gate.store.embedded import EmbeddedStore

        embedded = EmbeddedStore.open(Path(address.url))
        address = parse_url(embedded.url)
    settings = _client_settings(address, timeout_ms)
    if address.cluster:
        refuse_cluster_without_hash_tag(keyspace)
        nodes = [redis.cluster.ClusterNode(host, port) for host, port in address.hosts]
        make = lambda: redis.RedisCluster(startup_nodes=nodes, **settings)  # noqa: E731
        return ClusterWire(make, keyspace.state, timeout_ms), embedded
    if address.scheme.endswith("+sentinel"):
        own = _sentinel_settings(address, timeout_ms, no_retries())
        sentinel = redis.sentinel.Sentinel(list(address.hosts), sentinel_kwargs=own, **settings)
        return ServerWire(sentinel.master_for(address.service, db=address.db), timeout_ms), embedded
    return ServerWire(_from_url(redis.Redis, address.url, settings), timeout_ms), embedded


def connect_async(
    url: str, keyspace: Keyspace, timeout_ms: int = DEFAULT_TIMEOUT_MS
) -> tuple[AsyncWire, EmbeddedStore | None]:
    """The same for asyncio."""
    address = parse_url(url)
    embedded = None
    if address.scheme == "embedded":
        from gate.store.embedded import EmbeddedStore

        embedded = EmbeddedStore.open(Path(address.url))
        address = parse_url(embedded.url)
    settings = _client_settings(address, timeout_ms)
    settings["retry"] = None
    if address.cluster:
        refuse_cluster_without_hash_tag(keyspace)
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in address.hosts]
        make = lambda: redis.asyncio.RedisCluster(startup_nodes=nodes, **settings)  # noqa: E731
        return AsyncClusterWire(make, keyspace.state, timeout_ms), embedded
    if address.scheme.endswith("+sentinel"):
        own = _sentinel_settings(address, timeout_ms, redis.asyncio.retry.Retry(NoBackoff(), 0))
        sentinel = redis.asyncio.Sentinel(list(address.hosts), sentinel_kwargs=own, **settings)
        return AsyncServerWire(sentinel.master_for(address.service, db=address.db), timeout_ms), embedded
    return AsyncServerWire(_from_url(redis.asyncio.Redis, address.url, settings), timeout_ms), embedded
