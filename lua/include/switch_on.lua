-- Was the switch off before? Switches safe mode or a cooldown on for `ttl_text` ms. A switch that is on for longer, or
-- without a TTL, stays as it is: an automatic trip must not shorten what a person set. A key of the wrong type stays as
-- it is too, since it already denies.
-- The key holds `1` and nothing else, for programs of the replaced system compare it with that. Why it is on stands
-- beside it, with the time until which: so the reason of an earlier trip isn't taken for that of a switch set by hand.
-- Needs KEYS.reasons
local function switch_on(key, why, ttl_text, now_text)
  local was = redis.pcall('GET', key)
  if type(was) == 'table' then return false end
  local off = not was or was == '0'
  if not off then
    local left = redis.call('PTTL', key)
    if left < 0 or left >= tonumber(ttl_text) then return false end
  end
  local until_text = integer(now_text + ttl_text)
  redis.call('SET', key, '1', 'PXAT', until_text)
  redis.pcall('HSET', KEYS.reasons, string.match(key, '.*:safety:(.*)$'), until_text .. ' ' .. why)
  return off
end
