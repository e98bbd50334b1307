"""The settings of the service: the table [service] of the configuration file, and the old service's variables.

[service]
stream = "quantum:stream:trade.intent"             # the intents; names begin with the prefix by default
group = "quantum:group:execution:trade.intent"
consumer = "execution-host-7"                      # by default of host and process
results = "quantum:stream:execution.result"
results_kept = 100000
dead_letters = "quantum:stream:trade.intent.dead"
dead_letters_kept = 10000
concurrency = 32                                   # EXEC_CONCURRENCY; of entries, and as many exits beside them
read_count = 100                                   # XREADGROUP_COUNT
in_hand = 5000                                     # the most intents that one process holds
retries = true                                     # false answers at once what is denied but retryable
streams = true                                     # false: no streams of the exchange, and no updates of orders
id = "{trace_id}:{symbol}:{side}"                  # by default the intent's own id
max_age_s = 600                                    # INTENT_MAX_AGE_SEC; older ones are STALE, if the policy allows more
takeover_ms = 60000                                # how long an entry rests before another worker takes it over
stop_within_ms = 20000
listen = "127.0.0.1:9109"                          # or "none"
log = "plain"                                      # or "json"

[service.alerts]                                   # gate.service.alert_settings has its names
margin_below = 100
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple

from gate.config import InvalidConfig
from gate.protocol.texts import whole_or_none
from gate.service.alert_settings import AlertSettings, read_alerts
from gate.service.intake import IdTemplate
from gate.values.errors import shown
from gate.values.policy import Policy

ABOVE_A_PERMIT_MS: Final = 10_000
DEFAULT_LISTEN: Final = "127.0.0.1:9109"
_NUMBERS: Final = {
    "results_kept": (1, 10_000_000),
    "dead_letters_kept": (1, 10_000_000),
    "concurrency": (1, 1_000),
    "read_count": (1, 10_000),
    "in_hand": (1, 100_000),
    "max_age_s": (1, 86_400),
    "takeover_ms": (1_000, 3_600_000),
    "stop_within_ms": (0, 600_000),
}
_TEXTS: Final = ("stream", "group", "consumer", "results", "dead_letters", "id", "listen", "log")
_YES_OR_NO: Final = ("retries", "streams")
_VARIABLES: Final = {
    "INTENT_MAX_AGE_SEC": "max_age_s",
    "XREADGROUP_COUNT": "read_count",
    "EXEC_CONCURRENCY": "concurrency",
}


class Listen(NamedTuple):
    """Where health and metrics are served."""

    host: str
    port: int


def _called(name: str) -> str:
    """A setting that a variable may give too."""
    return " or ".join([f"service.{name}", *(each for each, given in _VARIABLES.items() if given == name)])


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one service process. Names of streams are whole keys."""

    stream: str
    group: str
    consumer: str
    results: str
    dead_letters: str
    answered: str
    """The beginning of the keys that say which intents have their result."""
    orders: str
    """The beginning of the keys that say what was told of an order."""
    results_kept: int = 100_000
    dead_letters_kept: int = 10_000
    concurrency: int = 32
    read_count: int = 100
    in_hand: int = 5_000
    retries: bool = True
    streams: bool = True
    id: IdTemplate | None = None
    max_age_s: int | None = None
    takeover_ms: int = 60_000
    stop_within_ms: int = 20_000
    listen: Listen | None = None
    log: str = "plain"
    alerts: AlertSettings = field(default=AlertSettings())

    def rested_ms(self, policy: Policy) -> int:
        """How long an entry rests with its consumer before another takes it over: longer than any permit lives."""
        return max(self.takeover_ms, policy.lock_ttl_ms + ABOVE_A_PERMIT_MS)

    def too_old(self, policy: Policy) -> str:
        """Why `max_age_s` has no effect under a policy; empty where it has."""
        most_ms = policy.max_age_ms
        if self.max_age_s is None or self.max_age_s * 1000 <= most_ms:
            return ""
        return (
            f"{_called('max_age_s')}: {self.max_age_s} s is above the policy's max_age_ms {most_ms}, and that counts; "
            f"write {max(most_ms // 1000, 1)} at most, or raise max_age_ms"
        )

    def at_odds(self, policy: Policy) -> tuple[str, ...]:
        """One sentence for each setting that works against the policy, or against another setting."""
        found = [each for each in (self.too_old(policy),) if each]
        rested_ms = self.rested_ms(policy)
        if self.takeover_ms < rested_ms:
            found.append(
                f"service.takeover_ms: {self.takeover_ms} is below the policy's lock_ttl_ms and ten seconds, and "
                f"{rested_ms} counts; write {rested_ms} or more"
            )
        fresh_ms = policy.max_age_ms if self.max_age_s is None else min(policy.max_age_ms, self.max_age_s * 1000)
        if rested_ms >= fresh_ms:
            found.append(
                f"service.takeover_ms: {rested_ms} is not below the {fresh_ms} ms for which an intent is fresh: what a "
                "dead worker has left unsent is STALE by then; lower it (or the policy's lock_ttl_ms, where that "
                "counts), or let intents be older"
            )
        if self.concurrency > policy.max_in_flight:
            found.append(
                f"{_called('concurrency')}: {self.concurrency} is above the policy's max_in_flight "
                f"{policy.max_in_flight}: entries beyond that are denied; write {policy.max_in_flight} at most"
            )
        if self.concurrency > self.in_hand:
            found.append(
                f"service.in_hand: {self.in_hand} is below the concurrency {self.concurrency}, which is never reached; "
                f"write {self.concurrency} or more"
            )
        return tuple(found)


