-- Which entries were placed last? A line each, the newest first, of the last two dozen at least:
--   fence settled_ms reserved intent_id
-- Of entries alone. reserved is the margin in millionths that was held until the settlement; 0 where the caller knew of
-- none. Cut off sixteen at a time, since a cut costs as much as a line. A part of settle.
-- Needs placed_kept, fence, now_text, reserved; KEYS.placed; ARGV.intent_id
local lines = redis.pcall('LPUSH', KEYS.placed, fence .. ' ' .. now_text .. ' ' .. reserved .. ' ' .. ARGV.intent_id)
if type(lines) == 'number' and lines >= placed_kept + 16 then
  redis.pcall('LTRIM', KEYS.placed, '0', placed_kept - 1)
end
