#!lua flags=
-- The verdict on one intent. An admission also writes its record, its lock and its slots in the windows, in this call.
-- All reads come before the first write, so an error leaves nothing half done.
--
-- The loader (gate/protocol/scripts.py) replaces `KEYS.halt` and `ARGV.asked` by the numbers below.
-- Lua's arithmetic turns a text into a number, but its comparison doesn't.
--
-- KEYS   1 record            P:exec:processed:{intent_id}       string  the intent's record
--        2 lock              P:exec:lock:{symbol}:{side}        string  token of the permit that holds it
--        3 rate_symbol       P:exec:rate:symbol:{symbol}        list    admission times in ms, newest first
--        4 cooldown_symbol   P:safety:cooldown_symbol:{symbol}  string  `1` is on; `0` is off
--        5 rate_global       P:exec:rate:global                 list    as rate_symbol
--        6 failures          P:exec:failures                    list    times of counted failures in ms, newest first
--        7 inflight          P:exec:inflight                    zset    {reserved}:{intent_id} by deadline in ms; for an
--                            P:exec:inflight:exits                      exit the second one, which nothing counts
--        8 state             P:exec:state                       hash    fence, since, policy, figures (of that policy),
--                                                               policy_at, policy_by, policy_reason (what the first
--                                                               admission has put in force; it counts where `applied`
--                                                               is missing), run_id, lost, in_flight (see
--                                                               in_flight_packed); permit:{intent_id}: a
--                                                               copy of the record, which has no TTL and stays until
--                                                               the permit has its final outcome
--        9 halt              P:safety:halt                      hash    scope, by, reason, at
--       10 safe_mode         P:safety:safe_mode                 string  as cooldown_symbol
--       11 cooldown_global   P:safety:cooldown_global           string  as cooldown_symbol
--       12 audit             P:safety:audit                     stream  what, by, reason, at
--       13 reasons           P:safety:reasons                   hash    by the switch's name: until when it is on by a
--                                                               trip, in ms, and why
--       14 applied           P:safety:policy                    string  the policy that a person has put in force, five
--                                                               lines: fingerprint, at in ms, figures, by, reason
--       15 journal           P:exec:audit                       stream  as audit, of callers who may not write there
--       16 trip              P:exec:trip                        string  a switch on its way; see switch_on
--       17… placed           P:exec:placed                      list    only of a caller that wants to hear of them: the
--                                                               entries that were placed last; see note_placed
--
-- ARGV   1 asked             packed: who asks for what. First what every verdict needs, see asked.lua and question.lua:
--                            is_exit            1 for an intent that can only reduce, else 0
--                            observes           1 for a caller that only observes, else 0. Its keys are its own, but for
--                                               the halt
--                            intent_id
--                            token              made by the caller for this call and its replay
--                            fingerprint        of the intent
--                            policy             fingerprint of the caller's policy
--                            the intent's time, the highest fence that the caller has seen, nine of the figures
--                            Then what an admission writes, see written.lua:
--                            symbol
--                            side               BUY, SELL; CLOSE for an exit whose side only the exchange knows
--                            reserve            margin to reserve, in whole millionths
--                            rate_symbol_window_ms, lock_ttl_ms, dedup_ttl_ms  figures that go into a command as they are
--                            placed_after       with the key placed, and without a zero byte: as last_look's
--        2 figures           all figures of that policy, as figure_of reads them: ` name=value … `
--        3 server            the server's run id, as its connection has learnt it. Behind it, after a space, why the
--                            server isn't trusted: `evicts`, or `lacks …`, a right; see identify.lua
--
-- Reply  one line of text. Its first word tells which:
--   admitted …                      the permit: the record as written (see record_text). A replay with the same token
--                                   gets the same line again. With the flag o, an enforcing caller would be
--                                   denied, and the note tells why: only the id is claimed.
--                                   With the key placed, below it: now in ms, and lines as last_look's. Not where that
--                                   list is damaged, nor in a replay
--   REASON wait detail              denied. wait: ms; -1 unknown, -2 a retry never helps. detail: for CONFLICT and
--                                   DUPLICATE the record, for POLICY_MISMATCH the policy in force and, after a space,
--                                   its figures, for STALE the age in ms, for MEMORY_YOUNG the time when the loss
--                                   was noticed, in ms
--   OBSERVED REASON wait detail     the caller observes, and the intent is claimed already: DUPLICATE or CONFLICT
--   or an error that names the key: its value has the wrong type, or is damaged
--   or NOPERM, for an entry: the user lacks a right, or the server doesn't say which one it is
--@include asked
local from, reason, wait, detail, place = 1, nil, nil, nil, nil
--@include claimed
if reason then
  local mine = 'admitted ' .. token .. ' '
  if reason == 'DUPLICATE' and string.sub(record, 1, #mine) == mine then
    return record  -- this caller's own admission; its reply was lost
  end
  if not observes then return reason .. ' -2 ' .. record end
end

--@include integer
--@include read
--@include halted
--@include question

if not reason then
  repeat
    --@include guards
  until true
end

-- A damaged key must not block an exit. An exit's writes to the keys that only count or note it may therefore fail.
local attempt = is_exit and redis.pcall or redis.call

-- What is found out for all callers, whatever becomes of this intent: a loss of memory, and the two trips.
local finds_new_memory = new_memory and (not reason or reason == 'MEMORY_YOUNG')
if finds_new_memory or reason == 'FAILURE_LIMIT' or reason == 'RATE_GLOBAL' then
  --@include audit
  --@include noted_in
  --@include halts_by_itself
  --@include switch_on
  --@include trip
  local figures, now_text = ARGV.figures, integer(now)
  if finds_new_memory then
    --@include note_new_memory
  elseif reason == 'FAILURE_LIMIT' then
    local window = string.match(figures, ' failure_window_ms=(%d+) ')
    detail = string.match(figures, ' failure_limit=(%d+) ') .. ' failures in ' .. window / 1000 .. ' s'
    local rest = string.match(figures, ' safe_mode_ttl_ms=(%d+) ')
    trip_safe_mode(KEYS.safe_mode, KEYS.failures, noted_in(), rest, now_text, detail)
  else
    detail = integer(global_limit) .. ' orders in ' .. global_window / 1000 .. ' s'
    local rest = string.match(figures, ' cooldown_global_ms=(%d+) ')
    trip_cooldown(KEYS.cooldown_global, noted_in(), rest, now_text, 'cooldown_global', detail)
  end
end

if reason and not observes then return reason .. ' ' .. wait .. ' ' .. detail end

-- As integer(now), which takes longer.
local now_text = time[1] .. string.sub('00000' .. time[2], -6, -4)
--@include written
--@include record_text
if reason then
  -- A caller that observes goes on, but not past a person's halt, whichever guard has come before that.
  local halt = reason ~= 'HALTED' and halted(is_exit)
  if halt then reason, wait, detail = 'HALTED', '-1', halt end
  if reason == 'HALTED' then return reason .. ' ' .. wait .. ' ' .. detail end
  -- Its permit stands in no in-flight set. A halt waits until the last of these has run out; see still_out.lua.
  local until_field = is_exit and 'exits_until' or 'entries_until'
  local known = tonumber(redis.pcall('HMGET', KEYS.state, until_field)[1]) or 0
  redis.pcall('HSET', KEYS.state, until_field, integer(math.max(known, now + lock_ttl)))
  if reason == 'DUPLICATE' or reason == 'CONFLICT' then
    return 'OBSERVED ' .. reason .. ' ' .. wait .. ' ' .. detail
  end
  -- The id is claimed all the same: of two workers that observe, one gets the intent. Locks, windows and counters stay as
  -- they would be.
  local record = record_text('admitted', token, '0', fingerprint, now_text, symbol, side,
    lock_ttl_text, '0', is_exit and 'ox' or 'o', reason .. ' ' .. wait .. ' ' .. detail)
  local fresh_for = decided + max_age - now + 1
  redis.call('SET', KEYS.record, record, 'PX', integer(math.max(fresh_for, dedup_ttl)))
  return record
end

-- The permit.
--@include next_fence
local deadline = now + lock_ttl  -- as a score it stays a number, which takes a third of the time of a text
local ahead = (is_exit or reserved == 0) and '0' or integer(reserved)
local note = verify_age and ahead .. ' ' .. integer(verify_age) or ahead
if damaged and not applied then in_force = nil end
-- An exit that brings another policy passes. Its caller learns by the flag that there is one to follow.
local brings_other = is_exit and in_force and in_force ~= policy
local record = record_text('admitted', token, fence, fingerprint, now_text, symbol, side,
  lock_ttl_text, reserve, (verify_age and 'v' or '') .. (is_exit and 'x' or '') .. (brings_other and 'd' or ''),
  note)

-- The record must outlive the intent's freshness. An intent whose time is in the future is fresh for longer.
local remembered_for, early = dedup_ttl_text, decided - now
-- An exit puts no policy in force. The one that comes may take its intent for fresh for longer than its caller's does.
if is_exit and not in_force then remembered_for = integer(math.max(dedup_ttl, 86400000)) end
if early > 0 then remembered_for = integer(remembered_for + early) end

-- Entries beyond the limit are too old to count. They are cut off when there are so many: a cut at each admission would
-- cost a twentieth of it.
local TRIMMED_AT_ONCE = 16

-- With this, the verdict is a last look for a caller that sends its order at once.
local told
if KEYS[KEYS.from.placed] then
  --@include placed_since
  local lines = placed_since(KEYS[KEYS.from.placed], string.sub(ARGV.asked, written_end))
  told = lines and '\n' .. now_text .. '\n' .. lines
end

-- The writes begin here, with the one that may fail. An entry's guards may not have read the set, and an exit's record may be
-- a key of the wrong type.
local added
if is_exit then
  if not redis.call('SET', KEYS.record, record, 'PX', remembered_for, 'NX') then
    return redis.error_reply('WRONGTYPE a value that is no text, where a record belongs key=' .. KEYS.record)
  end
  --@include bounded_exits
else
  added = redis.pcall('ZADD', KEYS.inflight, deadline, reserve .. ':' .. intent_id)
  if type(added) == 'table' then error({err = added.err .. ' key=' .. KEYS.inflight}) end
end
local length = attempt('LPUSH', KEYS.rate_global, now_text)

-- The account's list of admissions outlives its window: that is how a step of the clock is noticed. The decision
-- steps-of-the-clock tells for how long, and why. While it will live long enough, its end stays as it is.
last, lapses = last or 0, lapses or 0
if type(length) == 'number' then
  if lapses < now + global_window or lapses < now + max_age + skew + 2000 then
    local life = math.max(global_window, (dedup_ttl - max_age) / 2)
    attempt('PEXPIRE', KEYS.rate_global, integer(life))
    lapses = now + life
  end
  last = now
end

-- One more permit is in the set. Where that isn't known, the next entry counts. Packed as in_flight_packed tells.
if added == 1 and card and card >= 0 and now >= counted then
  if now + lock_ttl < earliest then earliest = now + lock_ttl end
  card, live, reserved = card + 1, live + 1, reserved + reserve
elseif not is_exit or not card then
  card, live, reserved, counted, earliest = -1, 0, 0, 0, 0
end
local in_flight = struct.pack('>ddddddd', card, live, reserved, counted, earliest, last, lapses)
if damaged then
  attempt('HSET', KEYS.state, permit_field, record)  -- an exit's; the damaged fields stay as they are
elseif not in_force and not is_exit then  -- an exit, which any policy may bring, puts none in force
  attempt('HSET', KEYS.state, 'fence', fence, 'in_flight', in_flight, permit_field, record, 'policy', policy,
    'figures', ARGV.figures, 'policy_at', now_text, 'policy_by', 'gate', 'policy_reason', 'the first admission')
else
  attempt('HSET', KEYS.state, 'fence', fence, 'in_flight', in_flight, permit_field, record)
end
if not is_exit then
  redis.call('SET', KEYS.record, record, 'PX', remembered_for)
  redis.call('SET', KEYS.lock, token, 'PX', lock_ttl_text)
  if redis.call('LPUSH', KEYS.rate_symbol, now_text) >= symbol_limit + TRIMMED_AT_ONCE then
    redis.call('LTRIM', KEYS.rate_symbol, '0', symbol_limit - 1)
  end
  redis.call('PEXPIRE', KEYS.rate_symbol, symbol_window_text)
end
if type(length) == 'number' and length >= global_limit + TRIMMED_AT_ONCE then
  if not is_exit then
    redis.call('LTRIM', KEYS.rate_global, '0', global_limit - 1)  -- the window isn't full: these entries are too old
  else
    -- An exit passes a full window. The oldest entry may still count: without it, the window would open too early once
    -- settle gives a slot back. So this removes only entries that are too old, two for each one added, and the list
    -- doesn't grow without end.
    for _ = 1, 2 do
      local oldest = redis.pcall('LINDEX', KEYS.rate_global, -1)
      if type(oldest) == 'string' and (tonumber(oldest) or 0) + global_window - now <= 0 then
        redis.pcall('RPOP', KEYS.rate_global)
      end
    end
  end
end
return told and record .. told or record
