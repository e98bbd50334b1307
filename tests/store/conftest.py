"""Gates for the tests of this folder."""

from tests.client.gates import open_gate, open_sync_gate

__all__ = ["open_gate", "open_sync_gate"]
