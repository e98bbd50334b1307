-- How much margin have live permits reserved that were admitted before this one? In millionths, as text.
-- An exit needs none.
-- Needs KEYS.inflight
local function reserved_ahead(seen)
  if not seen.live or #seen.live == 0 then return '0' end
  local sum = 0
  for i = 1, #seen.live do
    sum = sum + number_at(KEYS.inflight, string.match(seen.live[i], '^(%d+):'))
  end
  return integer(sum)
end
