"""A store that isn't reached over TLS says why, and what helps."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from gate import AsyncGate, Gate, StoreUnavailable
from gate.service.streams import said_of
from gate.store.unreached import unreached
from tests.servers.authority import Authority
from tests.servers.tls import listening, tls_front

REMEDY = "make the authority anew with -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,"
STRICT = (
    "CA cert does not include key usage extension",
    "Basic Constraints of CA cert not marked critical",
    "Missing Authority Key Identifier",
    "Missing Subject Key Identifier",
)


def blocking(url: str, prefix: str) -> None:
    with Gate.from_url(url, prefix=prefix) as gate:
        gate.status()


def on_asyncio(url: str, prefix: str) -> None:
    async def asked() -> None:
        async with AsyncGate.from_url(url, prefix=prefix) as gate:
            await gate.status()

    asyncio.run(asked())


Ask = Callable[[str, str], None]
both = pytest.mark.parametrize("ask", [blocking, on_asyncio])
forms = pytest.mark.parametrize(
    "form", ["rediss://127.0.0.1:{}/0", "rediss+cluster://127.0.0.1:{}", "rediss+sentinel://127.0.0.1:{}/mymaster"]
)


def refused(ask: Ask, url: str) -> str:
    with pytest.raises(StoreUnavailable) as failed:
        ask(url, "{quantum}")
    return str(failed.value)


@pytest.mark.parametrize("words", STRICT)
def test_a_certificate_that_a_newer_python_refuses_names_what_makes_it_anew(words: str) -> None:
    text = f"Error 1 connecting to h:1. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {words} (_ssl.c:1)."
    failure = redis.ConnectionError(text)

    assert REMEDY in str(unreached(failure, {}))
    assert REMEDY in said_of(failure)


def test_another_refusal_of_a_certificate_names_no_such_remedy(tmp_path: Path) -> None:
    with tls_front(1, Authority(tmp_path).server("127.0.0.1")) as port:
        said = refused(blocking, f"rediss://127.0.0.1:{port}")

    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert "-addext" not in said


@both
def test_an_authority_without_extensions_is_refused_with_the_remedy(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python 3.13 and later do it by themselves."""
    create = ssl.create_default_context

    def strict() -> ssl.SSLContext:
        context = create()
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    authority = Authority(tmp_path, signs=False)
    with tls_front(1, authority.server("127.0.0.1")) as port:
        said = refused(ask, f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.ca}")

    assert STRICT[0] in said
    assert REMEDY in said


@both
@forms
@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
def test_a_file_that_is_not_there_is_named_with_its_option(option: str, form: str, ask: Ask, tmp_path: Path) -> None:
    authority, missing = Authority(tmp_path), tmp_path / "missing.pem"
    more = f"&ssl_ca_certs={authority.ca}&ssl_keyfile={authority.ca}" if option == "ssl_certfile" else ""
    with tls_front(1, authority.server("127.0.0.1")) as port:
        said = refused(ask, f"{form.format(port)}?{option}={missing}{more}")

    assert said.endswith(f"; the file of {option} can't be read: {missing}")


def silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


@both
@pytest.mark.parametrize("form", ["rediss://127.0.0.1:{}/0", "rediss+cluster://127.0.0.1:{}"])
def test_a_port_that_answers_no_handshake_may_not_speak_tls(form: str, ask: Ask) -> None:
    with listening(silent) as port:
        said = refused(ask, form.format(port))

    assert said.endswith("; the host may be away, or the port not speak TLS, which rediss:// asks for")


def test_a_store_without_tls_is_not_asked_for_it() -> None:
    late = redis.TimeoutError("Timeout connecting to server")

    assert str(unreached(late, {"socket_timeout": 1})) == "Timeout connecting to server"
