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


def report_memory(
    keys: Keyspace,
    policy: Policy,
    state: list[str | None],
    server: ServerFacts,
    now_ms: int,
    standing: list[Standing],
) -> Dialogue[int | None]:
    """A memory that is new denies entries, and so does damage to it. Where nobody has noticed a loss yet, the next
    verdict does. Returns the time of a noticed one."""
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
        detail = (
            "nothing is known of this account: if it is new, `gate init` says so; if it isn't, a halt is forgotten, too"
        )
    elif server.run_id and known != server.run_id:
        detail = "another server answers than before, or it has restarted; the next verdict begins the wait"
    elif (noticed_ms := whole_for_lua(lost)) is not None and noticed_ms + wait_ms > now_ms:
        lost_ms = noticed_ms
        wait_ms = noticed_ms + wait_ms - now_ms
        detail = (
            "new: an order of before may still be on its way; if none can, `gate init` says so. A halt of before is "
            "forgotten, too: halt again if you want it"
        )
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
