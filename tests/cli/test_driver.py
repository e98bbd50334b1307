"""Opening a gate doesn't look up package metadata, which would take a tenth of the time of `gate eval`."""

from __future__ import annotations

import importlib.metadata

import pytest

from gate import Gate
from tests.servers.store import Store


def test_the_version_of_the_driver_is_known_without_a_search(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []

    def version(name: str) -> str:
        searched.append(name)
        return "0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    with Gate.from_url(store.url) as gate:
        gate.lookup("a")
    assert searched == []
