"""What tells alerts, as a service has it, for tests that look at them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gate.service.alert_settings import AlertSettings
from gate.service.metrics import Metrics
from gate.service.news import News
from gate.service.pulse import Pulse
from gate.service.teller import Teller
from gate.service.webhook import Webhook
from gate.store.connect import plain_client
from tests.service.desk import Desk


class Told:
    """What a teller needs of its surroundings."""

    def __init__(self, desk: Desk, settings: AlertSettings) -> None:
        self.client = plain_client(desk.url, 3_000)
        self.pulse = Pulse("here", "quantum", "", "")
        self.metrics = Metrics(self.pulse)
        self.news = News(self.client, "quantum")
        webhook = Webhook(settings, again_after_s=())
        self.teller = Teller(settings, self.news, self.metrics, prefix="quantum", by="here", webhook=webhook)


@asynccontextmanager
async def told(desk: Desk, **settings: Any) -> AsyncIterator[Told]:
    of = Told(desk, AlertSettings(**settings))
    try:
        async with of.teller:
            yield of
    finally:
        await of.client.aclose()
