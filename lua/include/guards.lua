-- Which guard denies first? Returns its reason, the wait in ms ('-1' unknown, '-2' a retry never helps), a detail, and
-- the guard's place in the order; nothing when all pass. Writes nothing.
-- evaluate calls this once. inspect calls it again after each denial, from the next place on, and so asks every guard.
--
-- `from`     the place of the first guard to ask. The loader replaces GUARDS.STALE by the place of the guard with the
--            reason STALE, from the table in gate/values/guards.py. The guards below are in the order of that table
-- `seen`     keeps what the caller needs later: .state (fence, since, policy in force, copy of an earlier permit, run
--            id, time of a loss, permits in flight), and what memory and count_in_flight fill in
-- Needs      the includes of inspect; KEYS and ARGV of evaluate, but not KEYS.audit, and not the ARGV that only an admission writes
--
-- An exit skips the guards that stop entries. It doesn't read their keys, so a damaged key can't block it.
local function first_denial(from, now, now_text, seen)
  local is_exit = ARGV.is_exit == '1'
  local symbol_limit, symbol_window, global_limit, global_window, lock_ttl, dedup_ttl, max_age, skew, max_in_flight =
    figure_numbers()

  -- For speed, one EXISTS replaces eight reads when the keys are missing, or a second one five of them: a missing key
  -- can't deny and isn't damaged. Each names every key that the guards behind it read.
  local asks_once = from == 1 and not is_exit
  local nothing_known = asks_once and redis.call('EXISTS', KEYS.record, KEYS.lock, KEYS.rate_symbol, KEYS.halt,
    KEYS.safe_mode, KEYS.failures, KEYS.cooldown_global, KEYS.cooldown_symbol) == 0

  -- One intent gets one order. A record that the gate didn't write (the replaced system wrote `1`) is a duplicate too.
  if from <= GUARDS.DUPLICATE and not nothing_known then
    local record = read('GET', KEYS.record)
    if record then
      local fingerprint = string.match(record, '^%l+ %S+ %d+ (%S+) ')
      if not fingerprint or fingerprint == ARGV.fingerprint then return 'DUPLICATE', '-2', record, GUARDS.DUPLICATE end
      if from <= GUARDS.CONFLICT then return 'CONFLICT', '-2', record, GUARDS.CONFLICT end
    end
  end

  -- An intent must be fresh. One from the future is due later. A strategy's clock that is ahead doesn't stop an exit.
  if from <= GUARDS.STALE then
    local age = now - ARGV.decided_ms
    if not is_exit and (age - max_age > 0 or -age - skew > 0) then
      -- Before it denies: another policy may be in force, which allows more. (An exit goes by that one already.)
      local state = redis.pcall('HMGET', KEYS.state, 'policy', 'figures')
      if state[1] and state[1] ~= ARGV.policy and state[2] then
        max_age, skew = figure_of(state[2], 'max_age_ms') or max_age, figure_of(state[2], 'skew_ms') or skew
      end
    end
    if age - max_age > 0 then
      -- Where the clock is ahead, the question above has let the record lapse. This lets the list of admissions lapse
      -- with it, by which a later verdict notices; see memory.
      redis.pcall('EXISTS', KEYS.rate_global)
      return 'STALE', '-2', integer(age), GUARDS.STALE
    end
    local early = -age - skew
    if early > 0 and not is_exit then return 'STALE', integer(early), integer(age), GUARDS.STALE end
  end

  -- Callers with different limits would spoil each other's counts, and both would exceed their limits.
  if from <= GUARDS.POLICY_MISMATCH and not is_exit then
    seen.state = seen.state
      or read('HMGET', KEYS.state, 'fence', 'since', 'policy', 'permit:' .. ARGV.intent_id, 'run_id', 'lost',
        'in_flight')
    local in_force = seen.state[3]
    if in_force and in_force ~= ARGV.policy then
      local figures = read('HGET', KEYS.state, 'figures') or ''  -- they begin with a space
      return 'POLICY_MISMATCH', '-1', in_force .. figures, GUARDS.POLICY_MISMATCH
    end
  end

  -- Permits of a memory that was lost may still be alive, and its windows are lost too; of a window, five minutes
  -- count. The exchange accepts an order for up to 6.5 s after it is signed: its recvWindow of 5 s, 1 s for a clock
  -- ahead, and half a second to spare.
  if from <= GUARDS.MEMORY_YOUNG and not is_exit then
    memory(now, seen, dedup_ttl, max_age)
    if seen.lost then
      local windows = math.min(math.max(symbol_window, global_window), 300000)
      local wait = seen.lost + math.max(lock_ttl + 6500, windows) - now
      -- Of a caller that observes, only its own keys are new, and other guards hold its orders. Its permits say verify.
      if wait > 0 and ARGV.observes ~= '1' then
        return 'MEMORY_YOUNG', integer(wait), integer(seen.lost), GUARDS.MEMORY_YOUNG
      end
    end
  end

  -- A person has halted the account. A hash without a scope was made by hand; it halts entries.
  local nothing_on = nothing_known or asks_once and redis.call('EXISTS', KEYS.halt, KEYS.safe_mode, KEYS.failures,
    KEYS.cooldown_global, KEYS.cooldown_symbol) == 0
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

    local figures = ARGV.figures
    if from <= GUARDS.FAILURE_LIMIT and window_wait(KEYS.failures, figure_of(figures, 'failure_limit'),
      figure_of(figures, 'failure_window_ms'), now) then
      return 'FAILURE_LIMIT', figure_of(figures, 'safe_mode_ttl_ms'), '', GUARDS.FAILURE_LIMIT
    end

    why = from <= GUARDS.COOLDOWN_GLOBAL and switched_on(KEYS.cooldown_global)
    if why then return 'COOLDOWN_GLOBAL', time_left(KEYS.cooldown_global), why, GUARDS.COOLDOWN_GLOBAL end

    why = from <= GUARDS.COOLDOWN_SYMBOL and switched_on(KEYS.cooldown_symbol)
    if why then return 'COOLDOWN_SYMBOL', time_left(KEYS.cooldown_symbol), why, GUARDS.COOLDOWN_SYMBOL end
  end

  if is_exit then return end

  -- A symbol and side has one live permit of an entry at most. Exits need no lock: two can't close more than there is.
  if from <= GUARDS.LOCKED and not nothing_known and read('GET', KEYS.lock) then
    return 'LOCKED', time_left(KEYS.lock), '', GUARDS.LOCKED
  end

  -- Not too many permits at once.
  if from <= GUARDS.IN_FLIGHT_LIMIT then
    count_in_flight(now, now_text, seen.state[7], seen)
    -- Before it denies, it counts anew: what is kept may have drifted, by a clock that went back.
    if seen.live >= max_in_flight then count_in_flight(now, now_text, nil, seen) end
    if seen.live >= max_in_flight then return 'IN_FLIGHT_LIMIT', '-1', '', GUARDS.IN_FLIGHT_LIMIT end
  end

  -- Not too many orders in a window.
  if from <= GUARDS.RATE_SYMBOL and not nothing_known then
    local wait = window_wait(KEYS.rate_symbol, symbol_limit, symbol_window, now)
    if wait then return 'RATE_SYMBOL', integer(wait), '', GUARDS.RATE_SYMBOL end
  end
  if from <= GUARDS.RATE_GLOBAL then
    local wait = window_wait(KEYS.rate_global, global_limit, global_window, now)
    -- The denial trips the account's cooldown, which may last longer than the window is full.
    if wait then
      local rest = figure_of(ARGV.figures, 'cooldown_global_ms')
      return 'RATE_GLOBAL', integer(math.max(wait, rest)), '', GUARDS.RATE_GLOBAL
    end
  end
end
