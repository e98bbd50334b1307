#!lua flags=no-writes
-- Which server is this, may it lose keys, and may this user do all that the gate needs? Asked once on each connection.
-- Called by EVALSHA_RO. The wire sends the reply along with every call whose last argument is `server`.
--
-- KEYS   as in settle.lua, for any intent
--
-- ARGV   1 halts             1: may this user also do what a loss of memory takes where the policy halts then; else 0
--
-- Reply  lines of text. The first is the server's word. Its run id, which changes when the server restarts, and differs
--        from those of its replicas. Then, if there is something to say:
--   … evicts               the server may evict keys, so records may be missing one by one
--   … lacks COMMAND key    the user may not call this command on this key. The first one that is missing
--   ? lacks INFO           the user may not ask the server who it is
--        The further lines are those of INFO that tell a person of the server: `name:value`, as far as it has them

-- A whole command each: its arguments are checked like a call's.
local needed = {
  {'INFO'},
  {'TIME'},
  {'GET', KEYS.record}, {'SET', KEYS.record, '', 'PX', '1'}, {'DEL', KEYS.record}, {'EXISTS', KEYS.record},
  {'GET', KEYS.lock}, {'SET', KEYS.lock, '', 'PX', '1'}, {'DEL', KEYS.lock}, {'EXISTS', KEYS.lock},
  {'PTTL', KEYS.lock},
  {'HMGET', KEYS.state, 'fence'}, {'HSET', KEYS.state, 'fence', '1'},
  {'HDEL', KEYS.state, 'permit:'},
  {'HMGET', KEYS.halt, 'scope'}, {'EXISTS', KEYS.halt},
  {'MGET', KEYS.record, KEYS.applied, KEYS.lock},
  {'ZCARD', KEYS.inflight}, {'ZRANGEBYSCORE', KEYS.inflight, '0', '0'},
  {'ZADD', KEYS.inflight, '0', ''}, {'ZREM', KEYS.inflight, ''},
  {'LPUSH', KEYS.failures, ''}, {'LTRIM', KEYS.failures, '0', '0'}, {'LINDEX', KEYS.failures, '0'},
  {'PEXPIRE', KEYS.failures, '1'}, {'EXISTS', KEYS.failures}, {'EXISTS', KEYS.rate_global},
  {'GET', KEYS.applied},
  {'LPUSH', KEYS.placed, ''}, {'LTRIM', KEYS.placed, '0', '0'}, {'LRANGE', KEYS.placed, '0', '0'},
  {'HGET', KEYS.reasons, ''}, {'HSET', KEYS.reasons, '', ''},
}
for _, window in ipairs({KEYS.rate_symbol, KEYS.rate_global}) do
  needed[#needed + 1] = {'LPUSH', window, ''}
  needed[#needed + 1] = {'LTRIM', window, '0', '0'}
  needed[#needed + 1] = {'LINDEX', window, '0'}
  needed[#needed + 1] = {'LREM', window, '0', ''}
  needed[#needed + 1] = {'PEXPIRE', window, '1'}
end
needed[#needed + 1] = {'EXISTS', KEYS.rate_symbol}
needed[#needed + 1] = {'RPOP', KEYS.rate_global}
-- Whoever may write neither a switch nor the audit must be able to add to them, as switch_on and noted_in do.
if not redis.acl_check_cmd('XADD', KEYS.audit, '*', '', '') then
  needed[#needed + 1] = {'XADD', KEYS.journal, '*', '', ''}
end
for _, switch in ipairs({KEYS.safe_mode, KEYS.cooldown_global, KEYS.cooldown_symbol}) do
  if not redis.acl_check_cmd('SET', switch, '', 'PX', '1') then
    needed[#needed + 1] = {'SET', KEYS.trip, '', 'PX', '1'}
    needed[#needed + 1] = {'RENAMENX', KEYS.trip, switch}
    needed[#needed + 1] = {'INCR', switch}
  end
  needed[#needed + 1] = {'GET', switch}
  needed[#needed + 1] = {'GETRANGE', switch, '0', '0'}
  needed[#needed + 1] = {'PTTL', switch}
  needed[#needed + 1] = {'PEXPIRETIME', switch}
  needed[#needed + 1] = {'EXISTS', switch}
end
-- Whoever may not write the halt must be able to add one, as halts_by_itself does.
if ARGV.halts == '1' and not redis.acl_check_cmd('HSET', KEYS.halt, 'scope', '') then
  needed[#needed + 1] = {'DEL', KEYS.trip}
  needed[#needed + 1] = {'HSET', KEYS.trip, 'scope', ''}
  needed[#needed + 1] = {'RENAMENX', KEYS.trip, KEYS.halt}
end

local lacks = ''
for _, command in ipairs(needed) do
  if not redis.acl_check_cmd(unpack(command)) then
    lacks = ' lacks ' .. command[1] .. (command[2] and ' ' .. command[2] or '')
    break
  end
end
local info = redis.pcall('INFO', 'server', 'memory', 'persistence')
local said = ''
if type(info) == 'string' then
  for _, name in ipairs({'redis_version', 'valkey_version', 'maxmemory', 'maxmemory_policy', 'aof_enabled'}) do
    local value = string.match(info, '\n' .. name .. ':(%S+)')
    if value then said = said .. '\n' .. name .. ':' .. value end
  end
end
local run_id = type(info) == 'string' and string.match(info, '\nrun_id:(%w+)') or '?'
if lacks ~= '' then return run_id .. lacks .. said end
if run_id == '?' then return '? lacks a run id in its INFO' .. said end
local evicts = string.match(info, '\nmaxmemory:(%d+)') ~= '0'
  and string.match(info, '\nmaxmemory_policy:(%S+)') ~= 'noeviction'
return run_id .. (evicts and ' evicts' or '') .. said
