-- What time is it on the server's clock? Returns whole ms, the same as text, and the remaining microseconds. A script
-- asks once: on Redis 7.0 the clock moves while a script runs.
local function server_now()
  local time = redis.call('TIME')
  local micros = tonumber(time[2])
  local beyond = micros % 1000
  local ms = (micros - beyond) / 1000
  return time[1] * 1000 + ms, time[1] .. string.format('%03d', ms), beyond
end
