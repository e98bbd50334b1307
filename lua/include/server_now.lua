-- What time is it? By the server's clock: whole ms, the same as text, and the microseconds beyond. Asked once a call:
-- on Redis 7.0 the clock moves on inside a script.
local function server_now()
  local time = redis.call('TIME')
  local micros = tonumber(time[2])
  local beyond = micros % 1000
  local ms = (micros - beyond) / 1000
  return time[1] * 1000 + ms, time[1] .. string.format('%03d', ms), beyond
end
