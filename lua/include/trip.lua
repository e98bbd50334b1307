-- Has this call tripped safe mode or a cooldown? A denial writes nothing else, and a penalty uses the same functions.
-- Each trip is audited.
-- Safe mode clears the failures: otherwise safe mode would trip again at the first verdict after a reset. LTRIM doesn't
-- touch a key of the wrong type. Where a shorter safe mode can't be made longer, they stay, and trip it again afterwards.
-- Needs switch_on, audit; KEYS.trip
local function trip_safe_mode(safe_mode_key, failures_key, audit_key, ttl, now_text, why)
  local tripped, lasts = switch_on(safe_mode_key, why, ttl, now_text, KEYS.trip)
  if lasts then redis.pcall('LTRIM', failures_key, '1', '0') end
  if tripped then audit(audit_key, now_text, 'trip safe_mode', 'gate', why) end
  return tripped
end

local function trip_cooldown(cooldown_key, audit_key, ttl, now_text, what, why)
  local tripped = switch_on(cooldown_key, why, ttl, now_text, KEYS.trip)
  if tripped then audit(audit_key, now_text, 'trip ' .. what, 'gate', why) end
  return tripped
end
