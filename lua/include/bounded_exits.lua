-- What do exits leave that nobody settles? An exit is never denied for their number, so they clear up themselves: once there
-- are more than a thousand, every sixteenth exit takes out up to 32 whose records have lapsed. A part of evaluate, of an exit's
-- writes. Damage stops nothing.
-- Needs integer, now, deadline, what asked.lua reads and memory.lua finds; KEYS.inflight, state
redis.pcall('ZADD', KEYS.inflight, deadline, reserve .. ':' .. intent_id)
if not damaged and last_fence % 16 == 0 then
  local exits = redis.pcall('ZCARD', KEYS.inflight)
  if type(exits) == 'number' and exits > 1000 then
    local oldest = redis.pcall('ZRANGEBYSCORE', KEYS.inflight, '-inf', integer(now - dedup_ttl), 'LIMIT', '0', '32')
    for i = 1, #oldest do
      redis.pcall('ZREM', KEYS.inflight, oldest[i])
      redis.pcall('HDEL', KEYS.state, 'permit:' .. string.match(oldest[i], '^[^:]*:?(.*)$'))
    end
  end
end
