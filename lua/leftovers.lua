#!lua flags=allow-oom
-- Clears keys that the replaced system has left under the gate's names. What a key holds is judged here once more: by
-- now it may be the gate's own.
--
-- KEYS   1 audit             P:safety:audit                     stream  what, by, reason, at
--        2 state             P:exec:state                       hash    figures (of the policy in force)
--        3 applied           P:safety:policy                    string  the policy in force by a person's act
--        4… leftovers        P:exec:…, P:safety:…               any     as the caller has found them; all of one kind
--
-- ARGV   1 by
--        2 reason
--        3 belongs           the type that belongs under these keys: string, list, hash, zset, stream; record for that
--                            of an intent; none for names that no script reads
--        4 lapse_ms          record: how long a record lives by the caller's policy; the one in force may say longer
--
-- Reply  {audited, key, …}: 1, or 0 when the audit stream is damaged; then the keys that this call has cleared. A record
--        that wasn't the gate's isn't deleted: its intent may be fresh, and its order was sent. It lapses when the
--        intent no longer can be fresh
--@include record_fields
--@include server_now
--@include figure_of
--@include audit

local _, now_text = server_now()
local cleared = {}
local applied = redis.pcall('GET', KEYS.applied)
local figures = type(applied) == 'string' and string.match(applied, '\n( [^\n]*)')
  or redis.pcall('HGET', KEYS.state, 'figures')  -- a state of the wrong type may be among the leftovers
local in_force = type(figures) == 'string' and figure_of(figures, 'dedup_ttl_ms') or 0
local lapse = string.format('%.0f', math.max(ARGV.lapse_ms, in_force))
for i = KEYS.from.leftovers, #KEYS do
  local key, belongs = KEYS[i], ARGV.belongs
  local holds, endless = redis.call('TYPE', key).ok, redis.call('PTTL', key) == -1
  local done
  if belongs == 'record' then
    if endless and not (holds == 'string' and record_fields(redis.call('GET', key))) then
      done = redis.call('PEXPIRE', key, lapse)
    end
  elseif holds ~= 'none' and (holds ~= belongs or (endless and string.find(key, ':exec:lock:', 1, true))) then
    done = redis.call('DEL', key)
  end
  if done == 1 then cleared[#cleared + 1] = key end
end
if #cleared == 0 then return {1} end
local named = table.concat(cleared, ' ', 1, math.min(#cleared, 20)) .. (#cleared > 20 and ' …' or '')
local audited = audit(KEYS.audit, now_text, 'leftovers ' .. #cleared .. ': ' .. named, ARGV.by, ARGV.reason)
return {audited and 1 or 0, unpack(cleared)}
