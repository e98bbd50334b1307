-- Which guard denies first? Sets its reason, the wait in ms ('-1' unknown, '-2' a retry never helps), a detail, and the
-- guard's place in the order; nothing when all pass. Writes nothing.
-- evaluate asks once. inspect asks again after each denial, from the next place on, and so asks every guard. Both paste
-- this into `repeat … until true`: a guard that denies ends that by `break`. Before it stands claimed.lua, with the first two.
--
-- `from`     the place of the first guard to ask. The loader replaces GUARDS.STALE by the place of the guard with the
--            reason STALE, from the table in gate/values/guards.py. The guards below are in the order of that table
-- Needs      what stands before it in inspect; KEYS and ARGV of evaluate, but not KEYS.audit, and not the ARGV that only
--            an admission writes
--
-- An exit skips the guards that stop entries. It doesn't read their keys, so a damaged key can't block it.

-- An intent must be fresh. One from the future is due later. A strategy's clock that is ahead doesn't stop an exit.
if from <= GUARDS.STALE then
  local age, oldest, most_early = now - decided, max_age, skew
  if not is_exit and (age > oldest or -age > most_early) then
    -- Before it denies: another policy may be in force, which allows more. (An exit goes by that one already.)
    local other = applied and {in_force, string.match(applied, '\n( [^\n]*)')}
      or redis.pcall('HMGET', KEYS.state, 'policy', 'figures')
    if other[1] and other[1] ~= policy and other[2] then
      oldest = string.match(other[2], ' max_age_ms=(%d+) ') or oldest
      most_early = string.match(other[2], ' skew_ms=(%d+) ') or most_early
    end
  end
  if age - oldest > 0 then
    -- Where the clock is ahead, the question above has let the record lapse. This lets the list of admissions lapse
    -- with it, by which a later verdict notices; see memory.
    redis.pcall('EXISTS', KEYS.rate_global)
    reason, wait, detail, place = 'STALE', '-2', integer(age), GUARDS.STALE
    break
  end
  local early = -age - most_early
  if early > 0 and not is_exit then
    reason, wait, detail, place = 'STALE', integer(early), integer(age), GUARDS.STALE
    break
  end
end

-- Callers with different limits would spoil each other's counts, and both would exceed their limits.
if from <= GUARDS.POLICY_MISMATCH and not is_exit then
  if not state and in_force then
    state = read('HMGET', KEYS.state, 'fence', 'since', permit_field, 'run_id', 'lost', 'in_flight')
  elseif not state then
    state = read('HMGET', KEYS.state, 'fence', 'since', permit_field, 'run_id', 'lost', 'in_flight', 'policy')
    in_force = state[7]
  end
  if in_force and in_force ~= policy then
    local figures
    if applied then figures = string.match(applied, '\n( [^\n]*)') else figures = read('HGET', KEYS.state, 'figures') end
    reason, wait, detail, place = 'POLICY_MISMATCH', '-1', in_force .. (figures or ''), GUARDS.POLICY_MISMATCH
    break
  end
end

-- For speed, one EXISTS replaces the reads of what is missing: a missing key can't deny and isn't damaged. It names every key
-- that the guards behind it read, and record and applied policy, of which MGET tells nothing where their type is wrong. The
-- applied policy, where there is one, is no stop and isn't counted.
--   what else exists            then
--   nothing                     nothing_known: no guard behind this has anything to read
--   the symbol's window alone   nothing_on: no stop is on, the windows are asked
--   anything else               each guard reads its own key
local asks_once = from <= GUARDS.STALE and not is_exit
local nothing_on, nothing_known, symbol_entry
if asks_once then
  local policies = applied and 1 or 0
  if held then
    -- It denies, if nothing before it does.
    nothing_on = redis.call('EXISTS', KEYS.halt, KEYS.safe_mode, KEYS.failures, KEYS.cooldown_global,
      KEYS.cooldown_symbol) == 0
  else
    local others = redis.call('EXISTS', KEYS.record, KEYS.applied, KEYS.lock, KEYS.halt, KEYS.safe_mode, KEYS.failures,
      KEYS.cooldown_global, KEYS.cooldown_symbol, KEYS.rate_symbol) - policies
    nothing_known = others == 0
    if others == 1 then
      -- Mostly the symbol's window. If it has an entry where it would be full, it is the one that exists.
      symbol_entry = redis.pcall('LINDEX', KEYS.rate_symbol, symbol_limit - 1)
      nothing_on = type(symbol_entry) == 'string' or redis.call('EXISTS', KEYS.record, KEYS.applied, KEYS.lock,
        KEYS.halt, KEYS.safe_mode, KEYS.failures, KEYS.cooldown_global, KEYS.cooldown_symbol) == policies
    end
  end
  if not nothing_on and not nothing_known and redis.call('EXISTS', KEYS.record, KEYS.applied) > policies then
    read('GET', KEYS.record)
    read('GET', KEYS.applied)
  end
end

