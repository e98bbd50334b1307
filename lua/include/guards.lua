-- Which guard denies first? Returns its reason, the wait in ms ('-1' when nobody can tell, '-2' never), a detail, and
-- its place in the order; nothing when all pass. It only reads.
-- evaluate asks once. inspect asks again from behind each denial, and so sees every guard. One code decides for both.
--
-- `from`     the place at which to begin. GUARDS.STALE is the place of the guard that denies with STALE: the loader
--            puts the number in, from the table in gate/values/guards.py. The guards stand here in that order
-- `seen`     keeps what the caller needs again: .state (fence, since, policy in force, copy of an earlier permit) and
--            .live (members still in flight)
-- Needs      KEYS and ARGV of evaluate, all but KEYS.audit, and of ARGV not what only an admission writes
--
-- An exit skips the guards that exist to stop entries, and doesn't read their keys: damage there can't trap it.
local function first_denial(from, now, now_text, seen)
  local is_exit = ARGV.is_exit == '1'

  -- Two questions instead of eight, where nothing is there: what isn't there can't deny, and can't have a wrong type.
  local asks_once = from == 1 and not is_exit

  -- One order for one intent. A record that the gate didn't write (`1`, of the replaced system) is a duplicate.
  local nothing_known = asks_once and redis.call('EXISTS', KEYS.record, KEYS.lock, KEYS.rate_symbol) == 0
  if from <= GUARDS.DUPLICATE and not nothing_known then
    local record = read('GET', KEYS.record)
    if record then
      local fingerprint = string.match(record, '^%l+ %S+ %d+ (%S+) ')
      if not fingerprint or fingerprint == ARGV.fingerprint then return 'DUPLICATE', '-2', record, GUARDS.DUPLICATE end
      if from <= GUARDS.CONFLICT then return 'CONFLICT', '-2', record, GUARDS.CONFLICT end
    end
  end

  -- Acted upon while fresh, or not at all.
  if from <= GUARDS.STALE then
    local age, max_age, skew = now - ARGV.decided_ms, ARGV.max_age_ms, ARGV.skew_ms
    if age - max_age > 0 or age + skew < 0 then return 'STALE', '-2', integer(age), GUARDS.STALE end
  end

  -- Two callers with different limits would each keep a wrong count, and both exceed.
  if from <= GUARDS.POLICY_MISMATCH and not is_exit then
    seen.state = seen.state or read('HMGET', KEYS.state, 'fence', 'since', 'policy', 'permit:' .. ARGV.intent_id)
    local in_force = seen.state[3]
    if in_force and in_force ~= ARGV.policy then return 'POLICY_MISMATCH', '-1', in_force, GUARDS.POLICY_MISMATCH end
  end

  -- Halted by a person. A hash without a scope was made by hand: it halts entries.
  local nothing_on = asks_once and redis.call('EXISTS', KEYS.halt, KEYS.safe_mode, KEYS.failures, KEYS.cooldown_global,
    KEYS.cooldown_symbol) == 0
  if from <= GUARDS.HALTED and not nothing_on and redis.call('EXISTS', KEYS.halt) == 1 then
    local halt = read('HMGET', KEYS.halt, 'scope', 'by', 'reason')
    local scope = halt[1] or 'entries'
    if scope == 'all' or not is_exit then
      return 'HALTED', '-1', scope .. ' halted by ' .. (halt[2] or '?') .. ': ' .. (halt[3] or '?'), GUARDS.HALTED
    end
  end

  -- Safe mode, too many failures, cooldowns.
  if not nothing_on and not is_exit then
    local why = from <= GUARDS.SAFE_MODE and switched_on(KEYS.safe_mode)
    if why then return 'SAFE_MODE', time_left(KEYS.safe_mode), why, GUARDS.SAFE_MODE end

    if from <= GUARDS.FAILURE_LIMIT and window_wait(KEYS.failures, ARGV.failure_limit, ARGV.failure_window_ms, now) then
      return 'FAILURE_LIMIT', ARGV.safe_mode_ttl_ms, '', GUARDS.FAILURE_LIMIT
    end

    why = from <= GUARDS.COOLDOWN_GLOBAL and switched_on(KEYS.cooldown_global)
    if why then return 'COOLDOWN_GLOBAL', time_left(KEYS.cooldown_global), why, GUARDS.COOLDOWN_GLOBAL end

    why = from <= GUARDS.COOLDOWN_SYMBOL and switched_on(KEYS.cooldown_symbol)
    if why then return 'COOLDOWN_SYMBOL', time_left(KEYS.cooldown_symbol), why, GUARDS.COOLDOWN_SYMBOL end
  end

  -- One permit for a symbol and side.
  if from <= GUARDS.LOCKED and not nothing_known and read('GET', KEYS.lock) then
    return 'LOCKED', time_left(KEYS.lock), '', GUARDS.LOCKED
  end

  if is_exit then return end

  -- Not too many at once.
  if from <= GUARDS.IN_FLIGHT_LIMIT then
    local max_in_flight = ARGV.max_in_flight
    seen.live = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. now_text, '+inf', 'LIMIT', '0', max_in_flight)
    if #seen.live - max_in_flight >= 0 then return 'IN_FLIGHT_LIMIT', '-1', '', GUARDS.IN_FLIGHT_LIMIT end
  end

  -- Not too many in a time.
  if from <= GUARDS.RATE_SYMBOL and not nothing_known then
    local wait = window_wait(KEYS.rate_symbol, ARGV.rate_symbol_limit, ARGV.rate_symbol_window_ms, now)
    if wait then return 'RATE_SYMBOL', integer(wait), '', GUARDS.RATE_SYMBOL end
  end
  if from <= GUARDS.RATE_GLOBAL then
    local wait = window_wait(KEYS.rate_global, ARGV.rate_global_limit, ARGV.rate_global_window_ms, now)
    if wait then return 'RATE_GLOBAL', integer(wait), '', GUARDS.RATE_GLOBAL end
  end
end
