"""Servers in containers, through testcontainers."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import docker  # type: ignore[import-untyped, unused-ignore]
import redis
import requests

# Must be set before testcontainers reads its settings. Its reaper is one more image to pull, which a machine without a
# registry can't; a Lifeline does the reaper's work.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

from testcontainers.community.redis import PingWaitStrategy, RedisContainer
from testcontainers.core.docker_client import DockerClient

from tests.servers.lifeline import Lifeline
from tests.servers.ports import free_port
from tests.servers.store import POLL_INTERVAL_S, READY_WITHIN_S, StoreUnavailableError, connect, wait_until_ready

DEFAULT_IMAGE = "redis:8-alpine"
_PORT = 6379
_START_ATTEMPTS = 5
_PULL_TIMEOUT_S = 120

_REMOVE_CONTAINER = "import docker, sys; docker.from_env().containers.get(sys.argv[1]).remove(force=True, v=True)"


def find_image(image: str) -> str | None:
    """None if an engine answers and has `image`, pulled if need be; else why not, in one line."""
    try:
        engine = DockerClient(timeout=_PULL_TIMEOUT_S).client
        engine.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        return f"no Docker engine answers ({_one_line(error)})"
    try:
        engine.images.get(image)
    except docker.errors.ImageNotFound:
        try:
            engine.images.pull(image)
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            return f"image {image} is neither here nor to be pulled ({_one_line(error)})"
    finally:
        engine.close()
    return None


class ContainerStore:
    """A private server in a container of its own, on a host port that stays the same over stop and start."""

    def __init__(self, image: str, arguments: Sequence[str] = ()) -> None:
        self._image = image
        self._arguments = tuple(arguments)
        self._container, self._lifeline = self._run_on_a_port_that_is_free()
        host = self._container.get_container_host_ip()
        # A published port may be bound to IPv4 only, and "localhost" need not mean that first.
        host = "127.0.0.1" if host == "localhost" else host
        self._url = f"redis://{host}:{self._container.get_exposed_port(_PORT)}/0"

    @property
    def url(self) -> str:
        return self._url

    def client(self, **options: Any) -> redis.Redis:
        return connect(self.url, **options)

    def start(self) -> None:
        self._engine_container.start()
        wait_until_ready(self.url)

    def stop(self) -> None:
        self._engine_container.kill()
        self._engine_container.wait()

    def pause(self) -> None:
        self._engine_container.pause()

    def resume(self) -> None:
        self._engine_container.unpause()

    def close(self) -> None:
        self._lifeline.release()
        self._container.stop()

    @property
    def _engine_container(self) -> Any:
        return self._container.get_wrapped_container()

    def _run_on_a_port_that_is_free(self) -> tuple[RedisContainer, Lifeline]:
        for attempt in range(_START_ATTEMPTS):
            try:
                return self._run(free_port())
            except (docker.errors.DockerException, redis.RedisError, OSError, RuntimeError) as error:
                port_taken = "address already in use" in str(error) or "port is already allocated" in str(error)
                if not port_taken or attempt == _START_ATTEMPTS - 1:
                    raise StoreUnavailableError(f"no container of {self._image}: {_one_line(error)}") from error
        raise AssertionError("unreachable")

    def _run(self, port: int) -> tuple[RedisContainer, Lifeline]:
        strategy = PingWaitStrategy().with_poll_interval(POLL_INTERVAL_S).with_startup_timeout(int(READY_WITHIN_S))
        container = RedisContainer(self._image).waiting_for(strategy).with_bind_ports(_PORT, port)
        container.with_command(
            [
                "redis-server",
                *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
                # Protected mode turns away whoever comes through a published port: to the server that isn't loopback.
                *("--protected-mode", "no"),
                *self._arguments,
            ]
        )
        try:
            container.start()
        except BaseException:
            container.stop()
            raise
        return container, Lifeline([sys.executable, "-c", _REMOVE_CONTAINER, container.get_container_id()])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
