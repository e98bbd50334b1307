"""The figures of /metrics, by prometheus-client. docs/service.md lists them; a test compares."""

from __future__ import annotations

import math
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest

from gate.service.pulse import Pulse
from gate.values.reports import ACCOUNT_WIDE, Status

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SLOW: Final = (*_FAST, 60, 300, 600)
SWITCHES: Final = tuple(sorted({*ACCOUNT_WIDE, "halt"}))


class Metrics:
    """One service's figures. Names and units are as Prometheus has them: seconds, and `_total` for what counts up."""

    def __init__(self, pulse: Pulse) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nothing of ours asks for
        self.registry: Final = CollectorRegistry()
        own: Final = self.registry
        self.verdicts: Final = Counter("gate_verdicts", "Verdicts, by reason.", ["reason"], registry=own)
        self.results: Final = Counter("gate_results", "Results written, by state.", ["state"], registry=own)
        self.repeats: Final = Counter(
            "gate_repeated_deliveries", "Entries acknowledged without a result: their intent had one.", registry=own
        )
        self.dead: Final = Counter("gate_dead_letters", "Entries that couldn't be read.", registry=own)
        self.taken_over: Final = Counter("gate_taken_over", "Entries taken over from other consumers.", registry=own)
        self.retries: Final = Counter(
            "gate_retries", "Tries put off until the wait is over, by reason.", ["reason"], registry=own
        )
        self.failures: Final = Counter(
            "gate_failures", "Failures of what the service does all the while, by what.", ["what"], registry=own
        )
        self.alerts: Final = Counter("gate_alerts", "Alerts told, by kind and turn.", ["kind", "turn"], registry=own)
        self.execution: Final = Histogram(
            "gate_execution_seconds",
            "One try of an intent, by its end. DENIED: a verdict alone.",
            ["state"],
            buckets=_FAST,
            registry=own,
        )
        self.whole: Final = Histogram(
            "gate_intent_seconds", "An intent from its reading to its written result.", buckets=_SLOW, registry=own
        )
        self.on: Final = Gauge("gate_switch_on", "1 while it stops entries of the account.", ["switch"], registry=own)
        self.left: Final = Gauge(
            "gate_switch_left_seconds",
            "Time left of it: 0 while it is off, +Inf without an end.",
            ["switch"],
            registry=own,
        )
        for name, says, of in (
            ("gate_consuming", "1 while the service really reads.", lambda: float(pulse.consuming)),
            ("gate_in_hand", "Intents read and not answered.", lambda: pulse.in_hand),
            ("gate_at_work", "Intents being executed.", lambda: pulse.at_work),
            ("gate_held", "Intents that wait for another try, or behind one that does.", lambda: pulse.held),
            ("gate_unwritten", "Results that wait to be written.", lambda: pulse.unwritten),
            ("gate_in_doubt", "Intents whose order may exist; NaN while unknown.", lambda: _figure(pulse.in_doubt)),
            ("gate_stream_lag", "Entries that nobody has read; NaN while unknown.", lambda: _figure(pulse.lag)),
            ("gate_stream_pending", "Entries read and not answered, of the group.", lambda: _figure(pulse.pending)),
            ("gate_store_up", "1 while the store answers.", lambda: float(pulse.store == "ok")),
            ("gate_exchange_up", "1 while the exchange answers.", lambda: float(pulse.exchange == "ok")),
        ):
            Gauge(name, says, registry=own).set_function(of)
        for name in SWITCHES:
            self._set(name, on=False, left_s=0)

    def switches(self, status: Status) -> None:
        """Takes over what is on."""
        for name in SWITCHES:
            found = next((each for each in status.standing if each.name == name and each.on), None)
            if name == "halt" and status.halt is not None:
                self._set(name, on=True, left_s=math.inf)
            elif found is None:
                self._set(name, on=False, left_s=0)
            else:
                self._set(name, on=True, left_s=math.inf if found.ttl_ms is None else found.ttl_ms / 1000)

    def _set(self, name: str, *, on: bool, left_s: float) -> None:
        self.on.labels(name).set(on)
        self.left.labels(name).set(left_s)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        told: bytes = generate_latest(self.registry)
        return told


def _figure(value: int | None) -> float:
    return math.nan if value is None else value
