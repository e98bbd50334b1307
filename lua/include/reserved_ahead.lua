-- Margin that live permits admitted before this one have reserved, in millionths, as text. An exit needs none.
local function reserved_ahead(seen)
  if not seen.live or #seen.live == 0 then return '0' end
  local sum = 0
  for i = 1, #seen.live do
    sum = sum + number_at(KEYS[7], string.match(seen.live[i], '^(%d+):'))
  end
  return integer(sum)
end
