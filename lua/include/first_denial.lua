-- The guards, in their order: asks from guard number `from` on and returns the first that denies, as its number, the
-- reason, the wait in ms ('-1' when nobody can tell, '-2' never) and a detail. Nothing when all pass. It only reads.
-- evaluate asks once, from 1; inspect goes on behind every denial and so sees them all. One code decides for both.
--
-- An exit skips the guards that exist to stop entries, and doesn't read their keys: damage there can't trap it.
-- `seen` keeps what a caller needs again: .state (fence, since, policy in force, copy of an earlier permit) and .live (members still in flight).
-- KEYS and ARGV are those of evaluate.
local function first_denial(from, now, now_text, seen)
  local is_exit = ARGV[7] == '1'

  -- Two questions instead of eight, where nothing is there: what isn't there can't deny, and can't have a wrong type.
  local asks_once = from == 1 and not is_exit

  -- 1, 2: one order for one intent. A record that the gate didn't write (`1`, of the replaced system) is a duplicate.
  local nothing_known = asks_once and redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3]) == 0
  if from <= 2 and not nothing_known then
    local record = read('GET', KEYS[1])
    if record then
      local fingerprint = string.match(record, '^%l+ %S+ %d+ (%S+) ')
      if not fingerprint or fingerprint == ARGV[3] then return 2, 'DUPLICATE', '-2', record end
      if from == 1 then return 1, 'CONFLICT', '-2', record end
    end
  end

  -- 3: acted upon while fresh, or not at all
  if from <= 3 then
    local age, max_age, skew = now - ARGV[4], ARGV[17], ARGV[18]
    if age - max_age > 0 or age + skew < 0 then return 3, 'STALE', '-2', integer(age) end
  end

  -- 4: two callers with different limits would each keep a wrong count, and both exceed
  if from <= 4 and not is_exit then
    seen.state = seen.state or read('HMGET', KEYS[8], 'fence', 'since', 'policy', 'permit:' .. ARGV[1])
    local in_force = seen.state[3]
    if in_force and in_force ~= ARGV[10] then return 4, 'POLICY_MISMATCH', '-1', in_force end
  end

  -- 5: halted by a person. A hash without a scope was made by hand: it halts entries.
  local nothing_on = asks_once and redis.call('EXISTS', KEYS[9], KEYS[10], KEYS[6], KEYS[11], KEYS[4]) == 0
  if from <= 5 and not nothing_on and redis.call('EXISTS', KEYS[9]) == 1 then
    local halt = read('HMGET', KEYS[9], 'scope', 'by', 'reason')
    local scope = halt[1] or 'entries'
    if scope == 'all' or not is_exit then
      return 5, 'HALTED', '-1', scope .. ' halted by ' .. (halt[2] or '?') .. ': ' .. (halt[3] or '?')
    end
  end

  -- 6 to 9: safe mode, too many failures, cooldowns
  if not nothing_on and not is_exit then
    local why = from <= 6 and switched_on(KEYS[10])
    if why then return 6, 'SAFE_MODE', time_left(KEYS[10]), why end

    if from <= 7 and window_wait(KEYS[6], ARGV[19], ARGV[20], now) then return 7, 'FAILURE_LIMIT', ARGV[21], '' end

    why = from <= 8 and switched_on(KEYS[11])
    if why then return 8, 'COOLDOWN_GLOBAL', time_left(KEYS[11]), why end

    why = from <= 9 and switched_on(KEYS[4])
    if why then return 9, 'COOLDOWN_SYMBOL', time_left(KEYS[4]), why end
  end

  -- 10: one permit for a symbol and side
  if from <= 10 and not nothing_known and read('GET', KEYS[2]) then return 10, 'LOCKED', time_left(KEYS[2]), '' end

  if is_exit then return end

  -- 11: not too many at once
  if from <= 11 then
    local max_in_flight = ARGV[23]
    seen.live = read('ZRANGEBYSCORE', KEYS[7], '(' .. now_text, '+inf', 'LIMIT', '0', max_in_flight)
    if #seen.live - max_in_flight >= 0 then return 11, 'IN_FLIGHT_LIMIT', '-1', '' end
  end

  -- 12, 13: rates
  if from <= 12 and not nothing_known then
    local wait = window_wait(KEYS[3], ARGV[11], ARGV[12], now)
    if wait then return 12, 'RATE_SYMBOL', integer(wait), '' end
  end
  if from <= 13 then
    local wait = window_wait(KEYS[5], ARGV[13], ARGV[14], now)
    if wait then return 13, 'RATE_GLOBAL', integer(wait), '' end
  end
end
