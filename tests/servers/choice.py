"""Chooses the servers of this test run, by the environment and the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import redis

from tests.servers.container import DEFAULT_IMAGE, ContainerStore, find_image
from tests.servers.process import ProcessStore
from tests.servers.store import PrivateStore, StoreUnavailableError, connect

_REQUIRE, _NEVER, _AUTO = "require", "never", ""


@dataclass(frozen=True)
class Supply:
    """A source of servers."""

    source: str
    start: Callable[[Sequence[str]], PrivateStore]
    given_url: str | None = None
    notice: str | None = None


def skipping_is_off(environment: Mapping[str, str]) -> bool:
    return environment.get("GATE_TEST_CONTAINERS", _AUTO) == _REQUIRE


def choose(environment: Mapping[str, str]) -> Supply:
    """A given URL, else containers, else the embedded server. Raises StoreUnavailableError."""
    url = environment.get("GATE_TEST_URL") or None
    containers = environment.get("GATE_TEST_CONTAINERS", _AUTO)
    image = environment.get("GATE_TEST_IMAGE") or DEFAULT_IMAGE
    if containers not in (_REQUIRE, _NEVER, _AUTO):
        raise StoreUnavailableError(f"GATE_TEST_CONTAINERS={containers!r}: must be 'require' or 'never', or not be set")
    if url is not None and containers == _REQUIRE:
        raise StoreUnavailableError("GATE_TEST_CONTAINERS=require and GATE_TEST_URL contradict each other: unset one")
    if url is not None:
        _insist_on_empty(url)
        return Supply(source="GATE_TEST_URL", start=ProcessStore, given_url=url)
    if containers == _NEVER:
        return Supply(source="embedded", start=ProcessStore)
    refusal = find_image(image)
    if refusal is None:
        return Supply(source=f"container of {image}", start=lambda arguments: ContainerStore(image, arguments))
    if containers == _REQUIRE:
        raise StoreUnavailableError(f"GATE_TEST_CONTAINERS=require, and there is no container: {refusal}")
    return Supply(source="embedded", start=ProcessStore, notice=f"no container: {refusal}")


def without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}"))


def _insist_on_empty(url: str) -> None:
    """Refuses a given server that holds keys, since the tests would delete them."""
    try:
        with connect(url) as client:
            databases = client.info("keyspace")
    except (redis.RedisError, ValueError) as error:
        raise StoreUnavailableError(f"GATE_TEST_URL={without_password(url)}: {error}") from error
    if databases:
        raise StoreUnavailableError(
            f"GATE_TEST_URL={without_password(url)} holds keys, which the tests would delete: give an empty server"
        )
