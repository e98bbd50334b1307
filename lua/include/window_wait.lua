-- How many ms until a window has room again? Nil when it has room now. The list holds times, newest first. The window
-- is full while the entry at place `limit` is younger than the window is long.
local function window_wait(key, limit, window, now)
  local limit_th = read('LINDEX', key, limit - 1)
  if not limit_th then return nil end
  local wait = number_at(key, limit_th) + window - now
  if wait > 0 then return wait end
  return nil
end
