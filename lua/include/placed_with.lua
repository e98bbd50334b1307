-- How does the state keep the orders that were placed last? A line each, the newest first, of about two kilobytes in all:
--   fence settled_ms reserved intent_id
-- Of entries alone. reserved is the margin in millionths that was held until the settlement; 0 where the caller knew of
-- none. A last line `-` says that older ones were cut off.
local function placed_with(placed, fence, now_text, reserved, intent_id)
  local lines = fence .. ' ' .. now_text .. ' ' .. reserved .. ' ' .. intent_id .. '\n' .. (placed or '')
  -- No line has more than 180 characters.
  if #lines > 2048 then lines = string.sub(lines, 1, string.find(lines, '\n', 1860, true)) .. '-' end
  return lines
end
