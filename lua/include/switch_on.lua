-- Was the switch off before? Switches safe mode or a cooldown on for `ttl_text` ms. A switch that is on for longer, or
-- without a TTL, stays as it is: an automatic trip must not shorten what a person set. A key of the wrong type stays as
-- it is too, since it already denies.
local function switch_on(key, why, ttl_text)
  local was = redis.pcall('GET', key)
  if type(was) == 'table' then return false end
  local off = not was or was == '0'
  if not off then
    local left = redis.call('PTTL', key)
    if left < 0 or left >= tonumber(ttl_text) then return false end
  end
  redis.call('SET', key, why, 'PX', ttl_text)
  return off
end
