-- How much margin do earlier live permits reserve? In millionths, as text. 0 for an exit, which reserves none.
-- Needs KEYS.inflight
local function reserved_ahead(seen)
  if not seen.live or #seen.live == 0 then return '0' end
  local sum = 0
  for i = 1, #seen.live do
    sum = sum + number_at(KEYS.inflight, string.match(seen.live[i], '^(%d+):'))
  end
  return integer(sum)
end
