"""The wire uses redis-py's connections without its pool. What a pool hands to them is known, name by name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

from gate.store.connect import plain_client
from gate.store.connection import _POOL_ONLY, connection_settings

# What means something to a connection of the wire: handed on, or set by the wire itself.
KNOWN = {
    *("host", "port", "path", "db", "username", "password", "credential_provider", "client_name"),
    *("socket_timeout", "socket_connect_timeout", "socket_read_size", "socket_type"),
    *("socket_keepalive", "socket_keepalive_options", "health_check_interval", "retry", "redis_connect_func"),
    *("encoding", "encoding_errors", "encoder_class", "decode_responses", "protocol", "legacy_responses"),
    "parser",  # from one class of a connection to another
    *("driver_info", "lib_name", "lib_version", "command_packer", "connection_pool", "is_master"),
    *("ssl_keyfile", "ssl_certfile", "ssl_cert_reqs", "ssl_include_verify_flags", "ssl_exclude_verify_flags"),
    *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_check_hostname", "ssl_password", "ssl_min_version"),
    *("ssl_ciphers", "ssl_validate_ocsp", "ssl_validate_ocsp_stapled", "ssl_ocsp_context"),
    *("ssl_ocsp_expected_cert",),
}
URLS = {"tcp": "redis://:pw@h:1/2", "tls": "rediss://h:1/2", "unix": "unix:///run/valkey.sock?db=2"}


def client(module: Any, form: str) -> Any:
    if form == "sentinel":
        kind = redis.asyncio.Sentinel if module is redis.asyncio else redis.sentinel.Sentinel
        return kind([("h", 1)]).master_for("mymaster", db=2)
    return module.Redis.from_url(URLS[form])


@pytest.mark.parametrize("form", [*URLS, "sentinel"])
@pytest.mark.parametrize("module", [redis, redis.asyncio], ids=["blocking", "asyncio"])
class TestEachFormOfConnection:
    def test_a_pool_hands_it_nothing_that_is_not_known(self, module: Any, form: str) -> None:
        """A new release that hands over more: find out what it does, and add it here or to _POOL_ONLY."""
        handed_over = set(client(module, form).connection_pool.connection_kwargs)

        assert handed_over - _POOL_ONLY - KNOWN == set()

    def test_it_takes_nothing_that_is_not_known(self, module: Any, form: str) -> None:
        """A new release with a setting that is on by default would bring it to the wire unseen."""
        kind = client(module, form).connection_pool.connection_class
        taken = {
            name
            for each in inspect.getmro(kind)
            if "__init__" in vars(each)
            for name, parameter in inspect.signature(vars(each)["__init__"]).parameters.items()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        }

        assert taken - {"self"} - _POOL_ONLY - KNOWN == set()

    def test_it_is_made_with_what_the_wire_keeps(self, module: Any, form: str) -> None:
        pool = client(module, form).connection_pool
        settings = connection_settings(pool.connection_kwargs, 0.25)

        assert set(settings) & _POOL_ONLY == set()
        assert pool.connection_class(**settings).retry._retries == 0


@pytest.mark.parametrize("url", ["redis://h:1/2", "redis+sentinel://h:1/mymaster"])
def test_plain_clients_pack_as_redis_py_does_but_by_hiredis(url: str) -> None:
    packs = plain_client(url, 1_000).connection_pool.connection_class.pack_command  # type: ignore[union-attr]
    theirs = redis.asyncio.Connection()
    assert packs is not redis.asyncio.Connection.pack_command
    for words in (("XGROUP CREATE", "s", "g", "0"), ("EVALSHA", b"\xff\x00", 3, "\u00e9"), ("PING",)):
        assert b"".join(packs(theirs, *words)) == b"".join(theirs.pack_command(*words))
