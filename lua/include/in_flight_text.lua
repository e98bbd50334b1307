-- How does the state keep what is in flight? As one text of five whole numbers:
--   card      the members of the set
--   live      those of them whose deadline is after `counted`
--   reserved  the margin that these reserve, in millionths
--   counted   ms; what had lapsed until then is no longer in `live`
--   earliest  ms; no live permit has a deadline before it
local function in_flight_text(card, live, reserved, counted, earliest)
  return string.format('%.0f %.0f %.0f %.0f %.0f', card, live, reserved, counted, earliest)
end

local function in_flight_fields(kept)
  if not kept then return nil end
  local card, live, reserved, counted, earliest = string.match(kept, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  return card and tonumber(card), tonumber(live), tonumber(reserved), tonumber(counted), tonumber(earliest)
end
