"""The fixture `paper_exchange`, for tests of anything that trades on Binance USDⓈ-M futures.

    def test_my_bot(paper_exchange):
        client = Client(paper_exchange.key, paper_exchange.secret, ping=False)
        client.FUTURES_URL = paper_exchange.futures_url
        ...
        assert len(paper_exchange.ledger()) == 1

The marker `paper` passes arguments on to PaperExchange: `@pytest.mark.paper(accounts=[Account(balance="50")])`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gate.paper.serving.server import PaperExchange


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "paper(**settings): how the `paper_exchange` fixture is set up")


@pytest.fixture
def paper_exchange(request: pytest.FixtureRequest) -> Iterator[PaperExchange]:
    """A running paper exchange of this test's own, on a free loopback port."""
    from gate.paper.serving.server import PaperExchange  # not at start-up: pytest loads this plugin for every run

    marker = request.node.get_closest_marker("paper")
    with PaperExchange(**(marker.kwargs if marker else {})) as paper:
        yield paper