-- Permits of a memory that was lost may still be alive, and its windows are lost too; of a window, five minutes count. The
-- exchange accepts an order for up to 6.5 s after it is signed: its recvWindow of 5 s, 1 s for a clock ahead, and half a
-- second to spare.
if from <= GUARDS.MEMORY_YOUNG then
  -- RATE_GLOBAL asks for this. An admission reads it here, for a list that has such an entry isn't gone.
  if nothing_known then global_entry = read('LINDEX', KEYS.rate_global, global_limit - 1) end
  --@include memory
  if not is_exit and lost > 0 then
    local windows = math.min(math.max(symbol_window, global_window), 300000)
    local young_for = lost + math.max(lock_ttl + 6500, windows) - now
    -- Of a caller that observes, only its own keys are new, and other guards hold its orders. Its permits say verify.
    if young_for > 0 and not observes then
      reason, wait, detail, place = 'MEMORY_YOUNG', integer(young_for), integer(lost), GUARDS.MEMORY_YOUNG
      break
    end
  end
end

-- A person, the switches, the lock. What they need is included here: a function is made anew by each call that comes by.
if not nothing_known then
  --@include time_left
  -- A person has halted the account.
  local halt = from <= GUARDS.HALTED and not nothing_on and halted(is_exit)
  if halt then
    reason, wait, detail, place = 'HALTED', '-1', halt, GUARDS.HALTED
    break
  end

  -- Safe mode, too many failures, cooldowns.
  if not nothing_on and not is_exit then
    --@include switched_on
    local why = from <= GUARDS.SAFE_MODE and switched_on(KEYS.safe_mode)
    if why then
      reason, wait, detail, place = 'SAFE_MODE', time_left(KEYS.safe_mode), why, GUARDS.SAFE_MODE
      break
    end

    if from <= GUARDS.FAILURE_LIMIT then
      local figures = ARGV.figures
      local entry = read('LINDEX', KEYS.failures, string.match(figures, ' failure_limit=(%d+) ') - 1)
      if entry and number_at(KEYS.failures, entry) + string.match(figures, ' failure_window_ms=(%d+) ') > now then
        local rest = string.match(figures, ' safe_mode_ttl_ms=(%d+) ')
        reason, wait, detail, place = 'FAILURE_LIMIT', rest, '', GUARDS.FAILURE_LIMIT
        break
      end
    end

    why = from <= GUARDS.COOLDOWN_GLOBAL and switched_on(KEYS.cooldown_global)
    if why then
      reason, wait, detail, place = 'COOLDOWN_GLOBAL', time_left(KEYS.cooldown_global), why, GUARDS.COOLDOWN_GLOBAL
      break
    end

    why = from <= GUARDS.COOLDOWN_SYMBOL and switched_on(KEYS.cooldown_symbol)
    if why then
      reason, wait, detail, place = 'COOLDOWN_SYMBOL', time_left(KEYS.cooldown_symbol), why, GUARDS.COOLDOWN_SYMBOL
      break
    end
  end

  -- A symbol and side has one live permit of an entry at most. Exits need no lock: two can't close more than there is.
  if from <= GUARDS.LOCKED and not is_exit and (held or not nothing_on and read('GET', KEYS.lock)) then
    reason, wait, detail, place = 'LOCKED', time_left(KEYS.lock), '', GUARDS.LOCKED
    break
  end
end

if is_exit then break end

-- Not too many permits at once. As long as no deadline has passed, the state knows how many are live.
if from <= GUARDS.IN_FLIGHT_LIMIT then
  if not card or card < 0 or now < counted or now >= earliest or live >= max_in_flight then
    --@include in_flight
    if live >= max_in_flight then
      reason, wait, detail, place = 'IN_FLIGHT_LIMIT', '-1', '', GUARDS.IN_FLIGHT_LIMIT
      break
    end
  end
end

-- Not too many orders in a window. A list holds times, newest first: its window is full while the entry at the limit's
-- place is younger than the window is long.
if from <= GUARDS.RATE_SYMBOL and not nothing_known then
  if type(symbol_entry) ~= 'string' then symbol_entry = read('LINDEX', KEYS.rate_symbol, symbol_limit - 1) end
  local full_for = symbol_entry and number_at(KEYS.rate_symbol, symbol_entry) + symbol_window - now
  if full_for and full_for > 0 then
    reason, wait, detail, place = 'RATE_SYMBOL', integer(full_for), '', GUARDS.RATE_SYMBOL
    break
  end
end
if from <= GUARDS.RATE_GLOBAL then
  if not nothing_known then global_entry = read('LINDEX', KEYS.rate_global, global_limit - 1) end
  local full_for = global_entry and number_at(KEYS.rate_global, global_entry) + global_window - now
  if full_for and full_for > 0 then
    -- The denial trips the account's cooldown, which may last longer than the window is full.
    local rest = string.match(ARGV.figures, ' cooldown_global_ms=(%d+) ')
    reason, wait, detail, place = 'RATE_GLOBAL', integer(math.max(full_for, rest)), '', GUARDS.RATE_GLOBAL
    break
  end
end
