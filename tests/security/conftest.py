"""The command line, and gates, for the tests of this folder."""

import decimal
from collections.abc import Iterator

import pytest

from tests.cli.conftest import _no_environment, bare
from tests.client.gates import open_gate, open_sync_gate

__all__ = ["_no_environment", "bare", "open_gate", "open_sync_gate"]


@pytest.fixture(autouse=True)
def _decimals_as_ccxt_sets_them() -> Iterator[None]:
    """A caller that imports ccxt has decimals that raise Underflow, in the whole process."""
    context = decimal.getcontext()
    before, context.traps[decimal.Underflow] = context.traps[decimal.Underflow], True
    yield
    context.traps[decimal.Underflow] = before
