"""A store's URL, taken apart. The package says which forms there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from gate.store.masking import masked
from gate.values.errors import InvalidField

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
