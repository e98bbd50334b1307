#!lua flags=
-- The verdict on one intent. On admission, claims everything that the permit stands for, in the same call.
-- All reads come before the first write: an error leaves nothing half done.
--
-- KEYS   1 P:exec:processed:{intent_id}         string  the record of the intent
--        2 P:exec:lock:{symbol}:{side}          string  token of the permit that holds it
--        3 P:exec:rate:symbol:{symbol}          list    admission times in ms, newest first
--        4 P:safety:cooldown_symbol:{symbol}    string  why; `0` is off
--        5 P:exec:rate:global                   list    as 3
--        6 P:exec:failures                      list    times of counted failures in ms, newest first
--        7 P:exec:inflight                      zset    {reserved}:{intent_id} by deadline in ms
--        8 P:exec:state                         hash    fence, since, policy; permit:{intent_id}: the record once more,
--                                                       without a TTL, of every permit that isn't settled for good
--        9 P:safety:halt                        hash    scope, by, reason, at
--       10 P:safety:safe_mode                   string  as 4
--       11 P:safety:cooldown_global             string  as 4
--       12 P:safety:audit                       stream  what, by, reason, at
--
-- ARGV   1 intent id        2 token, made by the caller for this call and its replay    3 fingerprint of the intent
--        4 intent's time, ms   5 symbol   6 side   7 exit: 1 reduce-only, else 0
--        8 margin to reserve, whole millionths   9 highest fence that the caller has seen
--       10 fingerprint of the caller's policy, with its mode in front: enforce-… or observe-…
--   and its figures, times in ms:
--       11 rate_symbol_limit  12 rate_symbol_window  13 rate_global_limit  14 rate_global_window
--       15 lock_ttl  16 dedup_ttl  17 max_age  18 skew  19 failure_limit  20 failure_window
--       21 safe_mode_ttl  22 cooldown_global_ttl  23 max_in_flight
--
-- Reply  one line of text, its first word says which:
--   admitted …                      the record as written (see record_text): the permit. A replay with the same token
--                                   gets the same line again.
--   REASON wait detail              denied; wait in ms, -1 when nobody can tell, -2 never. CONFLICT and DUPLICATE carry
--                                   the record as detail, POLICY_MISMATCH the policy in force, STALE the age in ms
--   OBSERVED REASON wait detail     the policy in force only observes: this would have been denied, and claimed nothing
--   or an error that names the key: a value of the wrong type, or a damaged one
--@include integer
--@include read
--@include switched_on
--@include window_wait
--@include time_left
--@include first_denial
--@include fence_and_memory
--@include reserved_ahead
--@include record_text
--@include server_now

local now, now_text, micros = server_now()
local seen = {}
local guard, reason, wait, detail = first_denial(1, now, now_text, seen)

if reason then
  local token = ARGV[2]
  if guard == 2 and string.sub(detail, 1, #token + 10) == 'admitted ' .. token .. ' ' then
    return detail  -- the caller's own admission, whose reply was lost
  end

  if guard == 7 or guard == 13 then
    --@include audit
    --@include switch_on
    --@include trip
    if guard == 7 then
      detail = ARGV[19] .. ' failures in ' .. ARGV[20] / 1000 .. ' s'
      trip_safe_mode(KEYS[10], KEYS[6], KEYS[12], ARGV[21], now_text, detail)
    else
      detail = ARGV[13] .. ' orders in ' .. ARGV[14] / 1000 .. ' s'
      trip_cooldown(KEYS[11], KEYS[12], ARGV[22], now_text, 'cooldown_global', detail)
    end
  end

  -- The policy in force decides whether a denial binds: a caller that brings another can't observe its way past it.
  local state = seen.state or redis.pcall('HMGET', KEYS[8], 'fence', 'since', 'policy')
  local policy = state.err and '' or state[3] or ARGV[10]
  local observed = string.sub(policy, 1, 8) == 'observe-' and 'OBSERVED ' or ''
  return observed .. reason .. ' ' .. wait .. ' ' .. detail
end

local is_exit = ARGV[7] == '1'
local lock_ttl = ARGV[15]
local deadline = integer(now + lock_ttl)

-- Where an exit is only counted, damage is left alone. A guard that stops entries must not trap it by its key either.
local count = is_exit and redis.pcall or redis.call

local fence, since, in_force, verify_age = fence_and_memory(now, micros, seen)
local ahead = reserved_ahead(seen)

local note = verify_age and ahead .. ' ' .. integer(verify_age) or ahead
local record = record_text('admitted', ARGV[2], fence, ARGV[3], now_text, ARGV[5], ARGV[6], lock_ttl, ARGV[8],
  (verify_age and 'v' or '') .. (is_exit and 'x' or ''), note)
local permit_field = 'permit:' .. ARGV[1]

-- From here on it writes.
if not since then
  count('HSET', KEYS[8], permit_field, record)  -- an exit on a damaged state, whose own fields are left as they are
elseif since == now or not in_force then
  count('HSET', KEYS[8], 'fence', fence, 'since', integer(since), 'policy', in_force or ARGV[10], permit_field, record)
else
  count('HSET', KEYS[8], 'fence', fence, permit_field, record)
end
-- The record outlives the intent's freshness also where the intent is dated ahead, by more than the policy's margin.
local fresh_for = ARGV[4] + ARGV[17] - now + 1
redis.call('SET', KEYS[1], record, 'PX', fresh_for - ARGV[16] > 0 and integer(fresh_for) or ARGV[16])
redis.call('SET', KEYS[2], ARGV[2], 'PX', lock_ttl)
if not is_exit then
  if redis.call('LPUSH', KEYS[3], now_text) - ARGV[11] > 0 then redis.call('LTRIM', KEYS[3], '0', ARGV[11] - 1) end
  redis.call('PEXPIRE', KEYS[3], ARGV[12])
end
local counted = count('LPUSH', KEYS[5], now_text)
if type(counted) == 'number' then
  local limit, window = ARGV[13], ARGV[14]
  if counted - limit > 0 then
    if not is_exit then
      redis.call('LTRIM', KEYS[5], '0', limit - 1)  -- what goes is out of the window: it was not full
    else
      -- An exit goes through a full window. What it would push out still counts: should a slot be given back (settle),
      -- the window would open too early. So only what is out of the window goes; two at a time keep up with any flood.
      for _ = 1, 2 do
        local oldest = tonumber(redis.call('LINDEX', KEYS[5], -1))
        if not oldest or oldest + window - now <= 0 then redis.call('RPOP', KEYS[5]) end
      end
    end
  end
  redis.call('PEXPIRE', KEYS[5], window)
end
count('ZADD', KEYS[7], deadline, ARGV[8] .. ':' .. ARGV[1])
return record
