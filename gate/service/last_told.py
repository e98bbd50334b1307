"""What the stream of the results has told last of an intent's order, for a person who asks."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from gate.service.settings import orders_of
from gate.service.streams import STORE_FAILURES
from gate.service.told import ToldOrder
from gate.store.connect import plain_client

_WITHIN_MS = 1_000


async def last_told(url: str, prefix: str, client_order_id: str) -> ToldOrder | None:
    """None where no service has told of it, or the store doesn't say."""
    client = plain_client(url, _WITHIN_MS)
    try:
        packed: Any = await client.get(orders_of(prefix) + client_order_id)
        with suppress(ValueError):
            return None if packed is None else ToldOrder.read(packed)
    except STORE_FAILURES:
        pass
    finally:
        with suppress(*STORE_FAILURES):
            await client.aclose()
    return None
