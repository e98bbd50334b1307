"""Lets time pass for an account without waiting: makes all stored data older at once."""

from __future__ import annotations

import redis

from tests.client import account as at

_AGE = """
local by = tonumber(ARGV[1])
local function older(text)
  local fence, settled, rest = string.match(text, '^(%d+) (%d+)( .*)$')  -- an entry that was placed
  if fence then return string.format('%s %.0f', fence, settled - by) .. rest end
  return string.format('%.0f', tonumber(text) - by)
end
local function older_record(text)
  local head, admitted, tail = string.match(text, '^(%l+ %S+ %d+ %S+ )(%d+)( .*)$')
  return head and head .. older(admitted) .. tail
end
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'list' then
    for i, entry in ipairs(redis.call('LRANGE', key, 0, -1)) do redis.call('LSET', key, i - 1, older(entry)) end
  elseif kind == 'zset' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -by, member) end
  elseif kind == 'hash' and redis.call('HEXISTS', key, 'since') == 1 then
    for _, field in ipairs({'since', 'lost'}) do
      local time = redis.call('HGET', key, field)
      if time then redis.call('HSET', key, field, older(time)) end
    end
    local kept = redis.call('HGET', key, 'in_flight')
    if kept and #kept == 56 then
      local card, live, reserved, counted, earliest, last, lapses = struct.unpack('>ddddddd', kept)
      redis.call('HSET', key, 'in_flight', struct.pack('>ddddddd', card, live, reserved, counted - by, earliest - by,
        last - by, lapses - by))
    end
    for _, field in ipairs(redis.call('HKEYS', key)) do
      local copy = string.sub(field, 1, 7) == 'permit:' and older_record(redis.call('HGET', key, field))
      if copy then redis.call('HSET', key, field, copy) end
    end
  elseif kind == 'string' then
    local record = older_record(redis.call('GET', key))
    if record then redis.call('SET', key, record, 'KEEPTTL') end
  end
  local left = redis.call('PTTL', key)
  if left >= 0 and left <= by then redis.call('DEL', key) end
  if left >= 0 and left > by then redis.call('PEXPIRE', key, left - by) end
end
"""


def let_pass(client: redis.Redis, span_ms: int) -> None:
    """Makes every key of the server older by `span_ms`."""
    keys = sorted(at.keys(client))
    client.eval(_AGE, len(keys), *keys, span_ms)
