-- How does the state keep what is in flight? As five numbers, packed: that takes a third of the time of a text.
--   card      the members of the set
--   live      those of them whose deadline is after `counted`
--   reserved  the margin that these reserve, in millionths
--   counted   ms; what had lapsed until then is no longer in `live`
--   earliest  ms; no live permit has a deadline before it
local function in_flight_packed(card, live, reserved, counted, earliest)
  return struct.pack('>ddddd', card, live, reserved, counted, earliest)
end

-- The numbers; nothing for a text of another form.
local function in_flight_unpacked(kept)
  if kept and #kept == 40 then return struct.unpack('>ddddd', kept) end
end
