"""Mistyped store URLs are refused before anything is sent, in one sentence without the password."""

from __future__ import annotations

import pytest

from gate.client.gates import AsyncGate, Gate
from gate.store.address import parse_url
from gate.store.masking import masked
from gate.values.errors import InvalidField

BAD = {
    "redis://u:s3cret@host:notaport/0": "is not a URL",
    "redis://u:s3/cret@host:6379/0": "write / ? # in a password as %2F",
    "redis://u:s3cret@[::1/0": "is not a URL",
    "redis://u:s3cret@host:99999/0": "is not a URL",
    "redis://u:s3cret@host/first": "has a database that is no number",
    "redis://u:s3cret@:6379/0": "names no host",
    "redis:u:s3cret@host": "has an @ after the host",
    "http://u:s3cret@host": "is not a store",
    "redis://u:s3cret@ho..st/0": "has a host that is no host name",
    "redis+cluster://u:s3cret@a:1,\udcff:2": "has a host that is no host name",
    "unix://u:s3cret@": "names no socket",
    "": "is not a store",
}
BAD_OPTIONS = (
    "redis://u:s3cret@host/0?db=x",
    "redis://host/0?password=s3cret&colour=red",
    "rediss://u:s3cret@host/0?ssl_cert_reqs=often",
)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:6379", "[::1]:6379/0", "localhost:6379", "redis.internal:6379/2", "10.0.0.7:6380"]
)
def test_an_address_without_a_scheme_is_shown_with_one(url: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parse_url(url)
    assert str(refused.value) == f"url: {url!r} has no scheme; give redis://{url}"


@pytest.mark.parametrize("url", ["s3cret", "u:s3cret@127.0.0.1:6379", "s3cret:6379", "s3cret@host.example:6379"])
def test_what_may_hold_a_password_isnt_shown(url: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parse_url(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(("url", "problem"), BAD.items())
def test_says_what_is_wrong_without_the_password(url: str, problem: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parse_url(url)
    assert problem in str(refused.value)
    assert "s3" not in str(refused.value)


@pytest.mark.parametrize("url", BAD_OPTIONS)
@pytest.mark.parametrize("gate", [Gate, AsyncGate])
def test_an_option_that_redis_py_refuses_is_refused_at_once(gate: type[Gate | AsyncGate], url: str) -> None:
    with pytest.raises(InvalidField, match=r"has an option that redis-py refuses|unknown option|no number") as refused:
        gate.from_url(url)
    assert "s3cret" not in str(refused.value)


def test_a_misspelt_option_is_not_quoted_but_the_one_that_was_meant_is() -> None:
    with pytest.raises(InvalidField) as refused:
        Gate.from_url("redis://127.0.0.1/0?pasword=s3cret")
    assert str(refused.value) == "url: 'redis://127.0.0.1/0' has an unknown option: did you mean password?"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at redis://u:p@ss/w@h:1/0, late", "at redis://***@h:1/0, late"),
        ("at redis://u:it's mine@h:1/0, late", "at redis://***@h:1/0, late"),
        ("redis+sentinel://:pw@h:1,h:2/service", "redis+sentinel://***@h:1,h:2/service"),
        ("redis//:pw@h", "redis//***@h"),
        ("https://u:p@h/x", "https://***@h/x"),
        ("redis://u:p@one, redis://u:p@two", "redis://***@two"),
        ("redis://h?password=x y&db=1, late", "redis://h?***"),
        ("did it pass? a=b", "did it pass? a=b"),
        ("quantum:exec:processed:me@home of a@b", "quantum:exec:processed:me@home of a@b"),
        ("redis://h:1/0", "redis://h:1/0"),
    ],
)
def test_masking_a_text_takes_credentials_and_rather_too_much(text: str, shown: str) -> None:
    assert masked(text) == shown
