"""Parses a store's URL. The docstring of gate.store lists the forms.

What a message shows of a URL is built from its parsed parts. A URL that can't be parsed isn't quoted: nobody knows
where the password is in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

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
_LONGEST: Final = 8_192
_FORMS: Final = "is not a store; give redis://, rediss://, unix://, redis+sentinel://, redis+cluster:// or embedded:DIR"
_WITHOUT_SCHEME: Final = re.compile(
    # Nothing in these can be a password: an address, localhost or a name with a dot, a port, a database.
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|localhost|[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,9}):\d{1,5}(?:/\d{1,3})?",
    re.ASCII,
)
_NO_URL: Final = (
    "is not a URL: its port is no number up to 65535, or a password has special characters; write / as %2F and so on"
)
_AT_BEHIND: Final = "has an @ after the host; write / ? # in a password as %2F %3F %23"
_NO_DATABASE: Final = "has a database that is no number"
_NO_HOST: Final = "has a host that is no host name"

# What a URL with a + may say behind its ?. Each is honoured on every connection, to sentinels too, or refused.
LOGIN: Final = frozenset({"username", "password", "db", "client_name"})
_SENTINEL_LOGIN: Final = frozenset({"sentinel_username", "sentinel_password"})
TLS: Final = frozenset(
    {"ssl_ca_certs", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)
_YES_OR_NO: Final = MappingProxyType({"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False})
_CERTIFICATE: Final = ("none", "optional", "required")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A parsed store URL."""

    scheme: str
    url: str = field(repr=False)
    """As it was given, for redis-py; of an embedded store the directory."""
    shown: str
    """The URL without credentials and options. Made of what was parsed."""
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, str | bool], ...] = field(default=(), repr=False)
    """Of a URL with a +: what every connection takes, by redis-py's names."""
    sentinel_login: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    any_certificate: bool = False
    """Whether the URL says `ssl_cert_reqs=none`: then a certificate's name can't be checked either."""

    @property
    def tls(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme.startswith("rediss")

    @property
    def cluster(self) -> bool:
        """Whether the store is a cluster."""
        return self.scheme.endswith("+cluster")

    def __repr__(self) -> str:
        return f"StoreAddress({self.shown!r})"


def shown_url(url: str) -> str:
    """A store's URL as it may be shown. Of one that can't be parsed, nothing but its scheme."""
    try:
        return parse_url(url).shown
    except InvalidField as invalid:
        return str(invalid.value)


def parse_url(url: str) -> StoreAddress:
    """Parses a store URL. Raises InvalidField, which quotes nothing that wasn't parsed."""
    if not url:
        raise InvalidField("url", "", _FORMS)
    if len(url) > _LONGEST:
        raise InvalidField("url", "***", f"has more than {_LONGEST} characters")
    if _WITHOUT_SCHEME.fullmatch(url):
        raise InvalidField("url", url, f"has no scheme; give redis://{url}")
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in SCHEMES:
        raise InvalidField("url", "***", _FORMS)
    hidden = f"{scheme}:***" if scheme == "embedded" else f"{scheme}://***"
    if any(character < " " or character == "\x7f" for character in url):
        raise InvalidField("url", hidden, "has a control character, such as the end of a line")
    if scheme == "embedded":
        return _embedded(rest, hidden)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidField("url", hidden, _NO_URL) from None
    if "@" in parts.query + parts.fragment or (scheme != "unix" and "@" in parts.path):
        raise InvalidField("url", hidden, _AT_BEHIND)  # the text before the @ may be a password
    if scheme == "unix":
        return _unix(url, parts, hidden)
    return _several(scheme, url, parts, hidden) if "+" in scheme else _single(scheme, url, parts, hidden)


def _embedded(rest: str, hidden: str) -> StoreAddress:
    directory = rest.removeprefix("//")
    if not directory:
        raise InvalidField("url", hidden, "names no directory; give embedded:DIR")
    if "://" in directory:
        raise InvalidField("url", hidden, "names a URL as its directory; give embedded:DIR")
    return StoreAddress("embedded", directory, f"embedded:{directory}")


def _unix(url: str, parts: SplitResult, hidden: str) -> StoreAddress:
    login, at, host = parts.netloc.rpartition("@")
    if host or (parts.netloc and not at):
        # Between unix:// and the path stands a login or nothing. Else a part of a password may be taken for the path.
        raise InvalidField("url", hidden, "names a host in front of the socket; give unix:///path/to.sock")
    if not parts.path:
        raise InvalidField("url", hidden, "names no socket; give unix:///path/to.sock")
    if "@" in parts.path.partition(":")[2]:
        raise InvalidField("url", hidden, "has a : and an @ in its path, as if it were a password")
    options = _first(parts.query)
    db = _number(options.get("db"), hidden)
    login_shown = "***@" if login or {"username", "password"} & options.keys() else ""
    return StoreAddress("unix", url, f"unix://{login_shown}{parts.path}{f'?db={db}' if db else ''}", db=db or 0)


def _single(scheme: str, url: str, parts: SplitResult, hidden: str) -> StoreAddress:
    """Refuses a database that isn't a number: redis-py would use database 0, where nobody else looks."""
    login, _, _ = parts.netloc.rpartition("@")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidField("url", hidden, _NO_URL) from None
    if not host:
        raise InvalidField("url", hidden, "names no host")
    _check_host(host, hidden)
    options = _first(parts.query)
    in_path = _number(parts.path.strip("/"), hidden)
    db = in_path if "db" not in options else _number(options["db"], hidden)
    login_shown = "***@" if login or {"username", "password"} & options.keys() else ""
    where = _host_shown(host) + ("" if port is None else f":{port}")
    return StoreAddress(
        scheme,
        url,
        f"{scheme}://{login_shown}{where}{'' if db is None else f'/{db}'}",
        ((host, port or 6379),),
        db=db or 0,
        any_certificate=options.get("ssl_cert_reqs") == "none",
    )


def _first(query: str) -> dict[str, str]:
    """The options of a URL without a +, of which redis-py takes the first where one stands twice."""
    return dict(reversed(parse_qsl(query)))


def _several(scheme: str, url: str, parts: SplitResult, hidden: str) -> StoreAddress:
    """The forms with a +, of which redis-py knows nothing: what isn't honoured here would be dropped."""
    kind = scheme.partition("+")[2]
    credentials, _, named = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    if parts.fragment:
        raise InvalidField("url", hidden, "has a # behind the host; write # in a password as %23")
    if kind == "cluster":
        service, db_text = "", parts.path.strip("/")
    else:
        service, _, db_text = parts.path.lstrip("/").partition("/")
        if not service:
            raise InvalidField("url", hidden, "names no service; give redis+sentinel://host:port/service")
    default_port = 26379 if kind == "sentinel" else 6379
    hosts = tuple(_host(each, default_port, hidden) for each in named.split(","))
    options = _options(kind, scheme, parts.query, hidden)
    db = _number(options.pop("db", "") or db_text, hidden) or 0
    if kind == "cluster" and db:
        raise InvalidField("url", hidden, "names a database; a cluster has database 0 alone")
    username = options.pop("username", "") or unquote(username)
    password = options.pop("password", "") or unquote(password)
    sentinel = {name.removeprefix("sentinel_"): options.pop(name) for name in _SENTINEL_LOGIN & options.keys()}
    service = unquote(service)
    shown_hosts = ",".join(f"{_host_shown(host)}:{port}" for host, port in hosts)
    tail = "".join(f"/{part}" for part in (service, str(db) if db else "") if part)
    return StoreAddress(
        scheme,
        url,
        f"{scheme}://{'***@' if username or password else ''}{shown_hosts}{tail}",
        hosts,
        service,
        db,
        username or None,
        password or None,
        tuple((name, _typed(name, value, hidden)) for name, value in sorted(options.items())),
        tuple(sorted(sentinel.items())),
        options.get("ssl_cert_reqs") == "none",
    )


def _options(kind: str, scheme: str, query: str, hidden: str) -> dict[str, str]:
    """The options of a URL with a +. Raises InvalidField for one that wouldn't be honoured, or stands there twice."""
    known = LOGIN | (_SENTINEL_LOGIN if kind == "sentinel" else frozenset()) | TLS
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise InvalidField("url", hidden, unknown_option(name, known))
        if name in found:
            raise InvalidField("url", hidden, f"has the option {name} twice")
        if name in TLS and not scheme.startswith("rediss"):
            raise InvalidField("url", hidden, f"has the option {name} without TLS; begin with rediss+{kind}://")
        if not value:
            raise InvalidField("url", hidden, f"has the option {name} without a value")
        found[name] = value
    return found


def unknown_option(name: str, known: frozenset[str]) -> str:
    """What is wrong with an option that isn't known. It isn't quoted: it may be a part of a password."""
    from difflib import get_close_matches  # imported here, since only a slip needs it

    near = get_close_matches(name[:60], sorted(known), n=1)
    instead = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
    return f"has an unknown option: {instead}"


def _typed(name: str, value: str, hidden: str) -> str | bool:
    if name == "ssl_check_hostname":
        if value.lower() not in _YES_OR_NO:
            raise InvalidField("url", hidden, f"has the option {name}, which is neither true nor false")
        return _YES_OR_NO[value.lower()]
    if name == "ssl_cert_reqs" and value not in _CERTIFICATE:
        raise InvalidField("url", hidden, f"has the option {name}, which is none of {', '.join(_CERTIFICATE)}")
    return value


def _number(text: str | None, hidden: str) -> int | None:
    """A database's number; None where none is given."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidField("url", hidden, _NO_DATABASE)
    return int(text)


def _check_host(host: str, hidden: str) -> None:
    """Refuses a name that a resolver can't encode: it would raise UnicodeError in the middle of a call."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise InvalidField("url", hidden, _NO_HOST) from None
    if not all(character.isalnum() or character in "-_.:%" for character in host):
        raise InvalidField("url", hidden, _NO_HOST)


def _host_shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _host(text: str, default_port: int, hidden: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, "", str(default_port))
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65_536):
        raise InvalidField("url", hidden, "has a host that can't be read; give host:port")
    _check_host(host, hidden)
    return host, int(port)
