"""What a server says of itself: its version, whether it may lose keys, and what a restart leaves of them."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

OLDEST_REDIS: Final = 7
_FIELD: Final = re.compile(r"^(\w+):(.*?)\r?$", re.MULTILINE)
_LONGEST: Final = 40
_VERSION: Final = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,6})", re.ASCII)
_MENDED: Final[dict[str, dict[tuple[int, int], int]]] = {
    "Redis": {(7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "Valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}
"""Of each release, the first version without CVE-2025-49844."""
_REPLAYS_AS_NOBODY: Final = {"Valkey": (9, 1, 2)}
"""From which version on a start doesn't ask for rights; the first one that was tried."""
_UNTRIED: Final = {"Redis": (8, 4, 0)}
"""Redis' mend is of November 2025, pull request 14545: which version has it first wasn't tried."""
NOT_REPLAYED: Final = (
    "it reads it as its user `default`, which may not write, and drops what scripts have written. In its aclfile, "
    "`user default off ~* &* +@all` leaves that user off, with rights"
)


class ServerFacts(Struct, frozen=True):
    """A server's own account of itself, from INFO. What it doesn't say is empty, or None."""

    name: str = ""
    """Redis, Valkey, or what else it calls itself."""
    version: str = ""
    run_id: str = ""
    """Which server it is, until it restarts."""
    too_old: bool = False
    """Whether it is a Redis before 7.0, which can't run the scripts."""
    eviction: str = ""
    """Its maxmemory-policy."""
    may_evict: bool = False
    """Whether it may drop keys: it has a limit of memory, and a policy to keep to it by."""
    append_only: bool | None = None
    """Whether it keeps an append-only file."""

    def __str__(self) -> str:
        """In one line, such as `Redis 7.0.15, eviction noeviction, append-only file on`."""
        said = [f"{self.name} {self.version}".strip() or "a server that doesn't say which"]
        if self.eviction:
            unlimited = "" if self.may_evict or self.eviction == "noeviction" else " (but without a limit of memory)"
            said.append(f"eviction {self.eviction}{unlimited}")
        if self.append_only is not None:
            said.append(f"append-only file {'on' if self.append_only else 'OFF'}")
        return ", ".join(said)

    @property
    def has_known_hole(self) -> bool:
        """Whether its version runs a stranger's code by a Lua script: docs/security.md has the list."""
        version = _VERSION.match(self.version)
        if version is None:
            return False
        release, patch = (int(version[1]), int(version[2])), int(version[3])
        if self.name == "Redis" and release == (7, 0):
            return True  # mended in no 7.0
        return patch < _MENDED.get(self.name, {}).get(release, 0)

    @property
    def replays_as_nobody(self) -> bool:
        """Whether it is known to read its append-only file back without asking for the rights of `default`."""
        return self._is_since(_REPLAYS_AS_NOBODY)

    @property
    def replays_as_default(self) -> bool:
        """Whether it is taken to ask for them."""
        return not self._is_since(_REPLAYS_AS_NOBODY) and not self._is_since(_UNTRIED)

    def _is_since(self, versions: dict[str, tuple[int, int, int]]) -> bool:
        version, since = _VERSION.match(self.version), versions.get(self.name)
        return version is not None and since is not None and tuple(map(int, version.groups())) >= since

    @property
    def complaints(self) -> tuple[str, ...]:
        """What is wrong with it, what follows, and what to do."""
        wrong = []
        if self.may_evict:
            wrong.append(
                "it may drop records, locks and halts when its memory is full, so that every order is looked up first; "
                "set maxmemory-policy noeviction"
            )
        if self.append_only is False:
            wrong.append("a restart loses records and halts, after which entries wait; set appendonly yes")
        if self.has_known_hole:
            wrong.append(
                "whoever may call a script can run code in it (CVE-2025-49844), unless its distribution has mended "
                "that; update it"
            )
        return tuple(wrong)


def server_facts(info: str) -> ServerFacts:
    """Reads the sections server, memory and persistence of INFO, or as much as there is of them."""
    fields = {name: value[:_LONGEST] for name, value in _FIELD.findall(info) if value.isprintable()}
    redis, valkey = fields.get("redis_version", ""), fields.get("valkey_version", "")
    major = redis.partition(".")[0]
    eviction, limit = fields.get("maxmemory_policy", ""), fields.get("maxmemory", "0")
    append_only = fields.get("aof_enabled")
    return ServerFacts(
        name="Valkey" if valkey else "Redis" if redis else "",
        version=valkey or redis,
        run_id=fields.get("run_id", ""),
        too_old=not valkey and major.isdecimal() and int(major) < OLDEST_REDIS,
        eviction=eviction,
        may_evict=limit != "0" and eviction not in ("", "noeviction"),
        append_only=None if append_only is None else append_only == "1",
    )
