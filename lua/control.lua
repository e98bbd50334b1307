#!lua flags=allow-oom
-- What an operator does: halt, resume, reset, policy. Each is audited, with its author and reason, in the same call.
--
-- KEYS   1 halt              P:safety:halt                      hash    scope, by, reason, at
--        2 safe_mode         P:safety:safe_mode                 string
--        3 cooldown_global   P:safety:cooldown_global           string
--        4 failures          P:exec:failures                    list
--        5 state             P:exec:state                       hash    policy: fingerprint in force; since, ms
--        6 audit             P:safety:audit                     stream
--        7… cooldowns        P:safety:cooldown_symbol:{symbol}  string  as many as the caller has found; for reset
--
-- ARGV   1 act               halt, resume, reset, policy
--        2 by
--        3 reason
--        4 token             made by the caller for this call and its replay
--        5 what              halt: scope, entries or all; reset: safe_mode, cooldowns, failures or all; policy: the
--                            fingerprint to put in force
--
-- Reply  {audited, detail, …}: audited is 1, or 0 when the audit stream is damaged (the act is done all the same); then
--   halt    the scope in force. A halt of scope `all` isn't narrowed by a later one of scope `entries`; resume
--           ends it
--   resume  the scope that was in force, or `` when there was no halt
--   reset   the keys that were on and are now off
--   policy  the fingerprint that was in force, or ``
--        or {2}: this very call was carried out already, its reply was lost
--@include integer
--@include server_now
--@include read
--@include audit

local _, now_text = server_now()
local act, by, reason, token, what = ARGV.act, ARGV.by, ARGV.reason, ARGV.token, ARGV.what

local function done(said, ...)
  return {audit(KEYS.audit, now_text, said, by, reason, token) and 1 or 0, ...}
end

-- A replay follows on the call's heels: if that was carried out, it is among the last entries.
local latest = redis.pcall('XREVRANGE', KEYS.audit, '+', '-', 'COUNT', '20')
for i = 1, #latest do
  local fields = latest[i][2]
  for j = 1, #fields, 2 do
    if fields[j] == 'call' and fields[j + 1] == token then return {2} end
  end
end

if act == 'halt' then
  local before = redis.pcall('HGET', KEYS.halt, 'scope')
  local scope = before == 'all' and 'all' or what
  -- A key of a wrong type, or one with a TTL, must not weaken a halt: it is made anew.
  redis.call('DEL', KEYS.halt)
  redis.call('HSET', KEYS.halt, 'scope', scope, 'by', by, 'reason', reason, 'at', now_text)
  return done('halt ' .. what, scope)  -- audited as it was asked for
end

if act == 'resume' then
  local before = redis.pcall('HGET', KEYS.halt, 'scope')
  local halted = redis.call('DEL', KEYS.halt) == 1
  return done('resume', halted and (type(before) == 'string' and before or 'entries') or '')
end

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
  end
  return done('reset ' .. what, unpack(cleared, 1, 4000))
end

if act == 'policy' then
  local before = read('HGET', KEYS.state, 'policy')
  redis.call('HSET', KEYS.state, 'policy', what)
  -- With a longer max_age an intent is fresh again whose record has lapsed: the permits say verify until no such record
  -- can be missing.
  if before ~= what then redis.call('HSET', KEYS.state, 'since', now_text) end
  return done('policy ' .. what, before or '')
end

return redis.error_reply('ERR unknown act ' .. act)
