-- How does the state keep what is in flight, and the last admission? As seven numbers, packed: that takes a third of the
-- time of a text.
--   card      the members of the set; below 0 where the next entry must count anew
--   live      those of them whose deadline is after `counted`
--   reserved  the margin that these reserve, in millionths
--   counted   ms; what had lapsed until then is no longer in `live`
--   earliest  ms; no live permit has a deadline before it
--   last      ms; the time of the last admission
--   lapses    ms; the account's list of admissions lapses then, not earlier
local function in_flight_packed(card, live, reserved, counted, earliest, last, lapses)
  return struct.pack('>ddddddd', card, live, reserved, counted, earliest, last, lapses)
end

-- The seven numbers; nothing for a text of another form.
local function in_flight_unpacked(kept)
  if kept and #kept == 56 then return struct.unpack('>ddddddd', kept) end
end
