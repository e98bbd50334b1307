"""The figures of /metrics, by prometheus-client. docs/service.md lists them; a test compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from gate.exchange.usage import LimitUse
from gate.service.pulse import Pulse
from gate.values.reports import ACCOUNT_WIDE, Status

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SLOW: Final = (*_FAST, 60, 300, 600)
SWITCHES: Final = tuple(sorted(ACCOUNT_WIDE))


class Metrics:
    """One service's figures. Names and units are as Prometheus has them: seconds, and `_total` for what counts up."""

    def __init__(self, pulse: Pulse) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nothing of ours asks for
        self.registry: Final = CollectorRegistry()
        own: Final = self.registry
        self.verdicts: Final = Counter("gate_verdicts", "Verdicts, by reason.", ["reason"], registry=own)
        self.results: Final = Counter("gate_results", "Results written, by state.", ["state"], registry=own)
        self.updates: Final = Counter(
            "gate_order_updates", "Updates of orders written after their results, by event.", ["event"], registry=own
        )
        self.repeats: Final = Counter(
            "gate_repeated_deliveries", "Entries acknowledged without a result: their intent had one.", registry=own
        )
        self.dead: Final = Counter("gate_dead_letters", "Entries that couldn't be read.", registry=own)
        self.taken_over: Final = Counter("gate_taken_over", "Entries taken over from other consumers.", registry=own)
        self.gone: Final = Counter(
            "gate_entries_gone", "Entries trimmed from the stream before they were answered.", registry=own
        )
        self.retries: Final = Counter(
            "gate_retries", "Tries put off until the wait is over, by reason.", ["reason"], registry=own
        )
        self.failures: Final = Counter(
            "gate_failures", "Failures of what the service does all the while, by what.", ["what"], registry=own
        )
        self.alerts: Final = Counter("gate_alerts", "Alerts told, by kind and turn.", ["kind", "turn"], registry=own)
        self._verdict: Final = Histogram(
            "gate_verdict_seconds", "From the question to the gate to its verdict.", buckets=_FAST, registry=own
        )
        self._order: Final = Histogram(
            "gate_order_seconds", "From sending an order to the exchange's answer.", buckets=_FAST, registry=own
        )
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
            (
                "gate_store_takes_writes",
                "1 while the store takes writes; NaN while unknown.",
                lambda: _takes(pulse.refuses),
            ),
            ("gate_exchange_up", "1 while the exchange answers.", lambda: float(pulse.exchange == "ok")),
            (
                "gate_streams_up",
                "1 while its streams tell the account; NaN where they are off.",
                lambda: math.nan if pulse.streams == "off" else float(pulse.streams == "ok"),
            ),
        ):
            Gauge(name, says, registry=own).set_function(of)
        for name in SWITCHES:
            self._set(name, on=False, left_s=0)
        self._exchange: Final = _ExchangeUse()
        own.register(self._exchange)

    def verdict(self, seconds: float) -> None:
        """As an executor's `timings`."""
        self._verdict.observe(seconds)

    def order(self, seconds: float) -> None:
        """As an executor's `timings`."""
        self._order.observe(seconds)

    def of_exchange(self, requests: Callable[[], Mapping[str, int]], limits: Callable[[], Sequence[LimitUse]]) -> None:
        """Tells the exchange's use from now on, asked for at each reading of the figures."""
        self._exchange.requests, self._exchange.limits = requests, limits

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


class _ExchangeUse(Collector):
    """The use of the exchange: its limits come and go with what it publishes."""

    def __init__(self) -> None:
        self.requests: Callable[[], Mapping[str, int]] = dict
        self.limits: Callable[[], Sequence[LimitUse]] = tuple

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "gate_exchange_requests", "Requests to the exchange, by the status of the answer.", labels=["status"]
        )
        for status, count in self.requests().items():
            requests.add_metric([status], count)
        used = GaugeMetricFamily("gate_exchange_limit_used", "Used of a limit in its window.", labels=["limit"])
        most = GaugeMetricFamily("gate_exchange_limit", "The exchange's limit.", labels=["limit"])
        for each in self.limits():
            used.add_metric([each.name], each.used)
            most.add_metric([each.name], each.most)
        yield from (requests, used, most)


def _takes(refuses: str | None) -> float:
    return math.nan if refuses is None else float(not refuses)


def _figure(value: int | None) -> float:
    return math.nan if value is None else value
