"""What the commands of a verdict cost the server by themselves: with its keys and arguments, but without a guard, a
check or a line of Lua between them. No verdict that calls these commands can be quicker.
"""

from __future__ import annotations

from typing import Final

import redis

from benchmarks.workload import Account, Step
from gate.protocol.scripts import Command, Script, resolve, script

_READS: Final = """
redis.call('MGET', KEYS.record, KEYS.applied, KEYS.lock)
redis.call('TIME')
redis.call('EXISTS', KEYS.record, KEYS.applied, KEYS.lock, KEYS.halt, KEYS.safe_mode, KEYS.failures,
  KEYS.cooldown_global, KEYS.cooldown_symbol, KEYS.rate_symbol)
local state = redis.call('HMGET', KEYS.state, 'fence', 'since', 'permit:of_none', 'run_id', 'lost', 'in_flight')
"""
_WRITES: Final = """
local note, in_flight = string.rep('r', 120), string.rep('f', 56)
redis.call('ZADD', KEYS.inflight, 1700000000000, '40000000:the intent')
redis.call('LPUSH', KEYS.rate_global, '1700000000000')
redis.call('HSET', KEYS.state, 'fence', state[1] + 1, 'in_flight', in_flight, 'permit:of_one', note)
redis.call('SET', KEYS.record, note, 'PX', '60000')
redis.call('SET', KEYS.lock, 'sixteen letters_', 'PX', '60000')
"""
_OF_TODAY: Final = """
redis.call('EXISTS', KEYS.rate_global)
redis.call('LINDEX', KEYS.rate_global, 4)
redis.call('LPUSH', KEYS.rate_symbol, '1700000000000')
redis.call('PEXPIRE', KEYS.rate_symbol, '60000')
"""
ROWS: Final = {
    "floor_arguments": ("Its keys and arguments, and nothing else", ""),
    "floor_reads": ("… the four reads of every verdict, of a denial too", _READS),
    "floor_nine": ("… the nine commands that an admission can't do without", _READS + _WRITES),
    "floor_commands": ("… the thirteen that it has, and still no guard", _READS + _WRITES + _OF_TODAY),
}
"""What each row is, and its commands."""
_REPLY: Final = b"bare"


class Floor:
    """Calls of the bare scripts, as those of an admission."""

    def __init__(self, client: redis.Redis) -> None:
        self._account: Final = Account("bare", on=client)
        self._scripts: Final = {name: _bare(name, commands) for name, (_, commands) in ROWS.items()}
        for each in self._scripts.values():
            client.script_load(each.source)

    def step(self, name: str) -> Step:
        """A call of the row's script, for a new intent."""
        intent, keys = self._account.intent(), self._account.keyspace
        verb, _, *rest = self._account.evaluate(intent)
        call: Command = (verb, self._scripts[name].sha, *rest)
        forget = (keys.record(intent.id), keys.lock(intent.symbol, intent.side), keys.rate_symbol(intent.symbol))
        return Step(call, _REPLY, (("DEL", *forget, keys.inflight), ("LTRIM", keys.rate_global, 0, 3)))


def _bare(name: str, commands: str) -> Script:
    header = "#!lua flags=\n-- KEYS, ARGV   as in evaluate.lua\n--\n"
    texts = {f"{name}.lua": f"{header}{commands}return '{_REPLY.decode()}'\n", "evaluate.lua": _header()}
    return resolve(name, texts.__getitem__)


def _header() -> str:
    """Of the verdict's script: the numbers of its keys. Its loaded text has them still."""
    return script("evaluate").source
