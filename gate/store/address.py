"""Parses a store's URL. The docstring of gate.store lists the forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from gate.store.masking import masked
from gate.values.errors import InvalidField, shown

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
_NO_URL: Final = (
    "is not a URL: its port is no number up to 65535, or a password has special characters; write / as %2F and so on"
)


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A parsed store URL."""

    scheme: str
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None

    @property
    def tls(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme.startswith("rediss")

    @property
    def cluster(self) -> bool:
        """Whether the store is a cluster."""
        return self.scheme.endswith("+cluster")

    def __repr__(self) -> str:
        return f"StoreAddress({masked(self.url)!r})"


def parse_url(url: str) -> StoreAddress:
    """Parses a store URL. Raises InvalidField."""
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
        # The text before the @ may be a password, so the error doesn't quote it.
        raise InvalidField("url", masked(url), "has an @ after the host; write / ? # in a password as %2F %3F %23")
    if "+" not in scheme:
        _check_single(scheme, url, parts)
        return StoreAddress(scheme, url)
    kind = scheme.partition("+")[2]
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    service, _, db = parts.path.lstrip("/").partition("/")
    if kind == "sentinel" and not service:
        raise InvalidField("url", masked(url), "names no service; give redis+sentinel://host:port/service")
    if db and not (db.isascii() and db.isdigit() and len(db) <= 9):
        raise InvalidField("url", masked(url), f"has {shown(db)} as the database; give a number")
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
    """Refuses a database that isn't a number: redis-py would use database 0, where nobody else looks."""
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
        raise InvalidField("url", masked(url), f"has {shown(db)} as the database; give a number")


def _check_host(url: str, host: str) -> None:
    """Refuses a name that a resolver can't encode: it would raise UnicodeError in the middle of a call."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise InvalidField("url", masked(url), f"has {shown(host)} as the host, which is no host name") from None


def _host(url: str, text: str, default_port: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, "", str(default_port))
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise InvalidField("url", masked(url), f"has {shown(text)} as a host; give host:port")
    _check_host(url, host)
    return host.strip("[]"), int(port)
