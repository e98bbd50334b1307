"""Hears each request that reaches a paper exchange, before it is answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gate.paper.serving.venue import Arrival, Venue


def hear_arrivals(monkeypatch: pytest.MonkeyPatch, heard: Callable[[Venue, Arrival], None]) -> None:
    """From now on, and until the test's end."""
    arrive = Venue.arrive

    def noted(venue: Venue, *arguments: object) -> Arrival:
        arrival = arrive(venue, *arguments)  # type: ignore[arg-type]  # as it was called
        heard(venue, arrival)
        return arrival

    monkeypatch.setattr(Venue, "arrive", noted)
