"""However odd a store's URL is, no letter of its password is shown, and no length of it costs time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate import AsyncGate, Gate, InvalidField
from gate.store.address import parse_url, shown_url
from gate.store.masking import masked
from tests.cli.conftest import Run
from tests.client import account as at
from tests.client.gates import OpenGate
from tests.servers.store import PrivateStore

LETTERS = "QXZЖЯ"  # in none of the gate's own words
# Where people put a password: as it should be, and with a slip in the URL around it.
FORMS = (
    "redis://:{}@127.0.0.1:1/0",
    "redis://default:{}@127.0.0.1:1/0",
    "rediss://default:{}@127.0.0.1:1/0",
    "redis//:{}@127.0.0.1",
    "redis:{}@127.0.0.1",
    "redis:/:{}@127.0.0.1",
    "redis:///:{}@127.0.0.1",
    "redis://default:{}@127.0.0.1:port/0",
    "redis://default:{}@/0",
    "redis://default:{}@127.0.0.1/first",
    "redis://default:{}@[::1/0",
    "default:{}@127.0.0.1:1",
    ":{}@127.0.0.1",
    " redis://:{}@127.0.0.1:1",
    "http://default:{}@127.0.0.1:1",
    "redis+sentinel://:{}@127.0.0.1:1,127.0.0.1:2/service",
    "redis+sentinel://:{}@127.0.0.1:1",
    "redis+cluster://:{}@127.0.0.1:1",
    "redis+cluster://:{}@127.0.0.1:1/1",
    "unix://:{}@/run/valkey.sock",
    "unix:///:{}@/run/valkey.sock",
    "redis://127.0.0.1:1/0?password={}",
    "redis://127.0.0.1:1/0?pasword={}",
    "rediss://127.0.0.1:1/0?ssl_cert_reqs={}",
    "redis://127.0.0.1:1/0?db={}",
    "redis+sentinel://127.0.0.1:1/service?sentinel_password={}",
    "redis+cluster://127.0.0.1:1?pasword={}",
    "embedded:redis://:{}@127.0.0.1",
)
odd_passwords = st.text(alphabet=LETTERS + "'\" /?#@:&=%[]\\;+,<>|\t\n", min_size=1, max_size=24)


def shown_of(url: str) -> list[str]:
    """All that the library says of a URL: its errors, or what it calls the store."""
    said = [shown_url(url)]
    for kind in (Gate, AsyncGate):
        try:
            kind.from_url(url, prefix="{quantum}")
        except InvalidField as refused:
            said += [str(refused), repr(refused), str(refused.value)]
    try:
        said += [repr(parse_url(url))]
    except InvalidField as refused:
        said += [str(refused)]
    return said


ODD = (
    "QX'ZЖ",
    "QX ZЖ",
    'Q"X',
    "QX/ZЖ",
    "QX@ZЖ",
    "QX:ZЖ",
    "QX?ZЖ",
    "QX#ZЖ",
    "QX&ZЖ=Я",
    "QX%ZЖ",
    "QX[Z",
    "QX\\Z",
    "QX\nZ",
)


@pytest.mark.parametrize("form", FORMS)
def test_no_sign_in_a_password_lets_a_part_of_it_out(form: str) -> None:
    for odd in ODD:
        for said in shown_of(form.format(odd)):
            assert not set(said) & set(LETTERS), said


@given(form=st.sampled_from(FORMS), odd=odd_passwords)
def test_no_letter_of_a_password_is_shown(form: str, odd: str) -> None:
    for said in shown_of(form.format(odd)):
        assert not set(said) & set(LETTERS), said


@pytest.mark.parametrize("password", ["QX'ZЖ", 'Q X"Z', "QX/Z@XЖ"])
@pytest.mark.parametrize("form", FORMS)
def test_the_command_line_shows_none_wherever_the_url_stands(form: str, password: str, bare: Run) -> None:
    url = form.format(password)
    for words, environment in (
        (("--url", url, "status"), {}),
        (("--url", url, "status", "--json"), {}),
        (("status",), {"GATE_URL": url}),
        (("status", url), {}),
        (("status", f"--{url}"), {}),
        ((url, "status"), {}),
        ((url, "--json"), {}),
        (("status", "--exchange", url), {}),
    ):
        if words != ("status",) and words[0] != "--url" and "@" not in url:
            continue  # a word without an @ isn't told from any other word
        done = bare(*words, env=environment)
        assert done.exit_code in (2, 3), done.output
        assert not set(done.stdout + done.stderr) & set(LETTERS), done.stdout + done.stderr


def test_a_list_of_urls_in_the_file_is_not_quoted(bare: Run, tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('url = ["redis://:QXZQ@127.0.0.1:1"]\n', "utf-8")
    done = bare("--config", str(file), "status")
    assert done.exit_code == 2
    assert "url: is not a text" in done.stderr
    assert not set(done.stderr.replace(str(tmp_path), "")) & set(LETTERS)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:it's mine@h:1/2", "redis://***@h:1/2"),
        ("redis://h", "redis://h"),
        ("redis://h:1/0?username=u&password=p&db=3", "redis://***@h:1/3"),
        ("rediss://u@[::1]:1/0?ssl_ca_certs=ca.pem", "rediss://***@[::1]:1/0"),
        ("unix://:pw@/run/v.sock?db=2", "unix://***@/run/v.sock?db=2"),
        ("unix:///run/gate@acct1/v.sock", "unix:///run/gate@acct1/v.sock"),
        ("redis+sentinel://u:p@a,b:2/service/3", "redis+sentinel://***@a:26379,b:2/service/3"),
        ("rediss+cluster://a?password=p", "rediss+cluster://***@a:6379"),
        ("embedded:/var/lib/gate@acct1", "embedded:/var/lib/gate@acct1"),
        ("redis://u:p@h:port", "redis://***"),
        ("u:p@h", "***"),
    ],
)
def test_what_is_shown_is_built_from_the_parts(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_a_server_that_repeats_the_arguments_of_auth_is_not_quoted(
    new_private_store: Callable[..., PrivateStore], open_gate: OpenGate
) -> None:
    """A server whose AUTH is renamed, and an old sentinel, answer: unknown command, with args beginning with …"""
    store = new_private_store("--rename-command", "AUTH", "")
    gate = open_gate(url=store.url.replace("redis://", "redis://:QXZQ@"))
    verdict = gate.evaluate(at.entry())
    assert "unknown command" in verdict.detail
    assert not set(verdict.detail) & set(LETTERS)


@pytest.mark.parametrize("text", ["redis://", "a://@", "redis://x@h?a=", "://", "?a=b", "x:", "@", "'\"?="])
def test_a_long_text_is_shown_in_part_and_looked_through_once(text: str) -> None:
    """120 KB of an odd URL took 13 s: a second look at each place would outlast any patience here."""
    assert len(masked(text * (1_000_000 // len(text)))) < 25_000


@pytest.mark.parametrize("sign", "/?#")
def test_a_password_that_ends_the_host_too_early_is_refused(sign: str) -> None:
    """The user name would be taken for the host, and the password's first part for the port."""
    with pytest.raises(InvalidField, match="has an @ after the host"):
        parse_url(f"redis://default:1{sign}23456@127.0.0.1")


def test_a_long_url_is_refused_by_its_length() -> None:
    with pytest.raises(InvalidField, match="has more than 8192 characters") as refused:
        parse_url("redis://:" + "QXZQ" * 250_000 + "@127.0.0.1:1")
    assert not set(str(refused.value)) & set(LETTERS)


def test_json_of_a_refused_url_has_its_scheme_at_most(bare: Run) -> None:
    done = bare("--url", "redis://u:Q'X@h:port", "status", "--json")
    assert json.loads(done.stdout)["error"]["value"] == "redis://***"
