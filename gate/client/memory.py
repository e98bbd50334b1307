"""Whether the memory of an account is new, as the next verdict will find it."""

from __future__ import annotations

import struct
from typing import Final

from gate.client.standing import ask, report_damage
from gate.protocol.keyspace import Keyspace
from gate.store.wire import Dialogue
from gate.values.errors import StoreError
from gate.values.fields import LARGEST_WHOLE
from gate.values.policy import Policy
from gate.values.reports import Standing
from gate.values.server import ServerFacts

_LONGEST_NUMBER: Final = 1000  # digits; Python refuses to read some thousands, and leading zeros are allowed
_PACKED: Final = struct.Struct(">7d")
"""What the state keeps of permits in flight and of the last admission: lua/include/in_flight_packed.lua."""
_CLOCKS_APART_MS: Final = 1000
_FORGOTTEN: Final = "its orders may still be on their way, and a halt and a policy of before are forgotten"


def report_memory(
    keys: Keyspace,
    policy: Policy,
    state: list[str | None],
    server: ServerFacts,
    now_ms: int,
    standing: list[Standing],
    *,
    halted: bool,
) -> Dialogue[int | None]:
    """A memory that is new denies entries, and so does damage to it. Where nobody has noticed a loss yet, the next
    verdict does. Returns the time of a noticed one. `halted`: whether a halt is in force."""
    if standing:
        return None
    fence, since, _, known, lost, _ = state
    key, wait_ms = keys.state, policy.memory_wait_ms
    if any(text is not None and whole_for_lua(text) is None for text in (fence, since, lost)):
        damage = StoreError("fence, since or lost is not a whole number")
        yield from report_damage("state", key, damage, standing)
        return None
    lost_ms = None
    if fence is None or since is None:
        detail = f"nothing is known of this account. If it isn't new, {_FORGOTTEN}. If it is, `gate init` says so"
    elif server.run_id and known != server.run_id:
        detail = (
            "another server answers than before, or it has restarted; the next verdict begins the wait. A halt or a "
            "policy that came last may be forgotten: gate halt, gate policy show"
        )
    elif (noticed_ms := whole_for_lua(lost)) is not None and noticed_ms + wait_ms > now_ms:
        lost_ms = noticed_ms
        wait_ms = noticed_ms + wait_ms - now_ms
        halt = "" if halted else ". A halt of before is forgotten, too: halt again if you want it"
        detail = f"new: an order of before may still be on its way; if none can, `gate init` says so{halt}"
    else:
        yield from _clock(keys, policy, server, now_ms, standing)
        return None
    standing.append(Standing("memory", key, True, wait_ms, detail))
    return lost_ms


def _clock(
    keys: Keyspace, policy: Policy, server: ServerFacts, now_ms: int, standing: list[Standing]
) -> Dialogue[None]:
    """Whether the server's clock has been ahead, as memory.lua finds it at the next verdict."""
    kept = yield from ask("HGET", keys.state, "in_flight")
    if not isinstance(kept, bytes) or len(kept) != _PACKED.size:
        return
    *_, last_ms, lapses_ms = _PACKED.unpack(kept)
    gone_back = (last_ms - now_ms) * 2 > max(policy.dedup_ttl_ms - policy.max_age_ms, 2000)
    if not gone_back and lapses_ms - now_ms > _CLOCKS_APART_MS and not server.may_evict:
        gone_back = (yield from ask("EXISTS", keys.rate_global)) == 0
    if gone_back:
        detail = "the server's clock was ahead, or the list of admissions was deleted; the next verdict begins the wait"
        standing.append(Standing("memory", keys.state, True, policy.memory_wait_ms, detail))


def whole_for_lua(text: str | None) -> int | None:
    """A whole number as the scripts read it: Lua can't add 1 to one above 2^53."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_NUMBER:
        return None
    number = int(text)
    return number if number < LARGEST_WHOLE else None