def read_settings(
    table: object,
    environ: Mapping[str, str],
    prefix: str,
    *,
    host: str,
    pid: int,
    listen: str | None = None,
    file: Path | None = None,
) -> Settings:
    """The environment wins over the table, and the flag `listen` over both. Raises InvalidConfig with every fault.
    `file`: where the table stands, for messages."""
    faults: list[str] = []
    if not isinstance(table, Mapping):
        raise InvalidConfig((f"service: {shown(table)} is not a table; write [service]",), str(file or ""))
    known = {*_NUMBERS, *_TEXTS, *_YES_OR_NO, "alerts"}
    faults += [
        f"service.{name}: is not a setting; there are {', '.join(sorted(known))}" for name in table if name not in known
    ]
    found: dict[str, object] = {}
    for name, (least, most) in _NUMBERS.items():
        value = table.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            faults.append(f"service.{name}: {shown(value)} is not a whole number from {least} to {most}")
        else:
            found[name] = value
    for variable, name in _VARIABLES.items():
        text, (least, most) = environ.get(variable, "").strip(), _NUMBERS[name]
        if not text:
            continue
        number = whole_or_none(text)
        if number is None or not least <= number <= most:
            faults.append(f"{variable}: {shown(text)} is not a whole number from {least} to {most}")
        else:
            found[name] = number
    yes_or_no = {name: table.get(name, True) for name in _YES_OR_NO}
    faults += [
        f"service.{name}: {value!r} is neither true nor false"
        for name, value in yes_or_no.items()
        if not isinstance(value, bool)
    ]
    texts: dict[str, str] = {}
    for name in _TEXTS:
        value = table.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or not value or not value.isprintable():
            faults.append(f"service.{name}: {value!r} is not a text")
        else:
            texts[name] = value
    template = None
    if "id" in texts:
        try:
            template = IdTemplate.read(texts.pop("id"))
        except ValueError as problem:
            faults.append(f"service.id: {problem}")
    if (form := texts.setdefault("log", "plain")) not in ("plain", "json"):
        faults.append(f"service.log: {form!r} is neither plain nor json")
    address = None
    try:
        address = read_listen(listen or texts.pop("listen", DEFAULT_LISTEN))
    except ValueError as problem:
        faults.append(f"{'--listen' if listen else 'service.listen'}: {problem}")
    alerts = read_alerts(table.get("alerts", {}), faults)
    defaults = {
        "stream": f"{prefix}:stream:trade.intent",
        "results": f"{prefix}:stream:execution.result",
        "dead_letters": f"{prefix}:stream:trade.intent.dead",
    }
    names = {
        **defaults,
        "group": f"{prefix}:group:execution:trade.intent",
        "consumer": f"execution-{host}-{pid}",
    }
    names |= {name: text for name, text in texts.items() if name in names}
    if len({names[name] for name in defaults}) != len(defaults):
        faults.append("service: stream, results and dead_letters must be three streams")
    faults += [
        f"service.{name}: {names[name]!r} is among the gate's own keys; write another, such as {own!r}"
        for name, own in defaults.items()
        if names[name].startswith((f"{prefix}:exec:", f"{prefix}:safety:"))
    ]
    if faults:
        of_file = [each for each in faults if each.startswith("service")]
        others = [each for each in faults if each not in of_file]
        if of_file and file is not None:
            of_file[0] = f"{file}: {of_file[0]}"
        raise InvalidConfig((*others, *of_file))
    return Settings(
        stream=names["stream"],
        group=names["group"],
        consumer=names["consumer"],
        results=names["results"],
        dead_letters=names["dead_letters"],
        answered=f"{prefix}:stream:answered:",
        orders=orders_of(prefix),
        retries=bool(yes_or_no["retries"]),
        streams=bool(yes_or_no["streams"]),
        id=template,
        listen=address,
        log=form,
        alerts=alerts,
        **found,  # type: ignore[arg-type]  # checked above
    )


def orders_of(prefix: str) -> str:
    """The beginning of the keys that say what was told of an order; its client order id follows."""
    return f"{prefix}:stream:order:"


def read_listen(text: str) -> Listen | None:
    """HOST:PORT, or `none`. The host is an address or localhost; port 0 takes a free one. Raises ValueError."""
    if text == "none":
        return None
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{text!r} is not an address: give HOST:PORT, or none")
    if host != "localhost":
        try:
            ip_address(host)
        except ValueError:
            raise ValueError(f"{host!r} is no IP address; give one, or localhost") from None
    return Listen(host, int(port))
