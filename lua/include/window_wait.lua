-- How many ms until a window has room again? Nil when it has room now. The list holds times, newest first. The window
-- is full while the entry at place `limit` is younger than the window is long. `entry`: that one, as LINDEX gives it.
local function window_wait(key, entry, window, now)
  if not entry then return nil end
  local wait = number_at(key, entry) + window - now
  if wait > 0 then return wait end
  return nil
end
