"""The command line, and gates, for the tests of this folder."""

from tests.cli.conftest import _no_environment, bare
from tests.client.gates import open_gate, open_sync_gate

__all__ = ["_no_environment", "bare", "open_gate", "open_sync_gate"]
