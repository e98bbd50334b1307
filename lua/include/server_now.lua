-- The server's clock in whole ms, and the microseconds beyond. Asked once a call: on Redis 7.0 it moves on in a script.
local function server_now()
  local time = redis.call('TIME')
  local micros = time[2] % 1000
  return time[1] * 1000 + (time[2] - micros) / 1000, micros
end
