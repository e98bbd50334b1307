"""The client never acts on another call's reply. Its operations are generators, so these tests need no store."""

from __future__ import annotations

import pytest

from gate import Intent, Policy, Reason
from gate.client.dialogues import Calls


def test_a_permit_with_another_calls_token_is_no_permit() -> None:
    intent = Intent(id="sig-1", symbol="BTCUSDT", side="BUY", notional="200", timestamp=1_766_550_734_000)
    asking = Calls("quantum", Policy()).evaluate(intent)
    next(asking)
    line = f"admitted somebodys-token1 7 {intent.fingerprint} 1766550734000 BTCUSDT BUY 30000 0 - 0"

    with pytest.raises(StopIteration) as answered:
        asking.send(line.encode())

    verdict = answered.value.value
    assert (verdict.admitted, verdict.reason) == (False, Reason.STORE_ERROR)
