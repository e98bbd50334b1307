-- The two trips, the only writes that a denial may make, and what a settled failure may do. Each is audited.
-- Safe mode by failures clears the counter: otherwise a reset would trip again at the next verdict.
local function trip_safe_mode(safe_mode_key, failures_key, audit_key, ttl, now_text, why)
  local tripped = switch_on(safe_mode_key, why, ttl)
  redis.call('DEL', failures_key)
  if tripped then audit(audit_key, now_text, 'trip safe_mode', 'gate', why) end
  return tripped
end

local function trip_cooldown(cooldown_key, audit_key, ttl, now_text, what, why)
  local tripped = switch_on(cooldown_key, why, ttl)
  if tripped then audit(audit_key, now_text, 'trip ' .. what, 'gate', why) end
  return tripped
end
