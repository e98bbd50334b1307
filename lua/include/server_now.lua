-- What time is it on the server's clock? Returns whole ms, and the same as text. A script asks once: on Redis 7.0 the
-- clock moves while a script runs.
local function server_now()
  local time = redis.call('TIME')  -- seconds, and microseconds without leading zeros
  local now_text = time[1] .. string.sub('00000' .. time[2], -6, -4)
  return now_text + 0, now_text
end
