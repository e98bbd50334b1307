"""Sentinels are asked over TLS where the store has it: whoever answers for one names who gets the store's password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gate import InvalidField, Reason
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.authority import Authority
from tests.servers.process import ProcessStore
from tests.servers.tls import Heard, attacker, names_master, tls_front
from tests.store.test_clusters import Sentinel, ask, is_up, new_node, port_of, wait_until
from tests.store.test_stores_by_url import works

SECRET = "geheim"  # noqa: S105


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that the store's users trust. Others have certificates of it too, as of any public one."""
    return Authority(tmp_path)


def fine(words: list[bytes]) -> bytes:
    return b"+OK\r\n"


class Watched:
    """A real store and a real sentinel that watches it, both over TLS, on loopback."""

    def __init__(self, stack: ExitStack, authority: Authority, *, name: str = "127.0.0.1") -> None:
        self.store = ProcessStore()
        stack.callback(self.store.close)
        store_port = stack.enter_context(tls_front(port_of(self.store), authority.server(name)))
        sentinel = Sentinel(store_port)
        stack.callback(sentinel.close)
        self.sentinel_port = stack.enter_context(tls_front(port_of(sentinel), authority.server("127.0.0.1")))

    def url(self, authority: Authority, more: str = "") -> str:
        return f"rediss+sentinel://127.0.0.1:{self.sentinel_port}/gate?ssl_ca_certs={authority.ca}{more}"


def test_sentinels_and_store_are_reached_over_tls(stack: ExitStack, authority: Authority, open_gate: OpenGate) -> None:
    watched = Watched(stack, authority)

    assert works(open_gate(url=watched.url(authority))) == 1


def test_a_sentinel_in_plain_text_is_asked_nothing_and_its_master_gets_no_password(
    stack: ExitStack, authority: Authority, open_gate: OpenGate
) -> None:
    """The attacker has a certificate for its own address, which everybody can have."""
    at_the_sentinel, at_the_master = Heard(), Heard()
    master = stack.enter_context(attacker(at_the_master, fine, authority.server("127.0.0.1")))
    sentinel = stack.enter_context(attacker(at_the_sentinel, names_master("gate", master)))
    url = f"rediss+sentinel://:{SECRET}@127.0.0.1:{sentinel}/gate?ssl_ca_certs={authority.ca}"

    verdict = open_gate(url=url).evaluate(at.entry())

    assert verdict.reason is Reason.STORE_UNAVAILABLE
    assert set(at_the_sentinel.first_bytes) == {b"\x16"}, "TLS, or nothing"
    assert at_the_master.commands == []


@pytest.mark.parametrize("how", ["another authority", "another name"])
def test_a_sentinel_with_a_certificate_that_is_not_its_own_is_not_followed(
    how: str, stack: ExitStack, tmp_path: Path, authority: Authority, open_gate: OpenGate
) -> None:
    theirs = Authority(tmp_path, "theirs") if how == "another authority" else authority
    context = theirs.server("127.0.0.1" if how == "another authority" else "somebody.example")
    at_the_sentinel, at_the_master = Heard(), Heard()
    master = stack.enter_context(attacker(at_the_master, fine, authority.server("127.0.0.1")))
    sentinel = stack.enter_context(attacker(at_the_sentinel, names_master("gate", master), context))
    url = f"rediss+sentinel://:{SECRET}@127.0.0.1:{sentinel}/gate?ssl_ca_certs={authority.ca}"

    verdict = open_gate(url=url).evaluate(at.entry())

    assert verdict.reason is Reason.STORE_UNAVAILABLE
    assert (at_the_sentinel.commands, at_the_master.commands) == ([], [])


def test_a_store_with_the_name_of_another_gets_no_password(
    stack: ExitStack, authority: Authority, open_gate: OpenGate
) -> None:
    """Also with a redis-py that would take any certificate of the authority: before 6 it did."""
    heard = Heard()
    port = stack.enter_context(attacker(heard, fine, authority.server("somebody.example")))

    verdict = open_gate(url=f"rediss://:{SECRET}@127.0.0.1:{port}?ssl_ca_certs={authority.ca}").evaluate(at.entry())

    assert verdict.reason is Reason.STORE_UNAVAILABLE
    assert heard.commands == []


