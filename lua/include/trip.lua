-- Has it tripped just now? Safe mode and the cooldowns: the only writes that a denial may make, and what a penalty may
-- do. Each trip is audited.
-- Safe mode clears the counter of failures: otherwise a reset would trip again at the next verdict. By LTRIM, which
-- leaves a counter of the wrong type alone.
local function trip_safe_mode(safe_mode_key, failures_key, audit_key, ttl, now_text, why)
  local tripped = switch_on(safe_mode_key, why, ttl)
  redis.pcall('LTRIM', failures_key, '1', '0')
  if tripped then audit(audit_key, now_text, 'trip safe_mode', 'gate', why) end
  return tripped
end

local function trip_cooldown(cooldown_key, audit_key, ttl, now_text, what, why)
  local tripped = switch_on(cooldown_key, why, ttl)
  if tripped then audit(audit_key, now_text, 'trip ' .. what, 'gate', why) end
  return tripped
end
