"""inspect refuses what evaluate refuses before it asks the store."""

from __future__ import annotations

import time

import pytest
import redis

from gate import Gate, Intent, InvalidIntent, Reason
from tests.servers.session import holds_only_a_whole_memory
from tests.servers.store import Store


def test_more_margin_than_can_be_reserved_is_refused_by_both(store: Store, redis_client: redis.Redis) -> None:
    intent = Intent(
        id="whale", symbol="BTCUSDT", side="BUY", notional="900000000000", timestamp=int(time.time() * 1000)
    )
    with Gate.from_url(store.url) as gate:
        assert gate.evaluate(intent).reason is Reason.INVALID
        with pytest.raises(InvalidIntent, match="is more margin than 100,000,000"):
            gate.inspect(intent)
    assert holds_only_a_whole_memory(redis_client)
