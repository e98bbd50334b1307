"""The settings of alerts: the table [service.alerts], and the webhook's URL from the environment.

[service.alerts]
margin_below = 100          # free margin below this is told; 0: never
margin_asset = "USDT"
in_doubt_after_s = 60       # an order that may exist for so long is told
lag_above = 1000            # so many entries that nobody has read are told, after lag_after_s
lag_after_s = 30
webhook = "json"            # the form of what is sent to GATE_ALERT_URL: json, slack or telegram
telegram_chat = "-1001234"  # for telegram: who gets it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

from gate.service.this_machine import is_this_machine

FORMS: Final = ("json", "slack", "telegram")
URL_VARIABLE: Final = "GATE_ALERT_URL"
_NUMBERS: Final = {"in_doubt_after_s": (1, 86_400), "lag_above": (1, 100_000_000), "lag_after_s": (1, 86_400)}
_TEXTS: Final = ("margin_asset", "webhook", "telegram_chat")
_MOST_MARGIN: Final = Decimal("1e12")
_LONGEST_URL: Final = 2_000
_LONGEST_WORD: Final = 16
"""Of what may be a form of webhook, mistyped."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """When to tell, and how."""

    margin_below: Decimal = Decimal(100)
    margin_asset: str = "USDT"
    in_doubt_after_s: int = 60
    lag_above: int = 1_000
    lag_after_s: int = 30
    webhook: str = "json"
    telegram_chat: str = ""
    url: str = field(default="", repr=False)
    """Where alerts are posted; it may hold a token. Empty: nowhere."""

    @property
    def where(self) -> str:
        """Where alerts go, without what may be a secret."""
        return f"the log, the audit, and {self.receiver}" if self.url else "the log and the audit"

    @property
    def receiver(self) -> str:
        """Who takes what is posted."""
        return f"{self.webhook} at {urlsplit(self.url).hostname}"


def read_alerts(table: object, faults: list[str]) -> AlertSettings:
    """Adds every fault to `faults`."""
    if not isinstance(table, Mapping):
        faults.append(f"service.alerts: {table!r} is not a table; write [service.alerts]")
        return AlertSettings()
    known = {"margin_below", *_NUMBERS, *_TEXTS}
    faults += [
        f"service.alerts.{name}: is not a setting; there are {', '.join(sorted(known))}"
        for name in table
        if name not in known
    ]
    found: dict[str, int | str] = {}
    for name, (least, most) in _NUMBERS.items():
        value = table.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            faults.append(f"service.alerts.{name}: {value!r} is not a whole number from {least} to {most}")
        else:
            found[name] = value
    for name in _TEXTS:
        value = table.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or not value or not value.isprintable():
            faults.append(f"service.alerts.{name}: is not a text")
        else:
            found[name] = value
    form = str(found.get("webhook", "json"))
    if form not in FORMS:
        is_url = "/" in form or len(form) > _LONGEST_WORD  # it holds a token, so it isn't quoted
        said = f"what stands here is none of {', '.join(FORMS)}; a URL belongs in {URL_VARIABLE}"
        faults.append(f"service.alerts.webhook: {said if is_url else f'{form!r} is none of ' + ', '.join(FORMS)}")
    if found.get("webhook") == "telegram" and not found.get("telegram_chat"):
        faults.append("service.alerts.telegram_chat: is missing: telegram needs to know who gets it")
    margin = table.get("margin_below", 100)
    if (
        isinstance(margin, bool)
        or not isinstance(margin, int | Decimal)
        or not Decimal(margin).is_finite()
        or not 0 <= margin <= _MOST_MARGIN
    ):
        faults.append(f"service.alerts.margin_below: {margin} is not an amount from 0 on")
        margin = 0
    return AlertSettings(margin_below=Decimal(margin), **found)  # type: ignore[arg-type]  # checked above


def webhook_url(text: str) -> str:
    """The URL, if alerts may go there: https, or http on this machine. Raises ValueError, which doesn't quote it."""
    text = text.strip()
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or not text.isprintable() or len(text) > _LONGEST_URL:
        raise ValueError("is not a URL: give https://…")
    if "@" in parts.netloc:
        raise ValueError("names a user in front of the host")
    if parts.scheme == "http" and not is_this_machine(host):
        raise ValueError("would send its token in plain text: http is for 127.0.0.1, ::1 and localhost alone")
    return text