def test_a_cluster_is_reached_over_tls_at_every_node(
    stack: ExitStack, authority: Authority, open_gate: OpenGate
) -> None:
    node = new_node(stack)
    ask(node, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    front = stack.enter_context(tls_front(port_of(node), authority.server("127.0.0.1")))
    ask(node, "CONFIG", "SET", "cluster-announce-port", front)
    wait_until(lambda: is_up(node))
    url = f"rediss+cluster://127.0.0.1:{front}?ssl_ca_certs={authority.ca}"

    assert works(open_gate(url=url, prefix="{quantum}", timeout_ms=5_000)) == 1


def test_who_says_so_has_any_certificate_taken(stack: ExitStack, authority: Authority, open_gate: OpenGate) -> None:
    watched = Watched(stack, authority, name="somebody.example")
    url = f"rediss+sentinel://127.0.0.1:{watched.sentinel_port}/gate?ssl_cert_reqs=none"

    assert works(open_gate(url=url)) == 1


def test_the_stores_password_is_not_shown_to_the_sentinels_and_theirs_is_their_own(
    stack: ExitStack, authority: Authority, open_gate: OpenGate
) -> None:
    heard = Heard()
    sentinel = stack.enter_context(attacker(heard, names_master("gate", 1), authority.server("127.0.0.1")))
    options = f"ssl_ca_certs={authority.ca}&sentinel_password=theirs"
    url = f"rediss+sentinel://:{SECRET}@127.0.0.1:{sentinel}/gate?{options}"

    open_gate(url=url).evaluate(at.entry())

    assert heard.has(b"theirs")
    assert not heard.has(SECRET.encode())


def test_options_behind_the_service_are_honoured(stack: ExitStack, authority: Authority, open_gate: OpenGate) -> None:
    watched = Watched(stack, authority)
    with watched.store.client() as client:
        client.acl_setuser("worker", enabled=True, passwords=["+" + SECRET], keys=["*"], categories=["+@all"])
    login = f"username=worker&password={SECRET}"
    gate = open_gate(url=watched.url(authority, more=f"&{login}&db=3&client_name=gate-of-the-test"))

    assert works(gate) == 1

    with watched.store.client() as client:
        (seen,) = (each for each in client.client_list() if each["name"] == "gate-of-the-test")
    assert (seen["user"], seen["db"]) == ("worker", "3")


def test_options_are_honoured_at_the_sentinel_too(stack: ExitStack, open_gate: OpenGate) -> None:
    heard = Heard()
    port = stack.enter_context(attacker(heard, fine))
    open_gate(url=f"redis+sentinel://127.0.0.1:{port}/gate?client_name=by-name").evaluate(at.entry())
    assert heard.has(b"by-name")


@pytest.mark.parametrize(
    "answer", [b"+OK\r\n", b"$-1\r\n", b":1\r\n", b"*0\r\n", b"*1\r\n*1\r\n+x\r\n", b"*1\r\n*2\r\n+name\r\n+gate\r\n"]
)
def test_a_sentinel_that_answers_anything_denies(answer: bytes, stack: ExitStack, open_gate: OpenGate) -> None:
    def reply(words: list[bytes]) -> bytes:
        return answer if words[0].upper() == b"SENTINEL" else b"+OK\r\n"

    port = stack.enter_context(attacker(Heard(), reply))
    verdict = open_gate(url=f"redis+sentinel://127.0.0.1:{port}/gate").evaluate(at.entry())
    assert verdict.reason in (Reason.STORE_UNAVAILABLE, Reason.STORE_ERROR)


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("sentinel://127.0.0.1:1/gate?ssl_ca_cert=ca.pem", "has an unknown option: did you mean ssl_ca_certs"),
        ("sentinel://127.0.0.1:1/gate?socket_timeout=5", "has an unknown option"),
        ("sentinel://127.0.0.1:1/gate?ssl_cert_reqs=often", "which is none of none, optional, required"),
        ("sentinel://127.0.0.1:1/gate?ssl_check_hostname=perhaps", "which is neither true nor false"),
        ("sentinel://127.0.0.1:1/gate?ssl_ca_certs=", "has the option ssl_ca_certs without a value"),
        ("sentinel://127.0.0.1:1/gate?db=1&db=2", "has the option db twice"),
        ("sentinel://127.0.0.1:1/gate#x", "has a # behind the host"),
        ("cluster://127.0.0.1:1?sentinel_password=x", "has an unknown option"),
        ("cluster://127.0.0.1:1/gate", "has a database that is no number"),
        ("cluster://127.0.0.1:1/3", "a cluster has database 0 alone"),
        ("cluster://127.0.0.1:1?db=3", "a cluster has database 0 alone"),
        ("cluster://127.0.0.1:99999", "has a host that can't be read"),
    ],
)
def test_what_is_not_honoured_is_refused(rest: str, problem: str, open_gate: OpenGate) -> None:
    with pytest.raises(InvalidField) as refused:
        open_gate(url=f"rediss+{rest}", prefix="{quantum}")
    assert problem in str(refused.value)


def test_an_option_of_tls_without_tls_is_refused(open_gate: OpenGate) -> None:
    with pytest.raises(InvalidField, match=r"ssl_ca_certs without TLS; begin with rediss\+sentinel://"):
        open_gate(url="redis+sentinel://127.0.0.1:1/gate?ssl_ca_certs=ca.pem")
