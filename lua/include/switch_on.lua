-- Was the switch off before? Switches safe mode or a cooldown on for `ttl_text` ms. A switch that is on for longer, or
-- without a TTL, stays as it is: an automatic trip must not shorten what a person set. A key of the wrong type stays as
-- it is too, since it already denies. The second answer: whether it is on for that long now.
-- The key holds `1` and nothing else, for programs of the replaced system compare it with that. Why it is on stands
-- beside it, with the time until which: so the reason of an earlier trip isn't taken for that of a switch set by hand.
--
-- A user who may SET a switch may set it to 0, and so lift what a person has set. With users of their own, callers can only
-- add: RENAMENX takes a value and its TTL along and never replaces one. INCR makes a person's `0` a `1`, which keeps the TTL
-- that the `0` has, or stays without one; to a switch that is on for a shorter time nothing can be added.
-- Needs integer; KEYS.reasons. `trip_key`: where the value is made, of a caller's script; nil in an operator's
local function switch_on(key, why, ttl_text, now_text, trip_key)
  local was = redis.pcall('GET', key)
  if type(was) == 'table' then return false, true end
  local off = not was or was == '0'
  local left = was and redis.call('PTTL', key)
  local long_enough = left and (left < 0 or left >= tonumber(ttl_text))
  if not off and long_enough then return false, true end
  local lasts = true
  local until_text = integer(now_text + ttl_text)
  if not trip_key or redis.acl_check_cmd('SET', key, '1', 'PXAT', until_text) then
    redis.call('SET', key, '1', 'PXAT', until_text)
  elseif not was then
    redis.call('SET', trip_key, '1', 'PXAT', until_text)
    redis.call('RENAMENX', trip_key, key)
  elseif off then
    redis.call('INCR', key)
    lasts = long_enough
  else
    return false, false
  end
  redis.pcall('HSET', KEYS.reasons, string.match(key, '.*:safety:(.*)$'), until_text .. ' ' .. why)
  return off, lasts
end
