#!lua flags=allow-oom
-- An operator's act: halt, resume, reset, policy, init, flatten. The same call writes its author and reason to the audit
-- stream.
--
-- KEYS   1 halt              P:safety:halt                      hash    scope, by, reason, at
--        2 safe_mode         P:safety:safe_mode                 string
--        3 cooldown_global   P:safety:cooldown_global           string
--        4 failures          P:exec:failures                    list
--        5 state             P:exec:state                       hash    policy, figures, policy_at, policy_by,
--                                                               policy_reason: what the first admission has put in
--                                                               force, or a copy of `applied`; since, fence, lost,
--                                                               run_id
--        6 audit             P:safety:audit                     stream
--        7 reasons           P:safety:reasons                   hash    why a switch is on, and until when
--        8 applied           P:safety:policy                    string  the policy in force by a person's act, five
--                                                               lines: fingerprint, at in ms, figures, by, reason
--        9… cooldowns        P:safety:cooldown_symbol:{symbol}  string  every one that the caller found; for reset
--
-- ARGV   1 act               halt, resume, reset, policy, init, flatten
--        2 by
--        3 reason
--        4 token             made by the caller for this call and its replay
--        5 what              halt: scope, entries or all; reset: safe_mode, cooldowns, failures or all; policy: the
--                            fingerprint to put in force; resume: the `at` of the halt to end, `-` where none was
--                            known; `` ends any; flatten: what was cancelled and closed at the exchange, in words
--        6 figures           policy: its figures, as figure_of reads them; else ``
--        7 expected          policy: the fingerprint that the caller has seen in force, `-` for none; `` replaces any
--        8 user              the ACL user of the caller's connection, as the server has told it; `` where it hasn't
--        9 server            init: the server's word, which evaluate.lua explains; else ``
--
-- Reply  {audited, detail, …}: audited is 1, or 0 when the audit stream is damaged (the act is done even so). Detail:
--   halt    the scope in force. A later halt of scope `entries` doesn't narrow a halt of scope `all`; only resume
--           ends that
--   resume  the scope that was in force, or `` when there was no halt
--   reset   the keys that were on and are now off
--   policy  the fingerprint that was in force, or ``
--   init    the time in ms since which the memory was known to be whole, or ``
--   flatten nothing: its halt has a call of its own, before it
--        or {2, written}: the server has already carried out this call, and its reply was lost. written is 1 when the
--   replay has written something after it, on its own connection; else 0
--        or NOPERM: the caller's user may not write the halt, so it is no operator's. Nothing is done
--@include integer
--@include server_now
--@include read
--@include audit
--@include switch_on
--@include figure_of

local _, now_text = server_now()
local act, by, reason, token, what = ARGV.act, ARGV.by, ARGV.reason, ARGV.token, ARGV.what

-- A worker's user may write the state, and the switches that trip. These acts are a person's all the same.
if not redis.acl_check_cmd('DEL', KEYS.halt) then
  return redis.error_reply('NOPERM the store\'s user is no operator: it may not call DEL on ' .. KEYS.halt)
end

local function done(said, ...)
  return {audit(KEYS.audit, now_text, said, by, reason, token, ARGV.user) and 1 or 0, ...}
end

-- A replay follows the lost call at once. If the server carried out that call, its entry is among the last ones.
local latest = redis.pcall('XREVRANGE', KEYS.audit, '+', '-', 'COUNT', '100')
for i = 1, #latest do
  local fields = latest[i][2]
  for j = 1, #fields, 2 do
    if fields[j] == 'call' and fields[j + 1] == token then
      -- WAIT and WAITAOF answer for the last write of their connection. A replay comes by a new one, and would hear
      -- every replica has all of nothing. So it writes what changes nothing.
      local written = redis.pcall('XSETID', KEYS.audit, latest[1][1])
      return {2, written.err and 0 or 1}
    end
  end
end

if act == 'halt' then
  local before = redis.pcall('HGET', KEYS.halt, 'scope')
  local scope = before == 'all' and 'all' or what
  -- A key of the wrong type, or a key with a TTL, must not weaken the halt. So the key is deleted and made again.
  redis.call('DEL', KEYS.halt)
  redis.call('HSET', KEYS.halt, 'scope', scope, 'by', by, 'reason', reason, 'at', now_text)
  return done('halt ' .. what, scope)  -- the audit names the scope that the operator asked for
end

