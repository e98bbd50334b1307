"""Gates for the tests of this folder."""

from tests.client.blocks import async_client, async_gate, client, gate
from tests.client.gates import open_gate, open_sync_gate

__all__ = ["async_client", "async_gate", "client", "gate", "open_gate", "open_sync_gate"]
