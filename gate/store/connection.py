"""How the wires use redis-py's connections: with which settings, in which bytes, and to which master."""

from __future__ import annotations

import time
from typing import Any, Final

import redis
from hiredis import pack_command

from gate.protocol.scripts import Command, Encoded, Message, Pipeline, packed_for
from gate.store.identity import addressed

# Settings that only redis-py's own pool needs, or that would turn its retries and push messages on again.
_POOL_ONLY: Final = frozenset(
    {
        "maint_notifications_config",
        "maint_notifications_pool_handler",
        "oss_cluster_maint_notifications_handler",
        "maintenance_state",
        "maintenance_notification_hash",
        "orig_host_address",
        "orig_socket_timeout",
        "orig_socket_connect_timeout",
        "event_dispatcher",
        "parser_class",
        "retry_on_error",
        "retry_on_timeout",
        "himport_registry",
    }
)
_MASTER_ASKED_EVERY_S: Final = 0.5
"""How often sentinels are asked, while connections serve, whether the master is still the same. After a failover the
old one may go on as a master for ten seconds, and would admit what the new one admits too."""


def _driver() -> dict[str, Any]:
    """How a connection introduces itself; redis-py would else read its own package metadata for each: 3 ms."""
    try:
        from redis.driver_info import DriverInfo
    except ImportError:  # before 7.2: read once, at import
        return {}
    return {"driver_info": DriverInfo(lib_version=redis.__version__)}


_DRIVER: Final = _driver()


def connection_settings(settings: dict[str, Any], socket_timeout: float | None) -> dict[str, Any]:
    """A pool's connection settings, changed for the wire: RESP2, bytes, a time-out, no retries."""
    kept = {name: value for name, value in settings.items() if name not in _POOL_ONLY}
    return {
        **_DRIVER,
        **kept,
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": socket_timeout,
        "health_check_interval": 0,
        "retry": None,
    }


def pack(command: Command) -> bytes:
    """A command's bytes on the wire."""
    packed: bytes = pack_command(command)  # type: ignore[arg-type]  # its stub has one-element tuples only
    return packed


def pack_message(message: Message, server: str) -> bytes:
    """The bytes of a command, or of all commands of a pipeline. `server`: the word of the server that gets them."""
    if isinstance(message, Encoded):
        return packed_for(message, server)
    if isinstance(message, Pipeline):
        return b"".join(pack_message(command, server) for command in message.commands)
    return pack(addressed(message, server))


def sentinels(pool: Any) -> list[Any]:
    """redis-py's clients of the sentinels that name the pool's master; none where it goes to one server."""
    manager = getattr(pool, "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)


class Master:
    """The master that connections go to, where sentinels name it."""

    def __init__(self, pool: Any) -> None:
        self.named: Final = hasattr(pool, "get_master_address")
        self._address: tuple[Any, Any] | None = None
        self._asked_s = 0.0

    def due(self) -> bool:
        """Whether it is time to ask the sentinels. Then one caller asks; the others go on meanwhile."""
        if not self.named or time.monotonic() - self._asked_s < _MASTER_ASKED_EVERY_S:
            return False
        self._asked_s = time.monotonic()
        return True

    def is_now(self, address: tuple[Any, Any]) -> None:
        """Keeps the address that a sentinel names."""
        self._address = address

    def serves(self, connection: Any) -> bool:
        """Whether a connection goes to the master that was named last."""
        return self._address is None or (connection.host, connection.port) == self._address
