"""A paper exchange that stops leaves no connection open, whenever that one came."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from contextlib import suppress

import pytest

from gate.paper.market.market_data import built_in
from gate.paper.serving.http_edge import HttpEdge
from gate.paper.serving.settings import Account, Settings
from gate.paper.serving.venue import Venue


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_comes_while_it_stops_is_closed(turns: int) -> None:
    """The loop takes a few turns to accept one; the exchange stops at each of them."""
    edge = HttpEdge(Venue(Settings(market=built_in(), accounts=(Account(),))))
    port = await edge.start("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(turns):
            await asyncio.sleep(0)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", ResourceWarning)
            await edge.stop()
            del edge
            for _ in range(3):  # what a closed transport still has to do
                await asyncio.sleep(0)
            gc.collect()
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert [str(each.message) for each in told] == []
