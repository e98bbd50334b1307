-- Has a person halted the account? For entries, or for all. Returns who has, and why; nil where this intent may pass. A hash
-- without a scope was made by hand; it halts entries.
-- Needs KEYS.halt
local function halted(is_exit)
  if redis.call('EXISTS', KEYS.halt) == 0 then return nil end
  local halt = redis.pcall('HMGET', KEYS.halt, 'scope', 'by', 'reason')
  if halt.err then error({err = halt.err .. ' key=' .. KEYS.halt}) end
  local scope = halt[1] or 'entries'
  if scope == 'all' or not is_exit then
    return scope .. ' halted by ' .. (halt[2] or '?') .. ': ' .. (halt[3] or '?')
  end
end
