"""The files of scripts/deploy: each says what the program has, and what it says works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gate import Policy
from gate.service.alert_settings import AlertSettings
from gate.service.metrics import SWITCHES, Metrics
from gate.service.pulse import Pulse
from gate.service.settings import Settings, read_settings
from tests.service.conftest import desk, paper  # noqa: F401  # fixtures
from tests.service.desk import Desk

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "scripts" / "deploy"
EXAMPLE = (DEPLOY / "gate.toml").read_text("utf-8")
RULES = DEPLOY / "prometheus-rules.yml"
RULE_TESTS = Path(__file__).parent / "rules_test.yml"
DASHBOARD = (DEPLOY / "grafana-dashboard.json").read_text("utf-8")
CONTAINER = (DEPLOY / "Containerfile").read_text("utf-8")
PAGE = (ROOT / "docs" / "service.md").read_text("utf-8")
WITHOUT_DEFAULT = {"consumer", "id", "max_age_s", "telegram_chat"}


def switched_on(text: str) -> str:
    """The example with every default that it shows written out."""
    return re.sub(r"^# (\w+ = |\[)", r"\1", text, flags=re.MULTILINE)


def check(desk: Desk, config: str) -> subprocess.CompletedProcess[str]:  # noqa: F811
    file = desk.folder / "gate.toml"
    file.write_text(config.replace("redis://127.0.0.1:6379/0", desk.url), "utf-8")
    words = ["--config", str(file), "run", "--check", "--base-url", desk.paper.url]
    environ = {"PATH": "/bin", "BINANCE_API_KEY": "key", "BINANCE_API_SECRET": "secret"}
    command = [sys.executable, "-m", "gate", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)


@pytest.mark.parametrize("written", [str, switched_on], ids=["as it stands", "with every line"])
def test_the_example_configuration_passes_the_check(desk: Desk, written: Any) -> None:  # noqa: F811
    done = check(desk, written(EXAMPLE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_configuration_has_every_key_and_its_default() -> None:
    table = tomllib.loads(switched_on(EXAMPLE), parse_float=Decimal)
    service = table["service"]
    alerts = service.pop("alerts")
    assert set(service) == {each.name for each in fields(Settings)} - {"answered", "orders", "alerts"}
    assert set(alerts) == {each.name for each in fields(AlertSettings)} - {"url"}
    assert set(table["policy"]) == {each.name for each in fields(Policy)}
    given, default = (read_settings(of, {}, "quantum", host="h", pid=1) for of in (service, dict[str, object]()))
    for name in service.keys() - WITHOUT_DEFAULT:
        assert getattr(given, name) == getattr(default, name), name
    for name in alerts.keys() - WITHOUT_DEFAULT:
        assert alerts[name] == getattr(AlertSettings(), name), name
    assert Policy.from_mapping(table["policy"]) == Policy()


def test_the_example_configuration_holds_no_secret() -> None:
    assert "@" not in EXAMPLE
    assert "KEY =" not in EXAMPLE


def exported() -> set[str]:
    """The names of all series, as Prometheus has them."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", Metrics(Pulse("", "", "", "")).text().decode(), re.MULTILINE):
        names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return names


@pytest.mark.parametrize("text", [RULES.read_text("utf-8"), DASHBOARD], ids=["rules", "dashboard"])
def test_every_metric_that_rules_and_dashboard_ask_for_is_exported(text: str) -> None:
    asked = set(re.findall(r"\bgate_\w+", text))
    assert len(asked) > 8
    assert asked - exported() == set()


def test_every_switch_and_failure_that_the_rules_name_is_one() -> None:
    text = RULES.read_text("utf-8")
    assert set(re.findall(r'switch="(\w+)"', text)) <= set(SWITCHES)
    code = "".join(path.read_text("utf-8") for path in (ROOT / "gate" / "service").glob("*.py"))
    for what in re.findall(r'what="(\w+)"', text):
        assert f'failures.labels("{what}")' in code


def test_every_rule_says_what_to_do() -> None:
    text = RULES.read_text("utf-8")
    rules = text.split("- alert: ")[1:]
    assert len(rules) > 10
    for rule in rules:
        assert re.search(r"severity: (page|warn)", rule), rule
        assert all(word in rule for word in ("summary: ", "todo: ")), rule


# Not skipped where the tools are missing: CI lets no test be skipped, and has neither.
if shutil.which("promtool") is not None:  # Debian: prometheus

    def test_promtool_takes_the_rules_and_they_fire_when_they_should() -> None:
        for words in (["check", "rules", str(RULES)], ["test", "rules", str(RULE_TESTS)]):
            done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_panels_have_numbers_and_places_of_their_own() -> None:
    board = json.loads(DASHBOARD)
    panels = board["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    places = set()
    for each in panels:
        at = each["gridPos"]
        assert at["x"] + at["w"] <= 24
        places |= {(x, at["y"]) for x in range(at["x"], at["x"] + at["w"])}
    assert len(places) == sum(each["gridPos"]["w"] for each in panels)


def test_the_container_runs_as_nobody_has_no_secret_and_asks_for_its_health() -> None:
    instructions = [line for line in CONTAINER.splitlines() if line and not line.startswith(("#", " "))]
    assert "USER 10001:10001" in instructions
    assert any(line.startswith("HEALTHCHECK ") for line in instructions)
    assert not [line for line in instructions if re.search(r"(KEY|SECRET|TOKEN|PASSWORD)", line)]
    assert "http://127.0.0.1:9109/healthz" in CONTAINER
    copied = [word for line in instructions if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert [word for word in copied if not word.startswith(("--from", "/opt")) and not (ROOT / word).exists()] == []
    assert 'CMD ["--config", "/etc/gate/gate.toml", "run"]' in instructions


if shutil.which("systemd-analyze") is not None:

    def test_the_units_exposure_is_what_the_page_says() -> None:
        command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(DEPLOY / "gate.service")]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "SYSTEMD_COLORS": "0"}, timeout=60
        )
        if "unrecognized option" in done.stderr:
            return  # before systemd 250 it judges no file
        score = re.search(r"exposure level for gate.service: ([\d.]+)", done.stdout)
        assert score, done.stdout + done.stderr
        [said] = re.findall(r"`systemd-analyze security` gives it ([\d.]+)", PAGE)
        # Other versions of systemd ask more or less of a unit.
        assert float(score[1]) <= float(said) + 0.5
