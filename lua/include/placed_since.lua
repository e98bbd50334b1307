-- Which entries were placed since a line of the list? Returns lines as note_placed tells, the newest first, down to the one
-- that is `after`; without a line that is `after`, all that are kept. A last line `-` says that there may have been older
-- ones since. Returns nil where the list is damaged: nobody knows which there were.
-- Their margin isn't reserved any more, but the caller's figure of the account may not show it yet.
--@include placed_kept
local function placed_since(placed, after)
  -- Mostly there are few new ones, so the list is read eight lines at a time.
  local told, known, count = '', false, 0
  while not known and count < placed_kept + 16 do
    local lines = redis.pcall('LRANGE', placed, count, count + 7)
    if lines.err then return nil end
    for _, line in ipairs(lines) do
      told, known, count = told .. line .. '\n', line == after, count + 1
      if known then break end
    end
    if count % 8 > 0 or #lines == 0 then break end
  end
  -- The line that the caller knows is gone, with what came after it; or the caller knows none, and some were cut off.
  if not known and (after ~= '-' or count >= placed_kept) then told = told .. '-' end
  return told
end
