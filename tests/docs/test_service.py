"""docs/service.md tells the settings, the fields of a result, of health and of metrics as the code has them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

from gate.exchange.port import OrderAnswer
from gate.exchange.streams.order_updates import update_of
from gate.executor import OrderState, Terminal
from gate.service.alert_settings import AlertSettings
from gate.service.alerts import Kind
from gate.service.intake import Entry, read_entry
from gate.service.metrics import Metrics
from gate.service.pulse import Pulse
from gate.service.results import Asked, Ending, result_fields
from gate.service.settings import Settings, read_settings
from gate.service.told import of_nobody, update_fields

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text("utf-8")
UNIT = (ROOT / "scripts" / "deploy" / "gate.service").read_text("utf-8")
NOT_SET = {"answered", "orders", "alerts"}


def rows(title: str) -> list[tuple[str, str]]:
    """The names in the first column of a section's table, and the second column."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = []
    for line in section.splitlines():
        if line.startswith("| `"):
            first, second = line.split(" | ")[:2]
            found += [(name, second) for name in re.findall(r"`([\w{}:.]+)`", first)]
    return found


def test_every_setting_is_told_with_its_default() -> None:
    told = dict(rows("Settings"))
    assert set(told) == set(Settings.__dataclass_fields__) - NOT_SET
    default = read_settings({}, {}, "P", host="{host}", pid=0)
    for name, said in told.items():
        value = getattr(default, name)
        if isinstance(value, bool):
            assert said == str(value).lower(), name
        elif isinstance(value, int):
            assert said == str(value), name
        elif isinstance(value, str) and name != "consumer":
            assert said == (f"`{value}`"), name


def test_every_alert_is_told_and_every_setting_of_alerts_with_its_default() -> None:
    told = rows("Alerts")
    of_settings = {each.name: each.default for each in fields(AlertSettings) if each.name != "url"}
    assert {name for name, _ in told} == {*Kind, *of_settings}
    for name, said in told:
        if name in of_settings:
            assert said.strip("`") in (str(of_settings[name]), "none" if of_settings[name] == "" else ""), name


def test_every_field_of_a_result_is_told() -> None:
    read = read_entry("1766550734000-0", {b"symbol": b"BTCUSDT", b"side": b"BUY", b"quantity": b"1", b"id": b"a"})
    assert isinstance(read, Entry)
    result = result_fields(Asked.by(read), Ending(Terminal.DENIED, "STALE"), by="me", now_ms=0, fee_rate=Decimal(0))
    assert [name for name, _ in rows("A result")] == list(result)


def test_every_field_that_an_update_has_beyond_a_result_is_told() -> None:
    update = update_of(OrderAnswer("81", "g-1", "FILLED", Decimal(1), Decimal(1), 1), "BTCUSDT", conditional=False)
    assert update is not None
    now = of_nobody(update).after(update)
    assert now is not None
    fields = list(update_fields(now, update, by="me", fee_rate=None))
    told = [name for name, _ in rows("An update")]
    assert told[-3:] == fields[-3:]
    assert set(told) <= set(fields)
    section = PAGE.partition("\n## An update\n")[2].partition("\n## ")[0]
    reasons = {state.value for state in OrderState if state is not OrderState.NEW}
    assert reasons <= set(re.findall(r"[A-Z_]{4,}", section))


def test_every_field_of_health_is_told() -> None:
    told = {name for name, _ in rows("Is it well?")}
    assert told == set(Pulse("", "", "", "").told())


def test_every_metric_is_told_with_its_type() -> None:
    metrics = Metrics(Pulse("", "", "", ""))
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", metrics.text().decode(), re.MULTILINE))
    assert dict(rows("Metrics")) == types


def test_every_word_of_the_log_stands_in_the_code() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "gate").rglob("*.py"))
    words = _words_of_the_page()
    assert len(words) > 8
    assert [word for word in words if f'"{word} ' not in code and f'"{word}"' not in code] == []


def test_every_word_of_the_code_is_told() -> None:
    section = PAGE.partition("\n## Its log\n")[2].partition("\n| ")[0]
    old = {
        word.strip("`").partition(":")[0]
        for word in re.split(r",\s+", section.partition("stand there: ")[2].partition(". ")[0])
    }
    written = {word for path in (ROOT / "gate").rglob("*.py") for word in _words_of_the_log(path)}
    assert {"REFUSED", "OBSERVED", "STREAMS FAILED", "MARGIN CHECK", "LATE ORDER", "POLICY AGREES"} <= written
    assert written - old - set(_words_of_the_page()) == set()


def _words_of_the_page() -> list[str]:
    section = PAGE.partition("\n## Its log\n")[2].partition("\n## ")[0]
    return [word for row in re.findall(r"^\| ([A-Z ,-]+) \|", section, re.MULTILINE) for word in row.split(", ")]


def _words_of_the_log(path: Path) -> Iterator[str]:
    """The words in capitals with which a module's lines of the log begin, but for those that only debugging shows."""
    for call in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        match call.func:
            case ast.Attribute(value=ast.Name(id="_log"), attr="info" | "warning" | "error" | "critical" | "exception"):
                line = call.args[0]
            case ast.Attribute(value=ast.Name(id="_log"), attr="log") | ast.Name(id="inform"):
                line = call.args[1]
            case _:
                continue
        for part in ast.walk(line):  # a line may be one of two
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                capitals = re.match(r"[A-Z][A-Z_-]+(?: [A-Z_-]{2,})*(?![^ :])", part.value)
                if capitals:
                    yield capitals[0]


def test_the_unit_starts_what_the_page_starts_and_hardens_it() -> None:
    assert "ExecStart=/opt/gate/bin/gate --config /etc/gate/gate.toml run\n" in UNIT
    for line in ("Type=notify", "WatchdogSec=", "RestartPreventExitStatus=2", "NoNewPrivileges=yes", "DynamicUser=yes"):
        assert line in UNIT
    assert "SECRET=" not in UNIT