if act == 'resume' then
  -- A resume that was on its way for long must not end a halt that has come since.
  local at = redis.pcall('HGET', KEYS.halt, 'at')
  if what ~= '' and type(at) == 'string' and at ~= what then
    return redis.error_reply('ERR another halt has come since; look with gate status, then resume again')
  end
  local before = redis.pcall('HGET', KEYS.halt, 'scope')
  local halted = redis.call('DEL', KEYS.halt) == 1
  return done('resume', halted and (type(before) == 'string' and before or 'entries') or '')
end

-- What was done at the exchange changes nothing here. It is only audited.
if act == 'flatten' then return done('flatten: ' .. what) end

if act == 'reset' then
  local keys = {}
  if what == 'safe_mode' or what == 'all' then keys[#keys + 1] = KEYS.safe_mode end
  if what == 'failures' or what == 'all' then keys[#keys + 1] = KEYS.failures end
  if what == 'cooldowns' or what == 'all' then
    keys[#keys + 1] = KEYS.cooldown_global
    for i = KEYS.from.cooldowns, #KEYS do keys[#keys + 1] = KEYS[i] end
  end
  local cleared = {}
  for i = 1, #keys do
    if redis.call('DEL', keys[i]) == 1 then cleared[#cleared + 1] = keys[i] end
    redis.pcall('HDEL', KEYS.reasons, string.match(keys[i], '.*:safety:(.*)$') or '')
  end
  local reply = done('reset ' .. what)
  for i = 1, #cleared do reply[i + 1] = cleared[i] end  -- unpack takes no more than 8,000, less what Lua itself needs
  return reply
end

if act == 'policy' then
  local state, applied = read('HMGET', KEYS.state, 'policy', 'figures'), read('GET', KEYS.applied)
  local before, known = state[1], state[2]
  if applied then before, known = string.match(applied, '^[^\n]*'), string.match(applied, '\n( [^\n]*)') end
  -- What its author has seen and compared must be what this replaces.
  if ARGV.expected ~= '' and ARGV.expected ~= (before or '-') then
    return redis.error_reply('ERR another policy has come since; look with gate policy show, then apply again')
  end
  -- Callers may write the state, but not this key: so none of them can replace what a person has applied. The state has a
  -- copy for callers of before, which read that alone.
  local line = {what, now_text, ARGV.figures, by, reason}
  redis.call('SET', KEYS.applied, table.concat(line, '\n'))
  redis.call('HSET', KEYS.state, 'policy', what, 'figures', ARGV.figures, 'policy_at', now_text, 'policy_by', by,
    'policy_reason', reason)
  -- The lists know what a window needed that is shorter now. Until a whole longer window has passed, entries rest.
  local rest = 0
  for _, name in ipairs({'rate_symbol_window_ms', 'rate_global_window_ms'}) do
    local window, shorter = figure_of(ARGV.figures, name), figure_of(known, name)
    if window and shorter and window - shorter > 0 then rest = math.max(rest, window) end
  end
  if rest > 0 and switch_on(KEYS.cooldown_global, 'policy applied: a window gets longer', integer(rest), now_text) then
    audit(KEYS.audit, now_text, 'trip cooldown_global', 'gate', 'policy applied: a window gets longer')
  end
  -- A longer max_age can make an intent fresh again after its record has lapsed. Permits say verify until that can no
  -- longer happen.
  local fresh_for = figure_of(known, 'max_age_ms')
  if before and not (fresh_for and figure_of(ARGV.figures, 'max_age_ms') - fresh_for <= 0) then
    redis.call('HSET', KEYS.state, 'since', now_text)
  end
  return done('policy ' .. what, before or '')
end

if act == 'init' then
  if string.sub(ARGV.server, 1, 1) == '?' then
    return redis.error_reply('NOPERM the store\'s user' .. string.sub(ARGV.server, 2) .. ': the memory can\'t be whole')
  end
  local state = read('HMGET', KEYS.state, 'fence', 'since')
  -- The fence goes on from the last one, where memory.lua can read it. A whole memory has no time of a loss.
  local fence = state[1] and string.match(state[1], '^%d+$') and tonumber(state[1])
  if not fence or fence >= 9007199254740992 then redis.call('HSET', KEYS.state, 'fence', '0') end
  redis.call('HSET', KEYS.state, 'since', '0', 'run_id', string.match(ARGV.server, '^%S*'))
  redis.call('HDEL', KEYS.state, 'lost', 'in_flight')  -- nor one of an admission that may lie in the future
  return done('init', state[2] or '')
end

return redis.error_reply('ERR unknown act ' .. act)
