-- How long does a lock or a switch still last? In ms, as text; '-1' (unknown) when the key has no TTL.
-- Needs integer
local function time_left(key)
  local left = redis.call('PTTL', key)
  if left < 0 then return '-1' end
  return integer(left)
end
